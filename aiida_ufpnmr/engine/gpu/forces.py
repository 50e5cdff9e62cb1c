"""Forces on and around one atom, by the lanes of a warp.

The lanes share the neighbours in the lists, as many at a time as there are lanes. Those near enough for triplets or
moments are closed up, and everything that depends on one distance is computed once for each; then the lanes share
the couples of them. The derivatives by the vectors to the neighbours are added as integers, and handed to the atoms in
the end. All arithmetic between is float32.

The forces are those of :mod:`aiida_ufpnmr.engine.ufp.kernels`. A cubic B-spline is taken as ((2 − |y|)₊³ − 4 (1 −
|y|)₊³) / 6 at y intervals from its centre, which needs no branch, and vanishes by itself beyond its ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aiida_ufpnmr.engine.gpu.arrays import SHORT, SHORT_NEAR, packed_trouble
from aiida_ufpnmr.engine.gpu.fixed_point import ENERGY_UNIT, FORCE_UNIT
from aiida_ufpnmr.engine.gpu.lanes import Lanes
from aiida_ufpnmr.engine.gpu.lists import packing_functions
from aiida_ufpnmr.engine.gpu.moments import N_PRODUCTS, moment_function
from aiida_ufpnmr.engine.gpu.tables import Shape
from aiida_ufpnmr.engine.md import guards
from aiida_ufpnmr.engine.ufp.moments import N_MOMENTS

_ZERO, _HALF, _ONE, _TWO, _THREE = (np.float32(x) for x in (0, 0.5, 1, 2, 3))
_SIXTH, _TWO_THIRDS = np.float32(1 / 6), np.float32(2 / 3)
_PER_FORCE, _FORCE, _PER_ENERGY = np.float32(1 / FORCE_UNIT), np.float32(FORCE_UNIT), 1 / ENERGY_UNIT
_TOO_CLOSE = packed_trouble(guards.TOO_CLOSE)


class Scratch(NamedTuple):
    """What the lanes of each warp share while they are at an atom, of up to ``near`` neighbours."""

    vector: Any  # (warps, near, 4) float32 vector to a neighbour, Å, and the inverse of its length
    atom: Any  # (warps, near, 2) int32 which atom, and its species
    bond: Any  # (warps, partners, near, 2 functions) float32 values, and slopes over the length
    window: Any  # (warps, partners, near) int32 the first function of these
    pull: Any  # (warps, near, 3) int32 gradient of the energy by the vector
    density: Any  # (warps, near, 2 ranges) float32 densities of moments, and their slopes
    moment: Any  # (warps, 2, components, densities) float32 moments, and derivatives of the energy by them
    product: Any  # (warps, pairs of densities, products) float32


def scratch_shapes(shape: Shape, near: int, warps: int) -> Scratch:
    """The shapes of the arrays; those without use have one element a warp."""
    d = shape.densities
    return Scratch(
        vector=(warps, near, 4),
        atom=(warps, near, 2),
        bond=(warps, shape.partners, near, 2 * shape.bond_window),
        window=(warps, shape.partners, near),
        pull=(warps, near, 3),
        density=(warps, near if d else 1, max(1, 2 * shape.ranges)),
        moment=(warps, 2, N_MOMENTS if d else 1, max(1, d)),
        product=(warps, max(1, d * (d + 1) // 2), N_PRODUCTS if d else 1),
    )


#: Types of the elements of :class:`Scratch`.
SCRATCH_TYPES = Scratch(*(np.int32 if name in ('atom', 'window', 'pull') else np.float32 for name in Scratch._fields))


def spline_function(lanes: Lanes) -> Callable:
    """A cubic B-spline y intervals from its centre, and its slope."""

    @lanes.function
    def spline(y):
        a = abs(y)
        p, q = max(_TWO - a, _ZERO), max(_ONE - a, _ZERO)
        p2, q2 = p * p, q * q
        slope = _TWO * q2 - _HALF * p2
        return _SIXTH * p2 * p - _TWO_THIRDS * q2 * q, slope if y >= _ZERO else -slope

    return spline


def force_function(lanes: Lanes, shape: Shape, near: int, observing: bool) -> Callable:
    """What one lane does around an atom.

    Args:
        near: capacity of :class:`Scratch`.
        observing: add energies and virial to :class:`~aiida_ufpnmr.engine.gpu.arrays.Observed`, and no forces.
    """
    count, ballot, bits, total, sync, add, least, nearest, inverse_root = (
        lanes.count, lanes.ballot, lanes.bits, lanes.total, lanes.sync, lanes.add, lanes.least, lanes.nearest,
        lanes.inverse_root,
    )  # fmt: skip
    spline = spline_function(lanes)
    edges_of, vector_to, atom_of = packing_functions(lanes)
    add_moments = moment_function(lanes, shape) if shape.densities else None
    window, bonds, partners = shape.bond_window, shape.bonds, shape.partners
    first_bond, first_third, last_third = shape.first_bond - 1, shape.first_third - 1, shape.thirds - 4

    @lanes.function
    def around(replica, i, lane, warp, state, lists, tables, scratch, observed):
        ti = state.place[replica, i, 3]
        edges = edges_of(state.edges, replica)
        fx = fy = fz = 0
        energy = _ZERO
        vxx = vxy = vxz = vyy = vyz = vzz = _ZERO
        n_neighbours, m = lists.length[replica, i], 0
        for first in range(0, n_neighbours, count):
            at, inside = first + lane, False
            x = y = z = inverse = _ZERO
            j = tj = 0
            if at < n_neighbours:
                entry = lists.entry[replica, i, at]
                j = atom_of(entry)
                tj = state.place[replica, j, 3]
                x, y, z = vector_to(state.place, edges, replica, i, entry)
                square = x * x + y * y + z * z
                inverse = inverse_root(square)
                per_length = tables.pair_grid[ti, tj, 1]
                u = (square * inverse - tables.pair_grid[ti, tj, 0]) * per_length
                above = max(u, _ZERO)
                interval = min(np.int32(above), np.int32(tables.pair_grid[ti, tj, 2]))
                t = above - np.float32(interval)
                c1, c2 = tables.pair[ti, tj, interval, 1], tables.pair[ti, tj, interval, 2]
                c3 = tables.pair[ti, tj, interval, 3]
                slope = c1 + t * (_TWO * c2 + _THREE * t * c3)
                # each pair counts in both orders, and each of its atoms finds it
                along = _TWO * per_length * slope * inverse
                inside = tables.near[ti, tj, 0] <= square and square < tables.near[ti, tj, 1]
                if observing:
                    energy += tables.pair[ti, tj, interval, 0] + t * (c1 + t * (c2 + t * c3)) + min(u, _ZERO) * slope
                    half = _HALF * along
                    vxx, vxy, vxz = vxx + half * x * x, vxy + half * x * y, vxz + half * x * z
                    vyy, vyz, vzz = vyy + half * y * y, vyz + half * y * z, vzz + half * z * z
                else:
                    fx += nearest(along * x * _PER_FORCE)
                    fy += nearest(along * y * _PER_FORCE)
                    fz += nearest(along * z * _PER_FORCE)
                    if square < tables.closest[ti, tj] and i < j:
                        least(state.trouble, replica, _TOO_CLOSE | i << 28 | j)
            mask = ballot(inside)
            place = m + bits(mask & ((1 << lane) - 1))
            if inside and place < near:
                scratch.vector[warp, place, 0] = x
                scratch.vector[warp, place, 1] = y
                scratch.vector[warp, place, 2] = z
                scratch.vector[warp, place, 3] = inverse
                scratch.atom[warp, place, 0] = j
                scratch.atom[warp, place, 1] = tj
            m += bits(mask)
        if m > near:
            m = near
            if lane == 0:
                state.control[replica, SHORT] = SHORT_NEAR
        sync()
        for b in range(lane, m, count):
            for a in range(3):
                scratch.pull[warp, b, a] = 0
            inverse = scratch.vector[warp, b, 3]
            x, y, z = scratch.vector[warp, b, 0], scratch.vector[warp, b, 1], scratch.vector[warp, b, 2]
            length = (x * x + y * y + z * z) * inverse
            for p in range(partners):
                start = tables.bond_grid[ti, scratch.atom[warp, b, 1], p, 0]
                per_length = tables.bond_grid[ti, scratch.atom[warp, b, 1], p, 1]
                u = (length - start) * per_length
                inside = u >= _ZERO and length < tables.bond_grid[ti, scratch.atom[warp, b, 1], p, 2]
                begin = 0
                if bonds > window:
                    begin = min(max(np.int32(u) - first_bond - 1, 0), bonds - window)
                    scratch.window[warp, p, b] = begin
                u -= np.float32(first_bond + begin)
                for a in range(window):
                    value, slope = spline(u - np.float32(a))
                    scratch.bond[warp, p, b, a] = value if inside else _ZERO
                    scratch.bond[warp, p, b, window + a] = slope * per_length * inverse if inside else _ZERO
        sync()
        for couple in range(lane, m * (m - 1) // 2, count):
            k = np.int32((_ONE + math.sqrt(np.float32(1 + 8 * couple))) * _HALF)
            if k * (k - 1) // 2 > couple:
                k -= 1
            j = couple - k * (k - 1) // 2
            tj, tk = scratch.atom[warp, j, 1], scratch.atom[warp, k, 1]
            xj, yj, zj = scratch.vector[warp, j, 0], scratch.vector[warp, j, 1], scratch.vector[warp, j, 2]
            xk, yk, zk = scratch.vector[warp, k, 0], scratch.vector[warp, k, 1], scratch.vector[warp, k, 2]
            x, y, z = xk - xj, yk - yj, zk - zj
            square = x * x + y * y + z * z
            inverse = inverse_root(square)
            triplet = tables.triplet[ti, tj, tk]
            per_length = tables.third_grid[triplet, 1]
            u = (square * inverse - tables.third_grid[triplet, 0]) * per_length
            if u >= _ZERO:
                pj, pk, begin_j, begin_k = 0, 0, 0, 0
                if partners > 1:
                    pj, pk = tk, tj
                if bonds > window:
                    begin_j, begin_k = scratch.window[warp, pj, j], scratch.window[warp, pk, k]
                begin = min(max(np.int32(u) - first_third - 1, 0), last_third)
                u -= np.float32(first_third + begin)
                b0, s0 = spline(u)
                b1, s1 = spline(u - _ONE)
                b2, s2 = spline(u - _TWO)
                b3, s3 = spline(u - _THREE)
                by_j = by_k = by_third = _ZERO
                for a in range(window):
                    by_value = by_slope = by_side = _ZERO
                    for b in range(window):
                        q0 = tables.coefficient[triplet, begin_j + a, begin_k + b, begin]
                        q1 = tables.coefficient[triplet, begin_j + a, begin_k + b, begin + 1]
                        q2 = tables.coefficient[triplet, begin_j + a, begin_k + b, begin + 2]
                        q3 = tables.coefficient[triplet, begin_j + a, begin_k + b, begin + 3]
                        e = q0 * b0 + q1 * b1 + q2 * b2 + q3 * b3
                        value = scratch.bond[warp, pk, k, b]
                        by_value += e * value
                        by_slope += e * scratch.bond[warp, pk, k, window + b]
                        by_side += (q0 * s0 + q1 * s1 + q2 * s2 + q3 * s3) * value
                    value = scratch.bond[warp, pj, j, a]
                    by_j += scratch.bond[warp, pj, j, window + a] * by_value
                    by_k += value * by_slope
                    by_third += value * by_side
                    if observing:
                        energy += value * by_value
                by_third *= per_length * inverse
                add(scratch.pull, (warp, j, 0), nearest((by_j * xj - by_third * x) * _PER_FORCE))
                add(scratch.pull, (warp, j, 1), nearest((by_j * yj - by_third * y) * _PER_FORCE))
                add(scratch.pull, (warp, j, 2), nearest((by_j * zj - by_third * z) * _PER_FORCE))
                add(scratch.pull, (warp, k, 0), nearest((by_k * xk + by_third * x) * _PER_FORCE))
                add(scratch.pull, (warp, k, 1), nearest((by_k * yk + by_third * y) * _PER_FORCE))
                add(scratch.pull, (warp, k, 2), nearest((by_k * zk + by_third * z) * _PER_FORCE))
        sync()
        if add_moments is not None:
            centre = tables.moment_row[ti]
            if centre >= 0:
                energy += add_moments(centre, m, lane, warp, tables, scratch)
        for b in range(lane, m, count):
            gx, gy, gz = scratch.pull[warp, b, 0], scratch.pull[warp, b, 1], scratch.pull[warp, b, 2]
            if observing:
                x, y, z = scratch.vector[warp, b, 0], scratch.vector[warp, b, 1], scratch.vector[warp, b, 2]
                ex, ey, ez = np.float32(gx) * _FORCE, np.float32(gy) * _FORCE, np.float32(gz) * _FORCE
                vxx, vxy, vxz = vxx + x * ex, vxy + x * ey, vxz + x * ez
                vyy, vyz, vzz = vyy + y * ey, vyz + y * ez, vzz + z * ez
            else:
                j = scratch.atom[warp, b, 0]
                add(state.force, (replica, j, 0), -gx)
                add(state.force, (replica, j, 1), -gy)
                add(state.force, (replica, j, 2), -gz)
                fx, fy, fz = fx + gx, fy + gy, fz + gz
        if observing:
            here = total(np.int64(np.float64(energy) * _PER_ENERGY))
            if lane == 0:
                observed.energy[replica, i] = here
            virial = (vxx, vxy, vxz, vyy, vyz, vzz)
            for a in range(6):
                part = total(np.int64(np.float64(virial[a]) * _PER_ENERGY))
                if lane == 0:
                    add(observed.virial, (replica, a), part)
        else:
            fx, fy, fz = total(fx), total(fy), total(fz)
            if lane == 0:
                add(state.force, (replica, i, 0), np.int32(fx))
                add(state.force, (replica, i, 1), np.int32(fy))
                add(state.force, (replica, i, 2), np.int32(fz))
        sync()  # the next atom of this warp finds the scratch free

    return around
