"""Runs that a command runs by itself: active in the database, without a task, and none of the daemon's business."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

import psutil
from aiida.engine.processes.control import get_active_processes
from aiida.orm import CalcJobNode, ProcessNode, load_node

from aiida_ufpnmr.tools.connections import cancel_job
from aiida_ufpnmr.workflows.subprocesses import end_as_killed

#: Extra of a run that a command runs, as long as it does: where that is, and since when.
RUN_BY = 'ufpnmr_run_by'
#: Seconds by which two readings of the begin of a process differ at most; another with its number begins later.
SAME_BEGIN_s = 1.0


@contextlib.contextmanager
def run_here(node: ProcessNode) -> Iterator[None]:
    """Say that this program runs ``node`` and all that it calls."""
    begin_s = psutil.Process().create_time()
    node.base.extras.set(RUN_BY, {'host': socket.gethostname(), 'pid': os.getpid(), 'begin_s': begin_s})
    try:
        yield
    finally:
        node.base.extras.delete(RUN_BY)


def end_interrupted(root: ProcessNode) -> int:
    """Cancel the jobs of what ``root`` called, and end it as killed, after an interruption; the number of jobs.

    AiiDA ends the process that a command runs, and leaves those below it, which nobody runs any more.
    """
    cancelled = 0
    for node in root.called_descendants:
        if not isinstance(node, ProcessNode) or node.is_terminated:
            continue
        number = node.get_job_id() if isinstance(node, CalcJobNode) else None
        if number is not None and node.computer is not None:
            with contextlib.suppress(Exception):  # transports raise what their libraries do; the doctor finds the job
                cancel_job(node.computer, number)
                cancelled += 1
        end_as_killed(node, 'Ended with the command that ran it.')
    return cancelled


def active_of_daemon() -> set[int]:
    """The active processes that the daemon shall run: those whose command lives, here or elsewhere, are left out."""
    found = set()
    for pk in get_active_processes(project='id'):
        node = load_node(pk)
        if isinstance(node, ProcessNode) and not _is_run_by_a_command(node):
            found.add(int(pk))
    return found


def _is_run_by_a_command(node: ProcessNode | None) -> bool:
    if node is None:
        return False
    mark = node.base.extras.get(RUN_BY, None)
    return (mark is not None and _lives(mark)) or _is_run_by_a_command(node.caller)


def _lives(mark: dict) -> bool:
    if mark['host'] != socket.gethostname():  # nothing can be known of it here
        return True
    try:
        return abs(psutil.Process(mark['pid']).create_time() - mark['begin_s']) < SAME_BEGIN_s
    except psutil.NoSuchProcess:
        return False
