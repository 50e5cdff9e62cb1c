"""EFG tensors of ions by the threads of a block: what :class:`~aiida_ufpnmr.engine.efg.terms.LinearTerms` gives.

Arithmetic is float32; what is added over threads are integers, which are the same in any order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aiida_ufpnmr.engine.efg.messages import RANK_MAX
from aiida_ufpnmr.engine.gpu.efg_tables import COMPONENTS, TOLD, EfgShape
from aiida_ufpnmr.engine.gpu.environments import density_function, small_function
from aiida_ufpnmr.engine.gpu.lanes import Lanes
from aiida_ufpnmr.engine.gpu.lists import append_functions, packing_functions

_ZERO = np.float32(0)
#: Components: 2⁻⁴⁰ a.u. as 64 bits.
_UNIT = 2.0**-40
_PER_UNIT = 1 / _UNIT


def close_function(lanes: Lanes) -> Callable:
    """Neighbours of an atom within the cut-off of the model, by the lanes of a warp, from those that forces have."""
    count = lanes.count
    edges_of, vector_to, _ = packing_functions(lanes)
    append, _ = append_functions(lanes)

    @lanes.function
    def list_close(replica, i, lane, seen, lists, reach, close):
        edges, neighbours, found = edges_of(seen.edges, replica), lists.length[replica, i], 0
        for first in range(0, neighbours, count):
            inside, entry = False, 0
            if first + lane < neighbours:
                entry = lists.entry[replica, i, first + lane]
                x, y, z = vector_to(seen.place, edges, replica, i, entry)
                inside = x * x + y * y + z * z < reach[0]
            found = append(close.entry, replica, i, lane, inside, entry, found)
        if lane == 0:
            close.length[replica, i] = found

    return list_close


def tell_function(lanes: Lanes, team: int, shape: EfgShape, batch: int) -> Callable:
    """What an atom tells of its surroundings, into ``told``; see :func:`~aiida_ufpnmr.engine.efg.messages.told_by`."""
    small, expand = small_function(lanes), density_function(lanes, team, shape, batch, RANK_MAX)
    channels, width = shape.message_channels, shape.kinds * shape.width

    @lanes.function
    def tell(replica, i, thread, seen, close, tables, told, scratch):
        expand(replica, i, thread, seen, close, tables, told, scratch)
        kind = tables.kind[seen.place[replica, i, 3]]
        for at in range(thread, TOLD * channels, team):
            item = small(at)
            number, q, found = item // channels, item % channels, _ZERO
            rank = 0 if number < 3 else 1
            for channel in range(width):
                found += scratch.density[1 + number, channel] * tables.tell[rank, kind, channel, q]
            told[replica, i, number, q] = found

    return tell


def predict_function(lanes: Lanes, team: int, warp: int, shape: EfgShape, batch: int) -> Callable:
    """The five components of the tensor of an ion, into row ``slot`` of ``value``.

    Args:
        lanes: whose ``sync`` waits for the whole team, and ``total`` adds over a warp.
        warp: threads of a warp.
    """
    sync, total, add, small = lanes.sync, lanes.total, lanes.add, small_function(lanes)
    listen = _listen_function(lanes, team, shape) if shape.message_channels else None
    expand = density_function(lanes, team, shape, batch, shape.l_max, listen)
    harmonics, rows, mixed, width = (shape.l_max + 1) ** 2, shape.rows, shape.mixed, shape.kinds * shape.width
    listened = batch if shape.message_channels else 0

    @lanes.function
    def predict(replica, k, slot, thread, seen, close, tables, told, value, scratch):
        for at in range(thread, listened * COMPONENTS, team):
            item = small(at)
            scratch.message[item // COMPONENTS, item % COMPONENTS] = 0
        for component in range(thread, COMPONENTS, team):
            scratch.sum[component] = 0
        expand(replica, tables.ion[k], thread, seen, close, tables, told, scratch)
        for at in range(thread, harmonics * mixed, team):
            item = small(at)
            lm, p, found = item // mixed, item % mixed, _ZERO
            l = small(tables.degree[lm])
            for channel in range(width):
                found += scratch.density[lm, channel] * tables.mixing[l, channel, p]
            scratch.mixed[lm, p] = found
        sync()
        for at in range(thread, rows * mixed, team):
            item = small(at)
            row, p, found = item // mixed, item % mixed, _ZERO
            pair, lm = small(tables.row[row, 0]), small(tables.row[row, 1])
            for q in range(mixed):
                found += scratch.mixed[lm, q] * tables.weight[pair, q, p]
            scratch.pool[item] = found
        for p in range(thread, mixed, team):
            scratch.pool[rows * mixed + p] = tables.linear[p]
        sync()
        for component in range(COMPONENTS):
            share = np.int64(0)
            for at in range(tables.first_product[component] + thread, tables.first_product[component + 1], team):
                item, found = small(at), _ZERO
                lm, row = small(tables.product[item, 0]), small(tables.product[item, 1])
                for p in range(mixed):
                    found += scratch.mixed[lm, p] * scratch.pool[row * mixed + p]
                share += np.int64(np.float64(tables.coupling[item] * found) * _PER_UNIT)
            share = total(share)
            if thread % warp == 0:
                add(scratch.sum, component, share)
        sync()
        for component in range(thread, COMPONENTS, team):
            found = scratch.sum[component]
            for b in range(listened):
                found += scratch.message[b, component]
            value[slot, replica, k, component] = np.float32(np.float64(found) * _UNIT)
        sync()  # the next ion finds the scratch free

    return predict


def _listen_function(lanes: Lanes, team: int, shape: EfgShape) -> Callable:
    """Messages of a batch of neighbours, times their weights, into ``scratch.message``."""
    sync, small = lanes.sync, small_function(lanes)
    harmonics, n_max, numbers = (shape.l_max + 1) ** 2, shape.n_max, shape.heard
    channels, filters = shape.message_channels, shape.message_pairs * shape.message_channels

    @lanes.function
    def listen(replica, number, thread, tables, told, scratch):
        for at in range(thread, number * filters, team):
            item = small(at)
            b, p, q, found = item // filters, item % filters // channels, item % channels, _ZERO
            l, kind = small(tables.listened[p]), small(scratch.atom[b, 1])
            for n in range(n_max):
                found += scratch.radial[b, l, n] * tables.message[kind, p, n, q]
            scratch.filter[b, p, q] = found
        sync()
        for at in range(thread, number * numbers, team):
            item = small(at)
            b, e, found = item // numbers, item % numbers, _ZERO
            p, told_number, j = small(tables.heard[e, 0]), small(tables.heard[e, 1]), scratch.atom[b, 0]
            for q in range(channels):
                found += scratch.filter[b, p, q] * told[replica, j, told_number, q]
            scratch.heard[b, e] = found
        sync()
        for at in range(thread, number * COMPONENTS, team):
            item = small(at)
            b, component, found = item // COMPONENTS, item % COMPONENTS, _ZERO
            for place in range(tables.first_term[component], tables.first_term[component + 1]):
                term = small(place)
                value = scratch.pool[b * harmonics + small(tables.term[term, 0])]
                found += tables.term_coupling[term] * value * scratch.heard[b, small(tables.term[term, 1])]
            scratch.message[b, component] += np.int64(np.float64(found) * _PER_UNIT)

    return listen
