"""Energy, forces and virial of an ultra-fast potential, one term after the other.

The twin of the vector form in ``kernels``: it must give the same, and serves where the knots are not uniform or vector
instructions do not pay.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.ufp.moment_kernels import add_moments
from aiida_ufpnmr.engine.ufp.splines import find_functions, find_interval


@njit(error_model='numpy')
def _vector(positions, lists, i, j, image):
    """Vector from atom ``i`` to an image of atom ``j``, and its length."""
    x = positions[j, 0] - lists.home[j, 0] + lists.offsets[image, 0] - (positions[i, 0] - lists.home[i, 0])
    y = positions[j, 1] - lists.home[j, 1] + lists.offsets[image, 1] - (positions[i, 1] - lists.home[i, 1])
    z = positions[j, 2] - lists.home[j, 2] + lists.offsets[image, 2] - (positions[i, 2] - lists.home[i, 2])
    return x, y, z, np.sqrt(x * x + y * y + z * z)


@njit(error_model='numpy')
def _pull(forces, virial, i, j, gradient, x, y, z):
    """Enter a gradient along the vector (x, y, z) from ``i`` to ``j``."""
    d = (x, y, z)
    for a in range(3):
        forces[i, a] += gradient * d[a]
        forces[j, a] -= gradient * d[a]
        for b in range(3):
            virial[a, b] += gradient * d[a] * d[b]


@njit(error_model='numpy')
def compute_plain(positions, types, lists, tables, forces, energies, virial, closest):
    """Set forces, energies and virial as :func:`aiida_ufpnmr.engine.ufp.kernels.compute` does in full."""
    n = len(positions)
    forces[:] = 0.0
    virial[:] = 0.0
    too_close = (-1, -1)
    one, two, three = np.empty((2, 4)), np.empty((2, 4)), np.empty((2, 4))
    for i in range(n):
        ti = types[i]
        energies[i] = tables.one_body[ti]
    for i in range(n):
        ti = types[i]
        for q in range(lists.pair_start[i], lists.pair_start[i + 1]):
            j = np.int64(lists.pair_index[q])
            tj = types[j]
            g = tables.pair_grid[ti, tj]
            x, y, z, r = _vector(positions, lists, i, j, lists.pair_image[q])
            if r >= tables.grid_stop[g]:
                continue
            if r < closest[ti, tj]:
                too_close = (i, j)
            interval, t, width = find_interval(tables, g, r)
            c = tables.pair_polynomials[ti, tj, interval]
            inside = max(t, 0.0)
            slope = c[1] + inside * (2.0 * c[2] + 3.0 * inside * c[3])
            # below its grid a pair goes on as a straight line
            value = c[0] + inside * (c[1] + inside * (c[2] + inside * c[3])) + min(t, 0.0) * slope
            # each pair counts in both orders
            energies[i] += value
            energies[j] += value
            _pull(forces, virial, i, j, 2.0 * slope / (width * r), x, y, z)
        row = range(lists.near_start[i], lists.near_start[i + 1])
        for p in row:
            j = np.int64(lists.near_index[p])
            xj, yj, zj, rj = _vector(positions, lists, i, j, lists.near_image[p])
            for q in range(p + 1, row.stop):
                k = np.int64(lists.near_index[q])
                tj, tk = types[j], types[k]
                gj = tables.bond_grid[ti, tj, min(tk, tables.bond_grid.shape[2] - 1)]
                gk = tables.bond_grid[ti, tk, min(tj, tables.bond_grid.shape[2] - 1)]
                if rj >= tables.grid_stop[gj] or rj < tables.grid_start[gj]:
                    continue
                xk, yk, zk, rk = _vector(positions, lists, i, k, lists.near_image[q])
                if rk >= tables.grid_stop[gk] or rk < tables.grid_start[gk]:
                    continue
                triplet = tables.triplet_index[ti, tj, tk]
                third = tables.third_grid[triplet]
                x, y, z = xk - xj, yk - yj, zk - zj
                r = np.sqrt(x * x + y * y + z * z)
                if r < tables.grid_start[third]:
                    continue
                a = find_functions(tables, gj, rj, one[0], one[1])
                b = find_functions(tables, gk, rk, two[0], two[1])
                c = find_functions(tables, third, r, three[0], three[1])
                value = by_j = by_k = by_third = 0.0
                for u in range(4):
                    for v in range(4):
                        for w in range(4):
                            coefficient = np.float64(tables.triplet_coefficients[triplet, a + u, b + v, c + w])
                            value += coefficient * one[0, u] * two[0, v] * three[0, w]
                            by_j += coefficient * one[1, u] * two[0, v] * three[0, w]
                            by_k += coefficient * one[0, u] * two[1, v] * three[0, w]
                            by_third += coefficient * one[0, u] * two[0, v] * three[1, w]
                energies[i] += value
                _pull(forces, virial, i, j, by_j / rj, xj, yj, zj)
                _pull(forces, virial, i, k, by_k / rk, xk, yk, zk)
                _pull(forces, virial, j, k, by_third / r, x, y, z)
    add_moments(tables.moment_row, tables, 0, 1, positions - lists.home, types, lists, True, forces, energies, virial)
    return too_close
