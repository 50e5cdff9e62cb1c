"""Requests to end, by Ctrl-C or by SIGTERM, which schedulers send: noticed, and handed on to those that work for us."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: A request that comes just before Python falls asleep is noticed when it wakes: nobody who waits sleeps longer.
SECONDS_BETWEEN_LOOKS = 0.1


@contextmanager
def on_request_to_end(act: Callable[[], Any]) -> Iterator[None]:
    """Call ``act`` at each request to end, instead of what happens otherwise."""
    with _handlers(lambda *_: act(), signal.SIGINT, signal.SIGTERM):
        yield


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Take SIGTERM as Ctrl-C, which ends programs and files in good order."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with _handlers(interrupt, signal.SIGTERM):
        yield


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Begin children that do not see Ctrl-C, which a terminal sends to all."""
    with _handlers(signal.SIG_IGN, signal.SIGINT):
        yield


@contextmanager
def _handlers(handler: Any, *numbers: signal.Signals) -> Iterator[None]:
    """Send signals to ``handler``, if this is the main thread: no other may set that."""
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handler) for number in numbers} if in_main else {}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
