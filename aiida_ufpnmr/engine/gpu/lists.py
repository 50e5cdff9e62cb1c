"""Neighbour lists of one atom, by the lanes of a warp.

An entry holds an atom and one of its images: bits 0 to 21 the atom, and three times three bits the number of cells,
plus four, by which the image stands off. Entries are sorted by atom, so that a list does not depend on how it came
about, and by species, as the atoms are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aiida_ufpnmr.engine.gpu.arrays import SHORT, SHORT_BIN, SHORT_LIST
from aiida_ufpnmr.engine.gpu.fixed_point import PLACE_BITS
from aiida_ufpnmr.engine.gpu.lanes import Lanes

ATOM_BITS, IMAGE_BITS = 22, 3
#: Atoms of a replica, and images beside the nearest one along an axis.
MOST_ATOMS, MOST_IMAGES = 1 << ATOM_BITS, 2
_ATOM, _IMAGE, _CENTRE = (1 << ATOM_BITS) - 1, (1 << IMAGE_BITS) - 1, 1 << IMAGE_BITS - 1
_X, _Y, _Z = ATOM_BITS, ATOM_BITS + IMAGE_BITS, ATOM_BITS + 2 * IMAGE_BITS
#: The image bits of an atom itself.
_ITSELF = _CENTRE << _X | _CENTRE << _Y | _CENTRE << _Z
_HALF_CELL = 1 << PLACE_BITS - 1


def packing_functions(lanes: Lanes) -> tuple[Callable, Callable, Callable]:
    """(edges, replica) -> nine numbers; (place, nine numbers, replica, i, entry) -> vector to the neighbour in Å; and
    (entry) -> its atom.
    """

    @lanes.function
    def edges_of(edges, replica):
        return (
            edges[replica, 0, 0], edges[replica, 0, 1], edges[replica, 0, 2],
            edges[replica, 1, 0], edges[replica, 1, 1], edges[replica, 1, 2],
            edges[replica, 2, 0], edges[replica, 2, 1], edges[replica, 2, 2],
        )  # fmt: skip

    @lanes.function
    def atom_of(entry):
        return entry & _ATOM

    @lanes.function
    def vector_to(place, edges, replica, i, entry):
        j = entry & _ATOM
        p = place[replica, j, 0] - place[replica, i, 0] + (((entry >> _X & _IMAGE) - _CENTRE) << PLACE_BITS)
        q = place[replica, j, 1] - place[replica, i, 1] + (((entry >> _Y & _IMAGE) - _CENTRE) << PLACE_BITS)
        r = place[replica, j, 2] - place[replica, i, 2] + (((entry >> _Z & _IMAGE) - _CENTRE) << PLACE_BITS)
        a, b, c = np.float32(np.int32(p)), np.float32(np.int32(q)), np.float32(np.int32(r))
        return (
            a * edges[0] + b * edges[3] + c * edges[6],
            a * edges[1] + b * edges[4] + c * edges[7],
            a * edges[2] + b * edges[5] + c * edges[8],
        )

    return edges_of, vector_to, atom_of


def append_functions(lanes: Lanes) -> tuple[Callable, Callable]:
    """What lanes append to a list together, as far as there is room: (entries, replica, i, lane, inside, entry, number
    before) -> number after; and the end of the list, (replica, i, lane, state, lists, number) -> those within the room.
    """
    ballot, bits = lanes.ballot, lanes.bits

    @lanes.function
    def append(entries, replica, i, lane, inside, entry, found):
        mask = ballot(inside)
        place = found + bits(mask & ((1 << lane) - 1))
        if inside and place < entries.shape[2]:
            entries[replica, i, place] = entry
        return found + bits(mask)

    @lanes.function
    def finish(replica, i, lane, state, lists, found):
        capacity = lists.entry.shape[2]
        if lane == 0:
            lists.length[replica, i] = min(found, capacity)
            if found > capacity:
                state.control[replica, SHORT] = SHORT_LIST
        return min(found, capacity)

    return append, finish


def list_function(lanes: Lanes) -> Callable:
    """What one lane does for the list of an atom: all atoms are tried, those with lower numbers first."""
    count = lanes.count
    edges_of, vector_to, _ = packing_functions(lanes)
    packed = packed_function(lanes)
    append, finish = append_functions(lanes)

    @lanes.function
    def list_all(replica, i, lane, state, lists, rule):
        edges, n = edges_of(state.edges, replica), lists.entry.shape[1]
        rx, ry, rz = rule.reach
        images = (2 * rx + 1) * (2 * ry + 1) * (2 * rz + 1)
        found = 0
        for first in range(0, n * images, count):
            item, inside, entry = first + lane, False, 0
            if item < n * images:
                j, image = item // images, item % images
                entry = packed(state.place, replica, i, j, image, rx, ry, rz)
                x, y, z = vector_to(state.place, edges, replica, i, entry)
                inside = x * x + y * y + z * z < rule.list_square and entry != i | _ITSELF
            found = append(lists.entry, replica, i, lane, inside, entry, found)
        finish(replica, i, lane, state, lists, found)

    return list_all


def bin_functions(lanes: Lanes) -> tuple[Callable, Callable]:
    """Atoms into boxes, (replica, atom, state, bins); and what one lane does for the list of an atom from them.

    Who comes first into a box is chance; so each list is sorted in the end, by the number of entries that are less.
    """
    count, sync, add = lanes.count, lanes.sync, lanes.add
    edges_of, vector_to, atom_of = packing_functions(lanes)
    packed = packed_function(lanes)
    append, finish = append_functions(lanes)

    @lanes.function
    def box(place, replica, atom, axis, number):
        # lists that are made anew find all atoms within the cell
        return int(place[replica, atom, axis]) * number >> PLACE_BITS

    @lanes.function
    def fill(replica, atom, state, bins):
        nx, ny, nz = bins.number
        x, y = box(state.place, replica, atom, 0, nx), box(state.place, replica, atom, 1, ny)
        at = (x * ny + y) * nz + box(state.place, replica, atom, 2, nz)
        place = add(bins.filled, (replica, at), np.int32(1))
        if place < bins.member.shape[2]:
            bins.member[replica, at, place] = atom
        else:
            state.control[replica, SHORT] = SHORT_BIN

    @lanes.function
    def list_near(replica, i, lane, state, lists, rule, bins):
        edges = edges_of(state.edges, replica)
        nx, ny, nz = bins.number
        x, y = box(state.place, replica, i, 0, nx), box(state.place, replica, i, 1, ny)
        z = box(state.place, replica, i, 2, nz)
        found = 0
        for near in range(27):
            at = ((x + near // 9 - 1) % nx * ny + (y + near // 3 % 3 - 1) % ny) * nz + (z + near % 3 - 1) % nz
            members = min(bins.filled[replica, at], bins.member.shape[2])
            for first in range(0, members, count):
                inside, entry = False, 0
                if first + lane < members:
                    j = bins.member[replica, at, first + lane]
                    entry = packed(state.place, replica, i, j, 0, 0, 0, 0)
                    dx, dy, dz = vector_to(state.place, edges, replica, i, entry)
                    inside = dx * dx + dy * dy + dz * dz < rule.list_square and j != i
                found = append(bins.spare, replica, i, lane, inside, entry, found)
        found = finish(replica, i, lane, state, lists, found)
        sync()
        for q in range(lane, found, count):
            entry, less = bins.spare[replica, i, q], 0
            for other in range(found):
                if atom_of(bins.spare[replica, i, other]) < atom_of(entry):
                    less += 1
            lists.entry[replica, i, less] = entry

    return fill, list_near


def packed_function(lanes: Lanes) -> Callable:
    """The entry of atom ``j`` in an image: number ``image`` of those around the one nearest to atom ``i``."""

    @lanes.function
    def away(here, there):
        """Cells by which the nearest image along one axis stands off."""
        return -((there - here + _HALF_CELL) >> PLACE_BITS)

    @lanes.function
    def packed(place, replica, i, j, image, rx, ry, rz):
        a = away(place[replica, i, 0], place[replica, j, 0]) + image // ((2 * ry + 1) * (2 * rz + 1)) - rx
        b = away(place[replica, i, 1], place[replica, j, 1]) + image // (2 * rz + 1) % (2 * ry + 1) - ry
        c = away(place[replica, i, 2], place[replica, j, 2]) + image % (2 * rz + 1) - rz
        return j | (a + _CENTRE) << _X | (b + _CENTRE) << _Y | (c + _CENTRE) << _Z

    return packed
