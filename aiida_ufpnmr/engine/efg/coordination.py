"""Sites of ions in single structures, by the number of ligands around them."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.neighbours import surroundings

#: Neighbours up to this many times the typical shortest distance are around an ion: the gap between the first and the
#: second shell of Li in sulphides (3.3 Å of 2.4 Å).
SHELL = 1.4
#: No ion is farther from its nearest neighbour, Å.
REACH = 6.0


def site_names(dataset: Dataset, species: str) -> list[np.ndarray]:
    """Names of the sites of ions, such as ``LiS4`` for four S around a Li; for each structure (n_ions,) strings.

    The ligand is the element that is nearest to most ions. A trajectory, where vibration and hops can be told apart, is
    better served by :func:`~aiida_ufpnmr.engine.structure.find_sites`.
    """
    number = atomic_numbers[species]
    nearest = [_nearest(atoms, number) for atoms in dataset]
    elements = np.concatenate([element for element, _ in nearest] + [np.zeros(0, int)])
    if not (elements > 0).any():
        return [np.full(len(element), species) for element, _ in nearest]
    ligand = int(np.bincount(elements[elements > 0]).argmax())
    distances = np.concatenate([distance[element == ligand] for element, distance in nearest])
    radius = SHELL * float(np.median(distances))
    name = f'{species}{chemical_symbols[ligand]}'
    return [np.array([f'{name}{n}' for n in _count(atoms, number, ligand, radius)], dtype=object) for atoms in dataset]


def _neighbours(atoms: Atoms, number: int, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Ion, element of the neighbour and distance of each pair of an ion and a neighbour; and the number of ions."""
    ions = np.flatnonzero(atoms.numbers == number)
    around = surroundings(atoms.positions, atoms.cell.array, atoms.pbc, radius, ions)
    ion = np.repeat(np.arange(len(ions)), np.diff(around.start))
    return ion, atoms.numbers[around.index], np.linalg.norm(around.vector, axis=1), len(ions)


def _nearest(atoms: Atoms, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Element of the nearest neighbour of each ion, 0 where there is none, and its distance."""
    ion, element, distance, count = _neighbours(atoms, number, REACH)
    elements, distances = np.zeros(count, int), np.full(count, np.inf)
    order = np.lexsort((distance, ion))
    there, first = np.unique(ion[order], return_index=True)
    elements[there], distances[there] = element[order][first], distance[order][first]
    return elements, distances


def _count(atoms: Atoms, number: int, ligand: int, radius: float) -> np.ndarray:
    ion, element, _, count = _neighbours(atoms, number, radius)
    return np.bincount(ion[element == ligand], minlength=count)
