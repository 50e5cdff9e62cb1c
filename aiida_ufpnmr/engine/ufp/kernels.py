"""Compiled energy, forces and virial of an ultra-fast potential.

The energy of atom i depends on the vectors to its neighbours only. The kernel collects the gradient of that energy by each
of these vectors, pair and three-body terms alike; forces and virial follow from it in one place.

Sums run over neighbours in the order of the list (by atom, then image), so that results do not depend on when the list was
made as long as it holds every pair within the cut-off.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

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
    pair_coefficients: np.ndarray  # (s, s, n + 3) eV
    trio_index: np.ndarray  # (s, s, s) row in trio_coefficients for centre, first, second neighbour; -1 for none
    trio_coefficients: np.ndarray  # (trios, a, b, c) eV: leg to the first, leg to the second neighbour, third side
    leg_start: np.ndarray  # (s, s) Å
    leg_inverse: np.ndarray  # (s, s) 1/Å
    third_start: np.ndarray  # (s, s) Å
    third_inverse: np.ndarray  # (s, s) 1/Å
    trio_cutoff: float  # Å, of both legs
    cutoff: float  # Å, of everything


@nb.njit(cache=True, fastmath=MATH, error_model='numpy')
def pair_energy(r, start, inverse, coefficients):
    """Value and slope of a pair spline at ``r``; below its grid it goes on as a straight line."""
    u = (r - start) * inverse
    interval = 0 if u < 0.0 else int(u)
    interval = min(interval, len(coefficients) - 4)
    t = u - interval
    below = min(t, 0.0)
    t = max(t, 0.0)
    b0, b1, b2, b3 = cubic_values(t)
    d0, d1, d2, d3 = cubic_slopes(t)
    c0, c1, c2, c3 = (
        coefficients[interval],
        coefficients[interval + 1],
        coefficients[interval + 2],
        coefficients[interval + 3],
    )
    slope = d0 * c0 + d1 * c1 + d2 * c2 + d3 * c3
    return b0 * c0 + b1 * c1 + b2 * c2 + b3 * c3 + below * slope, slope * inverse


@nb.njit(cache=True, fastmath=MATH, error_model='numpy')
def compute(positions, types, start, index, offset, tables, forces, energies, virial, closest):
    """Add nothing, set everything: energies (n,), forces (n, 3), virial (3, 3) = dE/dstrain.

    Args:
        positions: (n, 3) Å; atoms sorted by ``types``, so that every row of the neighbour list is sorted by species.
        types: (n,) species numbers.
        start, index: the neighbour list; ``offset`` (m, 3) Å is added to the position of the neighbour.
        closest: (s, s) Å, the least distance that is allowed for each pair of species.

    Returns:
        The pair of atoms that came too close, or (-1, -1).
    """
    n = len(positions)
    n_species = len(tables.one_body)
    energies[:] = 0.0
    forces[:] = 0.0
    virial[:] = 0.0
    too_close = (-1, -1)
    widest = 0
    for i in range(n):
        widest = max(widest, start[i + 1] - start[i])
    # vectors to the neighbours of one atom, their lengths, and the gradient of its energy by each
    vector = np.empty((widest, 3))
    length = np.empty(widest)
    gradient = np.empty((widest, 3))
    atom = np.empty(widest, np.int64)
    kind = np.empty(widest, np.int64)
    # those within the three-body cut-off, with the basis functions of their legs
    near = np.empty(widest, np.int64)
    leg_interval = np.empty(widest, np.int64)
    leg_value = np.empty((widest, 4))
    leg_slope = np.empty((widest, 4))
    intervals = tables.trio_coefficients.shape[1] - 3
    third_intervals = tables.trio_coefficients.shape[3] - 3
    trio_cutoff2 = tables.trio_cutoff * tables.trio_cutoff
    for i in range(n):
        ti = types[i]
        energy = tables.one_body[ti]
        count = 0
        n_near = 0
        for q in range(start[i], start[i + 1]):
            j = index[q]
            tj = types[j]
            dx = positions[j, 0] + offset[q, 0] - positions[i, 0]
            dy = positions[j, 1] + offset[q, 1] - positions[i, 1]
            dz = positions[j, 2] + offset[q, 2] - positions[i, 2]
            r2 = dx * dx + dy * dy + dz * dz
            cutoff = tables.pair_cutoff[ti, tj]
            if r2 >= cutoff * cutoff and r2 >= trio_cutoff2:
                continue
            r = np.sqrt(r2)
            if r < closest[ti, tj]:
                too_close = (i, int(j))
            atom[count] = j
            kind[count] = tj
            length[count] = r
            vector[count, 0] = dx
            vector[count, 1] = dy
            vector[count, 2] = dz
            slope = 0.0
            if r < cutoff:
                value, slope = pair_energy(
                    r, tables.pair_start[ti, tj], tables.pair_inverse[ti, tj], tables.pair_coefficients[ti, tj]
                )
                energy += value
                slope /= r
            gradient[count, 0] = slope * dx
            gradient[count, 1] = slope * dy
            gradient[count, 2] = slope * dz
            if r2 < trio_cutoff2:
                u = (r - tables.leg_start[ti, tj]) * tables.leg_inverse[ti, tj]
                if u >= 0.0:
                    interval = min(int(u), intervals - 1)
                    t = u - interval
                    near[n_near] = count
                    leg_interval[n_near] = interval
                    b0, b1, b2, b3 = cubic_values(t)
                    leg_value[n_near, 0] = b0
                    leg_value[n_near, 1] = b1
                    leg_value[n_near, 2] = b2
                    leg_value[n_near, 3] = b3
                    b0, b1, b2, b3 = cubic_slopes(t)
                    scale = tables.leg_inverse[ti, tj] / r
                    leg_slope[n_near, 0] = b0 * scale
                    leg_slope[n_near, 1] = b1 * scale
                    leg_slope[n_near, 2] = b2 * scale
                    leg_slope[n_near, 3] = b3 * scale
                    n_near += 1
            count += 1
        for p in range(n_near):
            j = near[p]
            tj = kind[j]
            lj = leg_interval[p]
            for q in range(p + 1, n_near):
                k = near[q]
                tk = kind[k]
                trio = tables.trio_index[ti, tj, tk]
                ex = vector[k, 0] - vector[j, 0]
                ey = vector[k, 1] - vector[j, 1]
                ez = vector[k, 2] - vector[j, 2]
                r = np.sqrt(ex * ex + ey * ey + ez * ez)
                u = (r - tables.third_start[tj, tk]) * tables.third_inverse[tj, tk]
                if u < 0.0 or trio < 0:
                    continue
                interval = min(int(u), third_intervals - 1)
                t = u - interval
                v0, v1, v2, v3 = cubic_values(t)
                s0, s1, s2, s3 = cubic_slopes(t)
                lk = leg_interval[q]
                # contract the 4 x 4 x 4 block: over the third side first, which lies contiguous in memory
                value = 0.0
                by_j = 0.0
                by_k = 0.0
                by_third = 0.0
                for a in range(4):
                    along = 0.0
                    along_k = 0.0
                    slope_third = 0.0
                    for b in range(4):
                        c = tables.trio_coefficients[trio, lj + a, lk + b]
                        c0, c1, c2, c3 = c[interval], c[interval + 1], c[interval + 2], c[interval + 3]
                        row = c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
                        along += row * leg_value[q, b]
                        along_k += row * leg_slope[q, b]
                        slope_third += (c0 * s0 + c1 * s1 + c2 * s2 + c3 * s3) * leg_value[q, b]
                    value += along * leg_value[p, a]
                    by_j += along * leg_slope[p, a]
                    by_k += along_k * leg_value[p, a]
                    by_third += slope_third * leg_value[p, a]
                by_third *= tables.third_inverse[tj, tk] / r
                energy += value
                gradient[j, 0] += by_j * vector[j, 0] - by_third * ex
                gradient[j, 1] += by_j * vector[j, 1] - by_third * ey
                gradient[j, 2] += by_j * vector[j, 2] - by_third * ez
                gradient[k, 0] += by_k * vector[k, 0] + by_third * ex
                gradient[k, 1] += by_k * vector[k, 1] + by_third * ey
                gradient[k, 2] += by_k * vector[k, 2] + by_third * ez
        energies[i] = energy
        for q in range(count):
            j = atom[q]
            for a in range(3):
                forces[i, a] += gradient[q, a]
                forces[j, a] -= gradient[q, a]
                for b in range(3):
                    virial[a, b] += vector[q, a] * gradient[q, b]
    return too_close


@nb.njit(cache=True)
def offsets(shift, cell):
    """Image shifts of a neighbour list in Å."""
    result = np.empty((len(shift), 3))
    for q in range(len(shift)):
        for a in range(3):
            result[q, a] = shift[q, 0] * cell[0, a] + shift[q, 1] * cell[1, a] + shift[q, 2] * cell[2, a]
    return result
