"""Stays of ions in their grain: the correlation of NMR frequencies between grains of random orientation.

Grains turned at random have no correlation of their mean tensors: averaged over orientations <V(R):V(R')> is zero. So
what is left of the correlation after a time t is the chance that an ion is in the grain in which it began, having
stayed or come back. Times are in units of d²/D, the grain size squared over the diffusion coefficient within grains.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.optimize import brentq, curve_fit
from scipy.special import erf

#: Bands and wave numbers of the chain of barriers.
BANDS, WAVES = 1000, 64
#: Below this time a chain of barriers is that of two barriers which are not felt twice.
EARLIEST = 2e-6
#: Points of the average over a spread of sizes.
SIZES = 33


def same_interval(s: np.ndarray) -> np.ndarray:
    """Chance to be in the interval of length 1 in which a free walker began, somewhere, at times s, D = 1.

    The integral of the Gaussian of variance 2s over both ends: erf(u) − (1 − exp(−u²))/(u√π), u = 1/(2√s).
    """
    s = np.asarray(s, float)
    with np.errstate(divide='ignore', over='ignore'):
        u = 0.5 / np.sqrt(s)
    u = np.minimum(u, 1e8)
    return erf(u) + np.expm1(-(u**2)) / (u * np.sqrt(np.pi))


def same_interval_of_barriers(s: np.ndarray, permeability: float) -> np.ndarray:
    """Chance to be in the same interval in a periodic chain of intervals with a barrier at each end of each.

    The flux through a barrier is ``permeability`` times the step of the concentration. Bloch waves of wave number q
    have decay rates k² with cos q = cos k − k/(2h) sin k (Tanner, J. Chem. Phys. 69, 1748 (1978)).

    Args:
        s: times, in units of d²/D.
        permeability: h = κ d/D; infinite without barriers, zero for walls.
    """
    s = np.asarray(s, float)
    if np.isinf(permeability):
        return same_interval(s)
    if permeability == 0:
        return np.ones_like(s)
    rates, overlaps = _bloch(float(permeability))
    # both ends are passed at a rate h as long as few have passed
    early = np.maximum(1 - 2 * permeability * s, same_interval(s))
    late = np.array([overlaps @ np.exp(-rates * np.maximum(one, EARLIEST)) for one in s.ravel()]).reshape(s.shape)
    return np.where(s < EARLIEST, np.minimum(early, 1.0), np.minimum(late, 1.0))


@lru_cache(maxsize=64)
def _bloch(h: float) -> tuple[np.ndarray, np.ndarray]:
    """Decay rates of the Bloch waves and what each is worth, flat arrays."""
    nodes, weight = np.polynomial.legendre.leggauss(WAVES)
    x = 0.5 * (nodes + 1)
    q, dq = np.pi * x**2, np.pi * x * weight  # closer together at long waves, which live long
    low = np.pi * np.arange(BANDS)[:, None] + np.zeros(WAVES)
    high = low + np.pi
    sign = np.where(np.arange(BANDS) % 2 == 0, 1.0, -1.0)[:, None]
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = sign * (np.cos(middle) - middle / (2 * h) * np.sin(middle) - np.cos(q)) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    k = 0.5 * (low + high)
    sine, cosine = np.sin(k), np.cos(k)
    # u = a cos kx + sin k sin kx with a = cos k − exp(iq)
    square = 1 - 2 * cosine * np.cos(q) + cosine**2
    norm = (
        square * (0.5 + sine * cosine / (2 * k))
        + sine**2 * (0.5 - sine * cosine / (2 * k))
        + (cosine - np.cos(q)) * sine**3 / k
    )
    overlap = (sine / k) ** 2 * 2 * (1 - np.cos(q)) / norm
    return (k**2).ravel(), (overlap * dq / np.pi).ravel()


def same_cube(s: np.ndarray, permeability: float = np.inf, spread: float = 0.0) -> np.ndarray:
    """Chance to be in the cube in which an ion began, in space filled with cubes of edge 1 (or with free space around).

    Args:
        s: times, in units of d²/D.
        permeability: h = κ d/D of the faces; in slow exchange (h → 0) exp(−2hs) I₀(2hs) cubed.
        spread: standard deviation of ln d, if sizes vary: a log-normal share of the volume around the median d.
            Neighbours of a cube count as its equals in size.
    """
    s = np.asarray(s, float)
    if spread == 0:
        return same_interval_of_barriers(s, permeability) ** 3
    nodes, weight = np.polynomial.hermite_e.hermegauss(SIZES)
    sizes, weight = np.exp(spread * nodes), weight / weight.sum()
    parts = [w * same_cube(s / d**2, permeability * d) for d, w in zip(sizes, weight) if w > 1e-9]
    return sum(parts)


def time_to_e(s: np.ndarray, chance: np.ndarray) -> float:
    """Time after which a falling curve has reached 1/e, interpolated in ln s; NaN where it does not."""
    below = np.flatnonzero(chance < np.exp(-1))
    if not len(below) or below[0] == 0:
        return np.nan
    i = below[0]
    share = (chance[i - 1] - np.exp(-1)) / (chance[i - 1] - chance[i])
    return float(np.exp(np.log(s[i - 1]) + share * np.log(s[i] / s[i - 1])))


def cube_time_to_e(permeability: float = np.inf) -> float:
    """Exact time, in units of d²/D, after which :func:`same_cube` is 1/e; 0.0634 without barriers."""
    slow = 1.0 + (2.0 / permeability if permeability > 0 else 0.0)

    def excess(log_s):
        return float(same_cube(np.array([np.exp(log_s)]), permeability)[0]) - np.exp(-1)

    return float(np.exp(brentq(excess, np.log(1e-5), np.log(10 * slow), xtol=1e-10)))


def stretched_fit(s: np.ndarray, chance: np.ndarray) -> tuple[float, float]:
    """τ and γ of the stretched exponential (no plateau) that an experiment would fit, points equally spaced in ln s."""
    start = time_to_e(s, chance)
    if not np.isfinite(start):
        return np.nan, np.nan
    shown = (s > 1e-3 * start) & (s < 30 * start)

    def law(t, log_tau, gamma):
        return np.exp(-((t / np.exp(log_tau)) ** gamma))

    (log_tau, gamma), _ = curve_fit(
        law, s[shown], chance[shown], (np.log(start), 0.8), bounds=([-np.inf, 0.05], [np.inf, 1.0])
    )
    return float(np.exp(log_tau)), float(gamma)
