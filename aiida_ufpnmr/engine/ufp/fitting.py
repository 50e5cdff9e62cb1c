"""Fit of an ultra-fast potential: regularised linear least squares, streamed structure by structure."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.regression.calibration import Noise
from aiida_ufpnmr.engine.regression.normal_equations import NormalEquations
from aiida_ufpnmr.engine.settings import stated_values
from aiida_ufpnmr.engine.ufp.calibration import Comparison, calibrate
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.environments import leverage_limit, mean_environments
from aiida_ufpnmr.engine.ufp.label_checks import label_warnings
from aiida_ufpnmr.engine.ufp.metrics import potential_errors, predict
from aiida_ufpnmr.engine.ufp.posterior import Posterior
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.problem import Problem
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.terms import pair_names
from aiida_ufpnmr.engine.weights import weights_summary

#: Errors are compared with their predictions on at most about this many withheld force components.
CALIBRATION_ROWS = 30_000


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
    """The outcome of a fit.

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

    Without ``test``, the structures are parted into folds of whole groups; each is predicted by a fit to the others,
    and the errors over all folds are reported. The potential that is returned is fitted to everything.

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
    """Solve a problem, or a resample of it where its settings ask for one; see :func:`fit_potential`.

    Args:
        keep_posterior: store in the potential what the fit leaves open.
        keep_equations: return the equations, so that more data can be added later on.
    """
    begin, begin_cpu = time.perf_counter(), time.process_time()
    problem = problem.resampled()
    dataset, basis, settings = problem.dataset, problem.basis, problem.settings
    species = basis.species
    if test is not None and set(test.species) - set(species):
        unknown = ', '.join(sorted(set(test.species) - set(species)))
        raise InputError(
            f'{test.source}: holds {unknown}, which {dataset.source} does not; add training structures with it'
        )
    folds = [] if test is not None else dataset.folds(settings.folds, settings.seed)
    members_of = folds or [np.arange(len(dataset))]
    closest = [problem.closest(members) for members in members_of]
    parts = problem.parts(members_of)
    share = max(1, 3 * sum(map(len, dataset if test is None else test)) // CALIBRATION_ROWS)

    sample: list[Comparison] = []
    predictions = []
    for f, members in enumerate(folds):
        solution = problem.total(parts, without=f).solve(problem.penalty)
        withholding = problem.potential(solution.coefficients, closest[:f] + closest[f + 1 :])
        predictions.append((withholding, dataset.subset(members)))
        sample += problem.compare(dataset, members[::share], withholding, solution, fold=f)
    total = problem.total(parts)
    del parts
    kept = NormalEquations(basis.n_columns) if keep_equations else None
    if kept is not None:
        kept += total
    solution = total.solve(problem.penalty)
    final = problem.potential(solution.coefficients, closest)
    if test is not None:
        predictions = [(final, test)]
        names, group = np.unique(test.groups, return_inverse=True)
        for g in range(len(names)):
            sample += problem.compare(test, np.flatnonzero(group == g)[::share], final, solution, fold=g)
        method = f'test set {test.source}'
    elif folds:
        what = 'groups (config_type)' if problem.base is None else 'groups (config_type) of the added structures'
        method = f'{len(folds)}-fold cross-validation over {what}'
    else:
        method = 'none: a single group cannot be withheld; give --test'
    trained = predict([(final, dataset)])
    train = trained.errors_with_weighted()
    rows = int(sum(3 * len(atoms) + 7 for atoms in dataset)) + (0 if problem.base is None else problem.base.rows)

    whitening = solution.whitening()
    freedom = basis.n_columns - float(np.sum((problem.penalty @ whitening.T) * whitening.T))
    calibration = None
    if sample:
        forces_noise, energy_noise, calibration = calibrate(sample, len(species))
    else:
        forces_noise, energy_noise = _residual_noise(problem, train.get('weighted', train), freedom, rows)
    posterior = Posterior(
        whitening=np.asfortranarray(whitening, dtype=np.float32),
        forces_noise=forces_noise,
        energy_noise=energy_noise,
        centre=mean_environments(problem),
        leverage_limit=np.ones(len(species)),
    )
    del whitening
    posterior = dataclasses.replace(posterior, leverage_limit=leverage_limit(problem, posterior))
    if keep_posterior:
        final = dataclasses.replace(final, posterior=posterior)
    structures = len(dataset) + (0 if problem.base is None else problem.base.structures)
    saved = None
    if kept is not None:
        saved = SavedEquations(
            equations=kept,
            basis=basis,
            one_body=problem.one_body,
            closest_distance=final.closest_distance,
            settings=settings,
            training_sha256=problem.sha256,
            structures=structures,
            rows=rows,
            centre=posterior.centre,
            leverage_limit=posterior.leverage_limit,
        )
    warnings = label_warnings(problem, trained, test)
    weights = weights_summary(dataset, problem.weights)
    results = {
        **potential_errors(predictions),
        'train': train,
        'validation': {
            'method': method,
            'folds': len(folds),
            'structures': sum(len(withheld) for _, withheld in predictions),
        },
        'calibration': calibration,
        'noise': {
            'forces_floor_meV_per_angstrom_by_species': {
                name: 1000 * noise.floor for name, noise in zip(species, forces_noise)
            },
            'forces_power_by_species': {name: noise.power for name, noise in zip(species, forces_noise)},
            'energy_floor_meV_per_atom': 1000 * energy_noise.floor,
            'energy_power': energy_noise.power,
        },
        **({'weights': weights} if weights else {}),
        'structures': structures,
        'columns': basis.n_columns,
        'rows': rows,
        'effective_degrees_of_freedom': freedom,
        'condition_number': solution.condition_number(),
        'bond_intervals': settings.bond_intervals,
        'third_intervals': settings.third_intervals,
        'closest_distance_angstrom': {
            '-'.join(pair): distance
            for pair, distance in zip(pair_names(species), final.closest_distance[np.triu_indices(len(species))])
        },
        'settings': stated_values(settings),
        'training_sha256': problem.sha256,
        'versions': versions(),
        **({'label_warnings': warnings} if warnings else {}),
        **({'isolated_atoms_eV': dict(problem.isolated)} if problem.isolated else {}),
        'timing': {'wall_s': time.perf_counter() - begin, 'cpu_s': time.process_time() - begin_cpu},
    }
    return Fit(final, results, saved)
