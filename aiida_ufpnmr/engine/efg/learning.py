"""Learning curve of an EFG model: withheld errors against the number of labelled ions."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.metrics import efg_errors
from aiida_ufpnmr.engine.efg.problem import EfgProblem
from aiida_ufpnmr.engine.efg.ridge import CompressedRows, RidgeSolution
from aiida_ufpnmr.engine.efg.settings import EfgSettings, penalties_of
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.ufp.learning import FRACTIONS, stretches

#: What is followed along the curve.
FOLLOWED = ('omega_q_mae_khz', 'c_q_mae_khz', 'quaternion_dot_fraction_above_0_9')
#: The error in ω_Q that Harper et al. (2024) reached, kHz.
AIM_KHZ = 7.4


def learning_curve(dataset: Dataset, species: str, settings: EfgSettings) -> dict[str, Any]:
    """Errors by number of ions: groups come in one after the other, the withheld groups stay the same.

    For each fold the other groups, in an order drawn from the seed, are added, and the fold is predicted after each
    stretch, with the penalty of the settings or, without one, the best of those that are tried. Channels and sparse
    points are those of the whole set at every size; they see no labels.

    Returns:
        Lists over sizes: ``ions`` (mean over folds), withheld errors with their standard deviations over folds
        (``..._spread``) and the training error of ω_Q; the exponent of the error of ω_Q in the number of ions over the
        second half of the curve, and how many ions would bring 7.4 kHz if it went on like this.

    Raises:
        InputError: the structures are of one group, so nothing can be withheld.
    """
    folds = dataset.folds(settings.folds, settings.seed)
    if not folds:
        raise InputError(
            f'{dataset.source}: a single group cannot be withheld, so there is no learning curve; '
            'name groups (config_type)'
        )
    problem = EfgProblem.of(dataset, species, settings)
    folds = [members for members in folds if any(len(problem.tensors[k]) for k in members)]
    rng = np.random.default_rng(settings.seed)
    table = np.full((len(folds), len(FRACTIONS), 2 + len(FOLLOWED)), np.nan)
    with progress(len(folds) * len(FRACTIONS), 'learning curve', 'fit') as bar:
        for f, members in enumerate(folds):
            rows, known = CompressedRows(problem.design.n_columns), np.zeros(0, int)
            for k, stretch in enumerate(stretches(dataset, np.setdiff1d(np.arange(len(dataset)), members), rng)):
                rows += problem.compressed(stretch)
                known = np.append(known, stretch)
                if len(rows.targets):
                    fits = (RidgeSolution([rows], penalty).weights for penalty in penalties_of(settings))
                    errors = [_errors(problem, weights, members, known) for weights in fits]
                    table[f, k] = min(errors, key=lambda found: found[2])
                bar.update()
    mean, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    late = slice(len(FRACTIONS) // 2, None)
    exponent = needed = None
    if np.ptp(mean[late, 0]) > 0:
        exponent = float(np.polyfit(np.log(mean[late, 0]), np.log(mean[late, 2]), 1)[0])
    if exponent is not None and exponent < 0:
        needed = float(mean[-1, 0] * (AIM_KHZ / mean[-1, 2]) ** (1 / exponent))
    return {
        'ions': mean[:, 0],
        'train_omega_q_mae_khz': mean[:, 1],
        **{name: mean[:, 2 + k] for k, name in enumerate(FOLLOWED)},
        **{f'{name}_spread': spread[:, 2 + k] for k, name in enumerate(FOLLOWED)},
        'omega_q_exponent': exponent,
        'ions_for_7_4_khz': needed,
        'folds': len(folds),
    }


def _errors(problem: EfgProblem, weights: np.ndarray, withheld: np.ndarray, known: np.ndarray) -> tuple[float, ...]:
    """Ions, training error of ω_Q, and the withheld errors that are followed."""
    terms, found = problem.design.terms(weights), []
    for members in (known, withheld):
        members = [k for k in members if len(problem.tensors[k])]
        predicted = np.concatenate([problem.predicted(terms, k) for k in members])
        found.append(efg_errors(predicted, np.concatenate([problem.tensors[k] for k in members]), problem.isotope))
    ions = sum(len(problem.tensors[k]) for k in known)
    return ions, found[0]['omega_q_mae_khz'], *(found[1][name] for name in FOLLOWED)
