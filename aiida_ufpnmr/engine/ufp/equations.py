"""Weighted design rows of labelled structures, and their normal equations, built structure by structure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.cores import available_cores
from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, stress
from aiida_ufpnmr.engine.regression.normal_equations import NormalEquations
from aiida_ufpnmr.engine.ufp.basis import Basis
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features
from aiida_ufpnmr.engine.ufp.isolated import counts
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.weights import weight_of

T = TypeVar('T')

#: eV/Å³ in one GPa.
GPA = 1 / 160.21766208
#: Numbers in a batch of rows before it is multiplied: 128 MB.
_BATCH = 2**24


def reference_energies(
    dataset: Dataset, species: tuple[str, ...], isolated: Mapping[str, float] = {}, weights: np.ndarray | float = 1.0
) -> np.ndarray:
    """(s,) energies of the species, eV: those of isolated atoms, and for others what best sums up to the labels.

    Compositions on one line leave some of them undetermined; the least norm then shares the energy out evenly.

    Args:
        isolated: energies of isolated atoms by element, eV.
        weights: of the structures, (n,).
    """
    root = np.sqrt(np.broadcast_to(weights, len(dataset)))
    number = counts(dataset, species) * root[:, None]
    energies = np.array([energy(atoms) for atoms in dataset]) * root
    if not isolated:
        return np.linalg.lstsq(number, energies, rcond=None)[0]
    found = np.array([isolated.get(name, 0.0) for name in species])
    others = np.array([name not in isolated for name in species])
    found[others] = np.linalg.lstsq(number[:, others], energies - number @ found, rcond=None)[0]
    return found


def species_numbers(atoms: Atoms, species: tuple[str, ...]) -> np.ndarray:
    """(n,) place of each atom's element in ``species``."""
    number = {symbol: t for t, symbol in enumerate(species)}
    return np.array([number[symbol] for symbol in atoms.get_chemical_symbols()], dtype=np.int64)


@dataclass(frozen=True)
class Rows:
    """Design rows of one structure, as :func:`~aiida_ufpnmr.engine.ufp.features.features` gives them.

    Attributes:
        index: of the structure in its data set.
        types: (n,) species numbers.
        design: (n_columns, 7 + 3 n).
        labels: (7 + 3 n,) energy less the reference energies (eV), virial (eV), forces (eV/Å); 0 where not labelled.
        weights: (7 + 3 n,) inverse errors, times the root of the weight of the structure; 0 where not labelled.
    """

    index: int
    types: np.ndarray
    design: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def design_rows(
    dataset: Dataset, indices: Iterable[int], basis: Basis, one_body: np.ndarray, settings: PotentialSettings
) -> Iterator[Rows]:
    """Rows of the chosen structures in order."""
    groups = dataset.groups

    def make(index):
        atoms = dataset.structures[index]
        types = species_numbers(atoms, basis.species)
        design = features(atoms, types, basis)
        weights, labels = np.zeros(design.shape[1]), np.zeros(design.shape[1])
        weights[0] = 1000.0 / (settings.energy_error_meV_per_atom * len(atoms))
        labels[0] = energy(atoms) - one_body[types].sum()
        tensor = stress(atoms)
        if tensor is not None and atoms.cell.rank == 3:
            weights[1:N_LEADING] = 1.0 / (settings.stress_error_GPa * GPA * atoms.cell.volume)
            labels[1:N_LEADING] = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] * atoms.cell.volume
        weights[N_LEADING:] = 1000.0 / settings.forces_error_meV_per_angstrom
        components = forces(atoms)
        assert components is not None
        labels[N_LEADING:] = components.ravel()
        weights *= np.sqrt(weight_of(atoms, groups[index], settings.weights))
        return Rows(index=index, types=types, design=design, labels=labels, weights=weights)

    return in_order(make, indices)


def in_order(make: Callable[[int], T], indices: Iterable[int]) -> Iterator[T]:
    """Results of ``make`` for each index, on all available cores, a few ahead; in order, so that sums never change."""
    workers = available_cores()
    with ThreadPoolExecutor(workers) as pool:
        waiting = []
        for index in indices:
            waiting.append(pool.submit(make, int(index)))
            if len(waiting) > workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


class EquationsBuilder:
    """Collects rows into batches and batches into normal equations.

    A force on an atom knows only the terms that its species takes part in. Rows are therefore batched by species, and
    each batch multiplies only the columns that it touches: of three species, four ninths of the work.
    """

    def __init__(self, n_columns: int, n_species: int):
        self.equations = NormalEquations(n_columns)
        self._capacity = max(256, _BATCH // n_columns)
        self._waiting: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in range(n_species + 1)]
        self._count = np.zeros(n_species + 1, int)

    def add(self, rows: Rows) -> None:
        """Take the rows of one structure."""
        kinds = np.append(np.full(N_LEADING, len(self._waiting) - 1), np.repeat(rows.types, 3))
        for kind in range(len(self._waiting)):
            chosen = np.flatnonzero((kinds == kind) & (rows.weights > 0))
            if len(chosen):
                weights = rows.weights[chosen]
                self._waiting[kind].append((rows.design[:, chosen] * weights, rows.labels[chosen] * weights))
                self._count[kind] += len(chosen)
                if self._count[kind] >= self._capacity:
                    self._flush(kind)

    def _flush(self, kind: int) -> None:
        if self._count[kind]:
            waiting = self._waiting[kind]
            self.equations.add(np.concatenate([r for r, _ in waiting], axis=1), np.concatenate([y for _, y in waiting]))
            self._waiting[kind] = []
            self._count[kind] = 0

    def finish(self) -> NormalEquations:
        """The equations of all rows taken."""
        for kind in range(len(self._waiting)):
            self._flush(kind)
        return self.equations
