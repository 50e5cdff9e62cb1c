"""Compiled energy, forces and virial of an ultra-fast potential.

The three-body energy of an atom depends on the vectors to its neighbours only. The kernel collects the gradient of that
energy by each of these vectors; forces and virial follow from it in one place.

Sums run over neighbours in the order of the lists (by atom, then image), so that results do not depend on when the lists
were made as long as they hold every pair within the cut-off.

Indices in inner loops are unsigned (``np.uintp``), which spares Numba the check for counting from the end.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from aiida_ufpnmr.engine.neighbours import find_neighbours
from aiida_ufpnmr.engine.ufp.simd import (
    broadcast4,
    broadcast8,
    cubic_slopes4,
    cubic_values4,
    filled8,
    lane,
    lesser,
    load4,
    load8,
    lower,
    root,
    spread,
    store4,
    store8,
    sums,
    twice,
    upper,
    whole,
)
from aiida_ufpnmr.engine.ufp.splines import cubic_slopes, cubic_values

#: No reordering that could hide a NaN, but sums may be contracted and vectorised.
MATH = {'contract', 'reassoc', 'arcp', 'nsz'}


class Tables(NamedTuple):
    """A potential as flat arrays; ``s`` species.

    Grids are given by their start, the inverse of their spacing, and their number of intervals.
    """

    one_body: np.ndarray  # (s,) eV
    pair_start: np.ndarray  # (s, s) Å
    pair_inverse: np.ndarray  # (s, s) 1/Å
    pair_cutoff: np.ndarray  # (s, s) Å
    pair_polynomials: np.ndarray  # (s, s, n, 4) eV: on each interval a cubic in t from 0 to 1, lowest power first
    trio_index: np.ndarray  # (s, s, s) row in trio_coefficients for centre, first, second neighbour
    trio_coefficients: np.ndarray  # (trios, a, b, c) eV: leg to the first, leg to the second neighbour, third side
    leg_start: np.ndarray  # (s, s) Å
    leg_inverse: np.ndarray  # (s, s) 1/Å
    third_start: np.ndarray  # (s, s) Å
    third_inverse: np.ndarray  # (s, s) 1/Å
    trio_cutoff: float  # Å, of both legs
    cutoff: float  # Å, of everything
    vectorised: bool  # take the vector form of the three-body sum, or its plain twin


class InteractionLists(NamedTuple):
    """Who interacts with whom. Offsets (Å) are added to the position of the neighbour.

    Pairs stand once, with the atom of lower index; both directions of a pair of an atom with its own image stand as one.
    Trios need all neighbours of an atom, within their shorter cut-off.
    """

    pair_start: np.ndarray  # (n + 1,)
    pair_index: np.ndarray  # (pairs,)
    pair_offset: np.ndarray  # (pairs, 3)
    near_start: np.ndarray  # (n + 1,)
    near_index: np.ndarray  # (neighbours,)
    near_offset: np.ndarray  # (neighbours, 3)


@nb.njit(cache=True)
def interaction_lists(positions, cell, pbc, tables, skin):
    """Lists of all pairs and neighbours within their cut-off plus ``skin`` (Å); the cell must span space."""
    start, index, shift = find_neighbours(positions, cell, pbc, tables.cutoff + skin)
    n = len(positions)
    limit = (tables.trio_cutoff + skin) ** 2
    pair_start = np.zeros(n + 1, np.int64)
    near_start = np.zeros(n + 1, np.int64)
    pair_index = np.empty(len(index), np.int32)
    near_index = np.empty(len(index), np.int32)
    pair_offset = np.empty((len(index), 3))
    near_offset = np.empty((len(index), 3))
    pairs = near = 0
    for i in range(n):
        x, y, z = positions[i, 0], positions[i, 1], positions[i, 2]
        for q in range(start[i], start[i + 1]):
            j = index[q]
            s0, s1, s2 = shift[q, 0], shift[q, 1], shift[q, 2]
            ox = s0 * cell[0, 0] + s1 * cell[1, 0] + s2 * cell[2, 0]
            oy = s0 * cell[0, 1] + s1 * cell[1, 1] + s2 * cell[2, 1]
            oz = s0 * cell[0, 2] + s1 * cell[1, 2] + s2 * cell[2, 2]
            if j > i or (j == i and (s0 > 0 or (s0 == 0 and (s1 > 0 or (s1 == 0 and s2 > 0))))):
                pair_index[pairs] = j
                pair_offset[pairs, 0] = ox
                pair_offset[pairs, 1] = oy
                pair_offset[pairs, 2] = oz
                pairs += 1
            if (positions[j, 0] + ox - x) ** 2 + (positions[j, 1] + oy - y) ** 2 + (positions[j, 2] + oz - z) ** 2 < limit:
                near_index[near] = j
                near_offset[near, 0] = ox
                near_offset[near, 1] = oy
                near_offset[near, 2] = oz
                near += 1
        pair_start[i + 1] = pairs
        near_start[i + 1] = near
    return InteractionLists(
        pair_start, pair_index[:pairs], pair_offset[:pairs], near_start, near_index[:near], near_offset[:near]
    )


@nb.njit(cache=True, fastmath=MATH, error_model='numpy')
def trios_plain(ti, count, kind, vector, gradient, leg_interval, leg_basis, tables):
    """Three-body energy of one atom, one trio after the other; adds to the gradients by the vectors to its neighbours.

    Args:
        ti: species of the atom.
        count: number of neighbours within the cut-off of the legs, sorted by species ``kind``.
        leg_interval, leg_basis: for each neighbour the interval of its length, and the four values and four slopes (over
            the length) of the functions there.
    """
    energy = 0.0
    third_intervals = tables.trio_coefficients.shape[3] - 3
    for j in range(count):
        tj = kind[j]
        for k in range(j + 1, count):
            tk = kind[k]
            trio = tables.trio_index[ti, tj, tk]
            ex = vector[k, 0] - vector[j, 0]
            ey = vector[k, 1] - vector[j, 1]
            ez = vector[k, 2] - vector[j, 2]
            r = np.sqrt(ex * ex + ey * ey + ez * ez)
            u = (r - tables.third_start[tj, tk]) * tables.third_inverse[tj, tk]
            if u < 0.0:
                continue
            interval = min(int(u), third_intervals - 1)
            values = cubic_values(u - interval)
            slopes = cubic_slopes(u - interval)
            value = 0.0
            by_j = 0.0
            by_k = 0.0
            by_third = 0.0
            for a in range(4):
                for b in range(4):
                    block = tables.trio_coefficients[trio, leg_interval[j] + a, leg_interval[k] + b]
                    row = 0.0
                    slope = 0.0
                    for c in range(4):
                        row += block[interval + c] * values[c]
                        slope += block[interval + c] * slopes[c]
                    value += row * leg_basis[j, a] * leg_basis[k, b]
                    by_j += row * leg_basis[j, 4 + a] * leg_basis[k, b]
                    by_k += row * leg_basis[j, a] * leg_basis[k, 4 + b]
                    by_third += slope * leg_basis[j, a] * leg_basis[k, b]
            by_third *= tables.third_inverse[tj, tk] / r
            energy += value
            gradient[j, 0] += by_j * vector[j, 0] - by_third * ex
            gradient[j, 1] += by_j * vector[j, 1] - by_third * ey
            gradient[j, 2] += by_j * vector[j, 2] - by_third * ez
            gradient[k, 0] += by_k * vector[k, 0] + by_third * ex
            gradient[k, 1] += by_k * vector[k, 1] + by_third * ey
            gradient[k, 2] += by_k * vector[k, 2] + by_third * ez
    return energy


@nb.njit(cache=True, fastmath=MATH, error_model='numpy')
def trios_vector(ti, count, kind, vector, gradient, leg_interval, leg_basis, tables, numbers, blocks):
    """The same as :func:`trios_plain`, four functions of the third side at a time.

    For each trio, the 4 x 4 x 4 block of coefficients is contracted with the values of the first leg and with its slopes
    side by side, in the lower and upper half of one register of eight; what belongs to the first leg stays in registers
    while the second runs. Then the second leg, then the third side: energy and the three derivatives are four sums.

    Args:
        numbers: (8, m) to work in, m at least ``count`` + 8. Rows: vector to the neighbour; start and inverse spacing of the
            grid of the third side; position on it, derivative, interval.
        blocks: (m,) to work in: where in the coefficients those of a second neighbour begin.
    """
    energy = 0.0
    columns = tables.trio_coefficients.shape[3]
    step = tables.trio_coefficients.shape[2] * columns
    size = tables.trio_coefficients.shape[1] * step
    m = numbers.shape[1]
    for k in range(count):
        for a in range(3):
            numbers[a, k] = vector[k, a]
    tj = -1
    for j in range(count - 1):
        if kind[j] != tj:
            tj = kind[j]
            for k in range(j + 1, count):
                numbers[3, k] = tables.third_start[tj, kind[k]]
                numbers[4, k] = tables.third_inverse[tj, kind[k]]
                blocks[k] = tables.trio_index[ti, tj, kind[k]] * size + leg_interval[k] * columns
        # Third sides of the trios with all that come after, eight at a time and over the end: interval on the grid (negative
        # below it), position within the interval, derivative of the grid coordinate over the length.
        xj, yj, zj = filled8(numbers[0, j]), filled8(numbers[1, j]), filled8(numbers[2, j])
        for k in range(j + 1, count, 8):
            dx, dy, dz = load8(numbers, k) - xj, load8(numbers, m + k) - yj, load8(numbers, 2 * m + k) - zj
            r = root(dx * dx + dy * dy + dz * dz)
            inverse = load8(numbers, 4 * m + k)
            u = (r - load8(numbers, 3 * m + k)) * inverse
            interval = lesser(whole(u), filled8(columns - 4.0))
            store8(numbers, 5 * m + k, u - interval)
            store8(numbers, 6 * m + k, inverse / r)
            store8(numbers, 7 * m + k, interval)
        first0 = broadcast8(leg_basis[j, 0], leg_basis[j, 4])
        first1 = broadcast8(leg_basis[j, 1], leg_basis[j, 5])
        first2 = broadcast8(leg_basis[j, 2], leg_basis[j, 6])
        first3 = broadcast8(leg_basis[j, 3], leg_basis[j, 7])
        vector_j = load4(vector, 4 * j)
        gradient_j = load4(gradient, 4 * j)
        row = leg_interval[j] * step
        for second in range(j + 1, count):
            k = np.uintp(second)
            interval = int(numbers[7, k])
            if interval < 0:
                continue
            at = blocks[k] + row + interval
            both = broadcast8(0.0, 0.0)
            by_second = broadcast4(0.0)
            for b in range(4):
                block = (
                    twice(load4(tables.trio_coefficients, at)) * first0
                    + twice(load4(tables.trio_coefficients, at + step)) * first1
                    + twice(load4(tables.trio_coefficients, at + 2 * step)) * first2
                    + twice(load4(tables.trio_coefficients, at + 3 * step)) * first3
                )
                both = both + block * broadcast8(leg_basis[k, b], leg_basis[k, b])
                by_second = by_second + lower(block) * broadcast4(leg_basis[k, 4 + b])
                at += columns
            values = cubic_values4(numbers[5, k])
            slopes = cubic_slopes4(numbers[5, k]) * broadcast4(numbers[6, k])
            # energy, and derivatives over the lengths of first leg, second leg and third side
            found = sums(lower(both) * values, upper(both) * values, by_second * values, lower(both) * slopes)
            energy += lane(found, 0)
            vector_k = load4(vector, 4 * second)
            along_third = spread(found, 3) * (vector_k - vector_j)
            gradient_j = gradient_j + spread(found, 1) * vector_j - along_third
            store4(gradient, 4 * second, load4(gradient, 4 * second) + spread(found, 2) * vector_k + along_third)
        store4(gradient, 4 * j, gradient_j)
    return energy


@nb.njit(cache=True, inline='always')
def _add_symmetric(tensor, xx, yy, zz, yz, xz, xy):
    """Add a symmetric tensor, given by its six numbers."""
    tensor[0, 0] += xx
    tensor[1, 1] += yy
    tensor[2, 2] += zz
    tensor[1, 2] += yz
    tensor[2, 1] += yz
    tensor[0, 2] += xz
    tensor[2, 0] += xz
    tensor[0, 1] += xy
    tensor[1, 0] += xy


@nb.njit(cache=True, fastmath=MATH, error_model='numpy')
def _add_pairs(positions, types, lists, tables, energies, forces, virial, closest):
    """Add pair energies, forces and virial; returns the pair of atoms that came too close, or (-1, -1)."""
    too_close = (-1, -1)
    intervals = tables.pair_polynomials.shape[2]
    xx = yy = zz = yz = xz = xy = 0.0
    for i in range(len(positions)):
        ti = np.uintp(types[i])
        energy = 0.0
        fx = fy = fz = 0.0
        for q in range(np.uintp(lists.pair_start[i]), np.uintp(lists.pair_start[i + 1])):
            j = np.uintp(lists.pair_index[q])
            tj = np.uintp(types[j])
            dx = positions[j, 0] + lists.pair_offset[q, 0] - positions[i, 0]
            dy = positions[j, 1] + lists.pair_offset[q, 1] - positions[i, 1]
            dz = positions[j, 2] + lists.pair_offset[q, 2] - positions[i, 2]
            r2 = dx * dx + dy * dy + dz * dz
            cutoff = tables.pair_cutoff[ti, tj]
            if r2 >= cutoff * cutoff:
                continue
            r = np.sqrt(r2)
            if r < closest[ti, tj]:
                too_close = (i, np.int64(j))  # unsigned and -1 would make a float
            u = (r - tables.pair_start[ti, tj]) * tables.pair_inverse[ti, tj]
            interval = np.uintp(min(max(u, 0.0), intervals - 1.0))
            t = max(u - interval, 0.0)
            c0 = tables.pair_polynomials[ti, tj, interval, 0]
            c1 = tables.pair_polynomials[ti, tj, interval, 1]
            c2 = tables.pair_polynomials[ti, tj, interval, 2]
            c3 = tables.pair_polynomials[ti, tj, interval, 3]
            slope = c1 + t * (2.0 * c2 + 3.0 * t * c3)
            # below its grid a pair goes on as a straight line
            value = c0 + t * (c1 + t * (c2 + t * c3)) + min(u, 0.0) * slope
            energy += value
            energies[j] += value
            # each pair counts in both orders
            slope *= 2.0 * tables.pair_inverse[ti, tj] / r
            gx, gy, gz = slope * dx, slope * dy, slope * dz
            fx += gx
            fy += gy
            fz += gz
            forces[j, 0] -= gx
            forces[j, 1] -= gy
            forces[j, 2] -= gz
            xx += dx * gx
            yy += dy * gy
            zz += dz * gz
            yz += dy * gz
            xz += dx * gz
            xy += dx * gy
        energies[i] += energy
        forces[i, 0] += fx
        forces[i, 1] += fy
        forces[i, 2] += fz
    _add_symmetric(virial, xx, yy, zz, yz, xz, xy)
    return too_close


@nb.njit(cache=True, fastmath=MATH, error_model='numpy')
def _add_trios(positions, types, lists, tables, energies, forces, virial):
    """Add three-body energies, forces and virial."""
    n = len(positions)
    widest = 0
    for i in range(n):
        widest = max(widest, lists.near_start[i + 1] - lists.near_start[i])
    # of the neighbours of one atom: which atoms, their species, the vectors to them, the gradient of its energy by these
    atom = np.empty(widest, np.int64)
    kind = np.empty(widest, np.int64)
    vector = np.zeros((widest, 4))
    gradient = np.zeros((widest, 4))
    leg_interval = np.empty(widest, np.int64)
    leg_basis = np.empty((widest, 8))
    numbers = np.ones((8, widest + 8))
    blocks = np.zeros(widest + 8, np.int64)
    intervals = tables.trio_coefficients.shape[1] - 3
    cutoff2 = tables.trio_cutoff * tables.trio_cutoff
    xx = yy = zz = yz = xz = xy = 0.0
    for i in range(n):
        ti = np.uintp(types[i])
        count = 0
        for q in range(np.uintp(lists.near_start[i]), np.uintp(lists.near_start[i + 1])):
            j = np.uintp(lists.near_index[q])
            tj = np.uintp(types[j])
            dx = positions[j, 0] + lists.near_offset[q, 0] - positions[i, 0]
            dy = positions[j, 1] + lists.near_offset[q, 1] - positions[i, 1]
            dz = positions[j, 2] + lists.near_offset[q, 2] - positions[i, 2]
            r2 = dx * dx + dy * dy + dz * dz
            if r2 >= cutoff2:
                continue
            r = np.sqrt(r2)
            u = (r - tables.leg_start[ti, tj]) * tables.leg_inverse[ti, tj]
            if u < 0.0:
                continue
            interval = min(int(u), intervals - 1)
            store4(leg_basis, 8 * count, cubic_values4(u - interval))
            store4(leg_basis, 8 * count + 4, cubic_slopes4(u - interval) * broadcast4(tables.leg_inverse[ti, tj] / r))
            leg_interval[count] = interval
            atom[count] = j
            kind[count] = tj
            vector[count, 0] = dx
            vector[count, 1] = dy
            vector[count, 2] = dz
            store4(gradient, 4 * count, broadcast4(0.0))
            count += 1
        if tables.vectorised:
            energies[i] += trios_vector(
                ti, count, kind, vector, gradient, leg_interval, leg_basis, tables, numbers, blocks
            )
        else:
            energies[i] += trios_plain(ti, count, kind, vector, gradient, leg_interval, leg_basis, tables)
        fx = fy = fz = 0.0
        for q in range(count):
            j = atom[q]
            gx, gy, gz = gradient[q, 0], gradient[q, 1], gradient[q, 2]
            fx += gx
            fy += gy
            fz += gz
            forces[j, 0] -= gx
            forces[j, 1] -= gy
            forces[j, 2] -= gz
            xx += vector[q, 0] * gx
            yy += vector[q, 1] * gy
            zz += vector[q, 2] * gz
            yz += vector[q, 1] * gz
            xz += vector[q, 0] * gz
            xy += vector[q, 0] * gy
        forces[i, 0] += fx
        forces[i, 1] += fy
        forces[i, 2] += fz
    _add_symmetric(virial, xx, yy, zz, yz, xz, xy)


@nb.njit(cache=True)
def compute(positions, types, lists, tables, forces, energies, virial, closest):
    """Set energies (n,), forces (n, 3) and virial (3, 3), the derivative of the energy by strain.

    Args:
        positions: (n, 3) Å; atoms sorted by ``types``, so that neighbours in a list are sorted by species.
        types: (n,) species numbers.
        lists: see :func:`interaction_lists`.
        closest: (s, s) Å, the least distance that is allowed for each pair of species.

    Returns:
        The pair of atoms that came too close, or (-1, -1).
    """
    for i in range(len(positions)):
        energies[i] = tables.one_body[types[i]]
    forces[:] = 0.0
    virial[:] = 0.0
    too_close = _add_pairs(positions, types, lists, tables, energies, forces, virial, closest)
    _add_trios(positions, types, lists, tables, energies, forces, virial)
    return too_close
