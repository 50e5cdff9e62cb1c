"""Connections of a command to computers, which need no broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from aiida.manage import get_manager
from aiida.transports import AsyncTransport, Transport

if TYPE_CHECKING:
    from aiida.engine.runners import Runner
    from aiida.orm import Computer

#: Without a broker a workflow has to look whether what it called has ended, which AiiDA does once a minute by default.
SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def runner_without_broker() -> Iterator[Runner]:
    """A runner that works whether or not the daemon runs; meanwhile it is the one that AiiDA's manager gives others.

    Transports that work asynchronously ask the manager for one, which without this would wait for a broker in vain.
    """
    manager: Any = get_manager()
    runner = manager.create_runner(communicator=None, poll_interval=SECONDS_BETWEEN_LOOKS)
    # set_runner would close the one before, and with it the event loop that all runners of a thread share
    manager._runner, before = runner, manager._runner
    try:
        yield runner
    finally:
        manager._runner = before


@contextmanager
def connected(transport: Transport) -> Iterator[Any]:
    """The transport while it is open, whether or not a broker runs."""
    with runner_without_broker() if isinstance(transport, AsyncTransport) else nullcontext(), transport:
        yield transport


def cancel_job(computer: Computer, number: str) -> None:
    """Take a job out of the scheduler of a computer."""
    scheduler = computer.get_scheduler()
    with connected(computer.get_transport()) as transport:
        scheduler.set_transport(transport)
        scheduler.kill_job(number)
