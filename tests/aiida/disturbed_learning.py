"""Active learning that is disturbed in every step of a generation, by kill -9 of a job or of the whole daemon.

As a program it works in the default profile under AIIDA_PATH, keeps what it needs in a folder, and prints as JSON what
came out of a run that nothing disturbed, of one whose jobs were killed, and of one whose daemon was::

    python disturbed_learning.py FOLDER
"""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import test_active_learning as learning
from aiida import load_profile, orm
from aiida.engine import ProcessBuilder, submit
from aiida.engine.daemon.client import get_daemon_client
from stand_ins import install_castep

from aiida_ufpnmr.data import DatasetData

#: The jobs of a generation that are disturbed, in their order: a run that a guard stops, and one that goes to its end.
DISTURBED = ('md', 'md', 'select', 'label_castep', 'fit_potential', 'fit_efg')
#: Seconds in which anything that is waited for happens, even where the machine is busy with other things.
PATIENCE = 300

#: Runs the command; where it finds a file SUB-COMMAND.NUMBER, it does not end before it may. All that it writes is
#: there by then: never does a job that is killed look more like one that went well.
HOLDING = """#!/bin/bash
{command} "$@"
status=$?
for hold in {folder}/"$1".*; do
    mv "$hold" held 2> /dev/null && break
done
while [ -e held ] && [ $SECONDS -lt {patience} ]; do sleep 0.1; done
exit $status
"""


@dataclass
class Job:
    """A job as it is now; what is not known yet is ``None``."""

    exit_status: int | None
    pid: str | None
    folder: str | None

    @property
    def is_held(self) -> bool:
        return self.pid is not None and Path(self.folder, 'held').exists()

    def release(self) -> None:
        Path(self.folder, 'held').unlink()


def jobs(root: orm.WorkChainNode, step: str) -> list[Job]:
    """The jobs of a step since a run began."""
    query = orm.QueryBuilder().append(
        orm.CalcJobNode,
        filters={'id': {'>': root.pk}, 'process_type': f'aiida.calculations:ufpnmr.{step}'},
        project=['attributes.exit_status', 'attributes.job_id', 'attributes.remote_workdir'],
        tag='job',
    )
    return [Job(*found) for found in query.order_by({'job': 'id'}).all()]


def exit_statuses(root: orm.WorkChainNode, step: str) -> list[int]:
    """How the jobs of a step ended, in order of the numbers."""
    return sorted(job.exit_status for job in jobs(root, step) if job.exit_status is not None)


def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    """What ``condition`` gives, as soon as it is true."""
    end = time.time() + PATIENCE
    while time.time() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise RuntimeError(f'{what}: not within {PATIENCE} s')


def kill_job(job: Job) -> None:
    """All its processes, the script first, so that nothing says how the command ended."""
    kill(int(job.pid))
    job.release()


def kill_daemon(job: Job) -> None:
    """With its workers and its broker. The job ends before there is another daemon."""
    kill(get_daemon_client().get_daemon_pid())
    job.release()
    start_daemon()


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family)


def start_daemon() -> None:
    program = Path(sys.executable).with_name('aiida-ufpnmr')
    subprocess.run([program, 'setup', '--daemon'], check=True, capture_output=True)


class Laboratory:
    """Codes and labels with which active learning runs, as often as is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        code = orm.load_code('ufpnmr@localhost')
        script = folder / 'ufpnmr'
        command = shlex.quote(str(code.filepath_executable))
        script.write_text(HOLDING.format(command=command, folder=shlex.quote(str(folder)), patience=PATIENCE))
        script.chmod(0o755)
        self.code = orm.InstalledCode(
            label='holding', computer=code.computer, filepath_executable=str(script), with_mpi=False
        ).store()
        self.castep = install_castep(code.computer, folder)
        self.begin = DatasetData.of(learning.labelled(0.05, seed, f'cold{seed % 3}') for seed in range(6)).store()
        self.test_set = DatasetData.of(learning.labelled(0.3, 100 + seed, 'hot') for seed in range(6)).store()

    def builder(self, *labels: str) -> ProcessBuilder:
        """One generation, in which labelling behaves like this; labels of an earlier run are not used."""
        exploration = {'temperatures_K': [50.0, 1500.0], 'volume_strains': [0.0]}
        changes = {'max_generations': 1, 'label': {'reuse': False}, 'exploration': exploration}
        return learning.builder(self.code, self.castep, self.begin, self.test_set, *labels, **changes)

    def run(self) -> orm.WorkChainNode:
        """A run that nothing disturbs."""
        return ended(submit(self.builder()))

    def run_disturbed(self, disturb: Callable[[Job], None]) -> orm.WorkChainNode:
        """A run with one disturbance in each step of its generation."""
        self.hold('md.1', 'md.2')
        root = submit(self.builder('hold'))
        for number, step in enumerate(DISTURBED):
            job = wait_for(step, lambda step=step: next((job for job in jobs(root, step) if job.is_held), None))
            if number == 0:  # only now, since there are fits before the first generation
                self.hold('select.1', 'fit-potential.1', 'fit-efg.1')
            disturb(job)
        return ended(root)

    def hold(self, *names: str) -> None:
        for name in names:
            (self.folder / name).touch()


def ended(root: orm.WorkChainNode) -> orm.WorkChainNode:
    """The run when it has ended."""
    wait_for('the end', lambda: orm.load_node(root.pk).is_terminated)
    return orm.load_node(root.pk)


def outcome(root: orm.WorkChainNode) -> dict[str, Any]:
    """What a run gave, by content, and how the jobs of each step ended."""
    models = ('dataset', 'potential', 'efg_model')
    errors = ('potential_errors', 'efg_errors')
    return {
        'status': root.exit_status,
        'message': root.exit_message,
        'hashes': {name: root.outputs[name].sha256 for name in models if name in root.outputs},
        'errors': {name: root.outputs[name].get_dict() for name in errors if name in root.outputs},
        'jobs': {step: exit_statuses(root, step) for step in dict.fromkeys(DISTURBED)},
    }


def main() -> None:
    load_profile()
    start_daemon()
    laboratory = Laboratory(Path(sys.argv[1]))
    found = {
        'undisturbed': outcome(laboratory.run()),
        'jobs': outcome(laboratory.run_disturbed(kill_job)),
        'daemon': outcome(laboratory.run_disturbed(kill_daemon)),
    }
    print(json.dumps(found))


if __name__ == '__main__':
    main()
