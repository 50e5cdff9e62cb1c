"""Neighbour lists with all periodic images, in linear time, for any cell.

A cell list in fractional space (after Allen & Tildesley, Computer Simulation of Liquids, ch. 5): the cell is cut into
boxes, and each atom looks into every box that a sphere around it can touch, stepping over the cell boundary as often as
the cut-off asks. Nothing assumes that the cell is wider than the cut-off.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np


class NeighbourList(NamedTuple):
    """Neighbours of all atoms as flat arrays, each pair seen from both ends.

    Those of atom ``i`` stand at ``start[i]:start[i + 1]``, ordered by atom index and then by image.
    The vector to the neighbour is ``x[index] + shift @ cell - x[i]`` with ``x`` the positions that were given.
    """

    start: np.ndarray  # (n + 1,) int64
    index: np.ndarray  # (m,) int32
    shift: np.ndarray  # (m, 3) int32


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


@nb.njit(cache=True, inline='always')
def _pack(j, s0, s1, s2):
    """Atom and image as one number; sorting these sorts by atom, then image."""
    return (((((j << _BITS) + s0 + _MIDDLE) << _BITS) + s1 + _MIDDLE) << _BITS) + s2 + _MIDDLE


@nb.njit(cache=True)
def find_neighbours(positions, cell, pbc, cutoff, centres=None):
    """The work behind :func:`neighbour_list`, callable from compiled code; the cell must span space.

    Where ``centres``, (n,) booleans, is given, only those atoms get neighbours.
    """
    n = len(positions)
    inverse = np.linalg.inv(cell)
    # distance between opposite faces of the cell, and how far the atoms reach in fractional coordinates
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
    # atoms box by box, wrapped into the cell: the inner loop runs over memory that lies together
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
    x, y, z = np.empty(n), np.empty(n), np.empty(n)
    wrapped = np.empty((n, 3))
    for i in range(n):
        for k in range(3):
            wrapped[i, k] = positions[i, k] - (
                wrap[i, 0] * cell[0, k] + wrap[i, 1] * cell[1, k] + wrap[i, 2] * cell[2, k]
            )
        box = (box_of[i, 0] * boxes[1] + box_of[i, 1]) * boxes[2] + box_of[i, 2]
        place = filled[box]
        filled[box] += 1
        atom[place] = i
        x[place], y[place], z[place] = wrapped[i]
    start = np.zeros(n + 1, np.int64)
    keys = np.empty(64 * n + 64, np.int64)
    found = 0
    limit2 = cutoff * cutoff
    for i in range(n):
        if centres is not None:
            if not centres[i]:
                start[i + 1] = found
                continue
        for b0 in range(box_of[i, 0] - reach[0], box_of[i, 0] + reach[0] + 1):
            if not pbc[0] and (b0 < 0 or b0 >= boxes[0]):
                continue
            for b1 in range(box_of[i, 1] - reach[1], box_of[i, 1] + reach[1] + 1):
                if not pbc[1] and (b1 < 0 or b1 >= boxes[1]):
                    continue
                for b2 in range(box_of[i, 2] - reach[2], box_of[i, 2] + reach[2] + 1):
                    if not pbc[2] and (b2 < 0 or b2 >= boxes[2]):
                        continue
                    c0, c1, c2 = b0 // boxes[0], b1 // boxes[1], b2 // boxes[2]
                    box = ((b0 - c0 * boxes[0]) * boxes[1] + b1 - c1 * boxes[1]) * boxes[2] + b2 - c2 * boxes[2]
                    xi = wrapped[i, 0] - (c0 * cell[0, 0] + c1 * cell[1, 0] + c2 * cell[2, 0])
                    yi = wrapped[i, 1] - (c0 * cell[0, 1] + c1 * cell[1, 1] + c2 * cell[2, 1])
                    zi = wrapped[i, 2] - (c0 * cell[0, 2] + c1 * cell[1, 2] + c2 * cell[2, 2])
                    here = c0 == 0 and c1 == 0 and c2 == 0
                    if found + first[box + 1] - first[box] > len(keys):
                        keys = np.concatenate((keys, np.empty(len(keys) + n, np.int64)))
                    for k in range(first[box], first[box + 1]):
                        d2 = (x[k] - xi) ** 2 + (y[k] - yi) ** 2 + (z[k] - zi) ** 2
                        if d2 < limit2:
                            j = atom[k]
                            if not (here and j == i):
                                keys[found] = _pack(
                                    j, c0 + wrap[i, 0] - wrap[j, 0], c1 + wrap[i, 1] - wrap[j, 1],
                                    c2 + wrap[i, 2] - wrap[j, 2],
                                )  # fmt: skip
                                found += 1
        start[i + 1] = found
        keys[start[i] : found].sort()
    index = np.empty(found, np.int32)
    shift = np.empty((found, 3), np.int32)
    for q in range(found):
        index[q] = keys[q] >> (3 * _BITS)
        for a in range(3):
            shift[q, a] = ((keys[q] >> ((2 - a) * _BITS)) & (2 * _MIDDLE - 1)) - _MIDDLE
    return start, index, shift
