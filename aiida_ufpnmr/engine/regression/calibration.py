"""Calibration of predicted errors: posterior variances against real errors on structures that a fit did not see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A floor whose square is below this share of the mean square error cannot be told from none, and is zero.
_NO_FLOOR = 1e-3
#: Resampled sets of groups behind the interval of a slope.
_RESAMPLED = 200


@dataclass(frozen=True)
class Noise:
    """The relation of errors to posterior variances: error² = floor² + scale² · variance^power.

    The posterior alone knows neither that the form of the potential limits it nor that rows of one structure err
    together; ``scale`` answers for that. A ``power`` below 1 takes back the variances far from the data, where the
    prior, not the potential, sets them.

    Attributes:
        floor: error that more data would not take away; eV/Å of a force component, eV per atom of an energy.
        scale: of the error by the posterior.
        power: 0 to 1.
    """

    floor: float
    scale: float
    power: float = 1.0

    def by_posterior(self, variance: np.ndarray) -> np.ndarray:
        """The part of the error that more data would take away."""
        return self.scale * variance ** (self.power / 2)

    def error(self, variance: np.ndarray) -> np.ndarray:
        """Expected error (one standard deviation) by posterior variance."""
        return np.hypot(self.floor, self.by_posterior(variance))


def fit_noise(errors: np.ndarray, variances: np.ndarray, weights: np.ndarray | None = None) -> Noise:
    """The noise under which the real errors are most likely, error ~ N(0, floor² + scale² variance^power).

    Args:
        errors: (m,) real errors on withheld structures.
        variances: (m,) posterior variances of the same numbers.
        weights: (m,) how much each number counts; all the same where not given.
    """
    weights = np.full(len(errors), 1 / len(errors)) if weights is None else weights / weights.sum()
    mean_square, mean_variance = weights @ errors**2, weights @ variances
    if not mean_square > 0:
        return Noise(0.0, 0.0, 1.0)
    square, logs = errors**2 / mean_square, np.log(np.maximum(variances, 1e-12 * mean_variance) / mean_variance)

    def loss(parameters):
        """Negative logarithm of the likelihood per number, and its gradient."""
        floor, scale = np.exp(parameters[:2])
        spread = scale * np.exp(parameters[2] * logs)
        total = floor + spread
        ratio = square / total
        slope = 0.5 * weights * (1 - ratio) / total
        gradient = [slope.sum() * floor, (slope * spread).sum(), (slope * spread * logs).sum()]
        return 0.5 * weights @ (ratio + np.log(total)), np.array(gradient)

    bounds = [(np.log(1e-6), np.log(1e2))] * 2 + [(0.1, 1.0)]
    import scipy.optimize  # takes a while to import

    found = scipy.optimize.minimize(loss, [np.log(0.5), np.log(0.5), 0.9], jac=True, bounds=bounds, method='L-BFGS-B')
    floor, scale = np.exp(found.x[:2])
    if floor < _NO_FLOOR:
        floor = 0.0
    power = float(found.x[2])
    return Noise(float(np.sqrt(floor * mean_square)), float(np.sqrt(scale * mean_square / mean_variance**power)), power)


def cross_fitted(
    errors: np.ndarray, variances: np.ndarray, fold: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Expected error (m,) of each number, by the noise that all folds but its own show."""
    weights = np.ones(len(errors)) if weights is None else weights
    expected = np.empty(len(errors))
    for f in np.unique(fold):
        own = fold == f
        others = ~own if (~own).any() else own
        expected[own] = fit_noise(errors[others], variances[others], weights[others]).error(variances[own])
    return expected


def coverage(errors: np.ndarray, expected: np.ndarray, groups: np.ndarray | None = None, bins: int = 10) -> dict:
    """Agreement of expected with real errors.

    Args:
        errors: (m,) real errors.
        expected: (m,) expected errors (one standard deviation).
        groups: (m,) group of each number; errors of one group are not independent.
        bins: at most this many, and no fewer than ten numbers in each.

    Returns:
        The fractions within one and two expected errors (0.683 and 0.954 of a Gaussian), the slope of the real RMSE
        over bins of the expected error against it (1 where calibrated) with its 95 % interval under resampling of
        whole groups, and the bins themselves.
    """
    slope, predicted, real = _slope(errors, expected, bins)
    distinct = [] if groups is None else [np.flatnonzero(groups == g) for g in np.unique(groups)]
    interval = None
    if slope is not None and len(distinct) > 2:
        rng = np.random.default_rng(0)
        slopes = []
        for _ in range(_RESAMPLED):
            taken = np.concatenate([distinct[g] for g in rng.integers(0, len(distinct), len(distinct))])
            slopes.append(_slope(errors[taken], expected[taken], bins)[0])
        interval = np.quantile([value for value in slopes if value is not None], [0.025, 0.975]).tolist()
    return {
        'fraction_within_1_sigma': float(np.mean(np.abs(errors) <= expected)),
        'fraction_within_2_sigma': float(np.mean(np.abs(errors) <= 2 * expected)),
        'slope': slope,
        'slope_ci95': interval,
        'rank_correlation': _rank_correlation(np.abs(errors), expected),
        'bins': {'expected': predicted.tolist(), 'real': real.tolist()},
        'numbers': len(errors),
        'groups': len(distinct) or None,
    }


def _slope(errors: np.ndarray, expected: np.ndarray, bins: int) -> tuple[float | None, np.ndarray, np.ndarray]:
    """Slope of real against expected errors over bins of equal size, and the root mean squares of both in each bin."""
    parts = np.array_split(np.argsort(expected, kind='stable'), min(bins, max(1, len(errors) // 10)))
    predicted = np.array([np.sqrt(np.mean(expected[part] ** 2)) for part in parts])
    real = np.array([np.sqrt(np.mean(errors[part] ** 2)) for part in parts])
    if len(parts) < 3 or not np.ptp(predicted) > 0:
        return None, predicted, real
    # the relative error of an RMSE is the same in each bin
    return float(np.polyfit(predicted, real, 1, w=1 / predicted)[0]), predicted, real


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation; ``None`` where one of them does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    first, second = (np.argsort(np.argsort(x, kind='stable'), kind='stable') for x in (a, b))
    return float(np.corrcoef(first, second)[0, 1])
