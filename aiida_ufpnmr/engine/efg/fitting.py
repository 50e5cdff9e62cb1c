"""Fit of the EFG model: ridge regression on λ-SOAP features or sparse kernels, validated on groups that were withheld.

Everything that is learnt from labels follows from the compressed rows of each fold, so memory grows neither with the
number of structures nor with that of ions.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.domain import WITHIN, Domain, Moments
from aiida_ufpnmr.engine.efg.labels import check_same_unit, labelled_tensors
from aiida_ufpnmr.engine.efg.metrics import dataset_errors, expected_and_real
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.posterior import EfgPosterior, frequency_error_khz, variances
from aiida_ufpnmr.engine.efg.prediction import predict_labelled
from aiida_ufpnmr.engine.efg.problem import EfgProblem
from aiida_ufpnmr.engine.efg.ridge import CompressedRows, RidgeSolution
from aiida_ufpnmr.engine.efg.settings import EfgSettings, penalties_of
from aiida_ufpnmr.engine.efg.tensors import to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.ufp.calibration import cross_fitted, fit_noise
from aiida_ufpnmr.engine.ufp.posterior import Noise

#: Penalty where too few groups leave nothing to choose it by.
DEFAULT_PENALTY = 3e-2


def _pair_errors(parts: list[CompressedRows], penalties, bar) -> np.ndarray:
    """Squared error on fold g of the model trained without folds f and g, (penalties, folds f, folds g).

    On the diagonal (f = g) stands the error on f of the model trained without f.
    """
    n = len(parts)
    errors = np.zeros((len(penalties), n, n))
    for p, penalty in enumerate(penalties):
        for f in range(n):
            for g in range(f, n):
                kept = [part for k, part in enumerate(parts) if k not in (f, g)]
                if not kept:  # two folds: nothing is left inside
                    continue
                weights = RidgeSolution(kept, penalty).weights
                errors[p, f, g] = parts[g].squared_error(weights)
                errors[p, g, f] = parts[f].squared_error(weights)
                bar.update()
    return errors


def _chosen_penalties(errors: np.ndarray, penalties) -> tuple[list[float], float]:
    """For each fold the penalty that is best without it, and the one that is best for all."""
    n = errors.shape[1]
    diagonal = errors[:, np.arange(n), np.arange(n)]
    best = penalties[int(np.argmin(diagonal.sum(axis=1)))]
    if n == 2:  # without one of two folds there is nothing to choose by
        return [DEFAULT_PENALTY] * 2, best
    within = errors.sum(axis=2) - diagonal
    return [penalties[int(k)] for k in np.argmin(within, axis=0)], best


@dataclasses.dataclass(frozen=True)
class _Withheld:
    """Predictions of each structure's labelled ions by models that did not see its group.

    Attributes:
        tensors: for each structure (n, 3, 3) in a.u.
        variance: for each structure (n,).
        squared_distance: for each structure (n,), from the training set.
        fold: for each structure (n,), in which fold it was withheld.
    """

    tensors: list[np.ndarray]
    variance: list[np.ndarray]
    squared_distance: list[np.ndarray]
    fold: list[np.ndarray]

    @classmethod
    def of(
        cls, problem: EfgProblem, folds: Sequence[np.ndarray], parts, moments, penalties, penalty: float
    ) -> _Withheld:
        """One fit a fold with a penalty of its own; variances are those of the ``penalty`` that the model will have."""
        empty = [np.zeros(0)] * len(problem.dataset)
        found = cls([np.zeros((0, 3, 3))] * len(empty), list(empty), list(empty), list(empty))
        for f, (members, chosen) in enumerate(zip(folds, penalties)):
            kept = [part for k, part in enumerate(parts) if k != f]
            solution = RidgeSolution(kept, chosen)
            whitening = (solution if chosen == penalty else RidgeSolution(kept, penalty)).whitening
            terms, domain = problem.design.terms(solution.weights), Domain.of(moments[:f] + moments[f + 1 :])
            for k in members:
                environments = problem.environments[k]
                if len(environments):
                    found.tensors[k] = problem.predicted(terms, k)
                    found.variance[k] = variances(problem.design, whitening, penalty, environments)
                    found.squared_distance[k] = domain.squared_distances(environments)
                    found.fold[k] = np.full(len(environments), f)
        return found

    def calibrate(self, problem: EfgProblem) -> tuple[Noise, dict[str, Any]]:
        """How variances become errors, and whether they do: each fold is judged by what the others show."""
        predicted, reference, variance, fold = map(
            np.concatenate, (self.tensors, problem.tensors, self.variance, self.fold)
        )
        error = to_irreps(predicted - reference).ravel()
        variance, fold = np.repeat(variance, 5), np.repeat(fold, 5)
        expected = cross_fitted(error, variance, fold)[::5]
        groups = np.repeat(problem.dataset.groups, [len(t) for t in problem.tensors])
        return fit_noise(error, variance), expected_and_real(predicted, reference, expected, groups, problem.isotope)


def fit_efg_model(
    dataset: Dataset,
    species: str,
    settings: EfgSettings = EfgSettings(),
    test: Dataset | None = None,
    keep_posterior: bool = True,
) -> tuple[EfgModel, dict[str, Any]]:
    """Fit a model to all labelled ions of a species.

    The penalty is chosen by cross-validation over folds of whole groups. The errors at the top of the results are on
    ``test``; without it, each fold is predicted by a model trained on the others with the penalty that cross-validation
    among those others chooses (nested, so that no label of a fold has a say in its prediction). The model that is
    returned is fitted to everything. A single group leaves nothing to validate on: those errors are then NaN, and the
    model has no posterior, because nothing calibrates it.

    Args:
        dataset: structures with ``efg``; NaN for ions without label.
        species: chemical symbol of the ions.
        settings: of descriptor and fit.
        test: labelled structures on which to report errors.
        keep_posterior: keep what tells expected errors in the model.

    Returns:
        the model, and results with units in their keys.

    Raises:
        InputError: no labelled ion, labels that are no EFG tensors, an element in ``test`` that ``dataset`` lacks, or
            no quadrupolar isotope.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    problem = EfgProblem.of(dataset, species, settings)
    if test is not None:
        _check_test(problem, test)
    folds = dataset.folds(settings.folds, settings.seed)
    parts = [problem.compressed(members) for members in folds or [range(len(dataset))]]

    penalties = penalties_of(settings)
    fold_penalties, penalty = [], DEFAULT_PENALTY if settings.penalty is None else settings.penalty
    if folds and len(penalties) > 1:
        solves = len(penalties) * len(folds) * (len(folds) + 1) // 2
        with progress(solves, 'cross-validation', 'solve') as bar:
            errors = _pair_errors(parts, penalties, bar)
        fold_penalties, penalty = _chosen_penalties(errors, penalties)
    elif folds:
        fold_penalties = [penalty] * len(folds)

    solution = RidgeSolution(parts, penalty)
    posterior, calibration, noise, withheld = None, None, None, None
    if folds:
        moments = [
            Moments(problem.environments[k] for k in members if len(problem.environments[k])) for members in folds
        ]
        withheld = _Withheld.of(problem, folds, parts, moments, fold_penalties, penalty)
        noise, calibration = withheld.calibrate(problem)
        limit = float(np.quantile(np.concatenate(withheld.squared_distance), WITHIN))
        domain = dataclasses.replace(Domain.of(moments), limit=max(limit, 1e-12))
        posterior = EfgPosterior(problem.design, solution.whitening, penalty, noise, domain)
    fitted = problem.model(solution.weights, penalty, posterior)

    isotope = problem.isotope
    train = [problem.predicted(fitted.terms, k) for k in range(len(dataset))]
    train = dataset_errors(train, dataset, species, isotope)
    validation: dict[str, Any] = {'folds': len(folds), 'penalty': penalty, 'penalty_of_folds': fold_penalties}
    if test is not None:
        found = predict_labelled(fitted, test)
        top = dataset_errors(found.tensors, test, species, isotope, found.grade)
        calibration = found.calibration(test, species, isotope)
        validation['method'] = 'test set'
    elif folds:
        grades = [np.sqrt(part / posterior.domain.limit) for part in withheld.squared_distance]
        top = dataset_errors(withheld.tensors, dataset, species, isotope, grades)
        validation['method'] = 'whole groups withheld, penalty chosen within the others (nested cross-validation)'
    else:
        top = {
            **dict.fromkeys(train, float('nan')),
            'ions': problem.ions,
            **{key: {} for key in ('by_group', 'by_site', 'by_atoms', 'by_grade', 'well_defined_frames')},
            'quaternion_dot_distribution': None,
        }
        validation['method'] = 'none: a single group leaves nothing to withhold; give a test set'
    results = {
        **top,
        'train': {key: value for key, value in train.items() if not key.startswith('by_')},
        'validation': validation,
        'calibration': calibration,
        'noise': None if noise is None else _noise_results(noise, isotope),
        'species': species,
        'isotope': isotope,
        'known_species': list(fitted.known_species),
        'structures': len(dataset),
        'features': problem.design.n_columns,
        'settings': dataclasses.asdict(settings),
        'training_sha256': dataset.content_hash,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - began, 'cpu_s': time.process_time() - cpu_began},
    }
    return fitted if keep_posterior else dataclasses.replace(fitted, posterior=None), results


def _check_test(problem: EfgProblem, test: Dataset) -> None:
    tensors = labelled_tensors(test, problem.species)[1]
    if not sum(map(len, tensors)):
        raise InputError(f'{test.source}: no {problem.species} atom with an EFG label; label some')
    check_same_unit(tensors, problem.tensors, test.source, 'in the training set')
    for row, atoms in enumerate(test):
        try:
            problem.representation.expansion.species_indices(atoms.numbers)
        except InputError as error:
            raise InputError(f'{test.source}, structure {row}: {error}') from None


def _noise_results(noise: Noise, isotope: str) -> dict[str, float]:
    return {
        'omega_q_floor_khz': float(frequency_error_khz(noise.floor, isotope)),
        'omega_q_scale_khz': float(frequency_error_khz(noise.scale, isotope)),
        'power': noise.power,
    }
