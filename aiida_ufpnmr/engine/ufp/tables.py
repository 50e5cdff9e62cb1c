"""Grids and potentials as flat arrays, for compiled code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aiida_ufpnmr.engine.ufp.splines import Grid
from aiida_ufpnmr.engine.ufp.terms import Pair, Trio, TrioGrids

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Å; where there are no trios, the grid of their legs ends here, closer than any two atoms are.
_NO_LEG = 1e-3


class Layout(NamedTuple):
    """The grids of all terms of ``s`` species; the arrays are those of :class:`Tables`."""

    grid_start: np.ndarray
    grid_stop: np.ndarray
    grid_inverse: np.ndarray
    grid_intervals: np.ndarray
    grid_breaks: np.ndarray
    grid_functions: np.ndarray
    pair_grid: np.ndarray
    leg_grid: np.ndarray
    third_grid: np.ndarray
    trio_index: np.ndarray
    trio_cutoff: float
    cutoff: float
    uniform: bool  # all of the grids are


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
    grid_functions: (
        np.ndarray
    )  # (g, n, 4, 4): on each interval the four functions as cubics in t from 0 to 1, lowest power first
    pair_grid: np.ndarray  # (s, s)
    pair_polynomials: (
        np.ndarray
    )  # (s, s, n + 1, 4) eV: on each interval a cubic in t from 0 to 1, lowest power first; then zeros
    leg_grid: np.ndarray  # (s, s, s or 1) by centre, neighbour, partner
    third_grid: np.ndarray  # (trios,)
    trio_index: np.ndarray  # (s, s, s) row in trio_coefficients for centre, first, second neighbour
    trio_coefficients: (
        np.ndarray
    )  # (trios, a, b, c) eV, float64 or float32: leg to the first, to the second, third side
    trio_cutoff: float  # Å, of the longest leg
    cutoff: float  # Å, of everything
    threads: int
    # what is None, and the other way to take the sums, is not compiled: that would double the time it takes
    plain: bool | None  # take the plain twin of the sums, for any grids; None for their vector form, for uniform ones
    parallel: bool | None  # several threads; None for one


def padded(arrays: Sequence[np.ndarray], fill: float) -> np.ndarray:
    """Arrays of one dimension each as one, filled up at their ends to the shape of the largest."""
    shape = np.max([array.shape for array in arrays], axis=0)
    result = np.full((len(arrays), *shape), fill, arrays[0].dtype)
    for row, array in zip(result, arrays):
        row[tuple(slice(length) for length in array.shape)] = array
    return result


def lay_out(species: Sequence[str], pairs: Mapping[Pair, Grid], trios: Mapping[Trio, TrioGrids]) -> Layout:
    """Number all grids, equal ones once."""
    s, at = len(species), {name: i for i, name in enumerate(species)}
    numbers: dict[Grid, int] = {}

    def number(grid):
        return numbers.setdefault(grid, len(numbers))

    pair_grid, leg_grid = np.empty((s, s), np.int64), np.empty((s, s, s), np.int64)
    trio_index, third_grid = np.zeros((s, s, s), np.int64), []
    for (a, b), grid in pairs.items():
        pair_grid[at[a], at[b]] = pair_grid[at[b], at[a]] = number(grid)
    for (centre, first, second), grids in trios.items():
        i, j, k = at[centre], at[first], at[second]
        leg_grid[i, j, k], leg_grid[i, k, j] = number(grids[0]), number(grids[1])
        trio_index[i, j, k] = trio_index[i, k, j] = len(third_grid)
        third_grid.append(number(grids[2]))
    trio_cutoff = max((grid.stop for grids in trios.values() for grid in grids[:2]), default=_NO_LEG)
    if not trios:
        leg_grid[:] = number(Grid((0.0, _NO_LEG)))
        third_grid.append(number(Grid((0.0, 2 * _NO_LEG))))
    if (leg_grid == leg_grid[:, :, :1]).all():
        leg_grid = np.ascontiguousarray(leg_grid[:, :, :1])
    start, stop, intervals = (
        np.array([getattr(grid, name) for grid in numbers]) for name in ('start', 'stop', 'n_intervals')
    )
    return Layout(
        start,
        stop,
        intervals / (stop - start),
        intervals,
        padded([np.array(grid.breaks) for grid in numbers], np.inf),
        padded([grid.functions for grid in numbers], 0.0),
        pair_grid,
        leg_grid,
        np.array(third_grid),
        trio_index,
        float(trio_cutoff),
        float(max(trio_cutoff, max(grid.stop for grid in pairs.values()))),
        all(grid.is_uniform for grid in numbers),
    )


def build_tables(potential: UltraFastPotential, precision: str = 'float64', threads: int = 1) -> Tables:
    """Tables of a potential.

    Args:
        precision: of the coefficients and contractions of the three-body terms, ``float64`` or ``float32``.
        threads: how many share the atoms.
    """
    species = potential.species
    s, at = len(species), {name: i for i, name in enumerate(species)}
    # beyond its grid a third side is taken for its last interval: let it reach as far as it can
    trios = {name: term.covering() for name, term in potential.trios.items()}
    layout = lay_out(
        species,
        {name: term.grid for name, term in potential.pairs.items()},
        {name: term.grids for name, term in trios.items()},
    )
    rows = padded([term.grid.polynomials(term.coefficients) for term in potential.pairs.values()], 0.0)
    polynomials = np.zeros((s, s, rows.shape[1] + 1, 4))
    for (a, b), row in zip(potential.pairs, rows):
        polynomials[at[a], at[b], :-1] = polynomials[at[b], at[a], :-1] = row
    blocks = [term.coefficients for term in trios.values()] or [np.zeros((4, 4, 4))]
    grids = layout._asdict()
    uniform = grids.pop('uniform')
    return Tables(
        one_body=np.array(potential.one_body, float),
        pair_polynomials=polynomials,
        trio_coefficients=padded(blocks, 0.0).astype(precision),
        threads=threads,
        plain=None if uniform else True,
        parallel=True if threads > 1 else None,
        **grids,
    )
