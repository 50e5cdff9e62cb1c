"""How good the predicted errors are: posterior variances against real errors on structures that a fit did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy.optimize
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, energy, forces
from aiida_ufpnmr.engine.ufp.features import N_LEADING
from aiida_ufpnmr.engine.ufp.posterior import Noise, uncertainty

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: A floor whose square is below this share of the mean square error cannot be told from none, and is zero.
_NO_FLOOR = 1e-3
#: Resampled sets of groups behind the interval of a slope.
_RESAMPLED = 200


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
    """Do the expected errors hold?

    Args:
        errors: (m,) real errors.
        expected: (m,) expected errors (one standard deviation).
        groups: (m,) group of each number; errors of one group are not independent.
        bins: at most this many, and no fewer than ten numbers in each.

    Returns:
        The fractions within one and two expected errors (0.683 and 0.954 of a Gaussian), the slope of the real RMSE over
        bins of the expected error against it (1 where calibrated) with its 95 % interval under resampling of whole groups,
        and the bins themselves.
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


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation; ``None`` where one of them does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    ranks = [np.argsort(np.argsort(x, kind='stable'), kind='stable') for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


@dataclass
class Sample:
    """Real errors beside posterior variances, on structures that a fit did not see; lists grow fold by fold.

    Attributes:
        forces_error, forces_variance: eV/Å and its square, arrays of components.
        species: species number of each component.
        forces_fold, forces_group: of each component.
        energy_error, energy_variance: eV per atom and its square.
        energy_fold, energy_group: of each energy.
    """

    forces_error: list[np.ndarray] = field(default_factory=list)
    forces_variance: list[np.ndarray] = field(default_factory=list)
    species: list[np.ndarray] = field(default_factory=list)
    forces_fold: list[np.ndarray] = field(default_factory=list)
    forces_group: list[np.ndarray] = field(default_factory=list)
    energy_error: list[float] = field(default_factory=list)
    energy_variance: list[float] = field(default_factory=list)
    energy_fold: list[int] = field(default_factory=list)
    energy_group: list[str] = field(default_factory=list)

    def add(
        self,
        atoms: Atoms,
        types: np.ndarray,
        potential: UltraFastPotential,
        variances: np.ndarray,
        fold: int,
        group: str,
    ) -> None:
        """Take one structure with the variances of its design rows."""
        found = potential.compute(atoms)
        self.forces_error.append((found.forces - forces(atoms)).ravel())
        self.forces_variance.append(variances[N_LEADING:])
        self.species.append(np.repeat(types, 3))
        self.forces_fold.append(np.full(3 * len(atoms), fold))
        self.forces_group.append(np.full(3 * len(atoms), group))
        self.energy_error.append((found.energy - energy(atoms)) / len(atoms))
        self.energy_variance.append(variances[0] / len(atoms) ** 2)
        self.energy_fold.append(fold)
        self.energy_group.append(group)

    def calibrate(self, n_species: int) -> tuple[tuple[Noise, ...], Noise, dict]:
        """Noise of the forces by species and of the energy, and how well expected errors hold.

        Each fold is judged by the noise that the others show. The energies of one group share an offset, so that a group
        counts once, however many structures it has.
        """
        error, variance = np.concatenate(self.forces_error), np.concatenate(self.forces_variance)
        species, fold = np.concatenate(self.species), np.concatenate(self.forces_fold)
        expected = np.zeros(len(error))
        everywhere = fit_noise(error, variance)
        noise = []
        for t in range(n_species):
            own = species == t
            # too few components of a rare species say nothing of their own
            noise.append(fit_noise(error[own], variance[own]) if own.sum() >= 30 else everywhere)
            if own.any():
                expected[own] = cross_fitted(error[own], variance[own], fold[own])
        energy_error, energy_variance = np.array(self.energy_error), np.array(self.energy_variance)
        energy_group = np.array(self.energy_group)
        _, index, sizes = np.unique(energy_group, return_inverse=True, return_counts=True)
        once = 1 / sizes[index]
        energy_expected = cross_fitted(energy_error, energy_variance, np.array(self.energy_fold), once)
        energy_noise = fit_noise(energy_error, energy_variance, once)
        return (
            tuple(noise),
            energy_noise,
            {
                'forces': coverage(1000 * error, 1000 * expected, np.concatenate(self.forces_group)),
                'energy': coverage(1000 * energy_error, 1000 * energy_expected, energy_group),
            },
        )


def expected_and_real(potential: UltraFastPotential, dataset: Dataset) -> dict:
    """Expected errors of a potential beside the real ones on labelled structures; see :func:`coverage`.

    Raises:
        InputError: the potential has no posterior.
    """
    force_errors, force_expected, force_groups, energy_errors, energy_expected = [], [], [], [], []
    for atoms, group in zip(dataset, dataset.groups):
        found, expected = potential.compute(atoms), uncertainty(potential, atoms)
        force_errors.append((found.forces - forces(atoms)).ravel())
        force_expected.append(expected.forces.ravel())
        force_groups.append(np.full(3 * len(atoms), group))
        energy_errors.append((found.energy - energy(atoms)) / len(atoms))
        energy_expected.append(expected.energy / len(atoms))
    return {
        'forces': coverage(
            1000 * np.concatenate(force_errors), 1000 * np.concatenate(force_expected), np.concatenate(force_groups)
        ),
        'energy': coverage(1000 * np.array(energy_errors), 1000 * np.array(energy_expected), np.array(dataset.groups)),
    }
