"""A profile on PostgreSQL and RabbitMQ with a computer on Slurm: runs are submitted, disturbed and looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from own_profile import PATIENCE, OwnProfile
from services import PostgreSQL, RabbitMQ, Slurm, wait_for

WORKERS = 2
#: Seconds in which a worker writes down the number of a job: one that is killed before hands over the job again.
RECORDED_s = 2.0
#: Seconds of a run with several jobs, one after the other, even where the machine is busy with other things.
RUN_s = 30.0
RUNS = Path(__file__).with_name('runs.py')


@dataclass
class Laboratory:
    """The services, and the profile that uses them."""

    database: PostgreSQL
    broker: RabbitMQ
    cluster: Slurm
    profile: OwnProfile
    before: int = 0

    @classmethod
    def make(cls, folder: Path, database: PostgreSQL, broker: RabbitMQ | None, cluster: Slurm) -> Laboratory:
        """Make the profile, the computer, the code and the inputs; without RabbitMQ with the broker of AiiDA itself."""
        environment = {**cluster.environment, **(broker.environment if broker else {})}
        laboratory = cls(database, broker, cluster, OwnProfile(folder, **environment))
        database.create(folder.name)
        words = {
            'profile-name': 'ufpnmr',
            'email': 'aiida@localhost',
            'first-name': 'A',
            'last-name': 'B',
            'institution': 'C',
            'database-hostname': '127.0.0.1',
            'database-port': database.port,
            'database-username': 'aiida',
            'database-password': 'none',
            'database-name': folder.name,
            'repository-uri': f'file://{folder}/.aiida/repository/ufpnmr',
        }
        options = [f'--{name}={value}' for name, value in words.items()]
        how = 'core.zeromq' if broker is None else 'none'
        laboratory.verdi('profile', 'setup', 'core.psql_dos', '-n', '--set-as-default', f'--broker={how}', *options)
        if broker is not None:
            where = ('--broker-host=127.0.0.1', f'--broker-port={broker.port}', '--broker-virtual-host=')
            who = ('--broker-protocol=amqp', '--broker-username=guest', '--broker-password=guest')
            laboratory.verdi('profile', 'configure-broker', 'core.rabbitmq', '-f', '-n', *where, *who, 'ufpnmr')
        laboratory.verdi('config', 'set', 'runner.poll.interval', 1)
        laboratory.program('prepare', folder)
        return laboratory

    def verdi(self, *words) -> str:
        return self.profile.tool('verdi', *words)

    def ufpnmr(self, *words) -> str:
        return self.profile.tool('aiida-ufpnmr', *words)

    def program(self, *words, patience: float = PATIENCE):
        """What the program of the runs prints."""
        return json.loads(self.profile.run(sys.executable, RUNS, *words, patience=patience).splitlines()[-1])

    def submit(self, number: int, *how: str) -> list[int]:
        self.before = len(self.cluster.ended())
        for count in (self.profile.folder / 'cuts').glob('--seed*'):
            count.unlink()
        return self.program('submit', number, *how)

    def outcomes(self, pks: Sequence[int]) -> list[dict]:
        """What became of runs, when all have ended."""
        patience = PATIENCE + RUN_s * len(pks)
        return self.program('outcomes', patience, *pks, patience=patience + PATIENCE)

    def doctor(self, *words) -> dict:
        """What the doctor repairs and finds; its exit status says whether anything is left."""
        path = self.profile.folder / 'found.json'
        path.unlink(missing_ok=True)
        command = [Path(sys.executable).with_name('aiida-ufpnmr'), 'doctor', *words, '--json', path]
        ended = subprocess.run(command, env=self.profile.environment, capture_output=True, text=True)
        assert ended.returncode in (0, 1) and path.exists(), (command, ended.stdout, ended.stderr)
        told = json.loads(path.read_text())
        assert bool(told['found']) == bool(ended.returncode), ended.stdout
        assert len(ended.stdout.splitlines()) == max(1, len(told['found']) + len(told['repaired'])), ended.stdout
        return told

    def refusal(self, *words) -> tuple[int, str]:
        """The exit status of a command, and what it says on stderr."""
        command = [Path(sys.executable).with_name('aiida-ufpnmr'), *words]
        ended = subprocess.run(command, env=self.profile.environment, capture_output=True, text=True)
        return ended.returncode, ended.stderr

    def restart_services(self) -> None:
        for service in (self.database, self.broker):
            if service is not None:
                service.stop()
                service.start()

    def wait_for_jobs(self, number: int) -> None:
        """Wait until so many jobs were handed to the cluster since :meth:`submit`, and AiiDA knows of them."""
        wait_for('jobs', lambda: len(self.cluster.jobs()) + len(self.cluster.ended()) >= self.before + number)
        time.sleep(RECORDED_s)

    def start_daemon(self) -> None:
        """Start the daemon, unless it runs."""
        if not self.parts('worker'):
            self.verdi('daemon', 'start', WORKERS)

    def parts(self, kind: str) -> list[psutil.Process]:
        """The processes of the daemon of one kind: ``worker``, or ``broker`` where the broker is a part of it."""
        found = []
        for process in psutil.process_iter(['cmdline']):
            words = process.info['cmdline'] or []
            if kind in words and words[words.index(kind) - 1] == 'daemon':
                try:
                    if process.environ().get('AIIDA_PATH', '').startswith(str(self.profile.folder)):
                        found.append(process)
                except psutil.Error:
                    pass
        return found

    def stop_daemon(self) -> None:
        """Stop the daemon, and whatever of it is left."""
        try:
            self.verdi('daemon', 'stop', '--timeout', 60)
        finally:
            for worker in self.parts('worker'):
                worker.kill()

    def kill(self, kind: str) -> None:
        """Kill one process of the daemon of this kind."""
        os.kill(self.parts(kind)[0].pid, signal.SIGKILL)
