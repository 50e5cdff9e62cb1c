"""Rows of the linear problem: what each basis function adds to energy, virial and forces of one structure."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.ufp.basis import Basis
from aiida_ufpnmr.engine.ufp.design_rows import N_LEADING, add_gradient
from aiida_ufpnmr.engine.ufp.moment_rows import add_rows
from aiida_ufpnmr.engine.ufp.splines import find_functions


def features(atoms: Atoms, types: np.ndarray, basis: Basis) -> np.ndarray:
    """Design matrix of one structure, (n_columns, 7 + 3 n_atoms).

    Times the coefficients it gives the energy (eV), the virial (eV; xx, yy, zz, yz, xz, xy) and the forces (eV/Å).
    """
    rows = np.zeros((basis.n_columns, N_LEADING + 3 * len(atoms)))
    _enter_all(atoms, types, basis, rows, gradients=True)
    return rows


def local_features(atoms: Atoms, types: np.ndarray, basis: Basis) -> np.ndarray:
    """Design rows (n_atoms, n_columns) of the energies of single atoms; their sum is that of the structure."""
    rows = np.zeros((basis.n_columns, len(atoms)))
    _enter_all(atoms, types, basis, rows, gradients=False)
    return rows.T


def _enter_all(atoms: Atoms, types: np.ndarray, basis: Basis, rows: np.ndarray, gradients: bool) -> None:
    # sorted by species, as triplets want their neighbours
    order = np.argsort(types, kind='stable')
    positions = np.ascontiguousarray(atoms.positions[order])
    cell = np.ascontiguousarray(atoms.cell.array)
    found = neighbour_list(positions, cell, atoms.pbc, basis.layout.cutoff)
    _fill(
        positions, types[order], found.start, found.index, found.shift @ cell, order, basis.layout,
        *basis.column_tables, rows, gradients,
    )  # fmt: skip
    if basis.moments is not None:
        add_rows(atoms, types, basis.moments, rows[basis.n_splines :], gradients)


@njit(nogil=True, error_model='numpy')
def _fill(positions, types, start, index, offset, order, layout, pair_columns, triplet_columns, rows, gradients):
    """Enter all terms into rows (n_columns, m).

    With ``gradients`` entry 0 of a row is the energy, and virial and forces follow; without, entries are the atoms'.
    """
    n = len(positions)
    n_species, _, partners = layout.bond_grid.shape
    bond_stop = np.zeros((n_species, n_species))
    for ti, tj, p in np.ndindex(layout.bond_grid.shape):
        bond_stop[ti, tj] = max(bond_stop[ti, tj], layout.grid_stop[layout.bond_grid[ti, tj, p]])
    widest = 0
    for i in range(n):
        widest = max(widest, start[i + 1] - start[i])
    vector = np.empty((widest, 3))
    near = np.empty(widest, np.int64)
    # of each neighbour, by species of the partner; the interval is -1 outside the grid
    interval = np.empty((partners, widest), np.int64)
    value, slope = np.empty((partners, widest, 4)), np.empty((partners, widest, 4))
    v, s = np.empty(4), np.empty(4)
    for i in range(n):
        ti = types[i]
        centre = order[i]
        energy = 0 if gradients else centre
        rows[ti, energy] += 1.0
        n_near = 0
        for q in range(start[i], start[i + 1]):
            j = index[q]
            tj = types[j]
            d = vector[n_near]
            for a in range(3):
                d[a] = positions[j, a] + offset[q, a] - positions[i, a]
            r = np.sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2])
            g = layout.pair_grid[ti, tj]
            if r < layout.grid_stop[g]:
                below = min(r - layout.grid_start[g], 0.0)
                b = find_functions(layout, g, r - below, v, s)
                for a in range(4):
                    column = pair_columns[ti, tj, b + a]
                    if column >= 0:
                        # below its grid a pair goes on as a straight line
                        rows[column, energy] += v[a] + below * s[a]
                        if gradients:
                            by_r = s[a] / r
                            add_gradient(rows[column], order[j], centre, d, by_r * d[0], by_r * d[1], by_r * d[2])
            if r < bond_stop[ti, tj]:
                for p in range(partners):
                    g = layout.bond_grid[ti, tj, p]
                    interval[p, n_near] = -1
                    if layout.grid_start[g] <= r < layout.grid_stop[g]:
                        interval[p, n_near] = find_functions(layout, g, r, value[p, n_near], slope[p, n_near])
                        for a in range(4):
                            slope[p, n_near, a] /= r
                near[n_near] = j
                n_near += 1
        for p in range(n_near):
            j = near[p]
            tj = types[j]
            for q in range(p + 1, n_near):
                k = near[q]
                tk = types[k]
                of_j, of_k = min(tk, partners - 1), min(tj, partners - 1)
                bj, bk = interval[of_j, p], interval[of_k, q]
                if min(bj, bk) < 0:
                    continue
                ex = vector[q, 0] - vector[p, 0]
                ey = vector[q, 1] - vector[p, 1]
                ez = vector[q, 2] - vector[p, 2]
                r = np.sqrt(ex * ex + ey * ey + ez * ez)
                triplet = layout.triplet_index[ti, tj, tk]
                g = layout.third_grid[triplet]
                if r < layout.grid_start[g] or r >= layout.grid_stop[g]:
                    continue
                b = find_functions(layout, g, r, v, s)
                for a1 in range(4):
                    for a2 in range(4):
                        both = value[of_j, p, a1] * value[of_k, q, a2]
                        by_j = slope[of_j, p, a1] * value[of_k, q, a2]
                        by_k = value[of_j, p, a1] * slope[of_k, q, a2]
                        for a3 in range(4):
                            column = triplet_columns[triplet, bj + a1, bk + a2, b + a3]
                            if column < 0:
                                continue
                            rows[column, energy] += both * v[a3]
                            if gradients:
                                along_j, along_k, along_third = by_j * v[a3], by_k * v[a3], both * s[a3] / r
                                gx = along_j * vector[p, 0] - along_third * ex
                                gy = along_j * vector[p, 1] - along_third * ey
                                gz = along_j * vector[p, 2] - along_third * ez
                                add_gradient(rows[column], order[j], centre, vector[p], gx, gy, gz)
                                gx = along_k * vector[q, 0] + along_third * ex
                                gy = along_k * vector[q, 1] + along_third * ey
                                gz = along_k * vector[q, 2] + along_third * ez
                                add_gradient(rows[column], order[k], centre, vector[q], gx, gy, gz)
