"""Random numbers that depend on a seed, an atom and a step alone, not on who asks for them and when.

Philox 4x32-10: Salmon, Moraes, Dror & Shaw, Proc. SC11, 16 (2011).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from aiida_ufpnmr.engine.gpu.lanes import Lanes

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_FACTORS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_TINY = 2.0**-33


def philox_function(lanes: Lanes) -> Callable:
    """The generator: (four words, two words of a key) -> four words, each of 32 bits in 64."""
    first, second = _FACTORS
    raise_first, raise_second = _WEYL

    @lanes.function
    def philox(c0, c1, c2, c3, k0, k1):
        for _ in range(10):
            p, q = first * c0, second * c2
            c0, c1, c2, c3 = (q >> _HALF) ^ c1 ^ k0, q & _LOW, (p >> _HALF) ^ c3 ^ k1, p & _LOW
            k0, k1 = (k0 + raise_first) & _LOW, (k1 + raise_second) & _LOW
        return c0, c1, c2, c3

    return philox


def normals_function(lanes: Lanes) -> Callable:
    """Three independent normal numbers (seed, atom, step) -> x, y, z, by the method of Box and Muller."""
    philox = philox_function(lanes)

    @lanes.function
    def normals(seed, atom, step):
        key, when = np.uint64(seed), np.uint64(step + 4294967296)  # steps of equilibration lie below zero
        a, b, c, d = philox(
            np.uint64(atom), when & _LOW, when >> _HALF, np.uint64(0), key & _LOW, (key >> _HALF) & _LOW
        )
        one = math.sqrt(-2.0 * math.log(2.0**-32 * float(a) + _TINY))
        two = math.sqrt(-2.0 * math.log(2.0**-32 * float(c) + _TINY))
        angle, other = 2.0 * math.pi * 2.0**-32 * float(b), 2.0 * math.pi * 2.0**-32 * float(d)
        return one * math.cos(angle), one * math.sin(angle), two * math.cos(other)

    return normals
