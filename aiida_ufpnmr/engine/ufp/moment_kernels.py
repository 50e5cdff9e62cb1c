"""Compiled energy, forces and virial of the terms of moments.

For each atom of a centre the moments of its neighbours are summed, multiplied with each other and the coefficients,
and the derivatives of the energy by the moments are taken back to the neighbours. The products of three moments cost as
much for any number of neighbours; densities lie side by side, so that sums over the third one fill whole registers.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.simd import MATH
from aiida_ufpnmr.engine.ufp.lists import widest
from aiida_ufpnmr.engine.ufp.moments import FADE, N_MOMENTS


@njit(forceinline=True)
def held(r, closest):
    """The distance that a density goes by, Å, and its slope: ``r``, which ceases to fall below ``closest``.

    The slope falls to zero over a tenth of ``closest``, so that forces do not jump.
    """
    width = FADE * closest
    over = min(max(r - (closest - width), 0.0), width)
    return closest - 0.5 * width + 0.5 * over * over / width + max(r - closest, 0.0), over / width


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def add_moments(row, tables, share, shares, wrapped, types, lists, full, forces, energies, virial):
    """Add energies, forces and virial of every n-th atom; without moments nothing is compiled.

    Args:
        row, tables: ``tables.moment_row``, which is ``None`` without moments, and the tables.
        share, shares: the first atom, and n.
        wrapped: (n, 3 or more) positions, less how far atoms were outside the cell when the lists were made, Å.
        types, lists: as for :func:`aiida_ufpnmr.engine.ufp.kernels.compute`.
        full: whether the virial is wanted.
        forces: (n, 3 or more) eV/Å.
        energies: (n,) eV.
        virial: (3, 3 or more) eV.
    """
    if row is None:
        return
    n_ranges = tables.moment_ranges.shape[1]
    n_densities = len(row) * n_ranges
    lanes = tables.moment_coefficients.shape[3] - 1
    most = widest(lists.near_start)
    value, slope, unit = np.empty((most, n_ranges)), np.empty((most, n_ranges)), np.empty((most, 4))
    sums, slopes = np.zeros((N_MOMENTS, lanes)), np.empty((N_MOMENTS, lanes))
    by_value, by_slope, gradient, vector = np.empty(N_MOMENTS), np.empty(N_MOMENTS), np.empty(3), np.empty(3)
    for i in range(share, len(wrapped), shares):
        centre = row[types[i]]
        if centre < 0:
            continue
        ranges = tables.moment_ranges[centre]
        first, count = lists.near_start[i], lists.near_start[i + 1] - lists.near_start[i]
        sums[:] = 0.0
        for q in range(count):
            j, image = lists.near_index[first + q], lists.near_image[first + q]
            for a in range(3):
                vector[a] = wrapped[j, a] + lists.offsets[image, a] - wrapped[i, a]
            r = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
            ux, uy, uz = vector[0] / r, vector[1] / r, vector[2] / r
            unit[q, 0], unit[q, 1], unit[q, 2], unit[q, 3] = ux, uy, uz, r
            grown, growth = held(r, tables.moment_closest[centre, types[j]])
            for k in range(n_ranges):
                x = max(1.0 - grown / ranges[k], 0.0)
                g = x * x * x
                value[q, k], slope[q, k] = g, -3.0 * x * x / ranges[k] * growth
                d = types[j] * n_ranges + k
                sums[0, d] += g
                sums[1, d] += g * ux
                sums[2, d] += g * uy
                sums[3, d] += g * uz
                sums[4, d] += g * (ux * ux - 1 / 3)
                sums[5, d] += g * (uy * uy - 1 / 3)
                sums[6, d] += g * (uz * uz - 1 / 3)
                sums[7, d] += g * ux * uy
                sums[8, d] += g * ux * uz
                sums[9, d] += g * uy * uz
        energies[i] += _multiply(sums, tables.moment_coefficients[centre], n_densities, slopes)
        for q in range(count):
            j = lists.near_index[first + q]
            ux, uy, uz, r = unit[q, 0], unit[q, 1], unit[q, 2], unit[q, 3]
            for m in range(N_MOMENTS):
                by_value[m] = by_slope[m] = 0.0
                for k in range(n_ranges):
                    w = slopes[m, types[j] * n_ranges + k]
                    by_value[m] += w * value[q, k]
                    by_slope[m] += w * slope[q, k]
            # derivative by the unit vector, of which only what is across it counts
            wx = by_value[1] + 2 * by_value[4] * ux + by_value[7] * uy + by_value[8] * uz
            wy = by_value[2] + 2 * by_value[5] * uy + by_value[7] * ux + by_value[9] * uz
            wz = by_value[3] + 2 * by_value[6] * uz + by_value[8] * ux + by_value[9] * uy
            along = by_slope[0] + by_slope[1] * ux + by_slope[2] * uy + by_slope[3] * uz
            along += by_slope[4] * (ux * ux - 1 / 3) + by_slope[5] * (uy * uy - 1 / 3) + by_slope[6] * (uz * uz - 1 / 3)
            along += by_slope[7] * ux * uy + by_slope[8] * ux * uz + by_slope[9] * uy * uz
            along -= (wx * ux + wy * uy + wz * uz) / r
            gradient[0], gradient[1], gradient[2] = along * ux + wx / r, along * uy + wy / r, along * uz + wz / r
            for a in range(3):
                forces[j, a] -= gradient[a]
                forces[i, a] += gradient[a]
                if full:
                    for b in range(3):
                        virial[a, b] += r * unit[q, a] * gradient[b]


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _multiply(sums, coefficients, n_densities, slopes):
    """Energy (eV) of the terms of one centre; sets its derivatives by the moments.

    Args:
        sums, slopes: (10, lanes), one lane a density.
        coefficients: (kinds, pairs, lanes + 1) of its species.
    """
    of_scalars, of_vectors, of_matrices, of_both = coefficients[0], coefficients[1], coefficients[2], coefficients[3]
    lanes = sums.shape[1]
    slopes[:] = 0.0
    total = 0.0
    h = 0
    for p in range(n_densities):
        for q in range(p, n_densities):
            a, b = sums[:, p], sums[:, q]
            scalars = a[0] * b[0]
            x, y, z = a[1] * b[1], a[2] * b[2], a[3] * b[3]
            xy, xz, yz = a[1] * b[2] + a[2] * b[1], a[1] * b[3] + a[3] * b[1], a[2] * b[3] + a[3] * b[2]
            dot = x + y + z
            double = a[4] * b[4] + a[5] * b[5] + a[6] * b[6] + 2 * (a[7] * b[7] + a[8] * b[8] + a[9] * b[9])
            of_scalar = of_dot = of_double = 0.0
            n_xx = n_yy = n_zz = n_xy = n_xz = n_yz = 0.0
            for r in range(lanes):
                w = of_both[h, r]
                of_scalar += of_scalars[h, r] * sums[0, r]
                of_dot += of_vectors[h, r] * sums[0, r]
                of_double += of_matrices[h, r] * sums[0, r]
                n_xx += w * sums[4, r]
                n_yy += w * sums[5, r]
                n_zz += w * sums[6, r]
                n_xy += w * sums[7, r]
                n_xz += w * sums[8, r]
                n_yz += w * sums[9, r]
            for r in range(lanes):
                w = of_both[h, r]
                slopes[0, r] += of_scalars[h, r] * scalars + of_vectors[h, r] * dot + of_matrices[h, r] * double
                slopes[4, r] += w * x
                slopes[5, r] += w * y
                slopes[6, r] += w * z
                slopes[7, r] += w * xy
                slopes[8, r] += w * xz
                slopes[9, r] += w * yz
            of_dot += of_vectors[h, lanes]
            of_double += of_matrices[h, lanes]
            total += of_scalar * scalars + of_dot * dot + of_double * double
            total += n_xx * x + n_yy * y + n_zz * z + n_xy * xy + n_xz * xz + n_yz * yz
            n_xx, n_yy, n_zz = n_xx + of_dot, n_yy + of_dot, n_zz + of_dot
            for this, other in ((p, q), (q, p)):
                slopes[0, other] += of_scalar * sums[0, this]
                vx, vy, vz = sums[1, this], sums[2, this], sums[3, this]
                slopes[1, other] += n_xx * vx + n_xy * vy + n_xz * vz
                slopes[2, other] += n_xy * vx + n_yy * vy + n_yz * vz
                slopes[3, other] += n_xz * vx + n_yz * vy + n_zz * vz
                for c in range(4, 7):
                    slopes[c, other] += of_double * sums[c, this]
                    slopes[c + 3, other] += 2 * of_double * sums[c + 3, this]
            h += 1
    return total
