"""Uniform cubic B-splines.

On a uniform grid every interval has the same four cubics (de Boor, A Practical Guide to Splines, ch. X), so an
evaluation needs no search and no branch. Function ``a`` of a grid that starts at ``r0`` with spacing ``h`` is non-zero on
``r0 + (a - 3) h`` to ``r0 + (a + 1) h``; a grid of ``n`` intervals carries ``n + 3`` functions. With its last three
coefficients zero a spline ends with zero value, slope and curvature; with its first three zero it begins so.
"""

from __future__ import annotations

import numba as nb
import numpy as np

#: Functions at either end that must vanish for a spline to fade out smoothly there.
TRIM = 3


@nb.njit(cache=True, inline='always')
def cubic_values(t):
    """The four functions on an interval, lowest index first; ``t`` from 0 to 1 across it."""
    s = 1.0 - t
    return (
        s * s * s / 6.0,
        (4.0 + t * t * (3.0 * t - 6.0)) / 6.0,
        (1.0 + 3.0 * t * (1.0 + t * s)) / 6.0,
        t * t * t / 6.0,
    )


@nb.njit(cache=True, inline='always')
def cubic_slopes(t):
    """Their derivatives by ``t``."""
    s = 1.0 - t
    return -0.5 * s * s, t * (1.5 * t - 2.0), 0.5 + t * (1.0 - 1.5 * t), 0.5 * t * t


def design_matrix(r: np.ndarray, start: float, spacing: float, n_intervals: int, derivative: int = 0) -> np.ndarray:
    """Values (or derivatives) of all functions at ``r``, (len(r), n_intervals + 3); zero outside the grid."""
    r = np.atleast_1d(np.asarray(r, float))
    u = (r - start) / spacing
    interval = np.clip(np.floor(u).astype(int), 0, n_intervals - 1)
    t = u - interval
    s = 1 - t
    if derivative == 0:
        parts = [s**3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6]
    elif derivative == 1:
        parts = [-(s**2) / 2, 1.5 * t**2 - 2 * t, 0.5 + t - 1.5 * t**2, t**2 / 2]
    elif derivative == 2:
        parts = [s, 3 * t - 2, 1 - 3 * t, t]
    else:
        raise ValueError('derivative must be 0, 1 or 2')
    matrix = np.zeros((len(r), n_intervals + 3))
    rows = np.arange(len(r))
    inside = (u >= 0) & (u <= n_intervals)
    for a, part in enumerate(parts):
        matrix[rows, interval + a] = np.where(inside, part, 0.0) / spacing**derivative
    return matrix


def polynomials(coefficients: np.ndarray) -> np.ndarray:
    """The cubic on each interval as powers of t from 0 to 1, lowest first: (..., n + 3) to (..., n, 4)."""
    n = coefficients.shape[-1] - 3
    four = np.stack([coefficients[..., a : a + n] for a in range(4)], axis=-1)
    powers = np.array([[1, 4, 1, 0], [-3, 0, 3, 0], [3, -6, 3, 0], [-1, 3, -3, 1]]) / 6
    return four @ powers.T


def second_differences(n: int) -> np.ndarray:
    """Matrix of second differences of ``n`` coefficients, (n - 2, n); their squares measure curvature."""
    matrix = np.zeros((n - 2, n))
    for row in range(n - 2):
        matrix[row, row : row + 3] = (1.0, -2.0, 1.0)
    return matrix
