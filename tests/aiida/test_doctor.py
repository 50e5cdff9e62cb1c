"""Claims about what failures leave behind in a profile: it is found, and repaired or taken over."""

from __future__ import annotations

import shlex

import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.manage import get_manager
from plumpy import ProcessState

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools import foreground
from aiida_ufpnmr.tools.doctor import damage, places, processes
from aiida_ufpnmr.tools.relaunch import check_relaunch, made_again
from aiida_ufpnmr.version import __version__
from aiida_ufpnmr.workflows.md import MdWorkChain

PARAMETERS = {'steps': 400, 'timestep': 1.0, 'every': 10, 'temperature': 100.0}


@pytest.fixture(autouse=True, scope='module')
def nothing_active(aiida_profile):
    """What other files began in this profile and never ran is none of these claims."""
    for node in processes.active():
        node.set_process_state(ProcessState.KILLED)


@pytest.fixture
def cut_code(code, tmp_path) -> orm.InstalledCode:
    """The command, whose first two jobs are cut off at their first checkpoint."""
    script, command = tmp_path / 'ufpnmr', shlex.quote(str(code.filepath_executable))
    plan = tmp_path / 'plan'
    plan.write_text('cut\ncut\n')
    script.write_text(
        f'#!/bin/bash\nlimit=$(head -n 1 {plan})\nsed -i 1d {plan}\n'
        f'exec {command} "$@" ${{limit:+--max-wall-time 1e-6}}\n'
    )
    script.chmod(0o755)
    label = f'cut-{tmp_path.name}'
    return orm.InstalledCode(label=label, computer=code.computer, filepath_executable=str(script)).store()


def run_md(code, structure, potential, seed: int) -> orm.WorkChainNode:
    """A run that is like no other of this session, so that nothing else can be taken over."""
    inputs = {'structure': structure, 'potential': potential, 'parameters': orm.Dict({**PARAMETERS, 'seed': seed})}
    # given in part, as the protocol does on a cluster
    inputs['metadata'] = {'options': {'max_wallclock_seconds': 3600}}
    return run_get_node(MdWorkChain, md={'code': code, **inputs})[1]


def attach_again(node: orm.ProcessNode, label: str) -> None:
    """Give a process an output a second time, as two workers do that run it."""
    kind = LinkType.RETURN if isinstance(node, orm.WorkChainNode) else LinkType.CREATE
    second = orm.Dict({'a': node.pk}).store()
    second.backend_entity.add_incoming(node.backend_entity, kind, label)


def run_again(node: orm.WorkChainNode) -> orm.WorkChainNode:
    """Run again here what else the daemon would run."""
    process = made_again(node)
    get_manager().get_runner().run(process)
    return orm.load_node(process.node.pk)


def calculations(node: orm.ProcessNode) -> list[orm.CalcJobNode]:
    return [called for called in node.called if isinstance(called, orm.CalcJobNode)]


def test_an_output_that_is_there_twice_is_found_and_what_has_it_is_no_source(code, structure, potential):
    whole, broken = (run_md(code, structure, potential, seed) for seed in (101, 102))
    attach_again(whole, 'results')
    attach_again(calculations(broken)[0], 'results')
    runs = damage.damaged_runs()
    assert runs[whole.pk] == ['it has results more than once']
    assert runs[broken.pk] == [f'MdCalculation #{calculations(broken)[0].pk} has results more than once']
    assert damage.whole_calculations(whole) == calculations(whole)
    assert damage.whole_calculations(broken) == []
    with pytest.raises(KeyError, match='duplicate label'):  # what it does to those that read it
        _ = whole.outputs.results

    again = {node.pk: run_again(node) for node in (whole, broken)}
    assert all(node.is_finished_ok for node in again.values())
    assert [calculations(node)[0].base.caching.is_created_from_cache for node in again.values()] == [True, False]
    assert not {whole.pk, broken.pk, *(node.pk for node in again.values())} & set(damage.damaged_runs())
    with pytest.raises(InputError, match='was launched again already'):
        check_relaunch(whole)


def test_a_run_that_is_launched_again_takes_over_its_parts(cut_code, structure, potential):
    first = run_md(cut_code, structure, potential, 103)
    assert [job.exit_status for job in calculations(first)] == [401, 401, 0]
    again = run_again(first)
    assert [job.exit_status for job in calculations(again)] == [401, 401, 0]
    assert [job.base.caching.get_cache_source() for job in calculations(again)] == [j.uuid for j in calculations(first)]
    assert again.outputs.trajectory.sha256 == first.outputs.trajectory.sha256


def test_a_run_that_is_not_launched_again_takes_over_nothing(code, structure, potential):
    runs = [run_md(code, structure, potential, 104) for _ in range(2)]
    assert not any(job.base.caching.is_created_from_cache for run in runs for job in calculations(run))


def test_a_run_that_broke_off_is_named_with_its_last_words_and_what_is_whole(code, structure, potential):
    run = run_md(code, structure, potential, 105)
    run.backend_entity.set_attribute('process_state', ProcessState.EXCEPTED.value)  # the node itself is sealed
    run.backend_entity.set_attribute('exception', 'Traceback:\n  somewhere\nOSError: the wire was cut\n')
    (finding,) = [found for found in damage.damaged() if found.pks == (run.pk,)]
    trajectory = calculations(run)[0].outputs.trajectory
    assert finding.line == (
        f'MdWorkChain #{run.pk}: it broke off: OSError: the wire was cut; 1 calculation is whole, trajectory '
        f'#{trajectory.pk} among what they gave; run "aiida-ufpnmr relaunch {run.pk}", which takes over what is whole'
    )


def active_process(caller: orm.ProcessNode | None = None) -> orm.WorkChainNode:
    node = orm.WorkChainNode(process_type='aiida.workflows:ufpnmr.md')
    node.set_process_state(ProcessState.WAITING)
    if caller is not None:
        node.base.links.add_incoming(caller, link_type=LinkType.CALL_WORK, link_label='a')
    return node.store()


def test_what_nobody_waits_for_is_ended_and_nothing_else(aiida_profile):
    gone, alive = active_process(), active_process()
    below, kept = active_process(gone), active_process(alive)
    deeper = active_process(below)
    gone.set_process_state(ProcessState.EXCEPTED)
    assert {node.pk for node in processes.abandoned()} == {below.pk, deeper.pk}
    processes.end_abandoned()
    states = [orm.load_node(node.pk).process_state for node in (below, deeper, alive, kept)]
    assert states == [ProcessState.KILLED] * 2 + [ProcessState.WAITING] * 2
    assert processes.abandoned() == []
    for node in (alive, kept):  # other tests look at what is active
        node.set_process_state(ProcessState.KILLED)


def test_what_has_ended_but_is_called_running_gets_the_state_of_its_end(code, structure, potential):
    run = run_md(code, structure, potential, 107)
    (job,) = calculations(run)
    job.backend_entity.set_attribute('process_state', ProcessState.RUNNING.value)  # as a second worker leaves it
    assert [node.pk for node in processes.misnamed()] == [job.pk] and processes.active() == []
    assert {(finding.kind, finding.pks) for finding in processes.stranded_processes()} == {
        ('misnamed-process', (job.pk,))
    }
    processes.correct_states()
    assert orm.load_node(job.pk).is_finished_ok and processes.misnamed() == []


def test_what_a_living_command_runs_is_none_of_the_daemons_business(aiida_profile):
    root = active_process()
    below = active_process(root)
    with foreground.run_here(root):
        assert not {root.pk, below.pk} & foreground.active_of_daemon()
        mark = root.base.extras.get(foreground.RUN_BY)
        root.base.extras.set(foreground.RUN_BY, {**mark, 'begin_s': mark['begin_s'] - 60.0})  # another had the number
        assert {root.pk, below.pk} <= foreground.active_of_daemon()
        root.base.extras.set(foreground.RUN_BY, {**mark, 'host': 'elsewhere'})
        assert not {root.pk, below.pk} & foreground.active_of_daemon()
    assert {root.pk, below.pk} <= foreground.active_of_daemon()
    for node in (root, below):  # other tests look at what is active
        node.set_process_state(ProcessState.KILLED)


@pytest.mark.parametrize(
    ('content', 'kind', 'words'),
    [
        (None, 'code-broken', 'cannot run'),
        ('#!/bin/sh\necho "ufpnmr, version 0.0.1"', 'code-version', f'is version 0.0.1, and this is {__version__}'),
        (f'#!/bin/sh\necho "ufpnmr, version {__version__}"', None, ''),
    ],
)
def test_codes_that_cannot_run_or_are_of_another_version_are_named(code, structure, tmp_path, content, kind, words):
    if not places.used_computers():
        pytest.skip('no calculation ran before')
    script = tmp_path / 'ufpnmr'
    if content is not None:
        script.write_text(content)
        script.chmod(0o755)
    given = orm.InstalledCode(label='given', computer=code.computer, filepath_executable=str(script)).store()
    found = [finding for finding in places.broken_codes() if finding.pks == (given.pk,)]
    assert [finding.kind for finding in found] == ([kind] if kind else [])
    assert all(words in finding.message for finding in found)
    assert not [finding for finding in places.broken_codes() if finding.pks == (code.pk,)]


def test_disks_with_less_room_than_asked_for_are_named(code):
    assert places.full_disks(1e-9) == []
    found = places.full_disks(1e9)
    assert {finding.kind for finding in found} == {'disk-full'}
    assert code.computer.label in {finding.subject.split(':')[0] for finding in found} or not places.used_computers()


def test_steps_of_runs_are_not_launched_again_by_themselves(code, structure, potential):
    run = run_md(code, structure, potential, 106)
    with pytest.raises(InputError, match=f'belongs to the run #{run.pk}'):
        check_relaunch(calculations(run)[0])
    node = active_process()
    with pytest.raises(InputError, match='has not ended'):
        check_relaunch(node)
    node.set_process_state(ProcessState.KILLED)  # other tests look at what is active
