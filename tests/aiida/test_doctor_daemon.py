"""Claims about a daemon that is killed, paused, or that never heard of a process, with the broker of AiiDA itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from own_profile import PATIENCE, OwnProfile

pytestmark = pytest.mark.slow

#: Stores a process that would end within seconds, with or without a task for it, or a task for what has ended; its pk.
STORE = """
import sys
from aiida import load_profile, orm
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import WorkflowFactory
from aiida_ufpnmr.tools import task_queue

load_profile()
builder = WorkflowFactory('core.arithmetic.multiply_add').get_builder()
builder.x, builder.y, builder.z = orm.Int(1), orm.Int(2), orm.Int(3)
builder.code = orm.load_code(f'{sys.argv[2]}@localhost')
process = instantiate_process(get_manager().create_runner(communicator=None), builder)
get_manager().get_persister().save_checkpoint(process)
process.close()
if sys.argv[1] == 'twice':
    task_queue._add_tasks([process.pid, process.pid])
print(process.pid)
"""
CODE = """
from aiida import load_profile, orm

load_profile()
computer = orm.load_computer('localhost')
for label, before in (('bash', ''), ('slow', 'sleep 40')):
    code = orm.InstalledCode(label=label, computer=computer, filepath_executable='/bin/bash', prepend_text=before)
    code.default_calc_job_plugin = 'core.arithmetic.add'
    code.store()
print(code.pk)
"""
#: Waits for the end of a process, and prints its exit status and how many jobs it had.
AWAIT = """
import json, sys, time
from aiida import load_profile, orm

load_profile()
end = time.time() + 300
while time.time() < end and not orm.load_node(int(sys.argv[1])).is_terminated:
    time.sleep(0.5)
node = orm.load_node(int(sys.argv[1]))
print(json.dumps([node.exit_status, len([n for n in node.called if isinstance(n, orm.CalcJobNode)])]))
"""
TASKS = """
import json
from aiida import load_profile
from aiida.manage import get_manager
from aiida.engine.processes.control import get_process_tasks

load_profile()
print(json.dumps(get_process_tasks(get_manager().get_broker())))
"""


@pytest.fixture(scope='module')
def profile(tmp_path_factory):
    profile = OwnProfile(tmp_path_factory.mktemp('doctor'))
    profile.tool('aiida-ufpnmr', 'setup')
    profile.python(CODE)
    try:
        yield profile
    finally:
        profile.tool('aiida-ufpnmr', 'pause')


def doctor(profile: OwnProfile, *words: str) -> dict[str, list]:
    """The kinds of what is repaired and found."""
    path = profile.folder / 'found.json'
    command = [Path(sys.executable).with_name('aiida-ufpnmr'), 'doctor', *words, '--json', path]
    ended = subprocess.run(command, env=profile.environment, capture_output=True, text=True)
    told = json.loads(path.read_text())
    assert ended.returncode == (1 if told['found'] else 0), (ended.stdout, ended.stderr)
    return {name: [finding['kind'] for finding in told[name]] for name in ('repaired', 'found')}


def parts(profile: OwnProfile, word: str) -> list[psutil.Process]:
    """The processes of the daemon of this profile with a word in their command line."""
    return [
        process
        for process in psutil.process_iter(['cmdline'])
        if word in (process.info['cmdline'] or [])
        and process.environ().get('AIIDA_PATH', '').startswith(str(profile.folder))
    ]


def tasks_in_flight(profile: OwnProfile) -> int:
    """The number of tasks that workers have, as the broker tells now and then, once it runs."""
    told = list((profile.folder / '.aiida' / 'broker').glob('*/broker.status'))
    return json.loads(told[0].read_text())['in_flight_tasks'] if told else 0


def until(look: Callable):
    """What a look finds, as soon as it finds something."""
    end = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < end
        time.sleep(0.5)
    return found


def test_a_process_that_no_worker_knows_of_is_found_and_runs_after_the_repair(profile):
    profile.tool('aiida-ufpnmr', 'setup', '--daemon')
    assert doctor(profile) == {'repaired': [], 'found': []}
    pk = profile.python(STORE, 'lost', 'bash')
    assert doctor(profile) == {'repaired': [], 'found': ['lost-process']}
    before = parts(profile, 'worker')
    assert doctor(profile, '--repair') == {'repaired': ['lost-process'], 'found': []}
    assert not any(worker.is_running() for worker in before)
    assert profile.python(AWAIT, pk) == [0, 1]


def test_a_worker_that_the_broker_has_forgotten_is_found_and_its_process_is_run_once(profile):
    """The broker forgets one that was held up for longer than a heartbeat takes, which it never learns.

    There is one worker: what a forgotten one has, the broker gives to another, and then both run it.
    """
    profile.tool('aiida-ufpnmr', 'pause')
    pk = profile.python(STORE, 'lost', 'slow')
    profile.tool('aiida-ufpnmr', 'resume')
    until(lambda: tasks_in_flight(profile) == 2)  # a workflow and its job
    (worker,) = parts(profile, 'worker')
    worker.suspend()
    time.sleep(12)
    worker.resume()
    until(lambda: 'daemon-deaf' in doctor(profile)['found'])
    assert 'daemon-deaf' in doctor(profile, '--repair')['repaired']
    assert profile.python(AWAIT, pk) == [0, 1], profile.story()
    assert doctor(profile) == {'repaired': [], 'found': []}


def test_what_waits_while_the_daemon_is_paused_is_run_once_after_it(profile):
    profile.tool('verdi', 'daemon', 'incr', 1)
    assert profile.tool('aiida-ufpnmr', 'pause').startswith('stopped 2 workers; 0 processes wait')
    assert parts(profile, 'worker') == parts(profile, 'broker') == []
    lost, twice = profile.python(STORE, 'lost', 'bash'), profile.python(STORE, 'twice', 'bash')
    assert doctor(profile) == {'repaired': [], 'found': ['daemon-down']}
    assert profile.tool('aiida-ufpnmr', 'resume') == 'daemon started\n'
    assert [profile.python(AWAIT, pk) for pk in (lost, twice)] == [[0, 1], [0, 1]]
    assert len(parts(profile, 'worker')) == 2
    assert doctor(profile) == {'repaired': [], 'found': []}
    profile.tool('aiida-ufpnmr', 'pause')
    assert profile.python(TASKS) == []


def test_a_daemon_whose_head_was_killed_is_found_and_started_again(profile):
    profile.tool('aiida-ufpnmr', 'resume')
    (head,) = {worker.ppid() for worker in parts(profile, 'worker')}
    os.kill(head, signal.SIGKILL)
    assert 'daemon-dead' in doctor(profile)['found']
    assert 'daemon-dead' in doctor(profile, '--repair')['repaired']
    assert doctor(profile) == {'repaired': [], 'found': []}
