"""Kernels that predict EFG tensors: a block of threads for each atom or ion of each replica."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import float32, int32, int64

from aiida_ufpnmr.engine.efg.messages import RANK_MAX
from aiida_ufpnmr.engine.gpu.arrays import HELD_UP, STEP
from aiida_ufpnmr.engine.gpu.efg_tables import EfgShape
from aiida_ufpnmr.engine.gpu.environments import EFG_SCRATCH_TYPES, EfgScratch, efg_scratch_shapes
from aiida_ufpnmr.engine.gpu.kernels import SHARED
from aiida_ufpnmr.engine.gpu.lanes import Lanes, cuda, gpu_lanes
from aiida_ufpnmr.engine.gpu.tensors import close_function, predict_function, tell_function

#: Warps of a block at an ion, and at an atom that tells of its surroundings.
_ION_WARPS, _ATOM_WARPS = 4, 2
#: Neighbours that are described at a time.
BATCH = 32


class Rows(NamedTuple):
    """Tensors that wait to be fetched: those of the step at which a call began, or ended, in the first row."""

    value: np.ndarray  # (rows, R, ions, 5) float32 components, a.u.
    base: np.ndarray  # (R,) int64 number of the row before the second, counted from step 0


class Seen(NamedTuple):
    """What tensors depend on of a :class:`~aiida_ufpnmr.engine.gpu.arrays.State`; each array costs time to pass."""

    place: Any
    edges: Any
    control: Any


class EfgKernels(NamedTuple):
    """Kernels of one model; ``every`` is 0 for the present step, whichever it is."""

    close: Any  # (seen, lists, reach, close, rows, every): neighbours, a warp for each atom
    tell: Any  # (seen, close, tables, told, rows, every): what atoms tell, a block for each atom
    predict: Any  # (seen, close, tables, told, rows, every): tensors, a block for each ion
    warps: int  # of a block of the first
    threads: tuple[int, int, int]  # of a block of each


def scratch_bytes(shape: EfgShape) -> int:
    """Shared memory that a block at an ion needs."""
    sizes = efg_scratch_shapes(shape, BATCH, shape.l_max)
    return int(sum(np.prod(size) * np.dtype(kind).itemsize for size, kind in zip(sizes, EFG_SCRATCH_TYPES)))


def fits(shape: EfgShape) -> bool:
    """Whether a model is small enough for the shared memory that every GPU has."""
    return scratch_bytes(shape) <= SHARED


@cache
def gpu_efg_kernels(shape: EfgShape) -> EfgKernels:
    """Kernels for a GPU."""
    return build_efg_kernels(gpu_lanes(), shape, _ION_WARPS, _ATOM_WARPS)


def slot_function(lanes: Lanes):
    """(replica, seen, rows, every) -> the row for the present step of a replica; -1 where it is to have none."""

    @lanes.function
    def slot_of(replica, seen, rows, every):
        step = seen.control[replica, STEP]
        if every == 0:
            return 0
        if step < 0 or step % every != 0 or seen.control[replica, HELD_UP] != 0:
            return -1
        slot = step // every - rows.base[replica]
        return slot if 0 < slot < rows.value.shape[0] else -1

    return slot_of


def build_efg_kernels(lanes: Lanes, shape: EfgShape, ion_warps: int, atom_warps: int) -> EfgKernels:
    """Kernels with so many warps in a block at an ion and at an atom."""
    count, kernel = lanes.count, lanes.kernel
    ion_threads, atom_threads = ion_warps * count, atom_warps * count

    @lanes.function
    def wait_for_block():
        cuda.syncthreads()

    block = dataclasses.replace(lanes, sync=wait_for_block)
    slot_of, list_close = slot_function(lanes), close_function(lanes)
    tell = tell_function(block, atom_threads, shape, BATCH)
    predict = predict_function(block, ion_threads, count, shape, BATCH)

    def scratch_function(l_max):
        sizes = efg_scratch_shapes(shape, BATCH, l_max)
        vector_size, atom_size, begin_size, pool_size, radial_size, density_size = sizes[:6]
        mixed_size, filter_size, heard_size, message_size, sum_size = sizes[6:]

        @lanes.function
        def new_scratch():
            return EfgScratch(
                cuda.shared.array(vector_size, float32),
                cuda.shared.array(atom_size, int32),
                cuda.shared.array(begin_size, int32),
                cuda.shared.array(pool_size, float32),
                cuda.shared.array(radial_size, float32),
                cuda.shared.array(density_size, float32),
                cuda.shared.array(mixed_size, float32),
                cuda.shared.array(filter_size, float32),
                cuda.shared.array(heard_size, float32),
                cuda.shared.array(message_size, int64),
                cuda.shared.array(sum_size, int64),
            )

        return new_scratch

    scratch_at_atom, scratch_at_ion = scratch_function(RANK_MAX), scratch_function(shape.l_max)

    @kernel
    def close_kernel(seen, lists, reach, close, rows, every):
        thread, replica = cuda.threadIdx.x, cuda.blockIdx.y
        atom = cuda.blockIdx.x * ion_warps + thread // count
        if atom < close.length.shape[1] and slot_of(replica, seen, rows, every) >= 0:
            list_close(replica, atom, thread % count, seen, lists, reach, close)

    @kernel
    def tell_kernel(seen, close, tables, told, rows, every):
        scratch, replica = scratch_at_atom(), cuda.blockIdx.y
        if slot_of(replica, seen, rows, every) >= 0:
            tell(replica, cuda.blockIdx.x, cuda.threadIdx.x, seen, close, tables, told, scratch)

    @kernel
    def predict_kernel(seen, close, tables, told, rows, every):
        scratch, replica = scratch_at_ion(), cuda.blockIdx.y
        slot = slot_of(replica, seen, rows, every)
        if slot >= 0:
            thread = cuda.threadIdx.x
            predict(replica, cuda.blockIdx.x, slot, thread, seen, close, tables, told, rows.value, scratch)

    return EfgKernels(
        close=close_kernel,
        tell=tell_kernel,
        predict=predict_kernel,
        warps=ion_warps,
        threads=(ion_threads, atom_threads, ion_threads),
    )
