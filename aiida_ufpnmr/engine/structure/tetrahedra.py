"""Tetrahedra of four corners, such as PS4 and the I4 of a lattice of iodide, followed along a trajectory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.structure.units import ligand_bonds
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots

#: Corners of a tetrahedron about the origin, at a distance of one.
IDEAL = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


@dataclass(frozen=True)
class Tetrahedra:
    """Tetrahedra of one structure, whose atoms stay the same along the trajectory.

    Attributes:
        names: (n,) such as PS4, or I4 for corners without a centre.
        origin: (n,) atom from which the corners are seen: the centre, or else the first corner.
        corner: (n, 4) atoms at the corners.
        shift: (n, 4, 3) cells by which corners are away from where they are written.
    """

    names: np.ndarray
    origin: np.ndarray
    corner: np.ndarray
    shift: np.ndarray

    def vectors(self, positions: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Vectors from the origin to the corners in Å, (frames, n, 4, 3).

        Args:
            positions: (frames, n_atoms, 3) unwrapped, and cells: (frames, 3, 3), both in Å.
        """
        images = np.einsum('nkc,fcx->fnkx', self.shift, cells)
        return positions[:, self.corner] - positions[:, self.origin, None] + images

    def along(self, snapshots: Snapshots) -> Iterator[np.ndarray]:
        """The vectors of all frames, some frames at a time."""
        for positions, cells in snapshots.parts():
            yield self.vectors(positions, cells)


def centred_tetrahedra(atoms: Atoms) -> Tetrahedra:
    """Each centre with four ligands, as their bonds tell.

    Raises:
        InputError: there is none.
    """
    found = ligand_bonds(atoms)
    origin = np.flatnonzero(np.bincount(found.centre, minlength=len(atoms)) == 4)
    if not len(origin):
        raise InputError('the first frame holds no atom with bonds to four ligands; give --edge-angstrom, or skip it')
    rows = np.flatnonzero(np.isin(found.centre, origin)).reshape(-1, 4)
    corner = found.ligand[rows]
    names = [f'{chemical_symbols[atoms.numbers[a]]}{_formula(atoms, four)}' for a, four in zip(origin, corner)]
    return Tetrahedra(np.array(names), origin, corner, found.shift[rows])


def lattice_tetrahedra(atoms: Atoms, symbol: str, edge_angstrom: float) -> Tetrahedra:
    """All groups of four atoms of an element of which each is within ``edge_angstrom`` of the others.

    Raises:
        InputError: there is none.
    """
    members = np.flatnonzero(np.array(atoms.symbols) == symbol)
    places = atoms.positions[members]
    near = neighbour_list(places, atoms.cell.array, atoms.pbc, edge_angstrom)
    vectors = near.vectors(places, atoms.cell.array)
    rows, shifts = [], []
    for i in range(len(members)):
        around = np.arange(near.start[i], near.start[i + 1])
        distance = np.linalg.norm(vectors[around][:, None] - vectors[around], axis=-1)
        # each group once: seen from its first atom, and of images from the one that comes first
        for three in combinations(range(len(around)), 3):
            index = near.index[around[list(three)]]
            if (index > i).all() and distance[np.ix_(three, three)].max() <= edge_angstrom:
                rows.append([i, *index])
                shifts.append(np.vstack([np.zeros((1, 3), int), near.shift[around[list(three)]]]))
    if not rows:
        raise InputError(f'no four {symbol} are within {edge_angstrom:g} Å of each other; raise --edge-angstrom')
    corner = members[np.array(rows)]
    return Tetrahedra(np.full(len(corner), f'{symbol}4'), corner[:, 0], corner, np.array(shifts))


def _formula(atoms: Atoms, corners: np.ndarray) -> str:
    """Corners of a tetrahedron by element, such as S4 or OS3."""
    counts = sorted(Counter(chemical_symbols[z] for z in atoms.numbers[corners]).items())
    return ''.join(f'{symbol}{n if n > 1 else ""}' for symbol, n in counts)


def closest_rotations(vectors: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    """Rotation that brings the ideal tetrahedron closest to each one, (..., n, 3, 3), by Kabsch's method.

    Args:
        vectors: (..., n, 4, 3) corners about any origin.
        mirrored: (n,) whether the corners, in their order, are the mirror image of the ideal ones.
    """
    ideal = np.where(mirrored[:, None, None], IDEAL[[1, 0, 2, 3]], IDEAL)
    corners = vectors - vectors.mean(axis=-2, keepdims=True)
    left, _, right = np.linalg.svd(np.swapaxes(corners, -1, -2) @ ideal)
    proper = np.ones(left.shape[:-1])
    proper[..., 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    return (left * proper[..., None, :]) @ right


def are_mirrored(vectors: np.ndarray) -> np.ndarray:
    """Whether corners (n, 4, 3), in their order, are the mirror image of the ideal ones."""
    sense = np.linalg.det(vectors[:, 1:] - vectors[:, :1])
    return sense * np.linalg.det(IDEAL[1:] - IDEAL[:1]) < 0
