"""Lists of the atoms that interact in an ultra-fast potential."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.neighbours import packed_atom, packed_image, packed_neighbours

#: Entries after the last one of a list, so that it can be read some at a time and over its end.
SPARE = 8


class InteractionLists(NamedTuple):
    """Pairs and neighbours as flat arrays, with :data:`SPARE` entries more than there are.

    The vector from atom ``i`` to its neighbour is ``(x[index] - home[index]) + offsets[image] - (x[i] - home[i])``.
    Pairs stand once, with the atom of lower index; both directions of a pair of an atom with its own image stand as
    one. Triplets and moments need all neighbours of an atom, as far as its longest bond to their species or its
    densities. Rows are sorted by atom and image, those of neighbours by species and distance where the tables of the
    potential ask for that.
    """

    wrap: np.ndarray  # (n, 3) how many cells each atom was outside the cell when the lists were made
    home: np.ndarray  # (n, 3) the same in Å
    images: np.ndarray  # (m, 3) the periodic images that occur, in cells
    offsets: np.ndarray  # (m, 4) the same in Å, and a zero
    pair_start: np.ndarray  # (n + 1,)
    pair_index: np.ndarray  # (pairs + SPARE,)
    pair_image: np.ndarray  # (pairs + SPARE,)
    near_start: np.ndarray  # (n + 1,)
    near_index: np.ndarray  # (neighbours + SPARE,)
    near_image: np.ndarray  # (neighbours + SPARE,)


@njit()
def _set_lengths(lengths, cells, cell):
    """Set vectors (m, 3 or more) in Å from whole numbers of cells (m, 3)."""
    for m in range(len(cells)):
        for a in range(3):
            lengths[m, a] = cells[m, 0] * cell[0, a] + cells[m, 1] * cell[1, a] + cells[m, 2] * cell[2, a]


@njit()
def move_images(lists, cell):
    """Follow a change of the cell: images and wrapped atoms move with it."""
    _set_lengths(lists.offsets, lists.images, cell)
    _set_lengths(lists.home, lists.wrap, cell)


@njit()
def surroundings_in(lists, positions, row, n_rows, cutoff):
    """Neighbours of some atoms within a cut-off that the pairs of the lists reach beyond.

    Args:
        row: (n,) which row an atom's neighbours go to, or -1.

    Returns:
        start (n_rows + 1,), index (m,) and vector (m, 3), as in :class:`~aiida_ufpnmr.engine.neighbours.Surroundings`.
    """
    start = np.zeros(n_rows + 1, np.int64)
    place = np.zeros(0, np.int64)
    index = np.zeros(0, np.int32)
    vector = np.zeros((0, 3))
    d = np.empty(3)
    for filling in (False, True):  # count, then fill
        if filling:
            start = np.cumsum(start)
            place, index, vector = start[:-1].copy(), np.empty(start[-1], np.int32), np.empty((start[-1], 3))
        for i in range(len(positions)):
            for q in range(lists.pair_start[i], lists.pair_start[i + 1]):
                j = lists.pair_index[q]
                if row[i] < 0 and row[j] < 0:
                    continue
                square = 0.0
                for a in range(3):
                    d[a] = positions[j, a] - lists.home[j, a] + lists.offsets[lists.pair_image[q], a]
                    d[a] -= positions[i, a] - lists.home[i, a]
                    square += d[a] * d[a]
                if square >= cutoff * cutoff:
                    continue
                for k in range(2):  # from either end
                    centre, other, sign = (i, j, 1.0) if k == 0 else (j, i, -1.0)
                    if row[centre] < 0:
                        continue
                    if filling:
                        at = place[row[centre]]
                        place[row[centre]] += 1
                        index[at] = other
                        for a in range(3):
                            vector[at, a] = sign * d[a]
                    else:
                        start[row[centre] + 1] += 1
    return start, index, vector


@njit()
def bond_reach(tables):
    """(s, s) longest bond in any triplet of a centre and a neighbour of two species, Å."""
    n_species = len(tables.bond_grid)
    longest = np.zeros((n_species, n_species))
    for ti, tj, p in np.ndindex(tables.bond_grid.shape):
        longest[ti, tj] = max(longest[ti, tj], tables.grid_stop[tables.bond_grid[ti, tj, p]])
    return longest


@njit()
def _reach_for_moments(row, ranges, reach):
    """Let the neighbours (s, s) of centres reach as far as their densities, Å; without moments nothing is compiled."""
    if row is None:
        return
    for t in range(len(reach)):
        if row[t] >= 0:
            longest = ranges[row[t]].max()
            for other in range(len(reach)):
                reach[t, other] = max(reach[t, other], longest)


@njit()
def widest(start):
    """The longest row of a list."""
    found = 0
    for i in range(len(start) - 1):
        found = max(found, start[i + 1] - start[i])
    return found


@njit()
def interaction_lists(positions, types, cell, pbc, tables, skin):
    """Lists of all pairs and neighbours within their cut-off plus ``skin`` (Å); the cell must span space."""
    n = len(positions)
    wrap, start, keys = packed_neighbours(
        positions, cell, pbc, tables.cutoff + skin, np.ones(n, np.bool_), np.bool_(True)
    )
    reach = np.zeros(3, np.int64)
    for key in keys:
        for a in range(3):
            reach[a] = max(reach[a], abs(packed_image(key, a)))
    width = 2 * reach + 1
    images = np.empty((width[0] * width[1] * width[2], 3), np.int32)
    for m in range(len(images)):
        images[m, 0] = m // (width[1] * width[2]) - reach[0]
        images[m, 1] = m // width[2] % width[1] - reach[1]
        images[m, 2] = m % width[2] - reach[2]
    pair_index = np.zeros(len(keys) + SPARE, np.int32)
    pair_image = np.zeros(len(keys) + SPARE, np.int32)
    near = np.empty((len(keys), 2), np.bool_)  # seen from the first and from the second atom of a pair
    home, offsets, near_start = np.empty((n, 3)), np.zeros((len(images), 4)), np.zeros(n + 1, np.int64)
    _set_lengths(home, wrap, cell)
    _set_lengths(offsets, images, cell)
    limit = bond_reach(tables)
    _reach_for_moments(tables.moment_row, tables.moment_ranges, limit)
    limit = (limit + skin) ** 2
    for i in range(n):
        for q in range(start[i], start[i + 1]):
            j = packed_atom(keys[q])
            image = (
                ((packed_image(keys[q], 0) + reach[0]) * width[1] + packed_image(keys[q], 1) + reach[1]) * width[2]
                + packed_image(keys[q], 2)
                + reach[2]
            )
            pair_index[q] = j
            pair_image[q] = image
            square = 0.0
            for a in range(3):
                d = positions[j, a] - home[j, a] + offsets[image, a] - positions[i, a] + home[i, a]
                square += d * d
            near[q, 0], near[q, 1] = square < limit[types[i], types[j]], square < limit[types[j], types[i]]
            near_start[i + 1] += near[q, 0]
            near_start[j + 1] += near[q, 1]
    for i in range(n):
        near_start[i + 1] += near_start[i]
    near_index = np.zeros(near_start[n] + SPARE, np.int32)
    near_image = np.zeros(near_start[n] + SPARE, np.int32)
    place = near_start[:-1].copy()
    last = len(images) - 1
    # atoms before i have entered their pairs with i when those of i come: every row fills in order
    for i in range(n):
        for q in range(start[i], start[i + 1]):
            j = pair_index[q]
            if near[q, 0]:
                near_index[place[i]] = j
                near_image[place[i]] = pair_image[q]
                place[i] += 1
            if near[q, 1]:
                near_index[place[j]] = i
                near_image[place[j]] = last - pair_image[q]  # the opposite image stands as far from the end
                place[j] += 1
    lists = InteractionLists(
        wrap=wrap,
        home=home,
        images=images,
        offsets=offsets,
        pair_start=start,
        pair_index=pair_index,
        pair_image=pair_image,
        near_start=near_start,
        near_index=near_index,
        near_image=near_image,
    )
    _sort_by_distance(tables.by_distance, lists, positions, types)
    return lists


@njit()
def _sort_by_distance(by_distance, lists, positions, types):
    """Sort the neighbours of each atom that are of one species by distance; not where ``by_distance`` is ``None``."""
    if by_distance is None:
        return
    square = np.empty(len(lists.near_index))
    for i in range(len(positions)):
        first = lists.near_start[i]
        for q in range(first, lists.near_start[i + 1]):
            j, image = lists.near_index[q], lists.near_image[q]
            d2 = 0.0
            for a in range(3):
                d = positions[j, a] - lists.home[j, a] + lists.offsets[image, a] - positions[i, a] + lists.home[i, a]
                d2 += d * d
            if types[j] != types[lists.near_index[max(first, q - 1)]]:
                first = q
            at = q
            while at > first and square[at - 1] > d2:
                square[at] = square[at - 1]
                lists.near_index[at], lists.near_image[at] = lists.near_index[at - 1], lists.near_image[at - 1]
                at -= 1
            square[at], lists.near_index[at], lists.near_image[at] = d2, j, image
