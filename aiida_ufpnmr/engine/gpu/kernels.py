"""Kernels: all steps of a replica by one block of threads, or each part of a step by a whole GPU."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import float32, int32

from aiida_ufpnmr.engine.gpu.arrays import DONE, HELD_UP, SHORT, STALE, STEP
from aiida_ufpnmr.engine.gpu.forces import SCRATCH_TYPES, Scratch, force_function, scratch_shapes
from aiida_ufpnmr.engine.gpu.lanes import Lanes, cuda, gpu_lanes
from aiida_ufpnmr.engine.gpu.lists import bin_functions, list_function
from aiida_ufpnmr.engine.gpu.motion import motion_functions
from aiida_ufpnmr.engine.gpu.tables import Shape

#: Shared memory of a block that every GPU has, bytes.
SHARED = 48 * 1024
#: Two blocks of so many warps fit into a multiprocessor, with the registers that threads have.
MOST_WARPS = 12


class Kernels(NamedTuple):
    """Kernels of one potential; the parts are those of :class:`~aiida_ufpnmr.engine.gpu.motion.Motion`.

    The second index of a block is its replica, but for the first kernel, where the first is.
    """

    steps: Any  # (number, state, lists, tables, rule, hottest): time steps, a block for each replica
    prime: Any  # (state, rule), a thread for each atom, as the next four
    begin: Any  # (state, rule)
    settle: Any  # (state)
    fill: Any  # (state, bins): boxes, where lists are out of date
    finish: Any  # (state, rule)
    clear: Any  # (bins), a thread for each box
    close: Any  # (state, hottest), a thread
    renew: Any  # (state, lists, rule): lists that are out of date, a warp for each atom, as the next three
    renew_near: Any  # (state, lists, rule, bins): the same, from boxes
    force: Any  # (state, lists, tables)
    observe: Any  # (state, lists, tables, observed)
    warps: int  # of a block
    threads: int  # of a block


def warps_of(shape: Shape, near: int) -> int:
    """Warps of a block whose scratch fits into shared memory."""
    sizes = [
        np.prod(size) * np.dtype(kind).itemsize for size, kind in zip(scratch_shapes(shape, near, 1), SCRATCH_TYPES)
    ]
    return int(max(1, min(MOST_WARPS, SHARED // sum(sizes))))


@cache
def gpu_kernels(shape: Shape, near: int) -> Kernels:
    """Kernels for a GPU, with room for ``near`` neighbours of an atom in triplets."""
    return build_kernels(gpu_lanes(), shape, near, warps_of(shape, near))


def build_kernels(lanes: Lanes, shape: Shape, near: int, warps: int) -> Kernels:
    """Kernels of blocks of ``warps`` warps."""
    count, ballot, total, add, kernel = lanes.count, lanes.ballot, lanes.total, lanes.add, lanes.kernel
    prime, begin, book, settle, finish, close = motion_functions(lanes)
    list_all = list_function(lanes)
    fill, list_near = bin_functions(lanes)
    around = force_function(lanes, shape, near, observing=False)
    observe_around = force_function(lanes, shape, near, observing=True)
    threads, sizes = warps * count, scratch_shapes(shape, near, 1)
    n_bond, n_density, n_moment = sizes.bond[3], sizes.density[2], sizes.moment[2]
    near_density, n_densities, partners = sizes.density[1], sizes.moment[3], shape.partners
    n_pairs, n_products = sizes.product[1], sizes.product[2]

    @lanes.function
    def new_scratch():
        vector = cuda.shared.array((warps, near, 4), float32)
        atoms = cuda.shared.array((warps, near, 2), int32)
        bond = cuda.shared.array((warps, partners, near, n_bond), float32)
        window = cuda.shared.array((warps, partners, near), int32)
        pull = cuda.shared.array((warps, near, 3), int32)
        density = cuda.shared.array((warps, near_density, n_density), float32)
        moment = cuda.shared.array((warps, 2, n_moment, n_densities), float32)
        product = cuda.shared.array((warps, n_pairs, n_products), float32)
        return Scratch(vector, atoms, bond, window, pull, density, moment, product)

    @lanes.function
    def book_all(replica, lane, step, px, py, pz, heat, state):
        px, py, pz, heat = total(px), total(py), total(pz), total(heat)
        if lane == 0:
            book(replica, step, px, py, pz, heat, state)

    @kernel
    def steps_kernel(number, state, lists, tables, rule, hottest):
        scratch = new_scratch()
        thread, replica, n = cuda.threadIdx.x, cuda.blockIdx.x, len(state.mass)
        warp, lane = thread // count, thread % count
        for _ in range(number):
            cuda.syncthreads()
            if state.control[replica, DONE] != 0:
                break
            if state.control[replica, HELD_UP] == 0:
                px = py = pz = heat = np.int64(0)
                for atom in range(thread, n, threads):
                    dx, dy, dz, more = begin(replica, atom, state, rule)
                    px, py, pz, heat = px + dx, py + dy, pz + dz, heat + more
                book_all(replica, lane, state.control[replica, STEP] + 2, px, py, pz, heat, state)
            cuda.syncthreads()
            for atom in range(thread, n, threads):
                settle(replica, atom, state)
            cuda.syncthreads()
            if state.control[replica, STALE] != 0:
                for atom in range(warp, n, warps):
                    list_all(replica, atom, lane, state, lists, rule)
            cuda.syncthreads()
            if ballot(state.control[replica, SHORT] != 0) == 0:
                for atom in range(warp, n, warps):
                    around(replica, atom, lane, warp, state, lists, tables, scratch, None)
            cuda.syncthreads()
            if state.control[replica, SHORT] == 0:
                kinetic = np.int64(0)
                for atom in range(thread, n, threads):
                    kinetic += finish(replica, atom, state, rule)
                kinetic = total(kinetic)
                if lane == 0:
                    add(state.kinetic, replica, kinetic)
            cuda.syncthreads()
            if thread == 0:
                close(replica, state, hottest[replica])

    @kernel
    def prime_kernel(state, rule):
        atom, replica = cuda.blockIdx.x * threads + cuda.threadIdx.x, cuda.blockIdx.y
        px = py = pz = heat = np.int64(0)
        if atom < len(state.mass):
            px, py, pz, heat = prime(replica, atom, state, rule)
        book_all(replica, cuda.threadIdx.x % count, state.control[replica, STEP] + 1, px, py, pz, heat, state)

    @kernel
    def begin_kernel(state, rule):
        atom, replica = cuda.blockIdx.x * threads + cuda.threadIdx.x, cuda.blockIdx.y
        if state.control[replica, DONE] == 0 and state.control[replica, HELD_UP] == 0:
            px = py = pz = heat = np.int64(0)
            if atom < len(state.mass):
                px, py, pz, heat = begin(replica, atom, state, rule)
            book_all(replica, cuda.threadIdx.x % count, state.control[replica, STEP] + 2, px, py, pz, heat, state)

    @kernel
    def settle_kernel(state):
        atom, replica = cuda.blockIdx.x * threads + cuda.threadIdx.x, cuda.blockIdx.y
        if atom < len(state.mass) and state.control[replica, DONE] == 0:
            settle(replica, atom, state)

    @kernel
    def clear_kernel(bins):
        at, replica = cuda.blockIdx.x * threads + cuda.threadIdx.x, cuda.blockIdx.y
        if at < bins.filled.shape[1]:
            bins.filled[replica, at] = 0

    @kernel
    def fill_kernel(state, bins):
        atom, replica = cuda.blockIdx.x * threads + cuda.threadIdx.x, cuda.blockIdx.y
        if atom < len(state.mass) and state.control[replica, DONE] == 0 and state.control[replica, STALE] != 0:
            fill(replica, atom, state, bins)

    @kernel
    def finish_kernel(state, rule):
        atom, replica = cuda.blockIdx.x * threads + cuda.threadIdx.x, cuda.blockIdx.y
        if state.control[replica, DONE] == 0 and state.control[replica, SHORT] == 0:
            kinetic = np.int64(0)
            if atom < len(state.mass):
                kinetic = finish(replica, atom, state, rule)
            kinetic = total(kinetic)
            if cuda.threadIdx.x % count == 0:
                add(state.kinetic, replica, kinetic)

    @kernel
    def close_kernel(state, hottest):
        replica = cuda.blockIdx.y
        if cuda.threadIdx.x == 0 and state.control[replica, DONE] == 0:
            close(replica, state, hottest[replica])

    @kernel
    def renew_kernel(state, lists, rule):
        thread, replica = cuda.threadIdx.x, cuda.blockIdx.y
        atom = cuda.blockIdx.x * warps + thread // count
        if atom < len(state.mass) and state.control[replica, DONE] == 0 and state.control[replica, STALE] != 0:
            list_all(replica, atom, thread % count, state, lists, rule)

    @kernel
    def renew_near_kernel(state, lists, rule, bins):
        thread, replica = cuda.threadIdx.x, cuda.blockIdx.y
        atom = cuda.blockIdx.x * warps + thread // count
        if atom < len(state.mass) and state.control[replica, DONE] == 0 and state.control[replica, STALE] != 0:
            list_near(replica, atom, thread % count, state, lists, rule, bins)

    @kernel
    def force_kernel(state, lists, tables):
        scratch, thread, replica = new_scratch(), cuda.threadIdx.x, cuda.blockIdx.y
        atom = cuda.blockIdx.x * warps + thread // count
        if atom < len(state.mass):
            away = state.control[replica, DONE] != 0 or state.control[replica, SHORT] != 0
            if ballot(away) == 0:
                around(replica, atom, thread % count, thread // count, state, lists, tables, scratch, None)

    @kernel
    def observe_kernel(state, lists, tables, observed):
        scratch, thread, replica = new_scratch(), cuda.threadIdx.x, cuda.blockIdx.y
        atom = cuda.blockIdx.x * warps + thread // count
        if atom < len(state.mass):
            observe_around(replica, atom, thread % count, thread // count, state, lists, tables, scratch, observed)

    return Kernels(
        steps=steps_kernel,
        prime=prime_kernel,
        begin=begin_kernel,
        settle=settle_kernel,
        fill=fill_kernel,
        finish=finish_kernel,
        clear=clear_kernel,
        close=close_kernel,
        renew=renew_kernel,
        renew_near=renew_near_kernel,
        force=force_kernel,
        observe=observe_kernel,
        warps=warps,
        threads=threads,
    )
