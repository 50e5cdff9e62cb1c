"""Findings about processes that are not at their end, or not said to be: lost, abandoned, waiting in vain."""

from __future__ import annotations

import re
import time

from aiida.engine.daemon.client import get_daemon_client
from aiida.orm import ProcessNode
from plumpy import ProcessState

from aiida_ufpnmr.tools import daemon, task_queue
from aiida_ufpnmr.tools.doctor.finding import REPAIR, Finding
from aiida_ufpnmr.tools.foreground import active_of_daemon
from aiida_ufpnmr.tools.profile import is_daemon_running
from aiida_ufpnmr.tools.queries import pk_of, process_node
from aiida_ufpnmr.workflows.subprocesses import end_as_killed

#: What AiiDA says of a process that it has paused by itself.
PAUSED_BY_FAILURE = 'Pausing after failed transport task'
#: Looks at what seems wrong, and seconds between them: what is under way comes right by itself.
LOOKS, SECONDS_BETWEEN_LOOKS = 3, 4.0
#: Ends of a process after which nobody takes what those that it called give.
GIVEN_UP = (ProcessState.EXCEPTED, ProcessState.KILLED)


def active() -> list[ProcessNode]:
    """All processes that have not ended and that the daemon shall run, as the database has them now."""
    return [node for node in _said_to_be_active() if not node.is_sealed]


def misnamed() -> list[ProcessNode]:
    """Processes that are sealed, and so at their end, with the state that a second worker wrote over it."""
    return [node for node in _said_to_be_active() if node.is_sealed]


def _said_to_be_active() -> list[ProcessNode]:
    return [process_node(pk) for pk in sorted(active_of_daemon())]


def named(node: ProcessNode) -> str:
    return f'{node.process_label} #{node.pk}'


def abandoned() -> list[ProcessNode]:
    """Active processes below one that has excepted or was killed: nobody waits for them."""
    return [node for node in active() if _is_abandoned(node)]


def _is_abandoned(node: ProcessNode) -> bool:
    caller = node.caller
    return caller is not None and (caller.process_state in GIVEN_UP or _is_abandoned(caller))


#: What each kind of finding says.
MESSAGES = {
    'abandoned-process': 'what called it has broken off, and nothing waits for it',
    'lost-process': 'no worker has it, and it has no task in the queue of the broker',
    'deaf-process': 'it waits for processes that have ended',
    'misnamed-process': 'it has ended, and its state says that it has not',
}


def stranded_processes() -> list[Finding]:
    """Processes that do not go on by themselves, or that nobody waits for.

    Where no worker lives, nobody has them, and the queue is mended before the daemon starts.
    """
    found = _look()
    for _ in range(LOOKS - 1):
        if any(found.values()):
            time.sleep(SECONDS_BETWEEN_LOOKS)
            again = _look()
            found = {kind: pks & again[kind] for kind, pks in found.items()}
    return [
        Finding(kind, named(process_node(pk)), MESSAGES[kind], REPAIR, (pk,), needs_stop=True)
        for kind, pks in found.items()
        for pk in sorted(pks)
    ]


def paused_processes() -> list[Finding]:
    """Processes that AiiDA has paused, since a computer did not do what was asked of it several times in a row."""
    return [
        Finding(
            'paused-process',
            named(node),
            f'AiiDA paused it ({node.process_status})',
            f'see that its computer answers, then run "verdi process play {node.pk}"',
            (pk_of(node),),
        )
        for node in active()
        if node.paused and PAUSED_BY_FAILURE in (node.process_status or '')
    ]


def _look() -> dict[str, set[int]]:
    found: dict[str, set[int]] = {kind: set() for kind in MESSAGES}
    found['abandoned-process'] = {pk_of(node) for node in abandoned()}
    found['misnamed-process'] = {pk_of(node) for node in misnamed()}
    if is_daemon_running(get_daemon_client()) and daemon.workers():
        lost = task_queue.without_worker([pk_of(node) for node in active()])
        found['lost-process'] = lost & active_of_daemon()  # what ended meanwhile
        found['deaf-process'] = {pk_of(node) for node in active() if _waits_in_vain(node)}
    return found


def _waits_in_vain(node: ProcessNode) -> bool:
    status = node.process_status or ''
    if node.process_state is not ProcessState.WAITING or not status.startswith('Waiting for child processes:'):
        return False
    called = {int(pk) for pk in re.findall(r'\d+', status)}
    return all(child.is_terminated for child in node.called if child.pk in called)


def end_abandoned() -> list[ProcessNode]:
    """End all processes that nobody waits for, as killed; no worker may live."""
    ended = abandoned()
    for node in ended:
        end_as_killed(node, 'Ended by "aiida-ufpnmr doctor": nothing waited for it any more.')
    return ended


def correct_states() -> None:
    """Give all processes that are at their end the state that belongs to it; no worker may live."""
    for node in misnamed():
        broken = ProcessState.KILLED if node.exception is None else ProcessState.EXCEPTED
        state = broken if node.exit_status is None else ProcessState.FINISHED
        node.backend_entity.set_attribute('process_state', state.value)  # the node itself is sealed
