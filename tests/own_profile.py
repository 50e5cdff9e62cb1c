"""A profile with a daemon for tests that must not disturb the one of the session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

#: Seconds in which a command is done, even where the machine is busy with other things.
PATIENCE = 600


class OwnProfile:
    """An AiiDA profile of its own with a daemon, spoken to by commands; ``environment`` is put on top of this one's."""

    def __init__(self, folder: Path, **environment: str) -> None:
        here = Path(__file__).parent
        paths = [str(here), str(here / 'aiida'), os.environ.get('PYTHONPATH', '')]
        self.environment = {
            **os.environ,
            **environment,
            'AIIDA_PATH': str(folder),
            'PYTHONPATH': os.pathsep.join(filter(None, paths)),
        }
        programs = str(Path(sys.executable).parent)  # the daemon looks for verdi
        self.environment['PATH'] = os.pathsep.join((programs, self.environment['PATH']))
        (folder / '.aiida').mkdir()
        self.folder = folder

    def run(self, *words, patience: float = PATIENCE, may_fail: bool = False) -> str:
        command = [str(word) for word in words]
        ended = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, cwd=self.folder, timeout=patience
        )
        assert may_fail or ended.returncode == 0, (command, ended.stdout, ended.stderr)
        return ended.stdout

    def python(self, script: str, *arguments):
        return json.loads(self.run(sys.executable, '-c', textwrap.dedent(script), *arguments).splitlines()[-1])

    def tool(self, name: str, *arguments, may_fail: bool = False) -> str:
        return self.run(Path(sys.executable).with_name(name), *arguments, may_fail=may_fail)

    def heal(self) -> None:
        """Let the doctor mend what a machine that is far too busy does to AiiDA's broker: it forgets workers."""
        self.tool('aiida-ufpnmr', 'doctor', '--repair', may_fail=True)

    def story(self, lines: int = 60) -> str:
        """What a test says of a daemon that did not do what it should: all processes, and the end of its words."""
        logs = (self.folder / '.aiida' / 'daemon' / 'log').glob('aiida-*.log')
        words = [line for log in logs for line in log.read_text().splitlines()[-lines:]]
        told = [self.tool('verdi', *of, may_fail=True) for of in (('process', 'list', '-a'), ('daemon', 'status'))]
        return '\n'.join([*told, *words])
