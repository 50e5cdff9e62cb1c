"""A potential as flat arrays, for compiled code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.ufp.splines import polynomials


class Tables(NamedTuple):
    """A potential of ``s`` species as flat arrays.

    Splines lie on ``g`` grids, each a row of the arrays ``grid_...``; other arrays say which grid a spline lies on. Those of
    the legs may depend on the partner, the other neighbour: ``leg_grid`` has one place for each species of it, or
    a single one where all partners share a grid.
    """

    one_body: np.ndarray  # (s,) eV
    grid_start: np.ndarray  # (g,) Å
    grid_stop: np.ndarray  # (g,) Å
    grid_inverse: np.ndarray  # (g,) 1/Å, intervals per length; meaningful on uniform grids
    grid_intervals: np.ndarray  # (g,)
    grid_breaks: np.ndarray  # (g, n + 1) Å, the knots from start to stop
    grid_functions: np.ndarray  # (g, n, 4, 4): on each interval the four functions as cubics in t from 0 to 1, lowest power first
    pair_grid: np.ndarray  # (s, s)
    pair_polynomials: np.ndarray  # (s, s, n + 1, 4) eV: on each interval a cubic in t from 0 to 1, lowest power first; then zeros
    leg_grid: np.ndarray  # (s, s, s or 1) by centre, neighbour, partner
    third_grid: np.ndarray  # (trios,)
    trio_index: np.ndarray  # (s, s, s) row in trio_coefficients for centre, first, second neighbour
    trio_coefficients: np.ndarray  # (trios, a, b, c) eV, float64 or float32: leg to the first, to the second, third side
    trio_cutoff: float  # Å, of the longest leg
    cutoff: float  # Å, of everything
    vectorised: bool  # take the vector form of the sums, for uniform grids, or their plain twin, for any
    threads: int


def build_tables(potential, precision: str = 'float64', threads: int = 1) -> Tables:
    """Tables of a potential.

    Args:
        precision: of the coefficients and contractions of the three-body terms, ``float64`` or ``float32``.
        threads: how many share the atoms.
    """
    s = len(potential.species)
    n = potential.pair_coefficients.shape[2] - 3
    legs = potential.trio_coefficients.shape[3] - 3
    thirds = potential.trio_coefficients.shape[5] - 3
    grids = []

    def number(start, stop, intervals):
        key = float(start), float(stop), intervals
        if key not in grids:
            grids.append(key)
        return grids.index(key)

    pair_grid, leg_grid = np.empty((s, s), np.int64), np.empty((s, s, 1), np.int64)
    trio_index = np.zeros((s, s, s), np.int64)
    third_grid, blocks = [], []
    for i, j in np.ndindex(s, s):
        pair_grid[i, j] = number(potential.pair_start[i, j], potential.pair_cutoff[i, j], n)
        leg_grid[i, j, 0] = number(potential.leg_start[i, j], potential.trio_cutoff, legs)
    for i, j, k in np.ndindex(s, s, s):
        if j <= k:
            trio_index[i, j, k] = trio_index[i, k, j] = len(blocks)
            blocks.append(potential.trio_coefficients[i, j, k])
            third_grid.append(number(potential.third_start[j, k], 2 * potential.trio_cutoff, thirds))
    start, stop, intervals = (np.array(values) for values in zip(*grids))
    most = int(intervals.max())
    breaks = np.zeros((len(grids), most + 1))
    functions = np.zeros((len(grids), most, 4, 4))
    for g, (low, high, m) in enumerate(grids):
        breaks[g, : m + 1] = np.linspace(low, high, m + 1)
        functions[g] = np.stack([polynomials(np.eye(4)[a]) for a in range(4)], axis=1)
    return Tables(
        np.ascontiguousarray(potential.one_body),
        start,
        stop,
        intervals / (stop - start),
        intervals,
        breaks,
        functions,
        pair_grid,
        np.pad(polynomials(potential.pair_coefficients), ((0, 0), (0, 0), (0, 1), (0, 0))),
        leg_grid,
        np.array(third_grid),
        trio_index,
        np.ascontiguousarray(blocks, dtype=precision),
        float(potential.trio_cutoff),
        potential.cutoff,
        True,
        threads,
    )
