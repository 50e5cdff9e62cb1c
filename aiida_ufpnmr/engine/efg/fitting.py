"""Fit of the EFG model: ridge regression on λ-SOAP features or sparse kernels, validated on groups that were withheld.

Everything that is learnt from labels follows from the compressed rows of each fold, so memory grows neither with the
number of structures nor with that of ions.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.domain import Domain
from aiida_ufpnmr.engine.efg.labels import check_same_unit, labelled_tensors
from aiida_ufpnmr.engine.efg.metrics import dataset_errors
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.posterior import EfgPosterior, frequency_error_khz
from aiida_ufpnmr.engine.efg.prediction import predict_labelled
from aiida_ufpnmr.engine.efg.problem import EfgProblem
from aiida_ufpnmr.engine.efg.settings import EfgSettings, penalties_of
from aiida_ufpnmr.engine.efg.validation import Withheld
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.regression.calibration import Noise
from aiida_ufpnmr.engine.regression.compressed_rows import RidgeSolution
from aiida_ufpnmr.engine.regression.penalties import choose_penalties
from aiida_ufpnmr.engine.settings import stated_values
from aiida_ufpnmr.engine.weights import structure_weights, weights_summary


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
    parts = [problem.compressed(members) for members in folds or [np.arange(len(dataset))]]
    choice = choose_penalties(parts, penalties_of(settings))
    penalty = choice.penalty
    solution = RidgeSolution(parts, penalty)
    posterior, calibration, withheld = None, None, None
    if folds:
        moments = [problem.moments(members) for members in folds]
        withheld = Withheld.of(problem, folds, parts, moments, choice.of_folds, penalty)
        noise, calibration = withheld.calibrate(problem)
        domain = dataclasses.replace(Domain.of(moments), limit=withheld.limit)
        posterior = EfgPosterior(
            design=problem.design, whitening=solution.whitening, penalty=penalty, noise=noise, domain=domain
        )
    fitted = problem.model(solution.weights, penalty, posterior)

    predicted = [problem.predicted(fitted.terms, k) for k in range(len(dataset))]
    train = dataset_errors(predicted, dataset, species, problem.isotope, weights=problem.weights)
    if test is not None:
        found = predict_labelled(fitted, test)
        weights = structure_weights(test, settings.weights)
        top = dataset_errors(found.tensors, test, species, problem.isotope, found.grade, weights)
        calibration = found.calibration(test, species, problem.isotope)
        method = 'test set'
    elif withheld is not None:
        grades = [np.sqrt(part / withheld.limit) for part in withheld.squared_distance]
        top = dataset_errors(withheld.tensors, dataset, species, problem.isotope, grades, problem.weights)
        method = 'whole groups withheld, penalty chosen within the others (nested cross-validation)'
    else:
        top = _no_errors(train, problem.ions)
        method = 'none: a single group leaves nothing to withhold; give a test set'
    weights_used = weights_summary(dataset, problem.weights)
    results = {
        **top,
        'train': {key: value for key, value in train.items() if not key.startswith('by_')},
        'validation': {
            'folds': len(folds),
            'penalty': penalty,
            'penalty_of_folds': list(choice.of_folds),
            'penalty_minimum': choice.minimum,
            'penalties_tried': list(choice.tried),
            'method': method,
        },
        'calibration': calibration,
        'noise': None if posterior is None else _noise_results(posterior.noise, problem.isotope),
        'species': species,
        'isotope': problem.isotope,
        'known_species': list(fitted.known_species),
        **({'weights': weights_used} if weights_used else {}),
        'structures': len(dataset),
        'features': problem.design.n_columns,
        'settings': stated_values(settings),
        'training_sha256': dataset.content_hash,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - began, 'cpu_s': time.process_time() - cpu_began},
    }
    return fitted if keep_posterior else dataclasses.replace(fitted, posterior=None), results


def _no_errors(train: dict[str, Any], ions: int) -> dict[str, Any]:
    """NaN for all errors, where nothing could be withheld."""
    return {
        **{key: float('nan') for key in train if key != 'weighted'},
        'ions': ions,
        **{key: {} for key in ('by_group', 'by_site', 'by_atoms', 'by_grade', 'well_defined_frames')},
        'quaternion_dot_distribution': None,
    }


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
