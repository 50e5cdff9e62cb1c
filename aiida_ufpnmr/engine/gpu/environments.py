"""The density of the neighbours of an atom, expanded by the threads of a block.

The numbers are those of :mod:`aiida_ufpnmr.engine.efg.kernels`, in float32. Some neighbours at a time are described, a
thread for each of them and each l; then the threads share the coefficients, each of which is summed by one thread in
the order of the list. So they have the same bits however many threads there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aiida_ufpnmr.engine.gpu.efg_tables import COMPONENTS, SUMMED, EfgShape
from aiida_ufpnmr.engine.gpu.lanes import Lanes
from aiida_ufpnmr.engine.gpu.lists import packing_functions

_ZERO, _HALF, _ONE, _THREE, _FOUR, _SIX = (np.float32(x) for x in (0, 0.5, 1, 3, 4, 6))
_SIXTH = np.float32(1 / 6)
_SMALL = 0xFFFF
#: sin(π y) / y by powers of y² (Taylor), which is exact to 10⁻⁹ up to y = ½; a cosine of the GPU would have other bits.
_SINE = tuple(np.float32((-1) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1)) for k in range(7))


class EfgScratch(NamedTuple):
    """What the threads of a block share while they are at an atom, some (``batch``) neighbours at a time."""

    vector: Any  # (batch, 4) float32 direction of a neighbour, and its distance in Å
    atom: Any  # (batch, 2) int32 which atom, and its kind
    begin: Any  # (kinds + 1,) int32 first of the neighbours of each kind
    pool: Any  # float32 harmonics of (batch, (l_max + 1)²); later weighted factors of (rows + 1, mixed)
    radial: Any  # (batch, l_max + 1, width) float32
    density: Any  # ((l_max + 1)², kinds · width) float32
    mixed: Any  # ((l_max + 1)², mixed) float32
    filter: Any  # (batch, pairs of messages, message channels) float32
    heard: Any  # (batch, numbers) float32
    message: Any  # (batch, 5) int64 sums of messages, by the place of the neighbour in its batch
    sum: Any  # (5,) int64 components of the tensor


#: Types of the elements of :class:`EfgScratch`.
EFG_SCRATCH_TYPES = EfgScratch(
    *(
        np.int32 if name in ('atom', 'begin') else np.int64 if name in ('message', 'sum') else np.float32
        for name in EfgScratch._fields
    )
)


def efg_scratch_shapes(shape: EfgShape, batch: int, l_max: int) -> EfgScratch:
    """The shapes of the arrays for a density up to ``l_max``; those without use have one element.

    Those without use are what a density below that of the model, from which an atom tells, does not need.
    """
    whole, harmonics = l_max == shape.l_max, (l_max + 1) ** 2
    messages = shape.message_channels if whole else 0
    return EfgScratch(
        vector=(batch, 4),
        atom=(batch, 2),
        begin=(shape.kinds + 1,),
        pool=(max(batch * harmonics, (shape.rows + 1) * shape.mixed if whole else 1),),
        radial=(batch, l_max + 1, shape.width),
        density=(harmonics, shape.kinds * shape.width),
        mixed=(harmonics, shape.mixed) if whole else (1, 1),
        filter=(batch, shape.message_pairs, messages) if messages else (1, 1, 1),
        heard=(batch, shape.heard) if messages else (1, 1),
        message=(batch, COMPONENTS) if messages else (1, 1),
        sum=(COMPONENTS,),
    )


def small_function(lanes: Lanes) -> Callable:
    """A number between 0 and 2¹⁶, where the compiler does not know that it is one.

    Divisions of such numbers, and indices, cost a fraction of those that might be negative and have 64 bits.
    """

    @lanes.function
    def small(number):
        return number & _SMALL

    return small


def density_function(
    lanes: Lanes, team: int, shape: EfgShape, batch: int, l_max: int, listen: Callable | None = None
) -> Callable:
    """What one of ``team`` threads does: (replica, atom, thread, seen, close, tables, told, scratch) -> nothing.

    Args:
        lanes: whose ``sync`` waits for the whole team.
        l_max: of the density.
        listen: called with (replica, neighbours, thread, tables, told, scratch) for each batch of neighbours.
    """
    sync, inverse_root = lanes.sync, lanes.inverse_root
    edges_of, vector_to, atom_of = packing_functions(lanes)
    small, describe = small_function(lanes), _describe_function(lanes, shape, l_max)
    momenta, harmonics, kinds, width = l_max + 1, (l_max + 1) ** 2, shape.kinds, shape.width
    groups, channels = width // SUMMED, kinds * width

    @lanes.function
    def expand(replica, i, thread, seen, close, tables, told, scratch):
        edges = edges_of(seen.edges, replica)
        for at in range(thread, harmonics * channels, team):
            item = small(at)
            scratch.density[item // channels, item % channels] = _ZERO
        neighbours = close.length[replica, i]
        for first in range(0, neighbours, batch):
            number = small(min(batch, neighbours - first))
            sync()
            for at in range(thread, number, team):
                b = small(at)
                entry = close.entry[replica, i, first + b]
                j = atom_of(entry)
                x, y, z = vector_to(seen.place, edges, replica, i, entry)
                square = x * x + y * y + z * z
                inverse = inverse_root(square)
                scratch.vector[b, 0], scratch.vector[b, 1], scratch.vector[b, 2] = x * inverse, y * inverse, z * inverse
                scratch.vector[b, 3] = square * inverse
                scratch.atom[b, 0] = j
                scratch.atom[b, 1] = tables.kind[seen.place[replica, j, 3]]
            sync()
            for kind in range(thread, kinds + 1, team):
                less = 0
                for b in range(number):
                    if scratch.atom[b, 1] < kind:
                        less += 1
                scratch.begin[kind] = less
            for at in range(thread, number * momenta, team):
                item = small(at)
                describe(item % number, item // number, tables, scratch)
            sync()
            for at in range(thread, harmonics * kinds * groups, team):
                item = small(at)
                lm, kind, n = item % harmonics, item // harmonics % kinds, item // harmonics // kinds * SUMMED
                l, channel = small(tables.degree[lm]), kind * width + n
                density, radial = scratch.density, scratch.radial
                s0, s1, s2 = density[lm, channel], density[lm, channel + 1], density[lm, channel + 2]
                s3, s4, s5 = density[lm, channel + 3], density[lm, channel + 4], density[lm, channel + 5]
                for neighbour in range(scratch.begin[kind], scratch.begin[kind + 1]):
                    b = small(neighbour)
                    value = scratch.pool[b * harmonics + lm]
                    s0, s1 = s0 + value * radial[b, l, n], s1 + value * radial[b, l, n + 1]
                    s2, s3 = s2 + value * radial[b, l, n + 2], s3 + value * radial[b, l, n + 3]
                    s4, s5 = s4 + value * radial[b, l, n + 4], s5 + value * radial[b, l, n + 5]
                density[lm, channel], density[lm, channel + 1], density[lm, channel + 2] = s0, s1, s2
                density[lm, channel + 3], density[lm, channel + 4], density[lm, channel + 5] = s3, s4, s5
            if listen is not None:
                listen(replica, number, thread, tables, told, scratch)
        sync()

    return expand


def _describe_function(lanes: Lanes, shape: EfgShape, l_max: int) -> Callable:
    """Harmonics of ``|m| = k`` and radial functions of ``l = k`` of a neighbour: (b, k, tables, scratch)."""
    harmonics, n_max, width = (l_max + 1) ** 2, shape.n_max, shape.width
    c0, c1, c2, c3, c4, c5, c6 = _SINE
    small = small_function(lanes)

    @lanes.function
    def describe(b, k, tables, scratch):
        x, y, z, r = scratch.vector[b, 0], scratch.vector[b, 1], scratch.vector[b, 2], scratch.vector[b, 3]
        real, imaginary, before, now = _ONE, _ZERO, _ZERO, _ONE
        for m in range(k):
            real, imaginary = x * real - y * imaginary, x * imaginary + y * real
            now *= np.float32(2 * m + 1)
        for momentum in range(k, l_max + 1):
            l = small(momentum)
            value = tables.constant[0, l, k] * now
            scratch.pool[b * harmonics + l * l + l + k] = value * real
            if k > 0:
                scratch.pool[b * harmonics + l * l + l - k] = value * imaginary
            before, now = now, tables.constant[1, l, k] * z * now - tables.constant[2, l, k] * before
        u = r * tables.reach[3]
        point = min(small(np.int32(u)), tables.spline.shape[0] - 4)
        t = u - np.float32(point)
        s = _ONE - t
        over = min(max((r - tables.reach[1]) * tables.reach[2], _ZERO), _ONE) - _HALF
        o = over * over
        sine = over * (c0 + o * (c1 + o * (c2 + o * (c3 + o * (c4 + o * (c5 + o * c6))))))
        fade = _SIXTH * (_HALF - _HALF * sine)
        b0, b3 = s * s * s * fade, t * t * t * fade
        b1 = ((_THREE * t - _SIX) * t * t + _FOUR) * fade
        b2 = (((_THREE - _THREE * t) * t + _THREE) * t + _ONE) * fade
        for n in range(n_max):
            scratch.radial[b, k, n] = (
                b0 * tables.spline[point, k, n]
                + b1 * tables.spline[point + 1, k, n]
                + b2 * tables.spline[point + 2, k, n]
                + b3 * tables.spline[point + 3, k, n]
            )
        for n in range(n_max, width):
            scratch.radial[b, k, n] = _ZERO

    return describe
