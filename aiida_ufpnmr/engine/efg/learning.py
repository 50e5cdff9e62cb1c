"""Learning curve of an EFG model: withheld errors against the number of labelled ions."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.metrics import efg_errors
from aiida_ufpnmr.engine.efg.problem import EfgProblem
from aiida_ufpnmr.engine.efg.settings import EfgSettings, penalties_of
from aiida_ufpnmr.engine.regression.compressed_rows import CompressedRows, RidgeSolution
from aiida_ufpnmr.engine.regression.learning import errors_by_size, exponent, folds_of
from aiida_ufpnmr.engine.regression.penalties import search_penalty

#: What is followed along the curve.
FOLLOWED = ('omega_q_mae_khz', 'c_q_mae_khz', 'quaternion_dot_fraction_above_0_9')
#: The error in ω_Q that Harper et al. (2024) reached, kHz.
AIM_KHZ = 7.4


def learning_curve(dataset: Dataset, species: str, settings: EfgSettings) -> dict[str, Any]:
    """Errors by number of ions: groups come in one after the other, the withheld groups stay the same.

    For each fold the other groups, in an order drawn from the seed, are added, and the fold is predicted after each
    stretch, with the penalty of the settings or, without one, the best that a search finds. Channels and sparse
    points are those of the whole set at every size; they see no labels.

    Returns:
        Lists over sizes: ``ions`` (mean over folds), withheld errors with their standard deviations over folds
        (``..._spread``) and the training error of ω_Q; the exponent of the error of ω_Q in the number of ions over the
        second half of the curve, and how many ions would bring 7.4 kHz if it went on like this.

    Raises:
        InputError: the structures are of one group, so nothing can be withheld.
    """
    folds = folds_of(dataset, settings.folds, settings.seed, 'there is no learning curve')
    problem = EfgProblem.of(dataset, species, settings)
    folds = [members for members in folds if any(len(problem.tensors[k]) for k in members)]

    def empty() -> CompressedRows:
        return CompressedRows(problem.design.n_columns)

    def measure(rows: CompressedRows, known: np.ndarray, withheld: np.ndarray) -> tuple[float, ...] | None:
        if not len(rows.targets):
            return None
        found: dict[float, tuple[float, ...]] = {}

        def omega_q_mae_khz(penalty: float) -> float:
            found[penalty] = _errors(problem, RidgeSolution([rows], penalty).weights, withheld, known)
            return found[penalty][2]

        return found[search_penalty(omega_q_mae_khz, penalties_of(settings)).penalty]

    mean, spread = errors_by_size(dataset, folds, settings.seed, empty, problem.compressed, measure)
    power, needed = exponent(mean[:, 0], mean[:, 2]), None
    if power is not None and power < 0:
        needed = float(mean[-1, 0] * (AIM_KHZ / mean[-1, 2]) ** (1 / power))
    return {
        'ions': mean[:, 0],
        'train_omega_q_mae_khz': mean[:, 1],
        **{name: mean[:, 2 + k] for k, name in enumerate(FOLLOWED)},
        **{f'{name}_spread': spread[:, 2 + k] for k, name in enumerate(FOLLOWED)},
        'omega_q_exponent': power,
        'ions_for_7_4_khz': needed,
        'folds': len(folds),
    }


def _errors(problem: EfgProblem, weights: np.ndarray, withheld: np.ndarray, known: np.ndarray) -> tuple[float, ...]:
    """Ions, training error of ω_Q, and the withheld errors that are followed."""
    terms, found = problem.design.terms(weights), []
    for members in (known, withheld):
        labelled = [k for k in members if len(problem.tensors[k])]
        predicted = np.concatenate([problem.predicted(terms, k) for k in labelled])
        found.append(efg_errors(predicted, np.concatenate([problem.tensors[k] for k in labelled]), problem.isotope))
    ions = sum(len(problem.tensors[k]) for k in known)
    return ions, found[0]['omega_q_mae_khz'], *(found[1][name] for name in FOLLOWED)
