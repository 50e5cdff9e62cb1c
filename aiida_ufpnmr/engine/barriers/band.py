"""Quenched ends, and the nudged elastic band between them.

The band is that of ASE: improved tangents (Henkelman & Jónsson, J. Chem. Phys. 113, 9978 (2000)), a climbing image
(Henkelman, Uberuaga & Jónsson, J. Chem. Phys. 113, 9901 (2000)), and a first path by distances between atoms (IDPP;
Smidstrup, Pedersen, Stokbro & Jónsson, J. Chem. Phys. 140, 214106 (2014)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.geometry import find_mic
from ase.mep import NEB
from ase.optimize import FIRE

from aiida_ufpnmr.engine.barriers.settings import BandSettings

#: Makes a calculator of its own for each structure.
Calculators = Callable[[], Calculator]
#: Springs between images, eV/Å².
SPRING = 0.1
#: The image climbs once forces are so many times what a converged band has.
CLIMBS_AT = 4.0
#: Atoms within this distance of the straight way of the ion, Å, are put out of its way in the first path.
SURROUNDINGS_ANGSTROM = 4.0


@dataclass(frozen=True)
class Band:
    """A band of images from a start to an end.

    Attributes:
        positions: (n_images, n_atoms, 3) in Å, both ends included, not wrapped.
        energies_eV: (n_images,).
        force_eV_per_angstrom: largest force of the band on an atom: across the path, and of springs along it.
        steps: taken.
        converged: whether that force is as small as was asked for.
    """

    positions: np.ndarray
    energies_eV: np.ndarray
    force_eV_per_angstrom: float
    steps: int
    converged: bool

    @property
    def path_angstrom(self) -> np.ndarray:
        """(n_images,) way along the band in the space of all atoms, Å."""
        step = np.linalg.norm(np.diff(self.positions, axis=0), axis=(1, 2))
        return np.concatenate([[0.0], np.cumsum(step)])

    @property
    def forward_eV(self) -> float:
        """Highest energy of an image above that of the start."""
        return float(self.energies_eV.max() - self.energies_eV[0])

    @property
    def backward_eV(self) -> float:
        """Highest energy of an image above that of the end."""
        return float(self.energies_eV.max() - self.energies_eV[-1])

    @property
    def has_saddle(self) -> bool:
        """Whether an image between the ends is higher than both."""
        return bool(self.energies_eV[1:-1].max() > max(self.energies_eV[0], self.energies_eV[-1]))

    @property
    def intermediate_depth_eV(self) -> float:
        """Depth of the deepest minimum between the ends, below the lower of the ridges on its sides; zero without
        any."""
        energies = self.energies_eV
        depths = [min(energies[: n + 1].max(), energies[n:].max()) - energies[n] for n in range(1, len(energies) - 1)]
        inside = [depth for n, depth in enumerate(depths, 1) if energies[n] < min(energies[n - 1], energies[n + 1])]
        return float(max(inside, default=0.0))


def quench(atoms: Atoms, calculator: Calculator, settings: BandSettings) -> tuple[Atoms, bool]:
    """The structure after its atoms went downhill in energy in a cell that stays (FIRE), and whether they arrived."""
    quenched = atoms.copy()
    quenched.calc = calculator
    force = settings.quench_force_eV_per_angstrom
    return quenched, bool(FIRE(quenched, logfile=None).run(fmax=force, steps=settings.quench_steps))


def relax_band(start: Atoms, end: Atoms, ion: int, calculators: Calculators, settings: BandSettings) -> Band:
    """The band of least energy between two quenched structures.

    Args:
        start, end: with energies; the way from one to the other is that of their positions as they are, without regard
            to periodic images.
        ion: the atom that hops, around which the first path is laid.
        calculators: makes a calculator for each image.
        settings: images, force and steps.
    """
    images = first_path(start, end, ion, settings.images)
    for image in images[1:-1]:
        image.calc = calculators()
    images[0].calc, images[-1].calc = start.calc, end.calc
    neb = NEB(images, k=SPRING, method='improvedtangent')
    force = settings.force_eV_per_angstrom
    first = FIRE(neb, logfile=None)
    first.run(fmax=CLIMBS_AT * force, steps=settings.steps)
    neb.climb = True
    second = FIRE(neb, logfile=None)
    converged = second.run(fmax=force, steps=settings.steps - first.nsteps)
    forces = np.linalg.norm(neb.get_forces(), axis=1)
    return Band(
        positions=np.array([image.positions for image in images]),
        energies_eV=np.array(neb.energies),
        force_eV_per_angstrom=float(forces.max()),
        steps=first.nsteps + second.nsteps,
        converged=bool(converged),
    )


def first_path(start: Atoms, end: Atoms, ion: int, n_images: int) -> list[Atoms]:
    """Images on a straight line from start to end, both included, those near the ion put out of its way (IDPP)."""
    fractions = np.linspace(0.0, 1.0, n_images + 2)
    images = [start.copy() for _ in fractions]
    for image, fraction in zip(images, fractions):
        image.positions += fraction * (end.positions - start.positions)
    near, shift = _near_the_way(images, ion)
    if len(near) < 2:
        return images
    # without periodic images, of which none is that near, this takes a hundredth of the time
    cluster = [Atoms(image.numbers[near], image.positions[near] + shift) for image in images]
    NEB(cluster, method='improvedtangent').interpolate('idpp')
    for image, inside in zip(images[1:-1], cluster[1:-1]):
        image.positions[near] = inside.positions - shift
    return images


def _near_the_way(images: list[Atoms], ion: int) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (n,) near the way of the ion, itself among them, and what brings each (n, 3) to its image nearest to it."""
    start = images[0]
    nearest = np.full(len(start), np.inf)
    shift = np.zeros((len(start), 3))
    for image in images:
        away = image.positions - image.positions[ion]
        vectors, distances = find_mic(away, start.cell, start.pbc)
        closer = distances < nearest
        nearest[closer], shift[closer] = distances[closer], (vectors - away)[closer]
    near = np.flatnonzero(nearest < SURROUNDINGS_ANGSTROM)
    return near, shift[near]
