"""Rows of the linear problem: what each basis function adds to energy, virial and forces of one structure."""

from __future__ import annotations

import numba as nb
import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.ufp.basis import Basis
from aiida_ufpnmr.engine.ufp.splines import cubic_slopes, cubic_values

#: Rows before the forces: the energy, then the virial as xx, yy, zz, yz, xz, xy.
N_LEADING = 7


def _arguments(atoms: Atoms, types: np.ndarray, basis: Basis) -> tuple:
    """What both kernels need to know of a structure and of the basis, atoms sorted by species."""
    order = np.argsort(types, kind='stable')
    positions = np.ascontiguousarray(atoms.positions[order])
    cell = np.ascontiguousarray(atoms.cell.array)
    found = neighbour_list(positions, cell, atoms.pbc, max(basis.pair_cutoff, basis.trio_cutoff))
    return (
        positions,
        types[order],
        found.start,
        found.index,
        found.shift @ cell,
        order,
        basis.pair_cutoff,
        basis.trio_cutoff,
        basis.pair_start,
        basis.leg_start,
        basis.third_start,
        basis.pair_columns,
        basis.trio_columns,
    )


def features(atoms: Atoms, types: np.ndarray, basis: Basis) -> np.ndarray:
    """Design matrix of one structure, (n_columns, 7 + 3 n_atoms).

    Times the coefficients it gives the energy (eV), the virial (eV; xx, yy, zz, yz, xz, xy) and the forces (eV/Å).
    """
    rows = np.zeros((basis.n_columns, N_LEADING + 3 * len(atoms)))
    _fill(*_arguments(atoms, types, basis), rows)
    return rows


@nb.njit(cache=True, nogil=True, inline='always')
def _add_gradient(row, atom, centre, vector, gx, gy, gz):
    """Enter the gradient by the vector from ``centre`` to ``atom`` into virial and forces of one column."""
    row[1] += vector[0] * gx
    row[2] += vector[1] * gy
    row[3] += vector[2] * gz
    row[4] += vector[1] * gz
    row[5] += vector[0] * gz
    row[6] += vector[0] * gy
    row[7 + 3 * atom] -= gx
    row[8 + 3 * atom] -= gy
    row[9 + 3 * atom] -= gz
    row[7 + 3 * centre] += gx
    row[8 + 3 * centre] += gy
    row[9 + 3 * centre] += gz


@nb.njit(cache=True, nogil=True, error_model='numpy')
def _fill(
    positions, types, start, index, offset, order, pair_cutoff, trio_cutoff, pair_start, leg_start, third_start,
    pair_columns, trio_columns, rows,
):  # fmt: skip
    n = len(positions)
    pair_intervals = pair_columns.shape[2] - 3
    leg_intervals = trio_columns.shape[3] - 3
    third_intervals = trio_columns.shape[5] - 3
    widest = 0
    for i in range(n):
        widest = max(widest, start[i + 1] - start[i])
    vector = np.empty((widest, 3))
    near = np.empty(widest, np.int64)
    interval = np.empty(widest, np.int64)
    value = np.empty((widest, 4))
    slope = np.empty((widest, 4))
    for i in range(n):
        ti = types[i]
        centre = order[i]
        rows[ti, 0] += 1.0
        n_near = 0
        for q in range(start[i], start[i + 1]):
            j = index[q]
            tj = types[j]
            for a in range(3):
                vector[n_near, a] = positions[j, a] + offset[q, a] - positions[i, a]
            d = vector[n_near]
            r = np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            if r < pair_cutoff:
                inverse = pair_intervals / (pair_cutoff - pair_start[ti, tj])
                u = (r - pair_start[ti, tj]) * inverse
                b = max(0, int(u))
                v = cubic_values(u - b)
                s = cubic_slopes(u - b)
                for a in range(4):
                    column = pair_columns[ti, tj, b + a]
                    if column >= 0:
                        rows[column, 0] += v[a]
                        g = s[a] * inverse / r
                        _add_gradient(rows[column], order[j], centre, d, g * d[0], g * d[1], g * d[2])
            if r < trio_cutoff and r >= leg_start[ti, tj]:
                inverse = leg_intervals / (trio_cutoff - leg_start[ti, tj])
                u = (r - leg_start[ti, tj]) * inverse
                b = int(u)
                v = cubic_values(u - b)
                s = cubic_slopes(u - b)
                for a in range(4):
                    value[n_near, a] = v[a]
                    slope[n_near, a] = s[a] * inverse / r
                interval[n_near] = b
                near[n_near] = j
                n_near += 1
        for p in range(n_near):
            j = near[p]
            tj = types[j]
            for q in range(p + 1, n_near):
                k = near[q]
                tk = types[k]
                ex = vector[q, 0] - vector[p, 0]
                ey = vector[q, 1] - vector[p, 1]
                ez = vector[q, 2] - vector[p, 2]
                r = np.sqrt(ex * ex + ey * ey + ez * ez)
                if r < third_start[tj, tk]:
                    continue
                inverse = third_intervals / (2.0 * trio_cutoff - third_start[tj, tk])
                u = (r - third_start[tj, tk]) * inverse
                b = min(int(u), third_intervals - 1)
                v = cubic_values(u - b)
                s = cubic_slopes(u - b)
                for a1 in range(4):
                    for a2 in range(4):
                        for a3 in range(4):
                            column = trio_columns[ti, tj, tk, interval[p] + a1, interval[q] + a2, b + a3]
                            if column < 0:
                                continue
                            both = value[p, a1] * value[q, a2]
                            rows[column, 0] += both * v[a3]
                            by_j = slope[p, a1] * value[q, a2] * v[a3]
                            by_k = value[p, a1] * slope[q, a2] * v[a3]
                            by_third = both * s[a3] * inverse / r
                            _add_gradient(
                                rows[column],
                                order[j],
                                centre,
                                vector[p],
                                by_j * vector[p, 0] - by_third * ex,
                                by_j * vector[p, 1] - by_third * ey,
                                by_j * vector[p, 2] - by_third * ez,
                            )
                            _add_gradient(
                                rows[column],
                                order[k],
                                centre,
                                vector[q],
                                by_k * vector[q, 0] + by_third * ex,
                                by_k * vector[q, 1] + by_third * ey,
                                by_k * vector[q, 2] + by_third * ez,
                            )


def local_features(atoms: Atoms, types: np.ndarray, basis: Basis) -> np.ndarray:
    """Design rows of the energies of single atoms, (n_atoms, n_columns); their sum is the energy row of the structure."""
    rows = np.zeros((len(atoms), basis.n_columns))
    _fill_local(*_arguments(atoms, types, basis), rows)
    return rows


@nb.njit(cache=True, nogil=True, error_model='numpy')
def _fill_local(
    positions, types, start, index, offset, order, pair_cutoff, trio_cutoff, pair_start, leg_start, third_start,
    pair_columns, trio_columns, rows,
):  # fmt: skip
    """The energies of :func:`_fill`, kept apart by atom and without gradients."""
    n = len(positions)
    pair_intervals = pair_columns.shape[2] - 3
    leg_intervals = trio_columns.shape[3] - 3
    third_intervals = trio_columns.shape[5] - 3
    widest = 0
    for i in range(n):
        widest = max(widest, start[i + 1] - start[i])
    vector = np.empty((widest, 3))
    kind = np.empty(widest, np.int64)
    interval = np.empty(widest, np.int64)
    value = np.empty((widest, 4))
    for i in range(n):
        ti = types[i]
        row = rows[order[i]]
        row[ti] += 1.0
        n_near = 0
        for q in range(start[i], start[i + 1]):
            tj = types[index[q]]
            for a in range(3):
                vector[n_near, a] = positions[index[q], a] + offset[q, a] - positions[i, a]
            d = vector[n_near]
            r = np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            if r < pair_cutoff:
                u = (r - pair_start[ti, tj]) * pair_intervals / (pair_cutoff - pair_start[ti, tj])
                b = max(0, int(u))
                v = cubic_values(u - b)
                for a in range(4):
                    column = pair_columns[ti, tj, b + a]
                    if column >= 0:
                        row[column] += v[a]
            if r < trio_cutoff and r >= leg_start[ti, tj]:
                u = (r - leg_start[ti, tj]) * leg_intervals / (trio_cutoff - leg_start[ti, tj])
                b = int(u)
                v = cubic_values(u - b)
                for a in range(4):
                    value[n_near, a] = v[a]
                interval[n_near] = b
                kind[n_near] = tj
                n_near += 1
        for p in range(n_near):
            for q in range(p + 1, n_near):
                ex = vector[q, 0] - vector[p, 0]
                ey = vector[q, 1] - vector[p, 1]
                ez = vector[q, 2] - vector[p, 2]
                r = np.sqrt(ex * ex + ey * ey + ez * ez)
                low = third_start[kind[p], kind[q]]
                if r < low:
                    continue
                u = (r - low) * third_intervals / (2.0 * trio_cutoff - low)
                b = min(int(u), third_intervals - 1)
                v = cubic_values(u - b)
                for a1 in range(4):
                    for a2 in range(4):
                        for a3 in range(4):
                            column = trio_columns[ti, kind[p], kind[q], interval[p] + a1, interval[q] + a2, b + a3]
                            if column >= 0:
                                row[column] += value[p, a1] * value[q, a2] * v[a3]
