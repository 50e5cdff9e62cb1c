"""How good the predicted errors are: posterior variances against real errors on structures that a fit did not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.optimize

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces
from aiida_ufpnmr.engine.ufp.posterior import Noise, uncertainty
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


def fit_noise(errors: np.ndarray, variances: np.ndarray) -> Noise:
    """The noise under which the real errors are most likely, error ~ N(0, floor² + scale² variance^power).

    Args:
        errors: (m,) real errors on withheld structures.
        variances: (m,) posterior variances of the same numbers.
    """
    mean_square, mean_variance = np.mean(errors**2), np.mean(variances)
    if not mean_square > 0:
        return Noise(0.0, 0.0, 1.0)
    square, logs = errors**2 / mean_square, np.log(np.maximum(variances, 1e-12 * mean_variance) / mean_variance)

    def loss(parameters):
        """Negative logarithm of the likelihood per number, and its gradient."""
        floor, scale = np.exp(parameters[:2])
        spread = scale * np.exp(parameters[2] * logs)
        total = floor + spread
        ratio = square / total
        slope = 0.5 * (1 - ratio) / total
        gradient = [slope.mean() * floor, (slope * spread).mean(), (slope * spread * logs).mean()]
        return 0.5 * np.mean(ratio + np.log(total)), np.array(gradient)

    bounds = [(np.log(1e-6), np.log(1e2))] * 2 + [(0.1, 1.0)]
    found = scipy.optimize.minimize(loss, [np.log(0.5), np.log(0.5), 0.9], jac=True, bounds=bounds, method='L-BFGS-B')
    floor, scale = np.exp(found.x[:2])
    power = float(found.x[2])
    return Noise(float(np.sqrt(floor * mean_square)), float(np.sqrt(scale * mean_square / mean_variance**power)), power)


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
        # the relative error of an RMSE is the same in each bin
        slope = float(np.polyfit(predicted, real, 1, w=1 / predicted)[0])
    return {
        'fraction_within_1_sigma': float(np.mean(np.abs(errors) <= expected)),
        'fraction_within_2_sigma': float(np.mean(np.abs(errors) <= 2 * expected)),
        'slope': slope,
        'rank_correlation': _rank_correlation(np.abs(errors), expected),
        'bins': {'expected': predicted.tolist(), 'real': real.tolist()},
        'numbers': len(errors),
    }


def expected_and_real(potential: UltraFastPotential, dataset: Dataset) -> dict:
    """Expected errors of a potential beside the real ones on labelled structures; see :func:`coverage`.

    Raises:
        InputError: the potential has no posterior.
    """
    force_errors, force_expected, energy_errors, energy_expected = [], [], [], []
    for atoms in dataset:
        found, expected = potential.compute(atoms), uncertainty(potential, atoms)
        force_errors.append((found.forces - forces(atoms)).ravel())
        force_expected.append(expected.forces.ravel())
        energy_errors.append((found.energy - energy(atoms)) / len(atoms))
        energy_expected.append(expected.energy / len(atoms))
    return {
        'forces': coverage(1000 * np.concatenate(force_errors), 1000 * np.concatenate(force_expected)),
        'energy': coverage(1000 * np.array(energy_errors), 1000 * np.array(energy_expected)),
    }


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation; ``None`` where one of them does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    ranks = [np.argsort(np.argsort(x, kind='stable'), kind='stable') for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])
