"""Stand-ins for a GPU: its functions compiled for the processor with one lane, and numba's simulator with several."""

import threading
from functools import cache

import numba as nb
import numpy as np
from numba import cuda

from aiida_ufpnmr.engine.efg.messages import RANK_MAX
from aiida_ufpnmr.engine.gpu.arrays import DONE, HELD_UP, SHORT, STALE, STEP
from aiida_ufpnmr.engine.gpu.backend import Backend
from aiida_ufpnmr.engine.gpu.efg_kernels import BATCH, EfgKernels, build_efg_kernels, slot_function
from aiida_ufpnmr.engine.gpu.environments import EFG_SCRATCH_TYPES, EfgScratch, efg_scratch_shapes
from aiida_ufpnmr.engine.gpu.forces import SCRATCH_TYPES, Scratch, force_function, scratch_shapes
from aiida_ufpnmr.engine.gpu.kernels import Kernels, build_kernels
from aiida_ufpnmr.engine.gpu.lanes import Lanes
from aiida_ufpnmr.engine.gpu.lists import bin_functions, list_function
from aiida_ufpnmr.engine.gpu.motion import motion_functions
from aiida_ufpnmr.engine.gpu.tensors import close_function, predict_function, tell_function


def one_lane() -> Lanes:
    """A warp of a single lane on the processor."""

    @nb.njit
    def ballot(flag):
        return 1 if flag else 0

    @nb.njit
    def same(value):
        return value

    @nb.njit
    def sync():
        pass

    @nb.njit
    def add(array, index, value):
        before = array[index]
        array[index] = before + value
        return before

    @nb.njit
    def least(array, index, value):
        array[index] = min(array[index], value)

    @nb.njit
    def nearest(x):
        return np.int32(np.rint(x))

    @nb.njit
    def inverse_root(x):
        return np.float32(1) / np.sqrt(x)

    return Lanes(
        count=1,
        kernel=nb.njit,
        function=nb.njit(error_model='numpy', no_cpython_wrapper=True),
        ballot=ballot,
        bits=same,
        total=same,
        sync=sync,
        add=add,
        least=least,
        nearest=nearest,
        inverse_root=inverse_root,
    )


class _Warps:
    """What the threads of each warp of the simulator have in common; made anew for each block."""

    def __init__(self, count: int):
        self.count = count
        self._blocks: dict = {}
        self._lock = threading.Lock()

    def exchange(self, value) -> tuple[list, int]:
        """The values of all lanes of this warp, which wait for each other, and the number of this one."""
        thread = threading.current_thread()
        key = thread._manager, thread.thread_id // self.count
        with self._lock:
            barrier, values = self._blocks.setdefault(key, (threading.Barrier(self.count), [None] * self.count))
        lane = thread.thread_id % self.count
        values[lane] = value
        barrier.wait()
        found = list(values)
        barrier.wait()
        return found, lane


def simulated_lanes(count: int = 2) -> Lanes:
    """Warps of a few lanes in numba's simulator, each lane a Python thread."""
    warps = _Warps(count)

    def ballot(flag):
        return sum(1 << lane for lane, found in enumerate(warps.exchange(bool(flag))[0]) if found)

    def add(array, index, value):
        with _SUMS:
            before = array[index]
            array[index] += value
        return before

    def least(array, index, value):
        with _SUMS:
            array[index] = min(array[index], value)

    return Lanes(
        count=count,
        kernel=cuda.jit,
        function=lambda function: function,
        ballot=ballot,
        bits=int.bit_count,
        total=lambda value: sum(warps.exchange(int(value))[0]),
        sync=lambda: warps.exchange(None),
        add=add,
        least=least,
        nearest=lambda x: np.int32(np.rint(x)),
        inverse_root=lambda x: np.float32(1) / np.sqrt(x),
    )


_SUMS = threading.Lock()


class _Launch:
    """A function that is called as kernels are, with a number of blocks and threads that make no difference here."""

    def __init__(self, function):
        self.function = function

    def __getitem__(self, _):
        return self.function


@cache
def one_lane_kernels(shape, near) -> Kernels:
    """The kernels as loops over atoms on the processor, one after the other."""
    lanes = one_lane()
    prime, begin, book, settle, finish, close = motion_functions(lanes)
    list_all = list_function(lanes)
    fill, list_near = bin_functions(lanes)
    around = force_function(lanes, shape, near, observing=False)
    observe_around = force_function(lanes, shape, near, observing=True)

    @nb.njit
    def prime_all(state, rule):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            px, py, pz, heat = prime(replica, atom, state, rule)
            book(replica, state.control[replica, STEP] + 1, px, py, pz, heat, state)

    @nb.njit
    def begin_all(state, rule):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            if state.control[replica, DONE] == 0 and state.control[replica, HELD_UP] == 0:
                px, py, pz, heat = begin(replica, atom, state, rule)
                book(replica, state.control[replica, STEP] + 2, px, py, pz, heat, state)

    @nb.njit
    def settle_all(state):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            if state.control[replica, DONE] == 0:
                settle(replica, atom, state)

    @nb.njit
    def finish_all(state, rule):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            if state.control[replica, DONE] == 0 and state.control[replica, SHORT] == 0:
                state.kinetic[replica] += finish(replica, atom, state, rule)

    @nb.njit
    def close_all(state, hottest):
        for replica in range(len(hottest)):
            if state.control[replica, DONE] == 0:
                close(replica, state, hottest[replica])

    @nb.njit
    def renew_all(state, lists, rule):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            if state.control[replica, DONE] == 0 and state.control[replica, STALE] != 0:
                list_all(replica, atom, 0, state, lists, rule)

    @nb.njit
    def clear_all(bins):
        bins.filled[:] = 0

    @nb.njit
    def fill_all(state, bins):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            if state.control[replica, DONE] == 0 and state.control[replica, STALE] != 0:
                fill(replica, atom, state, bins)

    @nb.njit
    def renew_near_all(state, lists, rule, bins):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            if state.control[replica, DONE] == 0 and state.control[replica, STALE] != 0:
                list_near(replica, atom, 0, state, lists, rule, bins)

    @nb.njit
    def force_all(state, lists, tables, scratch):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            if state.control[replica, DONE] == 0 and state.control[replica, SHORT] == 0:
                around(replica, atom, 0, 0, state, lists, tables, scratch, None)

    @nb.njit
    def observe_all(state, lists, tables, observed, scratch):
        for replica, atom in np.ndindex(state.position.shape[:2]):
            observe_around(replica, atom, 0, 0, state, lists, tables, scratch, observed)

    @nb.njit
    def steps_all(number, state, lists, tables, rule, hottest, scratch):
        for _ in range(number):
            begin_all(state, rule)
            settle_all(state)
            renew_all(state, lists, rule)
            force_all(state, lists, tables, scratch)
            finish_all(state, rule)
            close_all(state, hottest)

    scratch = Scratch(*(np.zeros(size, kind) for size, kind in zip(scratch_shapes(shape, near, 1), SCRATCH_TYPES)))
    return Kernels(
        steps=_Launch(lambda *arguments: steps_all(*arguments, scratch)),
        prime=_Launch(prime_all),
        begin=_Launch(begin_all),
        settle=_Launch(settle_all),
        fill=_Launch(fill_all),
        finish=_Launch(finish_all),
        clear=_Launch(clear_all),
        close=_Launch(close_all),
        renew=_Launch(renew_all),
        renew_near=_Launch(renew_near_all),
        force=_Launch(lambda *arguments: force_all(*arguments, scratch)),
        observe=_Launch(lambda *arguments: observe_all(*arguments, scratch)),
        warps=1,
        threads=1,
    )


@cache
def one_lane_efg_kernels(shape) -> EfgKernels:
    """The kernels of tensors as loops over atoms and ions on the processor."""
    lanes = one_lane()
    slot_of, list_close = slot_function(lanes), close_function(lanes)
    tell = tell_function(lanes, 1, shape, BATCH)
    predict = predict_function(lanes, 1, 1, shape, BATCH)

    @nb.njit
    def close_all(seen, lists, reach, close, rows, every):
        for replica, atom in np.ndindex(close.length.shape):
            if slot_of(replica, seen, rows, every) >= 0:
                list_close(replica, atom, 0, seen, lists, reach, close)

    @nb.njit
    def tell_all(seen, close, tables, told, rows, every, scratch):
        for replica, atom in np.ndindex(close.length.shape):
            if slot_of(replica, seen, rows, every) >= 0:
                tell(replica, atom, 0, seen, close, tables, told, scratch)

    @nb.njit
    def predict_all(seen, close, tables, told, rows, every, scratch):
        for replica, k in np.ndindex(rows.value.shape[1:3]):
            slot = slot_of(replica, seen, rows, every)
            if slot >= 0:
                predict(replica, k, slot, 0, seen, close, tables, told, rows.value, scratch)

    def scratch(l_max):
        sizes = efg_scratch_shapes(shape, BATCH, l_max)
        return EfgScratch(*(np.zeros(size, kind) for size, kind in zip(sizes, EFG_SCRATCH_TYPES)))

    at_atom, at_ion = scratch(RANK_MAX), scratch(shape.l_max)
    return EfgKernels(
        close=_Launch(close_all),
        tell=_Launch(lambda *arguments: tell_all(*arguments, at_atom)),
        predict=_Launch(lambda *arguments: predict_all(*arguments, at_ion)),
        warps=1,
        threads=(1, 1, 1),
    )


#: The processor in place of a GPU: fast enough for runs of thousands of steps.
ONE_LANE = Backend(one_lane_kernels, np.array, np.array, one_lane_efg_kernels)


#: numba's simulator, which must be switched on (``NUMBA_ENABLE_CUDASIM=1``): blocks of two warps of two lanes.
SIMULATOR = Backend(
    cache(lambda shape, near: build_kernels(simulated_lanes(), shape, near, warps=2)),
    lambda array: cuda.to_device(np.ascontiguousarray(array)),
    lambda array: array.copy_to_host(),
    cache(lambda shape: build_efg_kernels(simulated_lanes(), shape, ion_warps=2, atom_warps=2)),
)
