"""Isolated atoms among labelled structures, and compositions: what fixes the energies of single elements."""

from __future__ import annotations

import re

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset, energy
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list

#: Groups (``config_type``) that hold isolated atoms: ``isolated_atom``, ``IsolatedAtom``.
_NAME = re.compile(r'isolated[_ -]?atoms?', re.IGNORECASE)
#: Energies of one element that differ by more than this (eV) contradict each other.
_SAME_ENERGY = 1e-3


def isolated_energies(dataset: Dataset, cutoff: float) -> dict[str, float]:
    """Energies (eV) of the elements of which the set holds an isolated atom: one atom without neighbours.

    Args:
        dataset: structures with an energy.
        cutoff: how far neighbours are seen, Å.

    Raises:
        InputError: what is called an isolated atom has neighbours, or two of one element have different energies.
    """
    found: dict[str, float] = {}
    for row, atoms in enumerate(dataset):
        called_so = _NAME.fullmatch(str(atoms.info.get('config_type', ''))) is not None
        if len(atoms) != 1 and not called_so:
            continue
        alone = len(neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff).index) == 0
        if called_so and not (alone and len(atoms) == 1):
            raise InputError(
                f'{dataset.source}, structure {row}: called {atoms.info["config_type"]}, but has neighbours within the '
                f'cut-off of {cutoff:g} Å; label one atom in a larger cell, or name the structure otherwise'
            )
        if not alone:
            continue
        symbol, value = atoms.get_chemical_symbols()[0], energy(atoms)
        assert value is not None
        if abs(found.setdefault(symbol, float(value)) - value) > _SAME_ENERGY:
            raise InputError(
                f'{dataset.source}, structure {row}: an isolated {symbol} of {value:g} eV, after one of '
                f'{found[symbol]:g} eV; keep that of the ground state'
            )
    return found


def counts(dataset: Dataset, species: tuple[str, ...]) -> np.ndarray:
    """(structures, s) number of atoms of each species."""
    return np.array([[atoms.get_chemical_symbols().count(name) for name in species] for atoms in dataset], float)


def foreign_compositions(train: Dataset, test: Dataset, species: tuple[str, ...]) -> list[str]:
    """Formulas in a test set whose energies the compositions of a training set do not determine.

    Those are no combination of the compositions that were learnt: how the energy is shared among the elements is then
    left to the penalties.
    """
    known, asked = counts(train, species), counts(test, species)
    _, sizes, directions = np.linalg.svd(np.unique(known, axis=0))
    span = directions[: int((sizes > 1e-9 * sizes[0]).sum())]
    outside = np.linalg.norm(asked - asked @ span.T @ span, axis=1) > 1e-6 * np.linalg.norm(asked, axis=1)
    return sorted({test[int(row)].get_chemical_formula() for row in np.flatnonzero(outside)})
