"""Choice of the ridge penalty by cross-validation over folds of whole groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.regression.compressed_rows import CompressedRows, RidgeSolution

#: Penalty where too few groups leave nothing to choose it by.
DEFAULT_PENALTY = 3e-2


def choose_penalties(parts: list[CompressedRows], penalties: Sequence[float]) -> tuple[list[float], float]:
    """Penalty of each fold, as the others would choose it among themselves, and the penalty that all choose.

    Args:
        parts: the rows of each fold; one alone is no fold, and leaves nothing to choose by.
        penalties: to choose from; of one alone there is no choice.
    """
    n = len(parts)
    if len(penalties) == 1 or n == 1:
        penalty = penalties[0] if len(penalties) == 1 else DEFAULT_PENALTY
        return [penalty] * n if n > 1 else [], penalty
    with progress(len(penalties) * n * (n + 1) // 2, 'cross-validation', 'solve') as bar:
        errors = _pair_errors(parts, penalties, bar)
    return _chosen_penalties(errors, penalties)


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
    """Penalty of each fold, the best without it, and the penalty that is best for all."""
    n = errors.shape[1]
    diagonal = errors[:, np.arange(n), np.arange(n)]
    best = penalties[int(np.argmin(diagonal.sum(axis=1)))]
    if n == 2:  # without one of two folds there is nothing to choose by
        return [DEFAULT_PENALTY] * 2, best
    within = errors.sum(axis=2) - diagonal
    return [penalties[int(k)] for k in np.argmin(within, axis=0)], best


def cross_validated(parts: Sequence[CompressedRows], penalties: Sequence[float]) -> tuple[float, float]:
    """The least sum of squared errors over all folds, each predicted by a fit to the others, and its penalty."""
    errors = []
    for penalty in penalties:
        kept = ([other for other in parts if other is not part] for part in parts)
        errors.append(
            sum(part.squared_error(RidgeSolution(others, penalty).weights) for part, others in zip(parts, kept))
        )
    best = int(np.argmin(errors))
    return errors[best], penalties[best]
