"""How far a batch of runs is: what is done, runs, waits and failed, and when it will have ended."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aiida.orm import ProcessNode, QueryBuilder, WorkChainNode, load_node

from aiida_ufpnmr.calculations.base import RESULTS_FILE
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.series import POSITION
from aiida_ufpnmr.tools.connections import connected
from aiida_ufpnmr.tools.queries import pk_of
from aiida_ufpnmr.workflows.batch import PACK, BatchWorkChain
from aiida_ufpnmr.workflows.batch_plan import Run, ended_well

DONE, RUNNING, WAITING, FAILED = 'done', 'running', 'waiting', 'failed'
ENDED = ('finished', 'excepted', 'killed')


@dataclass(frozen=True)
class RunState(Run):
    """How far one run of a batch is.

    Attributes:
        state: ``done``, ``running``, ``waiting`` (also what a batch that ended has left) or ``failed``.
        pk: of its workflow, or of the pack that holds it; ``None`` where there is none.
        taken_up: whether another batch had made it before.
        fraction: share of its steps that are written; ``None`` where that is not known.
        reason: why it failed, where it did.
    """

    state: str = WAITING
    pk: int | None = None
    taken_up: bool = False
    fraction: float | None = None
    reason: str = ''


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Attributes:
        pk: of the batch.
        process_state: of its workflow.
        runs: the state of each run, in order.
        seconds_left: estimated from the rate at which runs have ended; ``None`` where none has, and 0 at the end.
    """

    pk: int
    process_state: str
    runs: tuple[RunState, ...]
    seconds_left: float | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be made."""
        return self.process_state in ENDED

    def count(self, state: str) -> int:
        """Number of the runs in a state."""
        return sum(run.state == state for run in self.runs)


@dataclass(frozen=True)
class _Child:
    """A process that a batch has called."""

    pk: int
    state: str
    name: str
    message: str | None
    ended: datetime

    @property
    def is_over(self) -> bool:
        return self.state in ENDED


def progress_of(node: ProcessNode) -> Progress:
    """How far a batch is.

    Raises:
        InputError: ``node`` is no batch.
    """
    workflow: Any = node.process_class if isinstance(node, WorkChainNode) else None
    if not (isinstance(workflow, type) and issubclass(workflow, BatchWorkChain)):
        raise InputError(f'{node.pk}: is no batch; give what "aiida-ufpnmr launch batch" or "launch arrhenius" printed')
    inputs: Any = node.get_builder_restart()
    plan: dict[str, Run] = workflow.plan(inputs)
    identities = workflow.identities(inputs)
    before = ended_well(list(identities.values()), workflow.JOB)
    children = _children(node)
    packed = {
        label: (child, state)
        for link, child in children.items()
        if link.startswith(PACK) and not child.is_over
        for label, state in _states_in_pack(child.pk).items()
    }
    runs = []
    for label, run in plan.items():
        child, pk = children.get(label), before.get(identities[label])
        what = vars(run)
        if pk is not None:
            runs.append(RunState(**what, state=DONE, pk=pk, taken_up=child is None))
        elif child is not None and child.is_over:
            failure = f'{child.name}<{child.pk}> {child.message or child.state}'
            runs.append(RunState(**what, state=FAILED, pk=child.pk, reason=failure))
        elif child is not None:
            runs.append(RunState(**what, state=RUNNING, pk=child.pk, fraction=_fraction_of(child.pk)))
        elif label in packed:
            pack, in_pack = packed[label]
            known = WAITING if in_pack['state'] == 'waiting' else RUNNING
            runs.append(RunState(**what, state=known, pk=pack.pk, fraction=in_pack.get('fraction')))
        else:
            runs.append(RunState(**what))
    return Progress(
        pk_of(node), node.process_state.value if node.process_state else '', tuple(runs), _left(node, runs, children)
    )


def _left(node: ProcessNode, runs: list[RunState], children: Mapping[str, _Child]) -> float | None:
    """Estimated time to the end, s: of the runs that are left, at the rate at which others have ended."""
    left = [run for run in runs if run.state in (RUNNING, WAITING)]
    if not left or node.is_terminated:
        return 0.0
    ended = [child.ended for label, child in children.items() if child.is_over and not label.startswith(PACK)]
    ended += [datetime.now(timezone.utc)] * sum(run.fraction == 1 for run in left)  # in packs that have not ended
    if not ended:
        return None
    seconds = (max(ended) - node.ctime).total_seconds() / len(ended)
    return max(0.0, seconds) * sum(1 - (run.fraction or 0.0) for run in left)


def _children(node: ProcessNode) -> dict[str, _Child]:
    query = QueryBuilder().append(WorkChainNode, filters={'id': node.pk}, tag='batch')
    names = ('id', 'attributes.process_state', 'attributes.process_label', 'attributes.exit_message', 'mtime')
    query.append(ProcessNode, with_incoming='batch', project=list(names), edge_project='label', tag='child')
    query.order_by({'child': 'id'})  # of two under one label the first never began
    return {label: _Child(*known) for *known, label in query.iterall()}


def _states_in_pack(pk: int) -> dict[str, dict[str, Any]]:
    """State of each run of a pack whose job has not ended, as far as its machine can be asked."""
    job: Any = load_node(pk)
    entries, shared = job.inputs.runs.get_dict(), job.inputs.shared.get_dict()
    states: dict[str, dict[str, Any]] = {label: {'state': 'waiting'} for label in entries}
    workdir = job.get_remote_workdir()
    if workdir is None:
        return states
    # a machine that cannot be asked, for whatever reason, leaves all that is not known as it is
    with suppress(Exception), tempfile.TemporaryDirectory() as folder, connected(job.get_transport()) as transport:
        local = Path(folder) / RESULTS_FILE
        transport.getfile(f'{workdir}/{RESULTS_FILE}', str(local))
        states.update(json.loads(local.read_text())['runs'])
    for label, state in states.items():
        if state['state'] == 'running':
            state['fraction'] = _written(f'{workdir}/{label}', {**shared, **entries[label]})
        elif state['state'] == 'ended':
            state['fraction'] = 1.0
    return states


def _fraction_of(pk: int) -> float | None:
    """Share of the steps of a run that its newest job has written."""
    query = QueryBuilder().append(WorkChainNode, filters={'id': pk}, tag='run')
    query.append(MdCalculation, with_ancestors='run', tag='job').order_by({'job': {'id': 'desc'}}).limit(1)
    job = query.first(flat=True)
    if job is None or job.get_remote_workdir() is None:
        return None
    return _written(job.get_remote_workdir(), job.inputs.parameters.get_dict())


def _written(workdir: str, parameters: Mapping[str, Any]) -> float | None:
    """Share of its steps that a trajectory holds; ``None`` where it does not lie on this machine, or not yet."""
    from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory  # takes a while to import

    path = Path(workdir) / MdCalculation.OUTPUT_FILE
    try:
        with Trajectory(path) as trajectory:
            return min(1.0, int(trajectory.series(POSITION)['step'][-1]) / parameters['steps'])
    except (OSError, InputError, LookupError):
        return None
