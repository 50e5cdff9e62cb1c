"""A potential as float32 arrays for a GPU: functions without coefficients at the ends of the axes are left out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp.lists import bond_reach
from aiida_ufpnmr.engine.ufp.tables import Tables

#: Functions of a cubic spline on one interval.
_LOCAL = 4


class GpuTables(NamedTuple):
    """A potential of s species, whose bonds differ by p partners (1 or s)."""

    pair: np.ndarray  # (s, s, intervals + 1, 4) cubics, eV
    pair_grid: np.ndarray  # (s, s, 3) start, intervals per Å, number of intervals
    closest: np.ndarray  # (s, s) square of the least distance that is allowed, Å²
    near: np.ndarray  # (s, s, 2) squares between which neighbours count for triplets or moments, Å²
    bond_grid: np.ndarray  # (s, s, p, 3) start, intervals per Å, stop
    third_grid: np.ndarray  # (triplets, 2) start, intervals per Å
    triplet: np.ndarray  # (s, s, s) int32
    coefficient: np.ndarray  # (triplets, bonds, bonds, thirds) eV
    moment_row: np.ndarray  # (s,) int32 place of a species among the centres of moments, or -1
    moment_range: np.ndarray  # (c, k) Å
    moment_closest: np.ndarray  # (c, s) Å
    moment_coefficient: np.ndarray  # (c, kinds, pairs of densities, densities + 1) eV


class Shape(NamedTuple):
    """Sizes that kernels are compiled for."""

    first_bond: int  # number of the first function along a bond that has coefficients
    bonds: int  # functions along a bond
    first_third: int
    thirds: int
    partners: int
    ranges: int  # of densities; 0 without moments
    densities: int  # of moments

    @property
    def bond_window(self) -> int:
        """Functions along a bond that are evaluated."""
        return min(self.bonds, _LOCAL)


def gpu_tables(tables: Tables, closest: np.ndarray, source: str) -> tuple[GpuTables, Shape]:
    """Arrays and sizes of a potential.

    Args:
        closest: (s, s) least distances that are allowed, Å.
        source: name of the potential in messages.

    Raises:
        InputError: the knots are not uniform.
    """
    if tables.plain:
        raise InputError(
            f'{source}: has knots that are not uniform, which a GPU does not know; run it with --device cpu'
        )
    s = len(tables.one_body)
    grids = np.stack([tables.grid_start, tables.grid_inverse, tables.grid_stop], axis=-1)
    pair_grid = grids[tables.pair_grid]
    pair_grid[..., 2] = tables.grid_intervals[tables.pair_grid]
    near = np.stack([tables.grid_start[tables.bond_grid].min(axis=2), bond_reach(tables)], axis=-1)
    used = np.nonzero(tables.triplet_coefficients)
    along = np.concatenate(used[1:3]) if len(used[0]) else np.zeros(1, int)
    third = used[3] if len(used[0]) else np.zeros(1, int)
    bonds, thirds = (slice(int(axis.min()), int(axis.max()) + 1) for axis in (along, third))
    # windows of four along the third side begin within the array
    coefficients = tables.triplet_coefficients[:, bonds, bonds, thirds]
    spare = max(0, _LOCAL - coefficients.shape[3])
    coefficients = np.pad(coefficients, ((0, 0), (0, 0), (0, 0), (0, spare)))
    row, ranges = np.full(s, -1), np.ones((1, 0))
    held, packed = np.ones((1, s)), np.zeros((1, 1, 1, 1))
    if (
        tables.moment_row is not None
        and tables.moment_ranges is not None
        and tables.moment_closest is not None
        and tables.moment_coefficients is not None
    ):
        row, ranges, held = tables.moment_row, tables.moment_ranges, tables.moment_closest
        packed = tables.moment_coefficients[..., [*range(s * ranges.shape[1]), -1]]
        for t in np.flatnonzero(row >= 0):
            near[t, :, 0], near[t, :, 1] = 0.0, np.maximum(near[t, :, 1], ranges[row[t]].max())
    shape = Shape(
        first_bond=bonds.start,
        bonds=coefficients.shape[1],
        first_third=thirds.start,
        thirds=coefficients.shape[3],
        partners=tables.bond_grid.shape[2],
        ranges=ranges.shape[1],
        densities=s * ranges.shape[1],
    )

    def single(array: np.ndarray) -> np.ndarray:
        """In float32; a device has no arrays without elements."""
        return np.ascontiguousarray(array if array.size else np.ones_like(array, shape=(1, 2)), np.float32)

    return GpuTables(
        pair=single(tables.pair_polynomials),
        pair_grid=single(pair_grid),
        closest=single(closest**2),
        near=single(near**2),
        bond_grid=single(grids[tables.bond_grid]),
        third_grid=single(grids[tables.third_grid][:, :2].reshape(-1, 2)),
        triplet=tables.triplet_index.astype(np.int32),
        coefficient=single(coefficients),
        moment_row=row.astype(np.int32),
        moment_range=single(ranges),
        moment_closest=single(held),
        moment_coefficient=single(packed),
    ), shape
