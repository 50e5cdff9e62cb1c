"""Replicas on a GPU: their arrays there, launches of steps, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.gpu.arrays import (
    CONTROLS,
    DONE,
    LAST,
    NO_TROUBLE,
    SHORT,
    SHORT_BIN,
    SHORT_LIST,
    SHORT_NEAR,
    STALE,
    STEP,
    Bins,
    Lists,
    Observed,
    Rule,
    State,
)
from aiida_ufpnmr.engine.gpu.backend import Backend, Snapshot, Start
from aiida_ufpnmr.engine.gpu.fixed_point import ENERGY_UNIT, PLACE_UNIT, to_positions
from aiida_ufpnmr.engine.gpu.kernels import Kernels
from aiida_ufpnmr.engine.gpu.lists import MOST_ATOMS, MOST_IMAGES
from aiida_ufpnmr.engine.gpu.prediction import Plan, Prediction
from aiida_ufpnmr.engine.gpu.tables import gpu_tables
from aiida_ufpnmr.engine.md.thermostats import LANGEVIN
from aiida_ufpnmr.engine.neighbours import cell_heights
from aiida_ufpnmr.engine.ufp.tables import Tables

#: Neighbours of an atom in triplets that there is room for at first, and how many more where that is not enough.
FIRST_NEAR, MORE_NEAR = 32, 16
#: Atoms that one block of threads moves; those of larger replicas are spread over the GPU, at six launches or more a
#: step, which take as long as one block does for so many.
MOST_IN_BLOCK = 1000
#: Room in the lists beyond the mean number of neighbours.
_LIST_MARGIN = 1.3


class Ensemble:
    """Replicas that a device moves at the same time.

    Args:
        starts: the replicas.
        tables: the potential.
        skin: Å that the lists reach beyond the cut-off.
        backend: the device.
        source: name of the potential in messages.
        plan: EFG tensors to predict on the way.

    Attributes:
        now: the replicas after the last call of :meth:`run`, whatever the device does since.

    Raises:
        InputError: too many atoms, a cell that is too narrow, or knots that are not uniform.
    """

    def __init__(
        self,
        starts: Sequence[Start],
        tables: Tables,
        skin: float,
        backend: Backend,
        source: str,
        plan: Plan | None = None,
    ):
        first = starts[0]
        masses, bath, n = first.system.masses, first.bath, len(first.system.masses)
        cells = np.array([start.system.cell for start in starts])
        if n > MOST_ATOMS:
            raise InputError(f'a GPU run has {MOST_ATOMS} atoms at most, not {n}')
        self._backend = backend
        limits = first.limits
        gpu, self._shape = gpu_tables(tables, limits.closest, source)
        self._tables = type(gpu)(*map(backend.put, gpu))
        # neighbours for tensors are looked for among those for forces
        cutoff = max(tables.cutoff, plan.cutoff if plan else 0.0) + skin
        self._rule = Rule(
            timestep=bath.timestep,
            memory=float(np.exp(-bath.timestep / bath.relaxation)) if bath.thermostat == LANGEVIN else 1.0,
            ramp=bath.ramp,
            total_mass=float(masses.sum()) if n > 1 else 0.0,
            list_square=np.float32(cutoff**2),
            allowance_square=0.25 * skin**2,
            force_square=limits.force**2,
            speed_square=limits.speed**2,
            reach=_reach(cells, cutoff),
        )
        self._hottest = backend.put(np.array([int(start.limits.kinetic / ENERGY_UNIT) for start in starts]))
        self._constant = {
            'mass': masses.copy(),
            'cell': cells,
            'edges': (cells * PLACE_UNIT).astype(np.float32),
            'inverse_cell': np.linalg.inv(cells),
            'bath': np.array([[start.bath.first, start.bath.last] for start in starts]),
            'seed': np.array([start.seed for start in starts], np.uint64).view(np.int64),
        }
        self._types = first.system.types
        volume = np.abs(np.linalg.det(cells)).min()
        neighbours = n / volume * 4 / 3 * np.pi * cutoff**3
        self._near, self._capacity = FIRST_NEAR, -(-int(_LIST_MARGIN * neighbours + 16) // 32) * 32
        boxes = np.minimum(cell_heights(cells).min(axis=0) // cutoff, 64).astype(int)
        self._boxes = (int(boxes[0]), int(boxes[1]), int(boxes[2]))
        self._in_box = int(2 * n / max(1, np.prod(boxes)) + 16)
        self._ahead: np.ndarray | None = None
        self.prediction = (
            None if plan is None else Prediction(plan, len(starts), n, backend.efg_kernels, backend.put, backend.get)
        )
        fixed = np.array([to_positions(start.system.positions, start.system.cell) for start in starts])
        self._load(
            position=fixed,
            velocity=np.array([start.system.velocities for start in starts]),
            force=None,
            reference=fixed,
            heat=np.zeros(len(starts), np.int64),
            step=np.array([start.step for start in starts]),
        )
        self.now = self._observe()

    @property
    def _kernels(self) -> Kernels:
        return self._backend.kernels(self._shape, self._near)

    def restore(self, now: Snapshot) -> None:
        """Go on from what :attr:`now` was at another time, bit for bit; its energies and virial are computed anew."""
        self._load(now.position, now.velocity, now.force, now.reference, now.heat, now.step)
        self.now = self._observe()

    def run(self, last: np.ndarray) -> None:
        """Go to the steps ``last`` (R,); :attr:`now` is the state there, or where a limit was broken before."""
        if self._ahead is None or not np.array_equal(self._ahead, last):
            if self._ahead is not None:  # the device went elsewhere
                self.restore(self.now)
            self._launch(last)
        self._ahead = None
        self._wait()
        self.now = self._observe()

    def run_ahead(self, last: np.ndarray) -> None:
        """Begin to go to the steps that the next call of :meth:`run` is likely to ask for."""
        self._launch(last)
        self._ahead = last

    def _load(self, position, velocity, force, reference, heat, step) -> None:
        """Put a state on the device; forces are computed where ``None`` is given."""
        put, (replicas, n, _) = self._backend.put, position.shape
        control = np.zeros((replicas, CONTROLS), np.int64)
        control[:, STEP] = control[:, LAST] = step
        control[:, STALE] = 1
        place = np.zeros((replicas, n, 4), np.int32)
        place[..., 3] = self._types
        arrays = {
            **self._constant,
            'position': reference,
            'velocity': velocity,
            'force': np.zeros((replicas, n, 3), np.int32),
            'reference': reference,
            'place': place,
            'noise': np.zeros((replicas, 3, 3), np.int64),
            'heat': heat,
            'kinetic': np.zeros(replicas, np.int64),
            'control': control,
            'trouble': np.full(replicas, NO_TROUBLE),
        }
        self._state = State(**{name: put(array) for name, array in arrays.items()})
        self._lists = Lists(
            length=put(np.zeros((replicas, n), np.int32)), entry=put(np.zeros((replicas, n, self._capacity), np.int32))
        )
        self._bins = self._new_bins()
        if self.prediction is not None:
            self.prediction.follow_lists(self._lists)
        self._ahead = None
        while True:
            self._compute()
            control = self._backend.get(self._state.control)
            if not control[:, SHORT].any():
                break
            self._enlarge(control)
        control[:, STALE] = 0
        self._replace(control=control, position=position)
        if self.prediction is not None:
            self.prediction.begin(step, step)
        if force is not None:
            self._each_atom(self._kernels.settle, self._state)  # which sets forces to zero
            self._replace(force=force)
        self._each_atom(self._kernels.prime, self._state, self._rule)

    def _replace(self, **arrays: np.ndarray) -> None:
        self._state = self._state._replace(**{name: self._backend.put(array) for name, array in arrays.items()})

    def _new_bins(self) -> Bins | None:
        """Boxes for replicas that are spread over the GPU, where their cells are wide enough."""
        number, (replicas, n) = self._boxes, (len(self._constant['seed']), len(self._types))
        if n <= MOST_IN_BLOCK or min(number) < 3:
            return None
        put = self._backend.put
        return Bins(
            filled=put(np.zeros((replicas, np.prod(number)), np.int32)),
            member=put(np.zeros((replicas, np.prod(number), self._in_box), np.int32)),
            spare=put(np.zeros((replicas, n, self._capacity), np.int32)),
            number=number,
        )

    def _enlarge(self, control: np.ndarray) -> None:
        """Make room where there was too little, and let the replicas that were held up go on."""
        short = control[:, SHORT]
        if (short == SHORT_LIST).any():
            more = 32
            self._capacity += more
            entries = np.pad(self._backend.get(self._lists.entry), ((0, 0), (0, 0), (0, more)))
            self._lists = self._lists._replace(entry=self._backend.put(entries))
            self._bins = self._new_bins()
            if self.prediction is not None:
                self.prediction.follow_lists(self._lists)
        if (short == SHORT_BIN).any():
            self._in_box *= 2
            self._bins = self._new_bins()
        if (short == SHORT_NEAR).any():
            self._near += MORE_NEAR
        control[short != 0, DONE] = 0
        control[:, SHORT] = 0
        self._replace(control=control)

    def _each_atom(self, kernel: Any, *arguments) -> None:
        self._of(kernel, len(self._types), self._kernels.threads)(*arguments)

    def _each_warp(self, kernel: Any, *arguments) -> None:
        self._of(kernel, len(self._types), self._kernels.warps)(*arguments)

    def _of(self, kernel: Any, items: int, in_block: int) -> Any:
        """A kernel with blocks for so many items of each replica."""
        return kernel[(-(-items // in_block), len(self._constant['seed'])), self._kernels.threads]

    def _compute(self) -> None:
        """Lists, where they are out of date, and forces at the present positions."""
        kernels = self._kernels
        self._each_atom(kernels.settle, self._state)
        if self._bins is None:
            self._each_warp(kernels.renew, self._state, self._lists, self._rule)
        else:
            self._of(kernels.clear, self._bins.filled.shape[1], kernels.threads)(self._bins)
            self._each_atom(kernels.fill, self._state, self._bins)
            self._each_warp(kernels.renew_near, self._state, self._lists, self._rule, self._bins)
        self._each_warp(kernels.force, self._state, self._lists, self._tables)

    def _launch(self, last: np.ndarray) -> None:
        control = self._backend.get(self._state.control)
        control[:, LAST] = last
        control[:, DONE] = (control[:, STEP] >= last) | (self._backend.get(self._state.trouble) != NO_TROUBLE)
        self._replace(control=control)
        if self.prediction is not None:
            self.prediction.begin(control[:, STEP], last)
        self._go_on(control)

    def _go_on(self, control: np.ndarray) -> None:
        """Begin the steps that are left, with the tensors that are due between."""
        going = control[:, DONE] == 0
        now, last = control[going, STEP], control[going, LAST]
        if self.prediction is None:
            self._take_steps(int((last - now).max(initial=0)))
            return
        every = self.prediction.plan.every
        while (now < last).any():
            left = np.minimum(every - now % every, last - now)
            number = int(left[left > 0].min())
            self._take_steps(number)
            now = np.minimum(now + number, last)
            if (now % every == 0).any() and (now >= 0).any():
                self.prediction.predict(self._state, self._lists, every)

    def _take_steps(self, number: int) -> None:
        kernels, state = self._kernels, self._state
        if len(self._types) <= MOST_IN_BLOCK:
            if number > 0:
                kernels.steps[len(self._constant['seed']), kernels.threads](
                    number, state, self._lists, self._tables, self._rule, self._hottest
                )
            return
        for _ in range(number):
            self._each_atom(kernels.begin, state, self._rule)
            self._compute()
            self._each_atom(kernels.finish, state, self._rule)
            self._of(kernels.close, 1, 1)(state, self._hottest)

    def _wait(self) -> None:
        """Wait for the steps, and go on where an array was too small."""
        while True:
            control = self._backend.get(self._state.control)
            if not control[:, SHORT].any():
                return
            self._enlarge(control)
            self._go_on(control)

    def _observe(self) -> Snapshot:
        get, state = self._backend.get, self._state
        step = get(state.control)[:, STEP]
        replicas, n = len(self._constant['seed']), len(self._types)
        observed = Observed(
            energy=self._backend.put(np.zeros((replicas, n), np.int64)),
            virial=self._backend.put(np.zeros((replicas, 6), np.int64)),
        )
        self._each_warp(self._kernels.observe, state, self._lists, self._tables, observed)
        return Snapshot(
            position=get(state.position),
            velocity=get(state.velocity),
            force=get(state.force),
            reference=get(state.reference),
            heat=get(state.heat),
            step=step,
            trouble=get(state.trouble),
            energy=get(observed.energy) * ENERGY_UNIT,
            virial=get(observed.virial) * ENERGY_UNIT,
            made=None if self.prediction is None else self.prediction.collect(state, self._lists, step),
        )


def _reach(cells: np.ndarray, cutoff: float) -> tuple[int, int, int]:
    """Images beside the nearest one that may be neighbours, along each axis of any cell (R, 3, 3)."""
    widths = cell_heights(cells)
    reach = np.ceil(np.maximum(cutoff / widths - 0.5, 0)).astype(int).max(axis=0)
    if reach.max() > MOST_IMAGES:
        raise InputError(
            f'the cell is {widths.min():.2f} Å wide, and a GPU needs {cutoff / (MOST_IMAGES + 0.5):.2f} Å for this '
            'potential; give a larger --supercell'
        )
    return int(reach[0]), int(reach[1]), int(reach[2])
