"""Claims about what the doctor sees of services and of a scheduler, while nothing runs."""

from __future__ import annotations

import subprocess

import pytest
from services import RABBITMQ, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

#: Runs a calculation to its end without a daemon, and prints its pk and its working directory.
RUN = """
import json
from aiida import load_profile, orm
from aiida.engine import run_get_node
from aiida.manage import get_manager
from aiida.plugins import CalculationFactory

load_profile()
code = orm.load_code('ufpnmr@slurm')
bash = orm.InstalledCode(label='bash', computer=code.computer, filepath_executable='/bin/bash').store()
resources = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
inputs = {'x': orm.Int(1), 'y': orm.Int(2), 'code': bash, 'metadata': {'options': {'resources': resources}}}
node = run_get_node(CalculationFactory('core.arithmetic.add'), **inputs)[1]
print(json.dumps([node.pk, node.get_remote_workdir()]))
"""


@pytest.fixture(scope='module')
def calculation(laboratory) -> list:
    return laboratory.profile.python(RUN)


def kinds(told: dict) -> dict[str, list[str]]:
    return {name: [finding['kind'] for finding in told[name]] for name in ('repaired', 'found')}


def test_a_job_of_a_calculation_that_has_ended_is_found_and_cancelled(laboratory, calculation):
    pk, folder = calculation
    begin = ('sbatch', '--parsable', '--output=/dev/null', '--wrap', 'sleep 600')
    orphan = laboratory.cluster.command(*begin, f'--chdir={folder}').strip()
    other = laboratory.cluster.command(*begin, '--chdir=/tmp').strip()
    try:
        (found,) = laboratory.doctor()['found']
        assert found['subject'] == f'job {orphan} on slurm'
        assert f'ArithmeticAddCalculation #{pk}, whose job it is, has ended' in found['message']
        assert kinds(laboratory.doctor('--repair')) == {'repaired': ['orphaned-job'], 'found': []}
        wait_for('the end of the job', lambda: laboratory.cluster.jobs() == [other])
    finally:
        laboratory.cluster.command('scancel', orphan, other)


def test_a_broker_that_takes_tasks_away_is_named(laboratory):
    def set_timeout(value: str) -> None:
        command = [f'{RABBITMQ}/rabbitmqctl', 'eval', f'application:set_env(rabbit, consumer_timeout, {value}).']
        subprocess.run(command, env=laboratory.profile.environment, check=True, capture_output=True)

    assert kinds(laboratory.doctor())['found'] == []
    try:
        set_timeout('1800000')
        (found,) = laboratory.doctor()['found']
        assert (found['kind'], found['subject'].split()[0]) == ('broker-timeout', 'RabbitMQ')
        assert 'its consumer_timeout is 1800000 ms' in found['message']
    finally:
        set_timeout('undefined')


@pytest.mark.parametrize(('service', 'name'), [('broker', 'RabbitMQ'), ('database', 'PostgreSQL')])
def test_a_service_that_does_not_answer_is_named_and_stops_what_needs_it(laboratory, service, name):
    server = getattr(laboratory, service)
    server.stop()
    try:
        (found,) = laboratory.doctor()['found']
        assert (found['kind'], found['subject']) == ('service-silent', f'{name} at 127.0.0.1:{server.port}')
        for words in (('pause',), ('doctor', '--repair')):
            status, said = laboratory.refusal(*words)
            assert status == 2
            assert said.startswith(f'aiida-ufpnmr: error: {found["subject"]}: it does not answer')
            assert len(said.splitlines()) == 1
    finally:
        server.start()
    assert kinds(laboratory.doctor())['found'] == []
