"""Fit of an ultra-fast potential: regularised linear least squares, streamed structure by structure."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces, stress
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import settings_to_json
from aiida_ufpnmr.engine.ufp.basis import Basis, make_basis
from aiida_ufpnmr.engine.ufp.features import N_LEADING, features
from aiida_ufpnmr.engine.ufp.metrics import potential_errors
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.repulsion import extend_wall


@dataclass(frozen=True)
class PotentialSettings:
    """Settings of a fit.

    The errors are what one is ready to live with; they weigh energies, forces and stresses against each other. Penalties
    are inverse variances (eV⁻²) of the coefficients and of their second differences, as a Gaussian prior has them.

    Attributes:
        pair_cutoff: Å.
        trio_cutoff: Å, of the two legs; the third side reaches twice as far.
        pair_intervals: intervals of each pair spline.
        leg_intervals: intervals along a leg; chosen by the amount of data if not given.
        third_intervals: intervals along the third side; one and a half times ``leg_intervals`` if not given.
        energy_error_meV_per_atom, forces_error_meV_per_angstrom, stress_error_GPa: weights.
        ridge_pair, curvature_pair, ridge_trio, curvature_trio: penalties.
        folds: number of parts for withheld errors; whole groups are kept together.
        seed: for the choice of the parts.
    """

    pair_cutoff: float = 6.0
    trio_cutoff: float = 4.0
    pair_intervals: int = 20
    leg_intervals: int | None = None
    third_intervals: int | None = None
    energy_error_meV_per_atom: float = 5.0
    forces_error_meV_per_angstrom: float = 100.0
    stress_error_GPa: float = 0.5
    ridge_pair: float = 1e-2
    curvature_pair: float = 30.0
    ridge_trio: float = 10.0
    curvature_trio: float = 20.0
    folds: int = 5
    seed: int = 0

    def __post_init__(self):
        for name in ('pair_cutoff', 'trio_cutoff'):
            if not 1.0 < getattr(self, name) <= 20.0:
                raise ValueError(f'{name} must lie between 1 and 20 Å, not {getattr(self, name)}')
        for name in ('pair_intervals', 'leg_intervals', 'third_intervals'):
            value = getattr(self, name)
            if value is not None and not 4 <= value <= 100:
                raise ValueError(f'{name} must lie between 4 and 100, not {value}')
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if ('error' in field.name and not value > 0) or ('ridge' in field.name and not value > 0):
                raise ValueError(f'{field.name} must be positive, not {value}')
            if 'curvature' in field.name and not value >= 0:
                raise ValueError(f'{field.name} must not be negative, not {value}')
        if self.folds < 2:
            raise ValueError(f'folds must be 2 or more, not {self.folds}')
        if self.seed < 0:
            raise ValueError(f'seed must not be negative, not {self.seed}')


#: eV/Å³ in one GPa.
GPA = 1 / 160.21766208


def closest_distances(dataset: Dataset, species: tuple[str, ...], cutoff: float) -> np.ndarray:
    """(s, s) shortest distance of each pair of species over a data set, Å; ``cutoff`` where none is shorter."""
    number = {symbol: t for t, symbol in enumerate(species)}
    closest = np.full((len(species), len(species)), cutoff)
    for atoms in dataset:
        types = np.array([number[symbol] for symbol in atoms.get_chemical_symbols()])
        found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
        i = np.repeat(np.arange(len(atoms)), np.diff(found.start))
        vectors = atoms.positions[found.index] + found.shift @ atoms.cell.array - atoms.positions[i]
        np.minimum.at(closest, (types[i], types[found.index]), np.linalg.norm(vectors, axis=1))
    return np.minimum(closest, closest.T)


def choose_basis(dataset: Dataset, species: tuple[str, ...], settings: PotentialSettings) -> Basis:
    """The basis of the settings; where they leave the resolution open, as fine as the data carry.

    The three-body grid is refined as long as force components are at least twice as many as the columns; the curvature
    penalty carries the functions that lie between the data.
    """
    closest = closest_distances(dataset, species, max(settings.pair_cutoff, settings.trio_cutoff))
    components = 3 * sum(len(atoms) for atoms in dataset)

    def basis(legs: int) -> Basis:
        thirds = settings.third_intervals or (3 * legs) // 2
        return make_basis(
            species, closest, settings.pair_cutoff, settings.trio_cutoff, settings.pair_intervals, legs, thirds
        )

    if settings.leg_intervals is not None:
        return basis(settings.leg_intervals)
    chosen = basis(5)
    for legs in range(6, 13):
        finer = basis(legs)
        if 2 * finer.n_columns > components:
            break
        chosen = finer
    return chosen


class NormalEquations:
    """Sums of weighted products of design rows: all that the data say about the coefficients.

    Memory does not depend on the number of structures, and sums of disjoint sets add up.
    """

    def __init__(self, n_columns: int):
        self.matrix = np.zeros((n_columns, n_columns))
        self.vector = np.zeros(n_columns)

    def add(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Add weighted design rows (n_columns, m) with their labels (m,)."""
        self.matrix += rows @ rows.T
        self.vector += rows @ labels

    def solve(self, penalty: np.ndarray, without: NormalEquations | None = None) -> np.ndarray:
        """Coefficients that minimise weighted residuals plus penalty; ``without`` leaves a part of the data out."""
        matrix = self.matrix + penalty
        vector = self.vector
        if without is not None:
            matrix -= without.matrix
            vector = vector - without.vector
        # columns differ by orders of magnitude in size: bring the diagonal to one before the factorisation
        scale = 1 / np.sqrt(np.diag(matrix))
        matrix *= scale[:, None]
        matrix *= scale[None, :]
        factor = scipy.linalg.cho_factor(matrix, overwrite_a=True, check_finite=False)
        return scale * scipy.linalg.cho_solve(factor, scale * vector)


def reference_energies(dataset: Dataset, species: tuple[str, ...]) -> np.ndarray:
    """(s,) least-norm energies of the species that best sum up to the labelled energies, eV.

    Compositions on one line leave some of them undetermined; the least norm then shares the energy out evenly.
    """
    counts = np.array([[atoms.get_chemical_symbols().count(name) for name in species] for atoms in dataset], float)
    energies = np.array([energy(atoms) for atoms in dataset])
    return np.linalg.lstsq(counts, energies, rcond=None)[0]


def _weighted(atoms, rows, offset, settings) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of one structure over the errors that the settings allow, energies less ``offset``."""
    weights = np.zeros(rows.shape[1])
    labels = np.zeros(rows.shape[1])
    weights[0] = 1000.0 / (settings.energy_error_meV_per_atom * len(atoms))
    labels[0] = energy(atoms) - offset
    tensor = stress(atoms)
    if tensor is not None and atoms.cell.rank == 3:
        weights[1:N_LEADING] = 1.0 / (settings.stress_error_GPa * GPA * atoms.cell.volume)
        labels[1:N_LEADING] = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] * atoms.cell.volume
    weights[N_LEADING:] = 1000.0 / settings.forces_error_meV_per_angstrom
    labels[N_LEADING:] = forces(atoms).ravel()
    rows *= weights
    return rows, labels * weights


def _weighted_rows(dataset, basis, one_body, settings) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Weighted rows of each structure in order, made on all cores, a few structures ahead."""
    number = {symbol: t for t, symbol in enumerate(basis.species)}

    def make(atoms):
        types = np.array([number[symbol] for symbol in atoms.get_chemical_symbols()], dtype=np.int64)
        return _weighted(atoms, features(atoms, types, basis), one_body[types].sum(), settings)

    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = []
        for atoms in dataset:
            waiting.append(pool.submit(make, atoms))
            if len(waiting) > workers:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _to_potential(basis, coefficients, one_body, closest, settings, sha256) -> UltraFastPotential:
    s = len(basis.species)
    energies, pairs, trios = basis.expand(coefficients)
    potential = UltraFastPotential(
        species=basis.species,
        one_body=energies + one_body,
        pair_start=basis.pair_start,
        pair_cutoff=np.full((s, s), basis.pair_cutoff),
        pair_coefficients=pairs,
        trio_cutoff=basis.trio_cutoff,
        leg_start=basis.leg_start,
        third_start=basis.third_start,
        trio_coefficients=trios,
        closest_distance=closest,
        settings=settings_to_json(settings),
        training_sha256=sha256,
    )
    return extend_wall(potential)


def fit_potential(
    dataset: Dataset, settings: PotentialSettings = PotentialSettings(), test: Dataset | None = None
) -> tuple[UltraFastPotential, dict]:
    """Fit a potential to energies, forces and (where labelled) stresses, and measure its errors on withheld structures.

    Without ``test``, the structures are parted into folds of whole groups; each is predicted by a fit to the others, and the
    errors over all folds are reported. The potential that is returned is fitted to everything.

    Args:
        dataset: structures with energy and forces.
        settings: see :class:`PotentialSettings`.
        test: structures to measure the errors on instead.

    Returns:
        The potential, and the results: errors on withheld structures at the top level, training errors under ``train``.

    Raises:
        InputError: a test structure holds an element that the training set does not.
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    species = dataset.species
    if test is not None and set(test.species) - set(species):
        unknown = ', '.join(sorted(set(test.species) - set(species)))
        raise InputError(f'{test.source}: holds {unknown}, which {dataset.source} does not; add training structures with it')
    basis = choose_basis(dataset, species, settings)
    closest_limit = max(settings.pair_cutoff, settings.trio_cutoff)
    sha256 = dataset.content_hash
    one_body = reference_energies(dataset, species)
    folds = [] if test is not None else dataset.folds(settings.folds, settings.seed)
    fold_of = np.zeros(len(dataset), int)
    for f, members in enumerate(folds):
        fold_of[members] = f
    parts = [NormalEquations(basis.n_columns) for _ in range(max(1, len(folds)))]
    with progress(len(dataset), 'features', 'structure') as bar:
        for row, (rows, labels) in enumerate(_weighted_rows(dataset, basis, one_body, settings)):
            parts[fold_of[row]].add(rows, labels)
            bar.update()
    total = NormalEquations(basis.n_columns)
    for part in parts:
        total.matrix += part.matrix
        total.vector += part.vector
    penalty = basis.penalty(
        settings.ridge_pair, settings.curvature_pair, settings.ridge_trio, settings.curvature_trio
    ).toarray()
    # one-body energies are corrections to the reference energies, known to about an electronvolt
    penalty[np.arange(len(species)), np.arange(len(species))] += 1.0

    def potential(structures, without=None):
        seen = closest_distances(structures, species, closest_limit)
        return _to_potential(basis, total.solve(penalty, without), one_body, seen, settings, sha256)

    final = potential(dataset)
    if test is not None:
        withheld = potential_errors([(final, test)])
        validation = {'method': f'test set {test.source}', 'folds': 0, 'structures': len(test)}
    elif folds:
        withheld = potential_errors(
            [
                (potential(dataset.subset(np.setdiff1d(np.arange(len(dataset)), members)), part), dataset.subset(members))
                for part, members in zip(parts, folds)
            ]
        )
        validation = {
            'method': f'{len(folds)}-fold cross-validation over groups (config_type)',
            'folds': len(folds),
            'structures': len(dataset),
        }
    else:
        withheld = potential_errors([])
        validation = {'method': 'none: a single group cannot be withheld; give --test', 'folds': 0, 'structures': 0}
    results = {
        **withheld,
        'train': potential_errors([(final, dataset)]),
        'validation': validation,
        'structures': len(dataset),
        'columns': basis.n_columns,
        'rows': int(sum(3 * len(atoms) + 7 for atoms in dataset)),
        'leg_intervals': basis.leg_intervals,
        'third_intervals': basis.third_intervals,
        'closest_distance_angstrom': {
            f'{a}-{b}': final.closest_distance[i, j] for i, a in enumerate(species) for j, b in enumerate(species) if i <= j
        },
        'settings': dataclasses.asdict(settings),
        'training_sha256': sha256,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - begin, 'cpu_s': time.process_time() - begin_cpu},
    }
    return final, results
