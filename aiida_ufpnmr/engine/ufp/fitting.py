"""Fit of an ultra-fast potential: regularised linear least squares, streamed structure by structure."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import settings_to_json
from aiida_ufpnmr.engine.ufp.basis import Basis, make_basis
from aiida_ufpnmr.engine.ufp.calibration import Sample
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.equations import (
    EquationsBuilder,
    NormalEquations,
    Solution,
    design_rows,
    reference_energies,
    species_numbers,
)
from aiida_ufpnmr.engine.ufp.features import N_LEADING, local_features
from aiida_ufpnmr.engine.ufp.metrics import potential_errors
from aiida_ufpnmr.engine.ufp.posterior import Noise, Posterior
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.repulsion import extend_wall
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings

#: Errors are compared with their predictions on at most about this many withheld force components.
CALIBRATION_ROWS = 30_000


def closest_distances(dataset: Dataset, species: tuple[str, ...], cutoff: float) -> np.ndarray:
    """(s, s) shortest distance of each pair of species over a data set, Å; ``cutoff`` where none is shorter."""
    closest = np.full((len(species), len(species)), cutoff)
    for atoms in dataset:
        types = species_numbers(atoms, species)
        found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
        i = np.repeat(np.arange(len(atoms)), np.diff(found.start))
        vectors = atoms.positions[found.index] + found.shift @ atoms.cell.array - atoms.positions[i]
        np.minimum.at(closest, (types[i], types[found.index]), np.linalg.norm(vectors, axis=1))
    return np.minimum(closest, closest.T)


def choose_basis(dataset: Dataset, species: tuple[str, ...], settings: PotentialSettings) -> Basis:
    """The basis of the settings; where they leave the resolution open, as fine as the data carry.

    The three-body grid is refined as long as force components are at least four times as many as the columns, up to
    eight intervals along a leg: finer grids gained nothing on Li-P-S crystals and glasses.
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
    for legs in range(6, 9):
        finer = basis(legs)
        if 4 * finer.n_columns > components:
            break
        chosen = finer
    return chosen


@dataclass(frozen=True)
class Problem:
    """The linear problem of a data set: its basis and what goes with it.

    Attributes:
        dataset: what is fitted.
        basis: its columns.
        one_body: (s,) reference energies that are taken off, eV.
        penalty: on the coefficients, lower and upper triangle.
        settings: weights and penalties.
        sha256: of everything that is fitted.
        base: equations of earlier data, to which this data set is added.
    """

    dataset: Dataset
    basis: Basis
    one_body: np.ndarray
    penalty: sparse.csc_matrix
    settings: PotentialSettings
    sha256: str
    base: SavedEquations | None = None

    @classmethod
    def of(cls, dataset: Dataset, settings: PotentialSettings) -> Problem:
        """A data set with nothing before it."""
        species = dataset.species
        basis = choose_basis(dataset, species, settings)
        one_body = reference_energies(dataset, species)
        return cls(dataset, basis, one_body, _penalty(basis, settings), settings, dataset.content_hash)

    @classmethod
    def adding(cls, dataset: Dataset, base: SavedEquations) -> Problem:
        """A data set beside all data before it.

        Raises:
            InputError: it does not fit the basis of the earlier data.
        """
        base.check(dataset, closest_distances(dataset, base.basis.species, base.basis.pair_cutoff))
        sha256 = hashlib.sha256(f'{base.training_sha256}+{dataset.content_hash}'.encode()).hexdigest()
        return cls(dataset, base.basis, base.one_body, _penalty(base.basis, base.settings), base.settings, sha256, base)

    def rows(self, indices):
        """Design rows of the chosen structures."""
        return design_rows(self.dataset, indices, self.basis, self.one_body, self.settings)

    def equations(self, indices, bar=None) -> NormalEquations:
        """Normal equations of the chosen structures alone."""
        builder = EquationsBuilder(self.basis.n_columns, len(self.basis.species))
        for rows in self.rows(indices):
            builder.add(rows)
            if bar is not None:
                bar.update()
        return builder.finish()

    def parts(self, folds: Sequence[np.ndarray]) -> list[NormalEquations]:
        """Normal equations of each fold."""
        with progress(sum(map(len, folds)), 'features', 'structure') as bar:
            return [self.equations(members, bar) for members in folds]

    def total(self, parts: Sequence[NormalEquations], without: int | None = None) -> NormalEquations:
        """Sum of the earlier equations and all parts but one."""
        total = NormalEquations(self.basis.n_columns)
        if self.base is not None:
            total += self.base.equations
        for f, part in enumerate(parts):
            if f != without:
                total += part
        return total

    def closest(self, indices) -> np.ndarray:
        """(s, s) shortest distances among the chosen structures, Å."""
        limit = max(self.basis.pair_cutoff, self.basis.trio_cutoff)
        return closest_distances(self.dataset.subset(indices), self.basis.species, limit)

    def residuals(self, coefficients: np.ndarray, indices) -> tuple[np.ndarray, np.ndarray]:
        """Errors of force components (eV/Å) and of energies (eV per atom) on the chosen structures."""
        by_force, by_energy = [], []
        for rows in self.rows(indices):
            error = coefficients @ rows.design - rows.labels
            by_force.append(error[N_LEADING:])
            by_energy.append(error[0] / len(rows.types))
        return np.concatenate(by_force), np.array(by_energy)

    def potential(self, coefficients: np.ndarray, closest: Sequence[np.ndarray]) -> UltraFastPotential:
        """The potential of given coefficients; ``closest`` lists the shortest distances of the parts that gave them."""
        basis, s = self.basis, len(self.basis.species)
        energies, pairs, trios = basis.expand(coefficients)
        potential = UltraFastPotential(
            species=basis.species,
            one_body=energies + self.one_body,
            pair_start=basis.pair_start,
            pair_cutoff=np.full((s, s), basis.pair_cutoff),
            pair_coefficients=pairs,
            trio_cutoff=basis.trio_cutoff,
            leg_start=basis.leg_start,
            third_start=basis.third_start,
            trio_coefficients=trios,
            closest_distance=np.min([*closest, *([] if self.base is None else [self.base.closest_distance])], axis=0),
            settings=settings_to_json(self.settings),
            training_sha256=self.sha256,
        )
        return extend_wall(potential)

    def sample(
        self, into: Sample, dataset: Dataset, indices, potential, solution: Solution, fold: int, share: int
    ) -> None:
        """Compare errors and variances on every ``share``-th of the chosen structures of a data set."""
        groups = dataset.groups
        for rows in design_rows(dataset, indices[::share], self.basis, self.one_body, self.settings):
            variances = solution.variances(rows.design)
            into.add(dataset.structures[rows.index], rows.types, potential, variances, fold, groups[rows.index])


def _penalty(basis: Basis, settings: PotentialSettings) -> sparse.csc_matrix:
    return basis.penalty(settings.ridge_pair, settings.curvature_pair, settings.ridge_trio, settings.curvature_trio)


def _mean_environments(problem: Problem) -> np.ndarray:
    """(s, n_columns) mean local design row around each species; that of the earlier data where there are any."""
    if problem.base is not None:
        return problem.base.centre
    s = len(problem.basis.species)
    total, atoms_of = np.zeros((s, problem.basis.n_columns)), np.zeros(s)
    for atoms in problem.dataset:
        types = species_numbers(atoms, problem.basis.species)
        rows = local_features(atoms, types, problem.basis)
        for t in np.unique(types):
            total[t] += rows[types == t].sum(axis=0)
            atoms_of[t] += np.sum(types == t)
    return total / atoms_of[:, None]


def _leverage_limit(problem: Problem, posterior: Posterior) -> np.ndarray:
    """(s,) largest leverage of any training environment around each species."""
    # above zero, so that a species with a single environment has a grade, too
    limit = np.full(len(problem.basis.species), 1e-12)
    if problem.base is not None:
        limit = np.maximum(limit, problem.base.leverage_limit)
    for atoms in problem.dataset:
        types = species_numbers(atoms, problem.basis.species)
        np.maximum.at(limit, types, posterior.leverages(local_features(atoms, types, problem.basis), types, problem.basis))
    return limit


def _residual_noise(problem: Problem, train: dict, freedom: float, rows: int) -> tuple[tuple[Noise, ...], Noise]:
    """Noise from training residuals, where nothing can be withheld: their size per degree of freedom that is left."""
    inflation = np.sqrt(rows / max(1.0, rows - freedom))
    force_errors = train['forces_rmse_meV_per_angstrom_by_species']
    forces_noise = []
    for name in problem.basis.species:
        error = inflation * force_errors.get(name, train['forces_rmse_meV_per_angstrom'])
        forces_noise.append(Noise(error / 1000, error / problem.settings.forces_error_meV_per_angstrom))
    error = inflation * train['energy_rmse_meV_per_atom']
    return tuple(forces_noise), Noise(error / 1000, error / problem.settings.energy_error_meV_per_atom)


@dataclass(frozen=True)
class Fit:
    """What a fit gives.

    Attributes:
        potential: fitted to everything.
        results: errors on withheld structures at the top level, training errors under ``train``.
        equations: for more data later on, where asked for.
    """

    potential: UltraFastPotential
    results: dict
    equations: SavedEquations | None


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
    fit = run_fit(Problem.of(dataset, settings), test)
    return fit.potential, fit.results


def run_fit(
    problem: Problem, test: Dataset | None = None, keep_posterior: bool = True, keep_equations: bool = False
) -> Fit:
    """Solve a problem; see :func:`fit_potential`.

    Args:
        keep_posterior: store in the potential what the fit leaves open.
        keep_equations: return the equations, so that more data can be added later on.
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    dataset, basis, settings = problem.dataset, problem.basis, problem.settings
    species = basis.species
    if test is not None and set(test.species) - set(species):
        unknown = ', '.join(sorted(set(test.species) - set(species)))
        raise InputError(f'{test.source}: holds {unknown}, which {dataset.source} does not; add training structures with it')
    folds = [] if test is not None else dataset.folds(settings.folds, settings.seed)
    members_of = folds or [np.arange(len(dataset))]
    closest = [problem.closest(members) for members in members_of]
    parts = problem.parts(members_of)
    share = max(1, 3 * sum(map(len, dataset if test is None else test)) // CALIBRATION_ROWS)

    sample = Sample()
    predictions = []
    for f, members in enumerate(folds):
        solution = problem.total(parts, without=f).solve(problem.penalty)
        withholding = problem.potential(solution.coefficients, closest[:f] + closest[f + 1 :])
        predictions.append((withholding, dataset.subset(members)))
        problem.sample(sample, dataset, members, withholding, solution, f, share)
    total = problem.total(parts)
    del parts
    saved = NormalEquations(basis.n_columns) if keep_equations else None
    if saved is not None:
        saved += total
    solution = total.solve(problem.penalty)
    final = problem.potential(solution.coefficients, closest)
    if test is not None:
        predictions = [(final, test)]
        names, group = np.unique(test.groups, return_inverse=True)
        for g in range(len(names)):
            problem.sample(sample, test, np.flatnonzero(group == g), final, solution, g, share)
        validation = {'method': f'test set {test.source}', 'folds': 0, 'structures': len(test)}
    elif folds:
        what = 'groups (config_type)' if problem.base is None else 'groups (config_type) of the added structures'
        validation = {
            'method': f'{len(folds)}-fold cross-validation over {what}',
            'folds': len(folds),
            'structures': len(dataset),
        }
    else:
        validation = {'method': 'none: a single group cannot be withheld; give --test', 'folds': 0, 'structures': 0}
    train = potential_errors([(final, dataset)])
    rows = int(sum(3 * len(atoms) + 7 for atoms in dataset)) + (0 if problem.base is None else problem.base.rows)

    whitening = solution.whitening()
    freedom = basis.n_columns - float(np.sum((problem.penalty @ whitening.T) * whitening.T))
    calibration = None
    if sample.energy_error:
        forces_noise, energy_noise, calibration = sample.calibrate(len(species))
    else:
        forces_noise, energy_noise = _residual_noise(problem, train, freedom, rows)
    posterior = Posterior(
        np.asfortranarray(whitening, dtype=np.float32), forces_noise, energy_noise, _mean_environments(problem),
        np.ones(len(species)),
    )  # fmt: skip
    del whitening
    posterior = dataclasses.replace(posterior, leverage_limit=_leverage_limit(problem, posterior))
    if keep_posterior:
        final = dataclasses.replace(final, posterior=posterior)
    structures = len(dataset) + (0 if problem.base is None else problem.base.structures)
    if saved is not None:
        saved = SavedEquations(
            saved, basis, problem.one_body, final.closest_distance, settings, problem.sha256, structures, rows,
            posterior.centre, posterior.leverage_limit,
        )  # fmt: skip
    results = {
        **potential_errors(predictions),
        'train': train,
        'validation': validation,
        'calibration': calibration,
        'noise': {
            'forces_floor_meV_per_angstrom_by_species': {
                name: 1000 * noise.floor for name, noise in zip(species, forces_noise)
            },
            'forces_power_by_species': {name: noise.power for name, noise in zip(species, forces_noise)},
            'energy_floor_meV_per_atom': 1000 * energy_noise.floor,
            'energy_power': energy_noise.power,
        },
        'structures': structures,
        'columns': basis.n_columns,
        'rows': rows,
        'effective_degrees_of_freedom': freedom,
        'condition_number': solution.condition_number(),
        'leg_intervals': basis.leg_intervals,
        'third_intervals': basis.third_intervals,
        'closest_distance_angstrom': {
            f'{a}-{b}': final.closest_distance[i, j] for i, a in enumerate(species) for j, b in enumerate(species) if i <= j
        },
        'settings': dataclasses.asdict(settings),
        'training_sha256': problem.sha256,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - begin, 'cpu_s': time.process_time() - begin_cpu},
    }
    return Fit(final, results, saved)
