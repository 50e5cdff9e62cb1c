"""What the threads of a warp do together, and the few operations for which a GPU has instructions of its own.

The functions that know physics are written with these alone. So they can be compiled for a GPU, run by numba's
simulator, which lacks some of them, or be compiled for the processor with a single lane, and give the same forces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba.cuda
import numpy as np

#: The stubs of its functions are those of the simulator, and take indices of threads for functions.
cuda: Any = numba.cuda
#: Threads of a warp; registers of each, of which most of the work needs no more.
WARP, REGISTERS = 32, 80


@dataclass(frozen=True)
class Lanes:
    """Operations of a target.

    Attributes:
        count: threads that work together on an atom.
        kernel: decorator of functions that are launched.
        function: decorator of functions that these and each other call.
        ballot: (bool) -> bits, one for each lane whose argument is true.
        bits: number of bits that are set.
        total: sum of an integer over all lanes, which each of them gets.
        sync: waits for all lanes; what one has written the others see.
        add, least: (array, index, value) atomic sum, which returns what was there before, and minimum.
        nearest: float32 to the nearest int32, ties to even.
        inverse_root: 1 / √x of a float32.
    """

    count: int
    kernel: Callable
    function: Callable
    ballot: Callable
    bits: Callable
    total: Callable
    sync: Callable
    add: Callable
    least: Callable
    nearest: Callable
    inverse_root: Callable


@cache
def gpu_lanes() -> Lanes:
    """The operations of a GPU."""
    from numba.cuda import libdevice  # not a part of the simulator

    function = cuda.jit(device=True)
    everyone = np.uint32(0xFFFFFFFF)

    @function
    def ballot(flag):
        return cuda.ballot_sync(everyone, flag)

    @function
    def bits(mask):
        return cuda.popc(mask)

    @function
    def total(value):
        for distance in (16, 8, 4, 2, 1):
            value += cuda.shfl_xor_sync(everyone, value, distance)
        return value

    @function
    def sync():
        cuda.syncwarp()

    @function
    def add(array, index, value):
        return cuda.atomic.add(array, index, value)

    @function
    def least(array, index, value):
        cuda.atomic.min(array, index, value)

    @function
    def nearest(x):
        return libdevice.float2int_rn(x)

    @function
    def inverse_root(x):
        return libdevice.rsqrtf(x)

    return Lanes(
        count=WARP,
        kernel=cuda.jit(max_registers=REGISTERS),
        function=function,
        ballot=ballot,
        bits=bits,
        total=total,
        sync=sync,
        add=add,
        least=least,
        nearest=nearest,
        inverse_root=inverse_root,
    )
