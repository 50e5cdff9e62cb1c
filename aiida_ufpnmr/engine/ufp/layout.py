"""Grids of all terms as flat arrays, for compiled code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.ufp.splines import Grid
from aiida_ufpnmr.engine.ufp.terms import Pair, Triplet, TripletGrids

#: Å; where there are no triplets, the grid of their bonds ends here, closer than any two atoms are.
_NO_BOND = 1e-3


class Layout(NamedTuple):
    """The grids of all terms; :class:`~aiida_ufpnmr.engine.ufp.tables.Tables` describes the arrays."""

    grid_start: np.ndarray
    grid_stop: np.ndarray
    grid_inverse: np.ndarray
    grid_intervals: np.ndarray
    grid_breaks: np.ndarray
    grid_functions: np.ndarray
    pair_grid: np.ndarray
    bond_grid: np.ndarray
    third_grid: np.ndarray
    triplet_index: np.ndarray
    cutoff: float
    uniform: bool  # all of the grids are


def padded(arrays: Sequence[np.ndarray], fill: float) -> np.ndarray:
    """Arrays of one dimension each as one, filled up at their ends to the shape of the largest."""
    shape = np.max([array.shape for array in arrays], axis=0)
    result = np.full((len(arrays), *shape), fill, arrays[0].dtype)
    for row, array in zip(result, arrays):
        row[tuple(slice(length) for length in array.shape)] = array
    return result


def lay_out(species: Sequence[str], pairs: Mapping[Pair, Grid], triplets: Mapping[Triplet, TripletGrids]) -> Layout:
    """Number all grids, equal ones once."""
    s, at = len(species), {name: i for i, name in enumerate(species)}
    numbers: dict[Grid, int] = {}

    def number(grid):
        return numbers.setdefault(grid, len(numbers))

    pair_grid, bond_grid = np.empty((s, s), np.int64), np.empty((s, s, s), np.int64)
    triplet_index = np.zeros((s, s, s), np.int64)
    third_grid: list[int] = []
    for (a, b), grid in pairs.items():
        pair_grid[at[a], at[b]] = pair_grid[at[b], at[a]] = number(grid)
    for (centre, first, second), grids in triplets.items():
        i, j, k = at[centre], at[first], at[second]
        bond_grid[i, j, k], bond_grid[i, k, j] = number(grids[0]), number(grids[1])
        triplet_index[i, j, k] = triplet_index[i, k, j] = len(third_grid)
        third_grid.append(number(grids[2]))
    triplet_cutoff = max((grid.stop for grids in triplets.values() for grid in grids[:2]), default=_NO_BOND)
    if not triplets:
        bond_grid[:] = number(Grid((0.0, _NO_BOND)))
        third_grid.append(number(Grid((0.0, 2 * _NO_BOND))))
    if (bond_grid == bond_grid[:, :, :1]).all():
        bond_grid = np.ascontiguousarray(bond_grid[:, :, :1])
    start, stop, intervals = (
        np.array([getattr(grid, name) for grid in numbers]) for name in ('start', 'stop', 'n_intervals')
    )
    return Layout(
        grid_start=start,
        grid_stop=stop,
        grid_inverse=intervals / (stop - start),
        grid_intervals=intervals,
        grid_breaks=padded([np.array(grid.breaks) for grid in numbers], np.inf),
        grid_functions=padded([grid.functions for grid in numbers], 0.0),
        pair_grid=pair_grid,
        bond_grid=bond_grid,
        third_grid=np.array(third_grid),
        triplet_index=triplet_index,
        cutoff=float(max(triplet_cutoff, max(grid.stop for grid in pairs.values()))),
        uniform=all(grid.is_uniform for grid in numbers),
    )
