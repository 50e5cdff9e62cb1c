"""Many tasks in few processes, each of which is set up once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from aiida_ufpnmr.engine.signals import SECONDS_BETWEEN_LOOKS, deaf_to_ctrl_c, on_request_to_end

#: What becomes of a task whose process was killed.
KILLED = 'its process was killed'
#: Makes what does one task after another; called once in each process.
SetUp = Callable[..., Callable[[Any], Any]]


def as_finished(set_up: SetUp, arguments: tuple, tasks: Sequence[Any], jobs: int) -> Iterator[tuple[int, Any]]:
    """The number of each task and what came of it, as they finish: a result, or the exception that ended it.

    Args:
        set_up: a function of a module, which another process can import.
        arguments: for it.
        tasks: what the function that it returns is called with.
        jobs: processes at a time; with one, all is done in this process.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    if jobs == 1 or len(tasks) < 2:
        work = set_up(*arguments)
        for number, task in enumerate(tasks):
            yield number, _result(work, task)
        return
    yield from _Team(set_up, arguments, tasks).run(min(jobs, len(tasks)))


def _result(work: Callable[[Any], Any], task: Any) -> Any:
    try:
        return work(task)
    except Exception as error:
        return error


class _Team:
    """Processes that are handed one task after another, and replaced when they die."""

    def __init__(self, set_up: SetUp, arguments: tuple, tasks: Sequence[Any]):
        self.set_up, self.arguments, self.tasks = set_up, arguments, tasks
        self.waiting = list(range(len(tasks)))
        self.at_work: dict[Connection, tuple[int, BaseProcess]] = {}
        self.asked_to_end = False

    def run(self, jobs: int) -> Iterator[tuple[int, Any]]:
        with on_request_to_end(self._end):
            try:
                for _ in range(jobs):
                    self._begin()
                while self.at_work:
                    ready: list[Any] = wait(list(self.at_work), SECONDS_BETWEEN_LOOKS)
                    for connection in ready:
                        number, process = self.at_work.pop(connection)
                        try:
                            result = connection.recv()
                        except EOFError:
                            result = RuntimeError(KILLED)
                            process.join()
                            if self.waiting and not self.asked_to_end:
                                self._begin()
                        else:
                            self._hand_out(connection, process)
                        if self.asked_to_end:
                            raise KeyboardInterrupt
                        yield number, result
            finally:
                self._end()

    def _end(self) -> None:
        self.asked_to_end = True
        for _, process in self.at_work.values():
            process.terminate()

    def _begin(self) -> None:
        context = multiprocessing.get_context('spawn')
        mine, theirs = context.Pipe()
        process: BaseProcess = context.Process(target=_work, args=(theirs, self.set_up, self.arguments))
        with deaf_to_ctrl_c():
            process.start()
        theirs.close()
        self._hand_out(mine, process)

    def _hand_out(self, connection: Connection, process: BaseProcess) -> None:
        """Give the next task to a process, or let it go."""
        if self.waiting:
            number = self.waiting.pop(0)
            self.at_work[connection] = number, process
            with suppress(OSError):  # it has died already, which is found out when its result is awaited
                connection.send(self.tasks[number])
        else:
            connection.close()
            process.join()


def _work(connection: Connection, set_up: SetUp, arguments: tuple) -> None:
    os.environ['TQDM_DISABLE'] = '1'  # one bar is enough
    work = set_up(*arguments)
    with suppress(EOFError, BrokenPipeError):  # no more tasks, or no one left to ask or to tell
        while True:
            connection.send(_result(work, connection.recv()))
