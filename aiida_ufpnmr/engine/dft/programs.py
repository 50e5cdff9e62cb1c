"""Programs that run on behalf of this one, several at a time, and do not outlive it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: How long a program may take to end when it is asked to, s.
PATIENCE = 10.0


class Programs:
    """Runs programs from any thread; as a context, it stops those that still run when the block ends."""

    def __init__(self):
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *exception) -> None:
        self.stop()

    def run(self, command: Sequence[str], folder: Path, output: Path, environment: Mapping[str, str]) -> int:
        """Run to the end in ``folder``, its output in the file ``output``; the exit status, -15 if it was stopped."""
        with open(output, 'wb') as handle:
            with self._lock:
                if self._stopped:
                    return -15
                program = subprocess.Popen(
                    list(command),
                    cwd=folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=handle,
                    stderr=handle,
                )
                self._running.add(program)
            try:
                return program.wait()
            finally:
                with self._lock:
                    self._running.discard(program)

    def stop(self) -> None:
        """End all that run, and start nothing more."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for program in running:
            program.terminate()
        for program in running:
            with suppress(subprocess.TimeoutExpired):
                program.wait(PATIENCE)
                continue
            program.kill()
