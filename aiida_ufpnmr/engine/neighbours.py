"""Neighbour lists with all periodic images, in linear time, for any cell.

A cell list in fractional space (after Allen & Tildesley, Computer Simulation of Liquids, ch. 5): the cell is cut into
boxes, and each atom looks into every box that a sphere around it can touch, stepping over the cell boundary as often as
the cut-off asks. Nothing assumes that the cell is wider than the cut-off.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.simd import load8, store


class NeighbourList(NamedTuple):
    """Neighbours of all atoms as flat arrays, each pair seen from both ends.

    Those of atom ``i`` stand at ``start[i]:start[i + 1]``, ordered by atom index and then by image.
    """

    start: np.ndarray  # (n + 1,) int64
    index: np.ndarray  # type: ignore[assignment]  # (m,) int32; hides the method of tuples
    shift: np.ndarray  # (m, 3) int32

    @property
    def centre(self) -> np.ndarray:
        """(m,) the atom that each neighbour belongs to."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def vectors(self, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """(m, 3) vector to each neighbour in Å, from the positions and the cell that were given."""
        return positions[self.index] + self.shift @ cell - positions[self.centre]


class Surroundings(NamedTuple):
    """Neighbours of some atoms, with the vectors to them; those of the k-th atom stand at ``start[k]:start[k + 1]``."""

    start: np.ndarray  # (n_centres + 1,) int64
    index: np.ndarray  # type: ignore[assignment]  # (m,) int32; hides the method of tuples
    vector: np.ndarray  # (m, 3) Å

    def of(self, rows: np.ndarray) -> Surroundings:
        """The surroundings of some of the atoms, which are given by their rows (n,) here."""
        counts = np.diff(self.start)[rows]
        start = np.concatenate([[0], np.cumsum(counts)])
        chosen = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], counts)
        return Surroundings(start, self.index[chosen], self.vector[chosen])


def neighbour_list(positions: np.ndarray, cell: np.ndarray, pbc, cutoff: float) -> NeighbourList:
    """All neighbours within ``cutoff`` (Å) of each atom, periodic images and images of the atom itself included.

    Args:
        positions: (n, 3) in Å, wrapped into the cell or not.
        cell: (3, 3) in Å, rows are the cell vectors; may be zero along directions that are not periodic.
        pbc: three booleans.
        cutoff: Å.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    pbc = np.asarray(pbc, dtype=bool) & np.ones(3, dtype=bool)
    cell = complete_cell(positions, np.asarray(cell, dtype=np.float64), pbc)
    return NeighbourList(*find_neighbours(positions, cell, pbc, float(cutoff)))


def surroundings(positions: np.ndarray, cell: np.ndarray, pbc, cutoff: float, centres: np.ndarray) -> Surroundings:
    """Neighbours of chosen atoms, with the vectors to them; for the arguments see :func:`neighbour_list`.

    Args:
        centres: (n_centres,) their indices.
    """
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    pbc = np.asarray(pbc, dtype=bool) & np.ones(3, dtype=bool)
    cell = complete_cell(positions, np.asarray(cell, dtype=np.float64), pbc)
    return Surroundings(*find_surroundings(positions, cell, pbc, float(cutoff), np.asarray(centres, np.int64)))


def cell_heights(cells: np.ndarray) -> np.ndarray:
    """Distances between opposite faces (..., 3) of cells (..., 3, 3)."""
    return 1 / np.linalg.norm(np.linalg.inv(cells), axis=-2)


def complete_cell(positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Replace cell vectors of directions that are not periodic by ones that span space and hold the atoms."""
    if pbc.all():
        return np.ascontiguousarray(cell)
    cell = cell.copy()
    extent = np.linalg.norm(np.ptp(positions, axis=0)) + 1.0
    cell[~pbc] = 0.0
    for axis in np.flatnonzero(~pbc):
        # a unit vector outside the span of the others: the last right-singular vector of what is there
        cell[axis] = extent * np.linalg.svd(cell)[2][-1]
    return np.ascontiguousarray(cell)


#: Bits that hold the image of a neighbour along one direction, up to 8191 cells either way; 21 are left for the atom.
_BITS = 14
_MIDDLE = 1 << (_BITS - 1)


@njit(inline='always')
def pack(j, s0, s1, s2):
    """Atom and image as one number; in order of these numbers stand atoms, then images."""
    return (((((j << _BITS) + s0 + _MIDDLE) << _BITS) + s1 + _MIDDLE) << _BITS) + s2 + _MIDDLE


@njit(inline='always')
def packed_atom(key):
    """The atom in a number of :func:`pack`."""
    return key >> (3 * _BITS)


@njit(inline='always')
def packed_image(key, a):
    """The image in a number of :func:`pack` along direction ``a``."""
    return ((key >> ((2 - a) * _BITS)) & (2 * _MIDDLE - 1)) - _MIDDLE


@njit(inline='always')
def set_vector(vector, positions, cell, wrap, i, key):
    """Write to ``vector`` (3,) that from atom ``i`` to a neighbour of :func:`packed_neighbours`."""
    j = packed_atom(key)
    for x in range(3):
        vector[x] = positions[j, x] - positions[i, x]
    for a in range(3):
        image = packed_image(key, a) + wrap[i, a] - wrap[j, a]
        for x in range(3):
            vector[x] += image * cell[a, x]


@njit()
def find_neighbours(positions, cell, pbc, cutoff):
    """Compiled part of :func:`neighbour_list`, for compiled callers as well; the cell must span space."""
    wrap, start, keys = packed_neighbours(
        positions, cell, pbc, cutoff, np.ones(len(positions), np.bool_), np.bool_(False)
    )
    index = np.empty(len(keys), np.int32)
    shift = np.empty((len(keys), 3), np.int32)
    for i in range(len(positions)):
        for q in range(start[i], start[i + 1]):
            j = packed_atom(keys[q])
            index[q] = j
            for a in range(3):
                shift[q, a] = packed_image(keys[q], a) + wrap[i, a] - wrap[j, a]
    return start, index, shift


@njit(nogil=True)
def find_surroundings(positions, cell, pbc, cutoff, centres):
    """Compiled part of :func:`surroundings`, for compiled callers as well; the cell must span space."""
    wanted = np.zeros(len(positions), np.bool_)
    wanted[centres] = True
    wrap, start, keys = packed_neighbours(positions, cell, pbc, cutoff, wanted, np.bool_(False))
    first = np.zeros(len(centres) + 1, np.int64)
    for k in range(len(centres)):
        first[k + 1] = first[k] + start[centres[k] + 1] - start[centres[k]]
    index = np.empty(first[-1], np.int32)
    vector = np.empty((first[-1], 3))
    for k in range(len(centres)):
        i = centres[k]
        for q in range(start[i], start[i + 1]):
            at = first[k] + q - start[i]
            j = packed_atom(keys[q])
            index[at] = j
            s0 = packed_image(keys[q], 0) + wrap[i, 0] - wrap[j, 0]
            s1 = packed_image(keys[q], 1) + wrap[i, 1] - wrap[j, 1]
            s2 = packed_image(keys[q], 2) + wrap[i, 2] - wrap[j, 2]
            for a in range(3):
                image = s0 * cell[0, a] + s1 * cell[1, a] + s2 * cell[2, a]
                vector[at, a] = positions[j, a] + image - positions[i, a]
    return first, index, vector


@njit()
def packed_neighbours(positions, cell, pbc, cutoff, centres, half):
    """Neighbours of some atoms, sorted, with images counted from positions that are wrapped into the cell.

    Args:
        centres: (n,) booleans, the atoms whose neighbours are wanted.
        half: give each pair once, to the atom of lower index; an atom and its own image once as well. A variable of
            compiled callers: for a literal of theirs Numba would compile the function once more.

    Returns:
        wrap: (n, 3) int32, how many cells each atom is outside the cell.
        start: (n + 1,) int64, where the neighbours of an atom begin in ``keys``.
        keys: (m,) int64, see :func:`pack`.
    """
    n = len(positions)
    wrap, wrapped, box_of, boxes, reach, first, atom, ordered = _boxes(positions, cell, pbc, cutoff)
    # Atom by atom, in order: for which centres is it a neighbour, and as which image? Handing these out to the centres
    # in the same order leaves the neighbours of each centre sorted, without a sort. Where each pair is wanted once, an
    # atom looks at those that came before it, which stand first in their boxes.
    there = np.zeros(len(first) - 1, np.int64)
    most = 0
    for box in range(len(there)):
        size = first[box + 1] - first[box]
        most = max(most, size)
        if not half:
            there[box] = size
    counts = np.zeros(n + 1, np.int64)
    ends = np.zeros(n + 1, np.int64)
    found = np.empty(64 * n + 64, np.int64)
    square = np.empty(most + 8)
    close = np.empty(most + 1, np.int64)
    stride = ordered.shape[1]
    limit = cutoff * cutoff
    total = 0
    for j in range(n):
        if half:
            there[(box_of[j, 0] * boxes[1] + box_of[j, 1]) * boxes[2] + box_of[j, 2]] += 1
        for b0 in range(box_of[j, 0] - reach[0], box_of[j, 0] + reach[0] + 1):
            if not pbc[0] and (b0 < 0 or b0 >= boxes[0]):
                continue
            c0 = b0 // boxes[0]
            for b1 in range(box_of[j, 1] - reach[1], box_of[j, 1] + reach[1] + 1):
                if not pbc[1] and (b1 < 0 or b1 >= boxes[1]):
                    continue
                c1 = b1 // boxes[1]
                for b2 in range(box_of[j, 2] - reach[2], box_of[j, 2] + reach[2] + 1):
                    if not pbc[2] and (b2 < 0 or b2 >= boxes[2]):
                        continue
                    c2 = b2 // boxes[2]
                    box = ((b0 - c0 * boxes[0]) * boxes[1] + b1 - c1 * boxes[1]) * boxes[2] + b2 - c2 * boxes[2]
                    x = wrapped[j, 0] - (c0 * cell[0, 0] + c1 * cell[1, 0] + c2 * cell[2, 0])
                    y = wrapped[j, 1] - (c0 * cell[0, 1] + c1 * cell[1, 1] + c2 * cell[2, 1])
                    z = wrapped[j, 2] - (c0 * cell[0, 2] + c1 * cell[1, 2] + c2 * cell[2, 2])
                    low, size = first[box], there[box]
                    for k in range(0, size, 8):  # and over the end
                        dx = load8(ordered, low + k) - x
                        dy = load8(ordered, stride + low + k) - y
                        dz = load8(ordered, 2 * stride + low + k) - z
                        store(square, k, dx * dx + dy * dy + dz * dz)
                    within = 0
                    for k in range(np.uintp(size)):
                        close[np.uintp(within)] = atom[np.uintp(low) + k]
                        within += square[k] < limit
                    if total + within > len(found):
                        found = np.concatenate((found, np.empty(len(found) + within, np.int64)))
                    here = c0 == 0 and c1 == 0 and c2 == 0
                    positive = c0 > 0 or (c0 == 0 and (c1 > 0 or (c1 == 0 and c2 > 0)))
                    for k in range(within):
                        i = close[k]
                        if not centres[i] or (i == j and (here or (half and positive))):
                            continue
                        found[total] = pack(i, -c0, -c1, -c2)
                        counts[i + 1] += 1
                        total += 1
        ends[j + 1] = total
    start = np.cumsum(counts)
    place = start[:-1].copy()
    keys = np.empty(total, np.int64)
    for j in range(n):
        for q in range(ends[j], ends[j + 1]):
            i = packed_atom(found[q])
            key = found[q] + ((j - i) << (3 * _BITS))
            at = place[i]
            place[i] += 1
            # only images of one atom can be out of order
            while at > start[i] and keys[at - 1] > key:
                keys[at] = keys[at - 1]
                at -= 1
            keys[at] = key
    return wrap, start, keys


@njit()
def _boxes(positions, cell, pbc, cutoff):
    """Wrap atoms into the cell and sort them into boxes.

    Returns:
        wrap: (n, 3) int32 cells that each atom is outside; wrapped: (n, 3) Å.
        box_of: (n, 3) box of each atom; boxes: how many there are along each direction; reach: how many to look around.
        first: where the atoms of a box begin in ``atom``, (boxes + 1,); atom: (n,), in order within a box; ordered:
            (3, n + 8) their wrapped positions.
    """
    n = len(positions)
    inverse = np.linalg.inv(cell)
    # distance between opposite faces of the cell
    height = np.empty(3)
    for a in range(3):
        height[a] = 1.0 / np.sqrt(inverse[0, a] ** 2 + inverse[1, a] ** 2 + inverse[2, a] ** 2)
    fractional = np.empty((n, 3))
    for i in range(n):
        for a in range(3):
            fractional[i, a] = (
                positions[i, 0] * inverse[0, a] + positions[i, 1] * inverse[1, a] + positions[i, 2] * inverse[2, a]
            )
    origin = np.zeros(3)
    width = np.ones(3)
    wrap = np.zeros((n, 3), np.int32)
    for a in range(3):
        if pbc[a]:
            for i in range(n):
                wrap[i, a] = int(np.floor(fractional[i, a]))
        else:
            origin[a] = fractional[:, a].min()
            width[a] = max(fractional[:, a].max() - origin[a], 1e-9)
    boxes = np.empty(3, np.int64)
    reach = np.empty(3, np.int64)
    # as many boxes as fit the cut-off, but never far more boxes than atoms
    limit = int(np.ceil((4.0 * n) ** (1.0 / 3.0))) + 1
    for a in range(3):
        boxes[a] = max(1, min(limit, int(height[a] * width[a] / cutoff)))
        reach[a] = int(np.ceil(cutoff / (height[a] * width[a] / boxes[a]) + 1e-9))
        if not pbc[a]:
            reach[a] = min(reach[a], boxes[a] - 1)
    box_of = np.empty((n, 3), np.int64)
    first = np.zeros(boxes[0] * boxes[1] * boxes[2] + 1, np.int64)
    for i in range(n):
        for a in range(3):
            u = (fractional[i, a] - wrap[i, a] - origin[a]) / width[a]
            box_of[i, a] = min(boxes[a] - 1, max(0, int(u * boxes[a])))
        first[(box_of[i, 0] * boxes[1] + box_of[i, 1]) * boxes[2] + box_of[i, 2] + 1] += 1
    first = np.cumsum(first)
    filled = first[:-1].copy()
    atom = np.empty(n, np.int64)
    ordered = np.zeros((3, n + 8))
    wrapped = np.empty((n, 3))
    for i in range(n):
        box = (box_of[i, 0] * boxes[1] + box_of[i, 1]) * boxes[2] + box_of[i, 2]
        place = filled[box]
        filled[box] += 1
        atom[place] = i
        for k in range(3):
            wrapped[i, k] = positions[i, k] - (
                wrap[i, 0] * cell[0, k] + wrap[i, 1] * cell[1, k] + wrap[i, 2] * cell[2, k]
            )
            ordered[k, place] = wrapped[i, k]
    return wrap, wrapped, box_of, boxes, reach, first, atom, ordered
