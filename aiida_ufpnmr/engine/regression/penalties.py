"""Choice of the ridge penalty by cross-validation over folds of whole groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.regression.compressed_rows import CompressedRows, RidgeSolution

#: Penalty where too few groups leave nothing to choose it by.
DEFAULT_PENALTY = 3e-2
#: Penalties with which a search begins, in ascending order; it goes on in steps of half a decade.
FIRST_PENALTIES = (1e-2, 3e-2, 1e-1)
#: No search goes beyond these: below, rounding takes the place of the penalty; above, hardly anything is fitted.
PENALTY_FLOOR, PENALTY_CEILING = 1e-12, 1e6
#: A decade that lowers the squared error by less than this share is flat.
FLAT = 1e-3

#: Place of the least error: between two others, at a flat end of the curve, or at the edge of what can be tried.
Minimum = Literal['inside', 'flat', 'edge']


@dataclass(frozen=True)
class PenaltyChoice:
    """The penalty with the least withheld error.

    Attributes:
        penalty: that all folds choose.
        error: the squared error that it leaves; NaN where nothing was tried.
        minimum: where it lies among those that were tried; ``None`` where there was nothing to choose.
        tried: penalties in ascending order, without those of a flat end that are no better.
        of_folds: penalty of each fold, as the others would choose it among themselves.
    """

    penalty: float
    error: float
    minimum: Minimum | None
    tried: tuple[float, ...]
    of_folds: tuple[float, ...] = ()


def choose_penalties(parts: list[CompressedRows], penalties: Sequence[float]) -> PenaltyChoice:
    """Choose the penalty of a fit, and that of each fold without a say of its labels.

    Args:
        parts: the rows of each fold; one alone is no fold, and leaves nothing to choose by.
        penalties: to begin with; of one alone there is no choice.
    """
    n = len(parts)
    if len(penalties) == 1 or n == 1:
        penalty = penalties[0] if len(penalties) == 1 else DEFAULT_PENALTY
        return PenaltyChoice(penalty, np.nan, None, (penalty,), (penalty,) * n if n > 1 else ())
    errors: dict[float, np.ndarray] = {}
    with progress(None, 'cross-validation', 'solve') as bar:

        def withheld(penalty: float) -> float:
            errors[penalty] = _pair_errors(parts, penalty, bar)
            return float(np.trace(errors[penalty]))

        found = search_penalty(withheld, penalties)
    of_folds, best = _chosen_penalties(np.array([errors[penalty] for penalty in found.tried]), found.tried)
    return PenaltyChoice(best, found.error, found.minimum, found.tried, tuple(of_folds))


def search_penalty(error: Callable[[float], float], penalties: Sequence[float]) -> PenaltyChoice:
    """Search the penalty of the least error, in steps of half a decade until it lies inside of those that were tried.

    Where the error falls to the very end of what can be tried, the end is flat if the last decade changes next to
    nothing, and an edge if it does not. Of the penalties at a flat end that are as good, the one farthest from the end
    is taken. The end is the floor, the ceiling, or where rounding leaves no solution.

    Args:
        error: squared error of a penalty; raises :class:`numpy.linalg.LinAlgError` where there is no solution.
        penalties: to begin with, ascending; one alone is not searched around.
    """
    tried = {penalty: error(penalty) for penalty in penalties}
    minimum: Minimum | None = None
    if len(tried) > 1:
        minimum = 'inside'
        for step in (-1, 1):
            if minimum == 'inside':
                minimum = _walk(error, tried, step)
    best = min(sorted(tried), key=tried.__getitem__)
    return PenaltyChoice(best, tried[best], minimum, tuple(sorted(tried)))


def _walk(error: Callable[[float], float], tried: dict[float, float], step: int) -> Minimum:
    """Try further penalties below (``step`` −1) or above (1), as long as the last of them has the least error."""
    while True:
        last = (min if step < 0 else max)(tried)
        if min(tried, key=tried.__getitem__) != last:
            return 'inside'
        penalty = _half_decade(last, step)
        try:
            if not PENALTY_FLOOR <= penalty <= PENALTY_CEILING:
                break
            tried[penalty] = error(penalty)
        except np.linalg.LinAlgError:
            break
    from_end = sorted(tried, reverse=step > 0)
    if tried[last] <= (1 - FLAT) * tried[from_end[2]]:
        return 'edge'
    as_good = (1 + FLAT) * tried[last]
    for penalty, further_inside in zip(from_end, from_end[1:]):
        if tried[further_inside] > as_good:
            break
        del tried[penalty]
    return 'flat'


def _half_decade(penalty: float, step: int) -> float:
    """The next of …, 1e-3, 3e-3, 1e-2, 3e-2, … below or above."""
    place = round(2 * np.log10(penalty)) + step
    return float(f'{1 if place % 2 == 0 else 3}e{place // 2}')


def _pair_errors(parts: list[CompressedRows], penalty: float, bar) -> np.ndarray:
    """Squared error on fold g of the model trained without folds f and g, (folds f, folds g).

    On the diagonal (f = g) stands the error on f of the model trained without f.
    """
    n = len(parts)
    errors = np.zeros((n, n))
    for f in range(n):
        for g in range(f, n):
            kept = [part for k, part in enumerate(parts) if k not in (f, g)]
            if not kept:  # two folds: nothing is left inside
                continue
            weights = RidgeSolution(kept, penalty).weights
            errors[f, g] = parts[g].squared_error(weights)
            errors[g, f] = parts[f].squared_error(weights)
            bar.update()
    return errors


def _chosen_penalties(errors: np.ndarray, penalties: Sequence[float]) -> tuple[list[float], float]:
    """Penalty of each fold, the best without it, and the penalty that is best for all.

    Args:
        errors: (penalties, folds, folds), see :func:`_pair_errors`.
    """
    n = errors.shape[1]
    diagonal = errors[:, np.arange(n), np.arange(n)]
    best = penalties[int(np.argmin(diagonal.sum(axis=1)))]
    if n == 2:  # without one of two folds there is nothing to choose by
        return [DEFAULT_PENALTY] * 2, best
    within = errors.sum(axis=2) - diagonal
    return [penalties[int(k)] for k in np.argmin(within, axis=0)], best


def cross_validated(
    parts: Sequence[CompressedRows], penalties: Sequence[float], hopeless: float = np.inf
) -> PenaltyChoice:
    """The penalty with the least sum of squared errors over all folds, each predicted by a fit to the others.

    Args:
        penalties: to begin with, see :func:`search_penalty`.
        hopeless: squared error; where that of the middle penalty is above, no other is tried.
    """

    @cache
    def withheld(penalty: float) -> float:
        kept = ([other for other in parts if other is not part] for part in parts)
        return sum(part.squared_error(RidgeSolution(others, penalty).weights) for part, others in zip(parts, kept))

    middle = penalties[len(penalties) // 2]
    if withheld(middle) > hopeless:
        return PenaltyChoice(middle, withheld(middle), None, (middle,))
    return search_penalty(withheld, penalties)


def penalties_around(penalty: float) -> tuple[float, ...]:
    """Three penalties with which to search where the best is expected to be near one of before."""
    least = max(_half_decade(penalty, -1), PENALTY_FLOOR)
    return least, _half_decade(least, 1), _half_decade(least, 2)
