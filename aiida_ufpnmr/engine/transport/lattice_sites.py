"""Sites of a lattice, between which ions jump: where they are, and which one an ion is nearest to."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.geometry import cell_to_cellpar, minkowski_reduce
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import KDTree

from aiida_ufpnmr.engine.building.symmetry import orbits_of
from aiida_ufpnmr.engine.crystals import Crystal, read_crystal
from aiida_ufpnmr.engine.dataset import read_structure
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import cell_heights

#: Spacing of the grid of the density, and width of the Gaussian that smooths it, Å.
GRID_ANGSTROM, SMOOTHING_ANGSTROM = 0.25, 0.3
#: How far lengths of the cell may be from a multiple of those of a file, and its angles from those there.
LENGTH_TOLERANCE, ANGLE_TOLERANCE = 0.1, 5.0
#: Farther than this (Å) from the atoms of the file, the other atoms of a run are not on the same lattice.
FRAMEWORK_TOLERANCE = 1.0


@dataclass(frozen=True)
class LatticeSites:
    """Places that move with the cell.

    Attributes:
        place: (n_sites, 3) in units of the cell vectors.
        kind: (n_sites,) number of the kind of each.
        names: of the kinds.
        cell: (3, 3) in Å, for distances.
    """

    place: np.ndarray
    kind: np.ndarray
    names: tuple[str, ...]
    cell: np.ndarray

    def nearest(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the site nearest to each place (..., 3) in units of the cell vectors, and its distance in Å."""
        reduced, integer = minkowski_reduce(self.cell)
        back = np.linalg.inv(integer)
        images = np.array(list(np.ndindex(3, 3, 3))) - 1
        sites = ((self.place @ back) % 1 + images[:, None]).reshape(-1, 3)
        distance, number = KDTree(sites @ reduced).query((place @ back) % 1 @ reduced)
        return np.asarray(number) % len(self.place), np.asarray(distance)

    def distances(self, origin: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Distance (n,) in Å between the sites of two lists of numbers (n,), by their nearest images."""
        lattice = replace(self, place=np.zeros((1, 3)))
        return lattice.nearest(self.place[target] - self.place[origin])[1]


def sites_of_file(path: str | os.PathLike, species: str, frame: Atoms) -> LatticeSites:
    """Sites of the ions of ``species`` in a crystal, repeated to fill the cell of a run; symmetry tells their kinds.

    Sites may be filled in part, as a CIF file from diffraction has them. Where the file holds other atoms, too, all is
    shifted as these lie in the run.

    Args:
        path: any file of one structure.
        species: chemical symbol of the ions.
        frame: a frame of the run.

    Raises:
        InputError: no such file or species, another lattice, or other atoms at other places.
    """
    crystal = _read(path)
    lengths, angles = np.split(cell_to_cellpar(frame.cell.array), 2)
    own_lengths, own_angles = np.split(cell_to_cellpar(crystal.cell), 2)
    times = np.rint(lengths / own_lengths)
    off = np.abs(lengths / np.maximum(times, 1) / own_lengths - 1)
    if (times < 1).any() or (off > LENGTH_TOLERANCE).any() or (np.abs(angles - own_angles) > ANGLE_TOLERANCE).any():
        said, run = (
            ', '.join(f'{number:.4g}' for number in cell_to_cellpar(cell)) for cell in (crystal.cell, frame.cell)
        )
        raise InputError(
            f'{path}: its cell ({said}) does not repeat to that of the run ({run}); give the one that does'
        )
    holds = np.array([species in site for site in crystal.occupancies])
    if not holds.any():
        raise InputError(f'{path}: holds no {species}, only {", ".join(crystal.composition)}; choose with --species')
    orbit = np.unique(orbits_of(crystal)[holds], return_inverse=True)[1]
    names = tuple(f'{species}{number + 1}' for number in range(orbit.max() + 1)) if orbit.any() else (species,)
    whole = crystal.repeated((int(times[0]), int(times[1]), int(times[2])))
    copies = int(times.prod())
    place = whole.positions @ np.linalg.inv(whole.cell)
    place += _shift(place, [set(site) for site in whole.occupancies], species, frame, path)
    return LatticeSites(place[np.tile(holds, copies)] % 1, np.tile(orbit, copies), names, frame.cell.array)


def _read(path: str | os.PathLike) -> Crystal:
    if str(path).lower().endswith('.cif'):
        return read_crystal(path)
    atoms = read_structure(path)
    return Crystal(atoms.cell.array, atoms.positions, tuple({symbol: 1.0} for symbol in atoms.symbols), str(path))


def _shift(
    place: np.ndarray, elements: list[set[str]], species: str, frame: Atoms, path: str | os.PathLike
) -> np.ndarray:
    """Mean displacement (3,), in units of the cell vectors, of the other atoms of the run from those of the file."""
    places, moved = frame.get_scaled_positions(), []
    for symbol in set(frame.symbols) - {species}:
        there = place[[symbol in site for site in elements]]
        if len(there):
            atoms = LatticeSites(there, np.zeros(len(there), int), (symbol,), frame.cell.array)
            mine = places[frame.symbols == symbol]
            apart = mine - there[atoms.nearest(mine)[0]]
            moved.append(apart - np.rint(apart))
    if not moved:
        return np.zeros(3)
    shifts = np.concatenate(moved)
    shift = np.median(shifts, axis=0)
    off = np.sqrt((((shifts - shift) @ frame.cell.array) ** 2).sum(axis=1).mean())
    if off > FRAMEWORK_TOLERANCE:
        raise InputError(
            f'{path}: the other atoms of the run are {off:.2f} Å from those of the file; give it with the same origin '
            'and order of axes as the run'
        )
    return shift


def sites_by_density(
    parts: Iterable[np.ndarray], species: str, cell: np.ndarray, separation_angstrom: float, least_occupation: float
) -> LatticeSites:
    """Sites where the density of the ions, smoothed, has its maxima; each lies at the mean of what is nearest to it.

    Args:
        parts: places of the ions (frames, n_ions, 3) in units of the cell vectors, some frames at a time.
        species: name of the only kind.
        cell: (3, 3) in Å.
        separation_angstrom: a maximum is the largest density within this distance.
        least_occupation: sites that hold fewer ions on average are none.

    Raises:
        InputError: no site holds as many.
    """
    shape = np.maximum(np.ceil(np.linalg.norm(cell, axis=1) / GRID_ANGSTROM), 1).astype(int)
    counts, n_frames = np.zeros(shape.prod()), 0
    for part in parts:
        voxel = (part.reshape(-1, 3) % 1 * shape).astype(int) % shape
        counts += np.bincount(np.ravel_multi_index(voxel.T, shape), minlength=len(counts))
        n_frames += len(part)
    step = np.linalg.norm(cell, axis=1) / shape
    density = gaussian_filter(counts.reshape(shape), SMOOTHING_ANGSTROM / step, mode='wrap')
    density *= 1 + 1e-9 * np.linspace(0, 1, density.size).reshape(shape)  # of two equal neighbours one is a maximum
    reach = np.minimum(np.ceil(separation_angstrom / cell_heights(cell) * shape), (shape - 1) // 2).astype(int)
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing='ij'), -1)
    ball = np.linalg.norm(offsets / shape @ cell, axis=-1) <= separation_angstrom
    top = (density == maximum_filter(density, footprint=ball, mode='wrap')) & (density > 0)
    filled = np.flatnonzero(counts)
    here, weight = (np.array(np.unravel_index(filled, shape)).T + 0.5) / shape, counts[filled] / n_frames
    sites = LatticeSites((np.argwhere(top) + 0.5) / shape, np.zeros(int(top.sum()), int), (species,), cell)
    for least in (least_occupation, 0.0):
        number = sites.nearest(here)[0]
        ions = np.bincount(number, weight, len(sites.place))
        apart = here - sites.place[number]
        apart -= np.rint(apart)
        moved = np.stack([np.bincount(number, weight * axis, len(ions)) for axis in apart.T], -1)
        kept = ions > least
        if not kept.any():
            raise InputError(f'no place holds {least} {species} ions on average; lower --least-occupation')
        place = (sites.place + moved / np.maximum(ions, 1e-300)[:, None])[kept] % 1
        sites = replace(sites, place=place, kind=sites.kind[kept])
    return sites
