"""Times of a decay that need no law: the integral of what decays, and the time in which it falls to 1/e.

Both are counted from the first lag of the fit, on what lies above the level of late lags, so that each is τ for a
plain exponential on a constant. The integral ends where it has gone on for six times its own value (Sokal, Monte Carlo
Methods in Statistical Mechanics, 1989); the level is the mean beyond.
"""

from __future__ import annotations

import numpy as np

#: The integral goes on for this many times its own value.
REACH = 6.0
#: Bins beyond the end of the integral, at least, for the level of late lags.
LEVEL_BINS = 3


def form_free_times(t: np.ndarray, weight: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Integral time and time to 1/e of curves (n_curves, n_bins), (n_curves, 2); NaN where lags end too early.

    Args:
        t: (n_bins,) mean lag of each bin, the first lag first.
        weight: (n_bins,) origins behind each bin.
        curves: the curve, then others, such as resampled ones, whose integral ends where that of the first does.
    """
    times = np.full((len(curves), 2), np.nan)
    for end in range(2, len(t) - LEVEL_BINS):
        if t[end] - t[0] >= REACH * _integral(t, weight, curves[:1], end)[0][0] > 0:
            times[:, 0], excess = _integral(t, weight, curves, end)
            for row, above in zip(times, excess):
                below = np.flatnonzero(above <= np.exp(-1))
                if len(below) and below[0] > 0:
                    i = below[0]
                    row[1] = np.interp(np.exp(-1), above[[i, i - 1]], t[[i, i - 1]]) - t[0]
            break
    return times


def _integral(t: np.ndarray, weight: np.ndarray, curves: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Integral up to a bin of what lies above the level beyond it, and that excess, one at the first lag."""
    from scipy.integrate import cumulative_trapezoid  # takes a while to import

    level = np.average(curves[:, end:], weights=weight[end:], axis=1)[:, None]
    excess = (curves - level) / (curves[:, :1] - level)
    return cumulative_trapezoid(excess[:, : end + 1], t[: end + 1], axis=1)[:, -1], excess
