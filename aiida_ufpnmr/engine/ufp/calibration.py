"""How good the predicted errors are: posterior variances against real errors on structures that a fit did not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.optimize

from aiida_ufpnmr.engine.ufp.posterior import Noise


def fit_noise(errors: np.ndarray, variances: np.ndarray) -> Noise:
    """Floor and scale under which the real errors are most likely, error ~ N(0, floor² + scale² variance).

    Args:
        errors: (m,) real errors on withheld structures.
        variances: (m,) posterior variances of the same numbers.
    """
    mean_square, mean_variance = np.mean(errors**2), np.mean(variances)
    if not mean_square > 0:
        return Noise(0.0, 0.0)
    square, variance = errors**2 / mean_square, variances / mean_variance

    def loss(logs):
        floor, scale = np.exp(logs)
        total = floor + scale * variance
        ratio = square / total
        gradient = 0.5 * (1 - ratio) / total
        return 0.5 * np.mean(ratio + np.log(total)), np.array([gradient.mean() * floor, (gradient * variance).mean() * scale])

    bounds = [(np.log(1e-6), np.log(1e2))] * 2
    found = scipy.optimize.minimize(loss, np.log([0.5, 0.5]), jac=True, bounds=bounds, method='L-BFGS-B')
    floor, scale = np.exp(found.x)
    return Noise(float(np.sqrt(floor * mean_square)), float(np.sqrt(scale * mean_square / mean_variance)))


def cross_fitted(errors: np.ndarray, variances: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Expected error (m,) of each number, by the noise that all folds but its own show."""
    expected = np.empty(len(errors))
    for f in np.unique(fold):
        own = fold == f
        others = ~own if (~own).any() else own
        expected[own] = fit_noise(errors[others], variances[others]).error(variances[own])
    return expected


def coverage(errors: np.ndarray, expected: np.ndarray, bins: int = 10) -> dict:
    """Do the expected errors hold?

    Args:
        errors: (m,) real errors.
        expected: (m,) expected errors (one standard deviation).

    Returns:
        The fractions within one and two expected errors (0.683 and 0.954 of a Gaussian), the slope of the real RMSE over
        bins of the expected error against it (1 where calibrated), and the bins themselves.
    """
    order = np.argsort(expected, kind='stable')
    parts = np.array_split(order, min(bins, max(1, len(errors) // 10)))
    predicted = np.array([np.sqrt(np.mean(expected[part] ** 2)) for part in parts])
    real = np.array([np.sqrt(np.mean(errors[part] ** 2)) for part in parts])
    slope = None
    if len(parts) > 2 and np.ptp(predicted) > 0:
        slope = float(np.polyfit(predicted, real, 1)[0])
    return {
        'fraction_within_1_sigma': float(np.mean(np.abs(errors) <= expected)),
        'fraction_within_2_sigma': float(np.mean(np.abs(errors) <= 2 * expected)),
        'slope': slope,
        'rank_correlation': _rank_correlation(np.abs(errors), expected),
        'bins': {'expected': predicted.tolist(), 'real': real.tolist()},
        'numbers': len(errors),
    }


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation; ``None`` where one of them does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    ranks = [np.argsort(np.argsort(x, kind='stable'), kind='stable') for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])
