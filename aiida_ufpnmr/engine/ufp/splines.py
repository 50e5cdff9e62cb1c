"""Cubic B-splines on uniform or stated knots.

A grid has breaks, where its intervals begin and end. Beyond either end its knots go on at the spacing of the last
interval there, so that a uniform grid has the same four cubics on every interval (de Boor, A Practical Guide to
Splines, ch. X), and an evaluation needs no search and no branch. Function ``a`` is non-zero on knots ``a`` to ``a +
4``, of which three lie before the first break; a grid of ``n`` intervals carries ``n + 3`` functions. With its last
three coefficients zero a spline ends with zero value, slope and curvature; with its first three zero it begins so.

Other programs clamp their knots: the first and the last break stand there four times. Both bases span the same splines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aiida_ufpnmr.engine.compiled import njit

#: Functions at either end that must vanish for a spline to fade out smoothly there.
TRIM = 3
#: Breaks are uniform if they lie this close, in intervals, to where they should.
_UNIFORM = 1e-8
#: Distances that differ by this share are the same.
_ROUNDING = 1e-9
#: The four functions on an interval of a uniform grid as powers of t from 0 to 1, lowest first.
_CUBICS = np.array([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6


@njit(inline='always')
def cubic_values(t):
    """The four functions on an interval of a uniform grid, lowest index first; ``t`` from 0 to 1 across it."""
    s = 1.0 - t
    return (
        s * s * s / 6.0,
        (4.0 + t * t * (3.0 * t - 6.0)) / 6.0,
        (1.0 + 3.0 * t * (1.0 + t * s)) / 6.0,
        t * t * t / 6.0,
    )


@njit(inline='always')
def cubic_slopes(t):
    """Derivatives of the four functions by ``t``, lowest index first."""
    s = 1.0 - t
    return -0.5 * s * s, t * (1.5 * t - 2.0), 0.5 + t * (1.0 - 1.5 * t), 0.5 * t * t


@dataclass(frozen=True)
class Grid:
    """The intervals of a spline.

    Attributes:
        breaks: (n + 1,) ends of the intervals, ascending, Å.

    Raises:
        ValueError: there is no interval, or the breaks do not ascend.
    """

    breaks: tuple[float, ...]

    def __post_init__(self):
        if len(self.breaks) < 2 or not np.isfinite(self.breaks).all() or not (np.diff(self.breaks) > 0).all():
            raise ValueError(f'{len(self.breaks)} knots that are not finite and ascending')

    @classmethod
    def uniform(cls, start: float, stop: float, n_intervals: int) -> Grid:
        """Intervals of equal length."""
        return cls(tuple(np.linspace(start, stop, n_intervals + 1).tolist()))

    @property
    def start(self) -> float:
        """The first break, Å."""
        return self.breaks[0]

    @property
    def stop(self) -> float:
        """The last break, Å."""
        return self.breaks[-1]

    @property
    def n_intervals(self) -> int:
        """Number of intervals."""
        return len(self.breaks) - 1

    @property
    def n_functions(self) -> int:
        """Number of functions."""
        return len(self.breaks) + 2

    @cached_property
    def is_uniform(self) -> bool:
        """True where all intervals have the same length."""
        even = np.linspace(self.start, self.stop, len(self.breaks))
        return bool((abs(even - self.breaks) < _UNIFORM * (even[1] - even[0])).all())

    @cached_property
    def knots(self) -> np.ndarray:
        """(n + 7,) the breaks, and three more at either end."""
        breaks, three = np.array(self.breaks), np.arange(1, 4)
        first, last = breaks[1] - breaks[0], breaks[-1] - breaks[-2]
        return np.concatenate([breaks[0] - first * three[::-1], breaks, breaks[-1] + last * three])

    @property
    def clamped_knots(self) -> np.ndarray:
        """(n + 7,) the breaks, the first and the last of them four times."""
        return np.concatenate([[self.start] * 3, self.breaks, [self.stop] * 3])

    @cached_property
    def functions(self) -> np.ndarray:
        """(n, 4, 4) on each interval the four functions in order, as powers of t from 0 to 1, lowest first."""
        if self.is_uniform:
            return np.broadcast_to(_CUBICS, (self.n_intervals, 4, 4))
        return _local_cubics(self.knots)

    @property
    def supports(self) -> tuple[np.ndarray, np.ndarray]:
        """(n + 3,) where each function begins and ends to be non-zero, within the grid, Å."""
        return tuple(np.clip(part, self.start, self.stop) for part in (self.knots[:-4], self.knots[4:]))

    @property
    def centres(self) -> np.ndarray:
        """Greville's abscissae (n + 3,), Å: coefficients that are linear in them make that linear function."""
        return (self.knots[1:-3] + self.knots[2:-2] + self.knots[3:-1]) / 3

    def functions_below(self, r: float) -> int:
        """Number of functions, the first ones, that vanish at ``r`` (Å) and beyond."""
        return int(np.searchsorted(self.breaks[1:], r * (1 + _ROUNDING), 'right'))

    def design_matrix(self, r: np.ndarray | float, derivative: int = 0) -> np.ndarray:
        """Values (or derivatives) of all functions at ``r``, (len(r), n + 3); zero outside the grid."""
        return _design_matrix(np.atleast_1d(np.asarray(r, float)), np.array(self.breaks), self.functions, derivative)

    def polynomials(self, coefficients: np.ndarray) -> np.ndarray:
        """The cubic on each interval as powers of t from 0 to 1, lowest first: (..., n + 3) to (..., n, 4)."""
        n = self.n_intervals
        four = np.stack([coefficients[..., a : a + n] for a in range(4)], axis=-1)
        return np.einsum('...na,nap->...np', four, self.functions)

    def second_differences(self) -> np.ndarray:
        """Matrix that gives second derivatives at the breaks, (n + 1, n + 3), times the mean interval squared.

        On uniform grids these are plain second differences of the coefficients. Their squares measure curvature.
        """
        # de Boor, ch. X: the coefficients of a derivative are differences over spans of knots
        first = 3 / (self.knots[4:-1] - self.knots[1:-4])
        second = 2 / (self.knots[4:-2] - self.knots[2:-4]) * ((self.stop - self.start) / self.n_intervals) ** 2
        matrix = np.zeros((self.n_functions - 2, self.n_functions))
        for row, factor in enumerate(second):
            before, after = first[row : row + 2]
            matrix[row, row : row + 3] = factor * before, -factor * (before + after), factor * after
        return matrix

    def extended(self, start: float | None = None, stop: float | None = None) -> Grid:
        """The grid with whole intervals, as long as those at its ends, added up to ``start`` and ``stop``."""
        breaks = np.array(self.breaks)
        first, last = breaks[1] - breaks[0], breaks[-1] - breaks[-2]
        before = 0 if start is None else max(0, int(np.ceil((self.start - start) / first - _UNIFORM)))
        after = 0 if stop is None else max(0, int(np.ceil((stop - self.stop) / last - _UNIFORM)))
        below, above = np.arange(before, 0, -1), np.arange(1, after + 1)
        return Grid(tuple(np.concatenate([breaks[0] - first * below, breaks, breaks[-1] + last * above]).tolist()))

    def refined(self, parts: int) -> Grid:
        """The grid with each interval cut into equal parts."""
        breaks = np.array(self.breaks)
        inner = breaks[:-1, None] + np.diff(breaks)[:, None] * np.arange(parts) / parts
        return Grid((*inner.ravel().tolist(), self.stop))

    def to_clamped(self) -> np.ndarray:
        """Matrix that takes coefficients to those of the clamped basis, (n + 3, n + 3)."""
        return _solved(self._clamped_design_matrix(), self.design_matrix(self._points))

    def from_clamped(self) -> np.ndarray:
        """The inverse of :meth:`to_clamped`."""
        return _solved(self.design_matrix(self._points), self._clamped_design_matrix())

    def to_finer(self, finer: Grid) -> np.ndarray:
        """Matrix that takes coefficients to those of a grid with all breaks of this one and more between them."""
        return _solved(finer.design_matrix(finer._points), self.design_matrix(finer._points))

    def nearest_spline(self, function: Callable[[np.ndarray], np.ndarray], resolved: float) -> np.ndarray:
        """Coefficients (n + 3,) of the spline nearest to a function of distances (Å), which ends smoothly.

        Args:
            resolved: deviations count by the size of the function, or by this where it is smaller.
        """
        values = function(self._points)
        weights = 1 / (abs(values) + resolved)
        design = self.design_matrix(self._points)[:, :-TRIM] * weights[:, None]
        return np.append(np.linalg.lstsq(design, values * weights, rcond=None)[0], np.zeros(TRIM))

    @property
    def _points(self) -> np.ndarray:
        """Six Chebyshev points in each interval: two equations or more for each coefficient, all of them exact."""
        breaks = np.array(self.breaks)
        places = 0.5 - 0.5 * np.cos(np.pi * (np.arange(6) + 0.5) / 6)
        return (breaks[:-1, None] + np.diff(breaks)[:, None] * places).ravel()

    def _clamped_design_matrix(self) -> np.ndarray:
        return _design_matrix(self._points, np.array(self.breaks), _local_cubics(self.clamped_knots), 0)


def _solved(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The change of basis under which two design matrices, at the same points, are of the same spline."""
    matrix = np.linalg.lstsq(new, old, rcond=None)[0]
    matrix[abs(matrix) < 1e-13] = 0.0
    return matrix


def _local_cubics(knots: np.ndarray) -> np.ndarray:
    """(n, 4, 4) on each interval the functions of any knots (n + 7,) as powers of t, by the Cox-de Boor recursion."""
    n = len(knots) - 7
    left, width = knots[3:-4], np.diff(knots[3:-3])
    functions = [np.ones((n, 1))]
    for degree in range(1, 4):
        following = [np.zeros((n, degree + 1)) for _ in range(degree + 1)]
        for a, function in enumerate(functions):
            begin = np.arange(n) + 4 - degree + a
            span = knots[begin + degree] - knots[begin]
            # the function times a line that rises from 0 to 1 over its support goes to the next one, the rest to this
            rising = np.zeros((n, degree + 1))
            rising[:, :-1] = ((left - knots[begin]) / span)[:, None] * function
            rising[:, 1:] += (width / span)[:, None] * function
            following[a + 1] += rising
            following[a][:, :-1] += function
            following[a] -= rising
        functions = following
    return np.stack(functions, axis=1)


def _design_matrix(r: np.ndarray, breaks: np.ndarray, functions: np.ndarray, derivative: int) -> np.ndarray:
    n = len(breaks) - 1
    interval = np.clip(np.searchsorted(breaks, r, 'right') - 1, 0, n - 1)
    width = np.diff(breaks)[interval]
    t = (r - breaks[interval]) / width
    powers = [np.ones_like(t), t, t**2, t**3]
    for _ in range(derivative):
        powers = [np.zeros_like(t), *(p * power / width for p, power in zip((1, 2, 3), powers))]
    matrix = np.zeros((len(r), n + 3))
    inside = (r >= breaks[0]) & (r <= breaks[-1])
    values = np.einsum('rap,pr->ra', functions[interval], np.array(powers)) * inside[:, None]
    matrix[np.arange(len(r))[:, None], interval[:, None] + np.arange(4)] = values
    return matrix


@njit(nogil=True, error_model='numpy')
def find_interval(layout, g, r):
    """The interval of grid ``g`` in which ``r`` lies, the nearest where it lies outside; the place in it; its width.

    ``layout`` is anything with the arrays ``grid_...`` of :class:`aiida_ufpnmr.engine.ufp.tables.Tables`.
    """
    low, high = 0, layout.grid_intervals[g]
    while high - low > 1:
        middle = (low + high) // 2
        if r < layout.grid_breaks[g, middle]:
            high = middle
        else:
            low = middle
    width = layout.grid_breaks[g, low + 1] - layout.grid_breaks[g, low]
    return low, (r - layout.grid_breaks[g, low]) / width, width


@njit(nogil=True, error_model='numpy')
def find_functions(layout, g, r, values, slopes):
    """Set the four functions of grid ``g`` at ``r`` and their derivatives by ``r``; returns the interval."""
    interval, t, width = find_interval(layout, g, r)
    for a in range(4):
        c = layout.grid_functions[g, interval, a]
        values[a] = c[0] + t * (c[1] + t * (c[2] + t * c[3]))
        slopes[a] = (c[1] + t * (2.0 * c[2] + 3.0 * t * c[3])) / width
    return interval
