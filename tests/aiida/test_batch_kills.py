"""Claims about a batch that is killed on the way: what ended well stays, and nothing is made twice."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from ase.io import write
from own_profile import PATIENCE, OwnProfile

from aiida_ufpnmr.engine.dataset import bare, read_dataset

pytestmark = pytest.mark.slow

#: Seconds after which a batch that is not done is looked after.
LONGEST_REST = 180
PARAMETERS = {'steps': 100, 'timestep': 1.0, 'every': 10, 'supercell': [1, 1, 1]}
#: Seed, exit status and hash of the trajectory of each job of dynamics at a temperature.
JOBS = """
    import json, sys
    from aiida import load_profile, orm
    load_profile()
    query = orm.QueryBuilder().append(orm.CalcJobNode, filters={'process_type': 'aiida.calculations:ufpnmr.md'})
    query.order_by({orm.CalcJobNode: 'id'})
    jobs = [job for job in query.all(flat=True) if job.inputs.parameters['temperature'] == float(sys.argv[1])]
    print(json.dumps([
        [job.inputs.parameters['seed'], job.exit_status,
         job.outputs.trajectory.sha256 if 'trajectory' in job.outputs else None] for job in jobs
    ]))
"""

DAEMON = """
    from aiida import load_profile
    from aiida.engine.daemon.client import get_daemon_client
    load_profile()
    print(get_daemon_client().get_daemon_pid())
"""


@pytest.fixture(scope='module')
def profile(tmp_path_factory, dataset_file, potential_file) -> OwnProfile:
    """A profile with a daemon, in whose folder are a potential and a structure."""
    made = OwnProfile(tmp_path_factory.mktemp('batch'))
    made.tool('aiida-ufpnmr', 'setup')
    (made.folder / 'potential.h5').write_bytes(Path(potential_file).read_bytes())
    write(made.folder / 'beta.extxyz', bare(read_dataset(dataset_file).structures[0]))
    (made.folder / 'overrides.yaml').write_text(yaml.safe_dump({'md': {'parameters': PARAMETERS}}))
    yield made
    made.tool('verdi', 'daemon', 'stop', '--timeout', 60)


def words(temperature_K: float) -> tuple:
    """A batch of four runs, each a job of its own, two at a time."""
    given = ('launch', 'batch', 'beta.extxyz', '--potential', 'potential.h5', '--temperatures', temperature_K)
    return (*given, '--replicas', 4, '--pack-to', '1s', '--most-at-once', 2, '--protocol', 'fast',
            '--overrides', 'overrides.yaml')  # fmt: skip


def undisturbed(profile: OwnProfile, temperature_K: float, seed: int) -> str:
    """Hash of the trajectory of a run that nothing disturbs."""
    overrides = {'md': {'parameters': {**PARAMETERS, 'seed': seed}}}
    (profile.folder / 'seed.yaml').write_text(yaml.safe_dump(overrides))
    given = ('launch', 'md', 'beta.extxyz', '--potential', 'potential.h5', '--temperature', temperature_K)
    profile.tool('aiida-ufpnmr', *given, '--protocol', 'fast', '--overrides', 'seed.yaml')
    return profile.python(JOBS, temperature_K)[-1][2]


def found(profile: OwnProfile, temperature_K: float) -> dict[int, str]:
    """Hash of the trajectory of each seed in the database, where each has ended well once."""
    well = [(seed, sha256) for seed, status, sha256 in profile.python(JOBS, temperature_K) if status == 0]
    assert sorted(seed for seed, _ in well) == [0, 1, 2, 3]
    return dict(well)


def status(profile: OwnProfile, pk: str) -> dict:
    profile.tool('aiida-ufpnmr', 'status', pk, '--json', 'status.json')
    return json.loads((profile.folder / 'status.json').read_text())


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family)


def test_a_batch_that_was_killed_and_is_launched_again_makes_what_lacks(profile):
    program = Path(sys.executable).with_name('aiida-ufpnmr')
    command = [str(word) for word in (program, *words(100.0))]
    process = subprocess.Popen(command, env=profile.environment, cwd=profile.folder, stdout=subprocess.PIPE, text=True)
    pk = process.stdout.readline().split('#')[1].strip()
    end = time.time() + PATIENCE
    while status(profile, pk)['counts']['done'] < 1:  # one run has ended; others run, and one has not begun
        assert time.time() < end and process.poll() is None
    kill(process.pid)
    begun = profile.python(JOBS, 100.0)
    assert 1 <= sum(exit_status == 0 for _, exit_status, _ in begun) < 4
    output = profile.tool('aiida-ufpnmr', *words(100.0))
    assert re.search(r'done +4 +[123] of them before', output), output
    assert found(profile, 100.0)[3] == undisturbed(profile, 100.0, 3)


def test_a_batch_whose_daemon_was_killed_goes_on_and_makes_nothing_twice(profile):
    profile.tool('aiida-ufpnmr', 'setup', '--daemon')
    pk = profile.tool('aiida-ufpnmr', *words(200.0), '--daemon').split()[-1]
    end = time.time() + PATIENCE
    while (state := status(profile, pk))['counts']['done'] < 1:
        assert time.time() < end and state['process_state'] in ('created', 'running', 'waiting'), state
    assert state['counts']['waiting'] >= 1 or state['counts']['running'] >= 1
    kill(profile.python(DAEMON))
    profile.tool('aiida-ufpnmr', 'setup', '--daemon')
    healed = time.time()
    while status(profile, pk)['process_state'] != 'finished':
        assert time.time() < end, profile.story()
        if time.time() > healed + LONGEST_REST:
            profile.heal()
            healed = time.time()
        time.sleep(2)
    assert status(profile, pk)['counts'] == {'done': 4, 'running': 0, 'waiting': 0, 'failed': 0}
    assert len(profile.python(JOBS, 200.0)) == 4
    assert found(profile, 200.0)[3] == undisturbed(profile, 200.0, 3)
