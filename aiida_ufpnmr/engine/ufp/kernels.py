"""Compiled energy, forces and virial of an ultra-fast potential.

For each atom its neighbours are gathered first: vectors and squared distances four at a time, those within the cut-off
closed up without a branch, since no processor could predict it; then everything that depends on one distance, eight at
a time; and then what remains of each pair and each triplet. The vectors to the neighbours carry all gradients, from
which forces and virial follow in one place.

Sums run over neighbours in the order of the lists (by atom, then image), so that forces do not depend on what else the
lists hold; only where atoms were wrapped into the cell when they were made shows in the last digit. Where bonds end at
different lengths, the order within a species is that of the distances when the lists were made: of the farther
neighbours two functions at most have coefficients, and the processor foresees where these begin. With n threads,
each takes every n-th atom and sums on its own, and the sums are added in the order of the threads: results depend on
how many there are, not on which was first.

Indices in inner loops are unsigned (``np.uintp``), which spares Numba the check for counting from the end.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.simd import (
    MATH,
    broadcast4,
    broadcast8,
    column,
    floor,
    halves,
    joined,
    lane,
    load4,
    load8,
    lower,
    maximum,
    minimum,
    spread,
    sqrt,
    store,
    sums,
    twice,
    upper,
)
from aiida_ufpnmr.engine.ufp.lists import SPARE, bond_reach, widest
from aiida_ufpnmr.engine.ufp.moment_kernels import add_moments
from aiida_ufpnmr.engine.ufp.plain import compute_plain
from aiida_ufpnmr.engine.ufp.splines import cubic_slopes, cubic_values


@njit()
def compute(positions, types, lists, tables, forces, energies, virial, closest, full=True):
    """Set forces (n, 3), and in full also energies (n,) and virial (3, 3), the derivative of the energy by strain.

    Args:
        positions: (n, 3) Å; atoms sorted by ``types``, so that neighbours in a list are sorted by species.
        types: (n,) species numbers.
        lists: see :func:`aiida_ufpnmr.engine.ufp.lists.interaction_lists`.
        closest: (s, s) Å, the least distance that is allowed for each pair of species.
        full: whether energies and virial are wanted; they are set to NaN where not.

    Returns:
        A pair of atoms that came too close, or (-1, -1).
    """
    if tables.plain is not None:
        return _compute_plain(tables.plain, positions, types, lists, tables, forces, energies, virial, closest)
    n, threads = len(positions), tables.threads
    wrapped = np.zeros((n, 4))
    for i in range(n):
        for a in range(3):
            wrapped[i, a] = positions[i, a] - lists.home[i, a]
    # sums of each thread
    pulls, parts, virials = np.zeros((threads, n, 4)), np.zeros((threads, n)), np.zeros((threads, 3, 4))
    too_close = np.full((threads, 2), -1, np.int64)
    _add_all(tables.parallel, wrapped, types, lists, tables, closest, full, pulls, parts, virials, too_close)
    for i in range(n):
        for a in range(3):
            forces[i, a] = 0.0
            for t in range(threads):
                forces[i, a] += pulls[t, i, a]
    energies[:] = np.nan
    virial[:] = np.nan
    if full:
        for i in range(n):
            energies[i] = tables.one_body[types[i]]
            for t in range(threads):
                energies[i] += parts[t, i]
        for a in range(3):
            for b in range(3):
                virial[a, b] = 0.0
                for t in range(threads):
                    virial[a, b] += virials[t, a, b]
    for t in range(threads):
        if too_close[t, 0] >= 0:
            return too_close[t, 0], too_close[t, 1]
    return -1, -1


@njit()
def _compute_plain(plain, positions, types, lists, tables, forces, energies, virial, closest):
    """The twin; where ``plain`` is ``None``, Numba leaves it out."""
    if plain is None:
        return -1, -1
    return compute_plain(positions, types, lists, tables, forces, energies, virial, closest)


@njit(forceinline=True)
def _add_all(parallel, wrapped, types, lists, tables, closest, full, pulls, parts, virials, too_close):
    """Add what all threads have to; where ``parallel`` is ``None``, Numba leaves out what is for several of them."""
    if parallel is None:
        _add_pairs(0, 1, wrapped, types, lists, tables, closest, full, pulls[0], parts[0], virials[0], too_close[0])
        _add_triplets(0, 1, wrapped, types, lists, tables, full, pulls[0], parts[0], virials[0])
        add_moments(tables.moment_row, tables, 0, 1, wrapped, types, lists, full, pulls[0], parts[0], virials[0])
    else:
        _add_shares(wrapped, types, lists, tables, closest, full, pulls, parts, virials, too_close)


@njit(parallel=True)
def _add_shares(wrapped, types, lists, tables, closest, full, pulls, parts, virials, too_close):
    """Add what all threads have to, side by side: of n threads, number t takes the atoms t, t + n, t + 2 n, …"""
    n = len(pulls)
    for share in nb.prange(n):
        t = np.int64(share)
        _add_pairs(t, n, wrapped, types, lists, tables, closest, full, pulls[t], parts[t], virials[t], too_close[t])
        _add_triplets(t, n, wrapped, types, lists, tables, full, pulls[t], parts[t], virials[t])
        add_moments(tables.moment_row, tables, t, n, wrapped, types, lists, full, pulls[t], parts[t], virials[t])


@njit(fastmath=MATH, error_model='numpy', inline='always')
def _separate(wrapped, i, offsets, first, count, index, image, vector, square):
    """Vectors (count, 4) from an atom to a row of a list, and their squares, four at a time and over the end."""
    here = load4(wrapped, 4 * i)
    for q in range(0, count, 4):
        at = np.uintp(first + q)
        d0 = load4(wrapped, 4 * np.intp(index[at])) + load4(offsets, 4 * np.intp(image[at])) - here
        d1 = load4(wrapped, 4 * np.intp(index[at + 1])) + load4(offsets, 4 * np.intp(image[at + 1])) - here
        d2 = load4(wrapped, 4 * np.intp(index[at + 2])) + load4(offsets, 4 * np.intp(image[at + 2])) - here
        d3 = load4(wrapped, 4 * np.intp(index[at + 3])) + load4(offsets, 4 * np.intp(image[at + 3])) - here
        store(vector, 4 * q, d0)
        store(vector, 4 * q + 4, d1)
        store(vector, 4 * q + 8, d2)
        store(vector, 4 * q + 12, d3)
        store(square, q, sums(d0 * d0, d1 * d1, d2 * d2, d3 * d3))


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _add_pairs(share, shares, wrapped, types, lists, tables, closest, full, forces, energies, virial, too_close):
    """Add pair energies, forces and virial; sets the pair of atoms that came too close."""
    index, image = lists.pair_index, lists.pair_image
    polynomials = tables.pair_polynomials
    n_species, _, n_intervals, _ = polynomials.shape
    most_near = widest(lists.pair_start) + SPARE
    vector, square = np.empty((most_near, 4)), np.empty(most_near)
    block, value, factor = np.empty(most_near), np.empty(most_near), np.empty(most_near)
    by_x, by_y, by_z = broadcast4(0.0), broadcast4(0.0), broadcast4(0.0)
    for i in range(share, len(wrapped), shares):
        ti = np.uintp(types[i])
        pull, energy = broadcast4(0.0), broadcast8(0.0)
        first, row_end = np.uintp(lists.pair_start[i]), np.uintp(lists.pair_start[i + 1])
        while first < row_end:
            # the neighbours of one species
            tj = np.uintp(types[np.uintp(index[first])])
            end = first + np.uintp(1)
            while end < row_end and types[np.uintp(index[end])] == tj:
                end += np.uintp(1)
            count = np.intp(end - first)
            _separate(wrapped, i, lists.offsets, np.intp(first), count, index, image, vector, square)
            # past the end, and past the cut-off: the last of the cubics, which is zero
            store(square, count, broadcast8(1e10))
            g = tables.pair_grid[ti, tj]
            start, inverse = tables.grid_start[g], tables.grid_inverse[g]
            last, base = float(tables.grid_intervals[g]), 4.0 * (n_intervals * (ti * n_species + tj))
            least = broadcast8(1e10)
            for k in range(0, count, 8):
                d2 = load8(square, k)
                least = minimum(least, d2)
                r = sqrt(d2)
                u = (r - start) * inverse
                inside = maximum(u, broadcast8(0.0))
                interval = minimum(floor(inside), broadcast8(last))
                t = inside - interval
                store(block, k, 4.0 * interval + base)
                c0, c1 = load4(polynomials, int(block[k])), load4(polynomials, int(block[k + 1]))
                c2, c3 = load4(polynomials, int(block[k + 2])), load4(polynomials, int(block[k + 3]))
                c4, c5 = load4(polynomials, int(block[k + 4])), load4(polynomials, int(block[k + 5]))
                c6, c7 = load4(polynomials, int(block[k + 6])), load4(polynomials, int(block[k + 7]))
                p1 = joined(column(c0, c1, c2, c3, 1), column(c4, c5, c6, c7, 1))
                p2 = joined(column(c0, c1, c2, c3, 2), column(c4, c5, c6, c7, 2))
                p3 = joined(column(c0, c1, c2, c3, 3), column(c4, c5, c6, c7, 3))
                slope = p1 + t * (2.0 * p2 + 3.0 * t * p3)
                # each pair counts in both orders
                store(factor, k, 2.0 * inverse * slope / r)
                if full:
                    p0 = joined(column(c0, c1, c2, c3, 0), column(c4, c5, c6, c7, 0))
                    # below its grid a pair goes on as a straight line
                    found = p0 + t * (p1 + t * (p2 + t * p3)) + minimum(u, broadcast8(0.0)) * slope
                    store(value, k, found)
                    energy = energy + found
            four = minimum(lower(least), upper(least))
            if min(min(lane(four, 0), lane(four, 1)), min(lane(four, 2), lane(four, 3))) < closest[ti, tj] ** 2:
                for k in range(count):
                    if square[k] < closest[ti, tj] ** 2:
                        too_close[0], too_close[1] = i, index[first + np.uintp(k)]
            for k in range(np.uintp(count)):
                d = load4(vector, 4 * np.intp(k))
                along = factor[k] * d
                pull = pull + along
                j = np.intp(index[first + k])
                store(forces, 4 * j, load4(forces, 4 * j) - along)
                if full:
                    energies[np.uintp(j)] += value[k]
                    by_x = by_x + spread(d, 0) * along
                    by_y = by_y + spread(d, 1) * along
                    by_z = by_z + spread(d, 2) * along
            first = end
        store(forces, 4 * i, load4(forces, 4 * i) + pull)
        if full:
            four = lower(energy) + upper(energy)
            energies[i] += lane(four, 0) + lane(four, 1) + lane(four, 2) + lane(four, 3)
    store(virial, 0, load4(virial, 0) + by_x)
    store(virial, 4, load4(virial, 4) + by_y)
    store(virial, 8, load4(virial, 8) + by_z)


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _add_triplets(share, shares, wrapped, types, lists, tables, full, forces, energies, virial):
    """Add three-body energies, forces and virial.

    For each atom, stage after stage runs over all of its neighbours, or over all triplets (i, j, k), j < k, by k.
    """
    real = tables.triplet_coefficients.dtype
    n_species, _, partners = tables.bond_grid.shape
    nearest2, farthest2 = np.full((n_species, n_species), np.inf), bond_reach(tables) ** 2
    for ti, tj, p in np.ndindex(tables.bond_grid.shape):
        nearest2[ti, tj] = min(nearest2[ti, tj], tables.grid_start[tables.bond_grid[ti, tj, p]] ** 2)
    # of the neighbours of one atom: which atoms, their species, vectors to them, the gradient of its energy by these
    most_near = widest(lists.near_start) + SPARE
    atom, kind = np.empty(most_near, np.int64), np.empty(most_near, np.int64)
    vector, gradient, square = np.empty((most_near, 4)), np.empty((most_near, 4)), np.empty(most_near)
    two = np.empty(most_near, np.bool_)  # whether two functions at most along the bond have coefficients
    # by species of the partner: interval of the distance, -1 outside its grid; the functions there, see _bonds
    intervals, bonds = np.empty((partners, most_near), np.int64), np.empty((partners, most_near, 4, 8), real)
    workspace = np.ones((13, most_near))
    # of the triplets: where in the coefficients theirs begin, negative where they count for nothing; the place of the
    # third side in its interval; the derivative of the coordinate on the grid over the length
    most = most_near * (most_near - 1) // 2
    block, place, per_length = np.empty(most), np.empty(most, real), np.empty(most, real)
    contracted, derivatives = np.empty((most, 12), real), np.empty((4, most))
    by_x, by_y, by_z = broadcast4(0.0), broadcast4(0.0), broadcast4(0.0)
    for i in range(share, len(wrapped), shares):
        ti = np.uintp(types[i])
        first, count = lists.near_start[i], np.int64(0)  # a literal would have the stages compiled for it, too
        size = lists.near_start[i + 1] - first
        _separate(wrapped, i, lists.offsets, first, size, lists.near_index, lists.near_image, vector, square)
        for q in range(np.uintp(size)):
            j = np.uintp(lists.near_index[np.uintp(first) + q])
            tj = np.uintp(types[j])
            d2 = square[q]
            at = np.uintp(count)
            atom[at] = j
            kind[at] = tj
            store(vector, 4 * count, load4(vector, 4 * np.intp(q)))
            square[at] = d2
            count += (d2 < farthest2[ti, tj]) & (d2 >= nearest2[ti, tj])
        if count < 2:
            continue
        store(square, count, broadcast8(1.0))
        for partner in range(partners):
            _bonds(tables.by_distance, tables, ti, partner, count, kind, square, workspace, intervals, two, bonds)
        _sides(tables, ti, count, kind, vector, intervals, workspace, block, place, per_length)
        _contract(tables.by_distance, tables, count, kind, bonds, two, block, contracted)
        _close(count, contracted, place, per_length, derivatives)
        store(gradient, 0, broadcast4(0.0))
        energies[i] += _gather(count, derivatives, vector, gradient)
        pull = broadcast4(0.0)
        for k in range(np.uintp(count)):
            along = load4(gradient, 4 * np.intp(k))
            pull = pull + along
            j = np.intp(atom[k])
            store(forces, 4 * j, load4(forces, 4 * j) - along)
            if full:
                d = load4(vector, 4 * np.intp(k))
                by_x = by_x + spread(d, 0) * along
                by_y = by_y + spread(d, 1) * along
                by_z = by_z + spread(d, 2) * along
        store(forces, 4 * i, load4(forces, 4 * i) + pull)
    store(virial, 0, load4(virial, 0) + by_x)
    store(virial, 4, load4(virial, 4) + by_y)
    store(virial, 8, load4(virial, 8) + by_z)


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _bonds(by_distance, tables, ti, partner, count, kind, square, workspace, intervals, two, bonds):
    """The functions along the bonds to all neighbours, for partners of one species.

    Sets, for each neighbour, its interval; four rows of eight in ``bonds``: the value of a function four times over,
    and its slope over the length four times over; and whether its first two functions do for all partners.
    """
    m = workspace.shape[1]
    for k in range(np.uintp(count)):
        g = np.uintp(tables.bond_grid[ti, np.uintp(kind[k]), np.uintp(partner)])
        workspace[0, k] = tables.grid_start[g]
        workspace[1, k] = tables.grid_inverse[g]
        workspace[2, k] = tables.grid_intervals[g] - 1
        workspace[3, k] = tables.grid_stop[g]
    for k in range(0, count, 8):
        r = sqrt(load8(square, k))
        inverse = load8(workspace, m + k)
        u = (r - load8(workspace, k)) * inverse
        interval = minimum(floor(u), load8(workspace, 2 * m + k))
        store(workspace, 4 * m + k, interval)
        t = u - interval
        over_length = inverse / r
        v0, v1, v2, v3 = cubic_values(t)
        s0, s1, s2, s3 = cubic_slopes(t)
        store(workspace, 5 * m + k, v0)
        store(workspace, 6 * m + k, v1)
        store(workspace, 7 * m + k, v2)
        store(workspace, 8 * m + k, v3)
        store(workspace, 9 * m + k, s0 * over_length)
        store(workspace, 10 * m + k, s1 * over_length)
        store(workspace, 11 * m + k, s2 * over_length)
        store(workspace, 12 * m + k, s3 * over_length)
    for k in range(np.uintp(count)):
        outside = square[k] >= workspace[3, k] * workspace[3, k]
        intervals[partner, k] = -1 if outside else int(workspace[4, k])
        if by_distance is not None:
            g = np.uintp(tables.bond_grid[ti, np.uintp(kind[k]), np.uintp(partner)])
            few = outside or tables.bond_functions[g] - workspace[4, k] <= 2.0
            two[k] = few and (partner == 0 or two[k])
        for a in range(4):
            row = 32 * (partner * m + np.intp(k)) + 8 * a
            store(bonds, row, halves(workspace[5 + a, k], workspace[9 + a, k]))


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _sides(tables, ti, count, kind, vector, intervals, workspace, block, place, per_length):
    """The third sides of all triplets, eight at a time and over the end; sets the last four arguments."""
    partners, m = len(intervals), workspace.shape[1]
    columns = tables.triplet_coefficients.shape[3]
    step = tables.triplet_coefficients.shape[2] * columns
    size = tables.triplet_coefficients.shape[1] * step
    for j in range(count):
        for a in range(3):
            workspace[a, j] = vector[j, a]
    t, tk = 0, -1
    for k in range(1, count):
        if kind[k] != tk:
            tk = kind[k]
            for j in range(np.uintp(count)):
                triplet = tables.triplet_index[ti, np.uintp(kind[j]), np.uintp(tk)]
                of_j = intervals[tk if partners > 1 else 0, j]
                g = np.uintp(tables.third_grid[np.uintp(triplet)])
                # so far out that the triplet counts for nothing, and finite: zero times infinity would be no number
                workspace[3, j] = tables.grid_start[g] if of_j >= 0 else 1e9
                workspace[4, j] = tables.grid_inverse[g]
                workspace[5, j] = tables.grid_intervals[g] - 1
                workspace[6, j] = triplet * size + of_j * step
        of_k = float(intervals[0, k] * columns) if partners == 1 else 0.0
        for j in range(0, k, 8):
            dx = load8(workspace, j) - vector[k, 0]
            dy = load8(workspace, m + j) - vector[k, 1]
            dz = load8(workspace, 2 * m + j) - vector[k, 2]
            r = sqrt(dx * dx + dy * dy + dz * dz)
            inverse = load8(workspace, 4 * m + j)
            u = (r - load8(workspace, 3 * m + j)) * inverse
            found = minimum(floor(u), load8(workspace, 5 * m + j))
            # far below zero where the side is below its grid
            store(block, t + j, load8(workspace, 6 * m + j) + of_k + found + 1e9 * minimum(found, broadcast8(0.0)))
            store(place, t + j, u - found)
            store(per_length, t + j, inverse / r)
        if partners > 1:
            for j in range(k):
                of_k = intervals[kind[j], k]
                block[t + j] = block[t + j] + of_k * columns if of_k >= 0 else -1.0
        t += k


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _contract_block(coefficients, at, step, columns, n_first, bonds, row, n_second, second):
    """Contract a block of coefficients with the first functions of either bond; ``second`` are those of the second."""
    value0, value1, value2, value3 = second
    both, by_first = 0.0 * value0, 0.0 * lower(value0)
    for _ in range(n_first):
        found = twice(load4(coefficients, at)) * value0 + twice(load4(coefficients, at + columns)) * value1
        if n_second > 2:
            found = (
                found
                + twice(load4(coefficients, at + 2 * columns)) * value2
                + twice(load4(coefficients, at + 3 * columns)) * value3
            )
        both = both + found * twice(load4(bonds, row))
        by_first = by_first + lower(found) * load4(bonds, row + 4)
        row += 8
        at += step
    return both, by_first


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _contract(by_distance, tables, count, kind, bonds, two, block, contracted):
    """Contract the 4 x 4 x 4 coefficients of all triplets with their bonds.

    The second bond is contracted by its values and its slopes side by side, in the lower and upper half of one register
    of eight; then the first. Four numbers along the third side remain, thrice: for the energy, and for its
    derivatives over the lengths of second and first bond. They have the precision of the coefficients.
    """
    coefficients = tables.triplet_coefficients
    columns = coefficients.shape[3]
    step = coefficients.shape[2] * columns
    partners, m = bonds.shape[0], bonds.shape[1]
    t = np.uintp(0)
    for k in range(1, count):
        row = 32 * k
        value0, value1 = load8(bonds, row), load8(bonds, row + 8)
        value2, value3 = load8(bonds, row + 16), load8(bonds, row + 24)
        for j in range(k):
            row = 32 * j
            if partners > 1:
                row += 32 * m * kind[k]
                mine = 32 * (m * kind[j] + k)
                value0, value1 = load8(bonds, mine), load8(bonds, mine + 8)
                value2, value3 = load8(bonds, mine + 16), load8(bonds, mine + 24)
            both, by_first = 0.0 * value0, 0.0 * lower(value0)
            if block[t] >= 0.0:
                at, second = int(block[t]), (value0, value1, value2, value3)
                # by literals, so that loops unroll; in any other order of the neighbours, to ask would cost more
                if by_distance is None or not (two[j] or two[k]):
                    both, by_first = _contract_block(coefficients, at, step, columns, 4, bonds, row, 4, second)
                elif not two[j]:
                    both, by_first = _contract_block(coefficients, at, step, columns, 4, bonds, row, 2, second)
                elif not two[k]:
                    both, by_first = _contract_block(coefficients, at, step, columns, 2, bonds, row, 4, second)
                else:
                    both, by_first = _contract_block(coefficients, at, step, columns, 2, bonds, row, 2, second)
            store(contracted, 12 * np.intp(t), both)
            store(contracted, 12 * np.intp(t) + 8, by_first)
            t += np.uintp(1)


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _close(count, contracted, place, per_length, derivatives):
    """Contract with the third side, four triplets at a time: energy, derivatives over the lengths of the sides."""
    m = derivatives.shape[1]
    for t in range(0, count * (count - 1) // 2, 4):
        u = load4(place, t)
        v0, v1, v2, v3 = cubic_values(u)
        s0, s1, s2, s3 = cubic_slopes(u)
        at = 12 * t
        a, b = load4(contracted, at), load4(contracted, at + 12)
        c, d = load4(contracted, at + 24), load4(contracted, at + 36)
        c0, c1, c2, c3 = column(a, b, c, d, 0), column(a, b, c, d, 1), column(a, b, c, d, 2), column(a, b, c, d, 3)
        store(derivatives, t, c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3)
        store(derivatives, 3 * m + t, (c0 * s0 + c1 * s1 + c2 * s2 + c3 * s3) * load4(per_length, t))
        for bond in range(1, 3):
            at += 4
            a, b = load4(contracted, at), load4(contracted, at + 12)
            c, d = load4(contracted, at + 24), load4(contracted, at + 36)
            c0, c1, c2, c3 = column(a, b, c, d, 0), column(a, b, c, d, 1), column(a, b, c, d, 2), column(a, b, c, d, 3)
            store(derivatives, bond * m + t, c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3)


@njit(fastmath=MATH, error_model='numpy', forceinline=True)
def _gather(count, derivatives, vector, gradient):
    """Energy of all triplets; adds their gradients by the vectors to the neighbours."""
    energy = 0.0
    t = np.uintp(0)
    for k in range(1, count):
        vector_k, gradient_k = load4(vector, 4 * k), broadcast4(0.0)
        for j in range(k):
            vector_j = load4(vector, 4 * j)
            energy += derivatives[0, t]
            along_third = derivatives[3, t] * (vector_k - vector_j)
            gradient_k = gradient_k + derivatives[1, t] * vector_k + along_third
            store(gradient, 4 * j, load4(gradient, 4 * j) + derivatives[2, t] * vector_j - along_third)
            t += np.uintp(1)
        store(gradient, 4 * k, gradient_k)
    return energy
