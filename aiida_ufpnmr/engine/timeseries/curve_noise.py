"""Errors of a correlation function: the covariance of its lags for a trajectory of finite length.

The estimate at lag k shares most of its data with that at lag k', so its error is a smooth wave of about the width of
the decay, not a fuzz of independent points. Bartlett's formula gives its covariance from the function itself::

    Cov[c(k), c(k')] = (1/n) sum_d count(d) [ r(d) r(d + k' - k) + r(d + k') r(d - k) ] / ((N - k)(N - k'))

for n independent ions of N frames. It is exact for a Gaussian process; up to a common factor of the whole curve, which
the free amplitude takes up, also for jumps between two sites. Here r is the slow decay, its constant part, and a fast
part (white noise, vibrations) that enters through its sum over lags and its sum of squares. The number n of independent
signals is not known from the curve alone; it is measured on the waves that the curve makes around the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import gamma as gamma_function

from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins
from aiida_ufpnmr.engine.timeseries.stretched import Decay, Law

#: Share of the trajectory whose lags are looked at for the size of the noise; beyond, hardly any pair is left.
NOISE_RANGE = 0.9
#: Number of points, one decay time apart, on which the noise is measured.
NOISE_POINTS = 150


@dataclass(frozen=True)
class FastPart:
    """Part of the correlation function that is lost before the first lag of the fit.

    Attributes:
        total: its sum over all lags, both signs; its weight at low frequency.
        squares: the sum of its squares.
    """

    total: float
    squares: float

    @classmethod
    def of(cls, c: np.ndarray, decay: Law, first: int) -> FastPart:
        """From the curve and the slow decay fitted from lag ``first`` (in frames) on.

        The sum ends in a smooth edge, a third of τ wide, since a hard one would cut a vibration within its period.
        """
        edge = int(min(decay.tau / 3, len(c) - first))
        fast = c[: first + edge] - decay(np.arange(first + edge))
        share = np.ones(len(fast))
        share[first:] = np.cos(0.5 * np.pi * (np.arange(edge) + 0.5) / max(edge, 1)) ** 2
        total = 2 * (share * fast).sum() - fast[0]
        return cls(max(float(total), 0.0), float(2 * (fast[:first] ** 2).sum() - fast[0] ** 2))

    @property
    def diagonal(self) -> float:
        """Variance that it gives a single lag, times the number of origins."""
        return max(self.total**2, self.squares)


@lru_cache(maxsize=64)
def _overlap(gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Overlap of exp(−|v|^γ) with itself, shifted by h: (h, integral over v)."""
    from scipy.integrate import trapezoid  # takes a while to import

    h = np.concatenate([[0.0], np.geomspace(1e-3, 60.0 ** (1 / max(gamma, 0.3)), 160)])
    reach = h[-1]
    v = np.concatenate([-np.geomspace(reach, 1e-5, 600), [0.0], np.geomspace(1e-5, reach, 600)])
    first = np.exp(-(np.abs(v) ** gamma))
    second = np.exp(-(np.abs(v[None] + h[:, None]) ** gamma))
    return h, trapezoid(first * second, v, axis=1)


def overlap(h: np.ndarray, decay: Decay) -> np.ndarray:
    """Integral of r(v) r(v + h) over v for the decaying part r of unit amplitude; h in frames."""
    x = h / decay.tau
    if decay.gamma == 1.0:
        return decay.tau * (1 + x) * np.exp(-x)
    table = _overlap(round(decay.gamma, 2))
    return decay.tau * np.interp(x, *table, right=0.0)


def crossed_overlap(h: np.ndarray, one: Decay, other: Decay) -> np.ndarray:
    """Integral of one(v) other(v + h) over v for two plain exponentials of unit amplitude; h in frames."""
    a, b = one.tau, other.tau
    return 2 * a * b / (a**2 - b**2) * (a * np.exp(-h / a) - b * np.exp(-h / b))


def _shape(h: np.ndarray, decay: Decay) -> np.ndarray:
    return np.exp(-((h / decay.tau) ** decay.gamma))


def curve_covariance(lag: np.ndarray, n_frames: int, decay: Law, fast: FastPart, shared: np.ndarray) -> np.ndarray:
    """Covariance (n, n) of a correlation function at ``lag`` (in frames) for one independent signal.

    ``shared`` (n, n) is the sum over single lags of the weights with which they enter two points: 1/m on the diagonal
    for means over m lags.
    """
    k, m = lag[:, None], lag[None, :]
    pairs = (n_frames - k) * (n_frames - m)
    same = (n_frames - np.maximum(k, m)) / pairs
    crossed = np.maximum(n_frames - k - m, 0) / pairs
    near, far = np.abs(k - m), k + m
    covariance = 2 * decay.constant * fast.total * (same + crossed)
    for i, part in enumerate(decay.parts):
        d = part.decaying
        integral = 2 * part.tau * gamma_function(1 + 1 / part.gamma)
        covariance += d**2 * (overlap(near, part) * same + overlap(far, part) * crossed)
        covariance += 2 * d * fast.total * (_shape(near, part) * same + _shape(far, part) * crossed)
        covariance += 2 * decay.constant * d * integral * (same + crossed)
        for other in decay.parts[:i]:
            both = 2 * d * other.decaying
            covariance += both * crossed_overlap(near, part, other) * same
            covariance += both * crossed_overlap(far, part, other) * crossed
    return covariance + fast.diagonal * shared / np.sqrt(pairs)


def binned_covariance(bins: LagBins, decay: Law, fast: FastPart) -> np.ndarray:
    """Covariance of bin averages for one independent signal."""
    return curve_covariance(bins.centre, bins.n_frames, decay, fast, bins.shared)


def drawn_curves(mean: np.ndarray, covariance: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Curves (n_draws, n) around a mean (n,) with errors of a covariance, from standard normal numbers (n_draws, n)."""
    values, vectors = np.linalg.eigh(covariance)
    # the symmetric square root changes smoothly with τ, so that one set of draws serves all
    sqrt = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return mean + draws @ sqrt


def noise_scale(c: np.ndarray, n_frames: int, decay: Law, fast: FastPart, first: int) -> tuple[float, int]:
    """Inverse number of independent signals, from the waves of the curve around the fit; and its degrees of freedom.

    The deviations are averaged over half a decay time with a smooth window, which lets no vibration through, taken one
    decay time apart, and compared with the covariance of one signal. Where nothing is left to measure the noise on, it
    is that of one signal, with no degree of freedom.
    """
    spacing = int(np.clip(round(decay.tau), 1, max(1, len(c) // 8)))
    width = (spacing + 1) // 2
    window = np.hanning(width + 2)[1:-1]
    window /= window.sum()
    last = min(len(c), int(NOISE_RANGE * n_frames), first + (NOISE_POINTS + 1) * spacing)
    if last - first < spacing:
        return 1.0, 0
    deviation = c[first:last] - decay(np.arange(first, last))
    from scipy.signal import fftconvolve  # takes a while to import

    smooth = fftconvolve(deviation, window, mode='valid') if width > 1 else deviation
    points = smooth[::spacing]
    lag = first + (width - 1) / 2 + spacing * np.arange(len(points))
    covariance = curve_covariance(lag, n_frames, decay, fast, np.eye(len(lag)) * (window**2).sum())
    covariance[np.diag_indices(len(lag))] *= 1 + 1e-9
    freedom = len(points) - 3
    if freedom < 1:
        return 1.0, 0
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-9 * values[-1]
    chi_squared = ((vectors[:, kept].T @ points) ** 2 / values[kept]).sum()
    return float(chi_squared / freedom), freedom
