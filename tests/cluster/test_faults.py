"""Claims about runs on a cluster that are disturbed: they end as those that nothing disturbs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from laboratory import Laboratory
from services import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

#: Seconds after which all that a restarted service sets off has happened: connections are tried again after 5 s.
SETTLED_s = 20

#: The commands of the page for users, without the program: those around a planned restart, and those after another one.
PAGE = Path(__file__).parents[2] / 'docs' / 'source' / 'howto' / 'faults.rst'
SHOWN = [
    line.split()[1:] for line in PAGE.read_text().splitlines() if line.startswith(('   aiida-ufpnmr', '   systemctl'))
]


@pytest.fixture(scope='module')
def undisturbed(laboratory, stopped_in_the_end, number) -> list[dict]:
    """What became of runs that nothing disturbed."""
    laboratory.start_daemon()
    return laboratory.outcomes(laboratory.submit(number))


@pytest.fixture(scope='module')
def with_own_broker(services, tmp_path_factory) -> Iterator[Laboratory]:
    """A laboratory with a daemon whose broker is that of AiiDA itself."""
    database, _, cluster = services
    laboratory = Laboratory.make(tmp_path_factory.mktemp('own_broker'), database, None, cluster)
    laboratory.start_daemon()
    yield laboratory
    laboratory.stop_daemon()


def check_end(laboratory, found: list[dict], undisturbed: list[dict]) -> None:
    """Runs ended as those that nothing disturbed, and nothing is left of them anywhere."""
    for run, other in zip(found, undisturbed, strict=True):
        assert (run['status'], run['message']) == (0, None)
        assert run['outputs'] == other['outputs']
    assert laboratory.cluster.jobs() == []
    assert laboratory.doctor() == {'repaired': [], 'found': []}


def jobs_of(found: list[dict]) -> list[str]:
    return sorted(number for run in found for _, _, number in run['jobs'])


def statuses(found: list[dict]) -> list[int]:
    return sorted(status for run in found for _, status, _ in run['jobs'])


def test_runs_that_nothing_disturbs_end_well_with_each_job_once(undisturbed, laboratory):
    check_end(laboratory, undisturbed, undisturbed)
    assert set(statuses(undisturbed)) == {0}
    assert jobs_of(undisturbed) == sorted(job['JobId'] for job in laboratory.cluster.ended()[laboratory.before :])


def test_a_killed_worker_costs_nothing_and_runs_nothing_twice(daemon, number, undisturbed):
    pks = daemon.submit(number)
    daemon.wait_for_jobs(number)
    daemon.kill('worker')
    found = daemon.outcomes(pks)
    check_end(daemon, found, undisturbed)
    assert statuses(found) == statuses(undisturbed)
    assert jobs_of(found) == sorted(job['JobId'] for job in daemon.cluster.ended()[daemon.before :])


def test_cancelled_jobs_are_run_again(daemon, number, undisturbed):
    pks = daemon.submit(number)
    daemon.wait_for_jobs(number // 2)
    cancelled = daemon.cluster.jobs()[: number // 4]
    daemon.cluster.command('scancel', *cancelled)
    found = daemon.outcomes(pks)
    check_end(daemon, found, undisturbed)
    assert 1 <= len(jobs_of(found)) - len(jobs_of(undisturbed)) <= len(cancelled)


def test_a_drained_node_only_delays(daemon, number, undisturbed):
    pks = daemon.submit(number)
    daemon.cluster.drain()
    wait_for('jobs that wait for the node', lambda: 'PENDING' in daemon.cluster.states())
    time.sleep(5.0)
    daemon.cluster.resume()
    found = daemon.outcomes(pks)
    check_end(daemon, found, undisturbed)
    assert statuses(found) == statuses(undisturbed)


def test_runs_whose_time_is_cut_short_twice_are_the_runs_in_one_job(daemon, number, undisturbed):
    found = daemon.outcomes(daemon.submit(number, 'cut'))
    check_end(daemon, found, undisturbed)
    for run, other in zip(found, undisturbed):
        dynamics = [name for name, _, _ in other['jobs']].count('MdCalculation')
        assert statuses([run]).count(401) == 2 * dynamics


def test_services_may_be_restarted_between_pause_and_resume(daemon, number, undisturbed):
    pks = daemon.submit(number)
    daemon.wait_for_jobs(1)
    pause, restart, resume = SHOWN[:3]
    daemon.ufpnmr(*pause)
    assert daemon.parts('worker') == []
    assert {finding['kind'] for finding in daemon.doctor()['found']} == {'daemon-down'}
    assert restart == ['restart', 'postgresql', 'rabbitmq-server']
    daemon.restart_services()
    daemon.ufpnmr(*resume)
    wait_for('workers', lambda: len(daemon.parts('worker')) == 2)
    found = daemon.outcomes(pks)
    check_end(daemon, found, undisturbed)
    assert statuses(found) == statuses(undisturbed)
    assert jobs_of(found) == sorted(job['JobId'] for job in daemon.cluster.ended()[daemon.before :])


@pytest.mark.parametrize('name', ['broker', 'database'])
def test_the_doctor_finds_and_mends_what_a_restart_under_the_live_daemon_damages(daemon, number, undisturbed, name):
    pks = daemon.submit(number)
    daemon.wait_for_jobs(number // 2)
    service = getattr(daemon, name)
    service.stop()
    service.start()
    time.sleep(SETTLED_s)
    look, repair, relaunch = SHOWN[3:]
    assert 'service-restarted' in {finding['kind'] for finding in daemon.doctor(*look[1:])['found']}

    left = daemon.doctor(*repair[1:])['found']
    assert {finding['kind'] for finding in left} <= {'damaged-run'}
    ended = daemon.outcomes(pks)
    damaged = [finding['pks'][0] for finding in daemon.doctor()['found']]
    wrong = [run['pk'] for run, other in zip(ended, undisturbed) if run['outputs'] != other['outputs']]
    assert set(wrong) <= set(damaged) <= set(pks)

    again = daemon.ufpnmr(relaunch[0], *damaged).split() if damaged else []
    now = dict(zip(damaged, again))
    check_end(daemon, daemon.outcomes([now.get(pk, pk) for pk in pks]), undisturbed)


@pytest.mark.parametrize('place', ['daemon', 'with_own_broker'])
def test_all_faults_together(request, place, number, undisturbed):
    daemon = request.getfixturevalue(place)
    pks = daemon.submit(number, 'cut')
    daemon.cluster.drain()
    daemon.wait_for_jobs(number)
    daemon.kill('worker')
    daemon.cluster.command('scancel', *daemon.cluster.jobs()[: number // 4])
    daemon.cluster.resume()
    time.sleep(5.0)
    daemon.ufpnmr('pause')
    daemon.restart_services()
    assert daemon.ufpnmr('setup', '--daemon').splitlines()[-1].split() == ['daemon', 'started']  # mends the queue, too
    check_end(daemon, daemon.outcomes(pks), undisturbed)
