"""EFG tensors that a GPU predicts between the steps, and what comes back of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.terms import LinearTerms
from aiida_ufpnmr.engine.gpu.arrays import Lists, State
from aiida_ufpnmr.engine.gpu.efg_kernels import EfgKernels, Rows, Seen, fits
from aiida_ufpnmr.engine.gpu.efg_tables import TOLD, EfgShape, EfgTables, efg_tables

#: Memory for tensors that wait to be fetched, bytes; a call ends before it is full.
ROOM = 1 << 28


class Plan(NamedTuple):
    """Tensors that a device is to predict."""

    tables: EfgTables
    shape: EfgShape
    cutoff: float  # Å
    every: int  # steps


class Made(NamedTuple):
    """Tensors of one replica that were predicted in a call."""

    steps: np.ndarray  # (m,) multiples of the cadence at which they were made, without the step where the call began
    components: np.ndarray  # (m, ions, 5) a.u.
    present: np.ndarray  # (ions, 5) at the present step


def plan(model: EfgModel, species: tuple[str, ...], types: np.ndarray, every: int) -> Plan | None:
    """What a device needs to predict the tensors of a model every so many steps; ``None`` where it cannot.

    A device knows models that are linear in the features (``zeta`` 1), without charges, and that fit into the shared
    memory of a block.

    Args:
        species: of the potential.
        types: (n,) species of the atoms, sorted; the model knows all of them.
    """
    if not isinstance(model.terms, LinearTerms) or model.settings.charges is not None:
        return None
    tables, shape = efg_tables(model, species, types)
    return Plan(tables, shape, model.cutoff, every) if fits(shape) else None


class Prediction:
    """The tensors of all replicas of an ensemble.

    Args:
        plan: which.
        replicas, atoms: how many there are, and how many atoms in each.
        kernels: for sizes of a model.
        put, get: copies of an array on the device, and back.
    """

    def __init__(
        self,
        plan: Plan,
        replicas: int,
        atoms: int,
        kernels: Callable[[EfgShape], EfgKernels],
        put: Callable[[np.ndarray], Any],
        get: Callable[..., np.ndarray],
    ):
        self.plan, self._put, self._get = plan, put, get
        self._kernels = kernels(plan.shape)
        self._atoms, self._replicas, self._ions = atoms, replicas, len(plan.tables.ion)
        self._tables = EfgTables(*map(put, plan.tables))
        told = (replicas, atoms, TOLD, plan.shape.message_channels) if plan.shape.message_channels else (1, 1, 1, 1)
        self._told = put(np.zeros(told, np.float32))
        self._value = self._new_rows(1)
        self._first = np.zeros(replicas, np.int64)

    @property
    def most_steps(self) -> int:
        """Steps that a call may take, so that its tensors find room."""
        return self.plan.every * max(1, ROOM // (20 * self._replicas * self._ions))

    def follow_lists(self, lists: Lists) -> None:
        """Make as much room for neighbours as lists have."""
        zeros = np.zeros(lists.entry.shape, np.int32)
        self._close = Lists(length=self._put(zeros[..., 0]), entry=self._put(zeros))

    def begin(self, steps: np.ndarray, last: np.ndarray) -> None:
        """Make room for the tensors of a call that goes from ``steps`` (R,) to ``last`` (R,)."""
        every = self.plan.every
        self._first = steps.copy()
        # of steps before 0 there are none
        base = np.where(steps < 0, -1, steps // every)
        needed = int(np.maximum(last // every - base, 0).max()) + 1
        if needed > self._value.shape[0]:
            self._value = self._new_rows(needed)
        self._rows = Rows(self._value, self._put(base))

    def predict(self, state: State, lists: Lists, every: int) -> None:
        """Predict for replicas whose step is a multiple of ``every``; for all where that is 0, into the first row."""
        kernels, (close, tell, ion) = self._kernels, self._kernels.threads
        seen = Seen(state.place, state.edges, state.control)
        arguments = seen, self._close, self._tables, self._told, self._rows, every
        kernels.close[(-(-self._atoms // kernels.warps), self._replicas), close](
            seen, lists, self._tables.reach, self._close, self._rows, every
        )
        if self.plan.shape.message_channels:
            kernels.tell[(self._atoms, self._replicas), tell](*arguments)
        kernels.predict[(self._ions, self._replicas), ion](*arguments)

    def collect(self, state: State, lists: Lists, now: np.ndarray) -> list[Made]:
        """What was predicted for each replica since :meth:`begin`, and tensors at the present steps ``now`` (R,)."""
        every = self.plan.every
        begin = np.maximum(self._first // every + 1, 0)
        steps = [np.arange(first, step // every + 1) * every for first, step in zip(begin, now)]
        off = [not len(known) or known[-1] != step for known, step in zip(steps, now)]
        if any(off):
            self.predict(state, lists, 0)
        found = self._get(self._value[: max(map(len, steps)) + 1])
        return [
            Made(known, found[1 : len(known) + 1, r], found[0 if missing else len(known), r])
            for r, (known, missing) in enumerate(zip(steps, off))
        ]

    def _new_rows(self, number: int) -> Any:
        return self._put(np.zeros((number, self._replicas, self._ions, 5), np.float32))
