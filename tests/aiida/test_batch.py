"""Claims about batches: packed runs are those of jobs of their own, none stops another, and none is made twice."""

from __future__ import annotations

import heapq
import json
import random
import re
import shlex

import pytest
import yaml
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from ase.build import bulk
from ase.io import write
from click.testing import Result

from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.calculations.md_pack import MdPackCalculation
from aiida_ufpnmr.cli.status import print_progress
from aiida_ufpnmr.engine.cores import available_cores
from aiida_ufpnmr.tools.batches import Progress, RunState
from aiida_ufpnmr.workflows import batch_plan
from aiida_ufpnmr.workflows.arrhenius import ArrheniusWorkChain
from aiida_ufpnmr.workflows.batch import LEAST_SHARE_S
from aiida_ufpnmr.workflows.batch_plan import START_S, pack, planned
from aiida_ufpnmr.workflows.batches import MdBatchWorkChain
from aiida_ufpnmr.workflows.md import MdWorkChain
from aiida_ufpnmr.workflows.wall_time import MARGIN, MOST, SPEED, START, makespan_s

PARAMETERS = {'steps': 100, 'timestep': 1.0, 'every': 10}
OVERRIDES = {'min_cell_height_angstrom': 1.0, 'md': {'parameters': {**PARAMETERS, 'guard_fraction': 0.3}}}

#: Runs the command; the first pack is killed with all its processes when its third run has begun.
KILLED_ONCE = """#!/bin/bash
if [ "$1" = batch ] && mkdir {folder}/killed 2> /dev/null; then
    {command} "$@" &
    while [ ! -e run_003/ufpnmr.out ]; do sleep 0.1; done
    kill -9 $(pgrep -P $!) $! $$
fi
exec {command} "$@"
"""
#: Runs the command, which takes its time where the cell is large; with --help at once.
SLOW = """#!/bin/bash
[ -e structure.extxyz ] && [ "$(head -n 1 structure.extxyz)" -gt {atoms} ] && sleep 30
exec {command} "$@"
"""


def batch(code, potential, structures, **changes):
    """A builder of a small batch."""
    overrides = {**OVERRIDES, **{name: changes.pop(name) for name in ('most_at_once', 'pack_to_s') if name in changes}}
    given = {'temperatures_K': [100.0, 200.0], 'replicas': 2, 'protocol': 'fast', **changes}
    return MdBatchWorkChain.get_builder_from_protocol(code, structures, potential, overrides=overrides, **given)


def called(node: orm.WorkChainNode, kind) -> list[orm.ProcessNode]:
    """Processes of a kind below a batch."""
    return [one for one in node.called_descendants if one.process_class is kind]


def hashes(node: orm.WorkChainNode) -> dict[str, str]:
    """The content of each trajectory of a batch."""
    return {label: node.outputs.trajectories[label].sha256 for label in node.outputs.trajectories}


def wrapped(code, folder, script: str, **words) -> orm.InstalledCode:
    """A code that runs the command by a script."""
    path = folder / 'ufpnmr'
    command = shlex.quote(str(code.filepath_executable))
    path.write_text(script.format(folder=shlex.quote(str(folder)), command=command, **words))
    path.chmod(0o755)
    return orm.InstalledCode(label='wrapped', computer=code.computer, filepath_executable=str(path)).store()


@pytest.fixture(scope='module')
def stored(potential_file):
    from aiida_ufpnmr.data import PotentialData

    return PotentialData(potential_file).store()


@pytest.fixture(scope='module')
def start(dataset_file):
    from aiida_ufpnmr.data import DatasetData

    return DatasetData(dataset_file).get_structure(0).store()


@pytest.fixture(scope='module')
def whole(code, stored, start):
    """A batch of four runs that nothing disturbs, packed."""
    _, node = run_get_node(batch(code, stored, {'beta': start}))
    assert node.is_finished_ok, node.exit_message
    return node


@pytest.fixture(scope='module')
def launch(command, stored, start, tmp_path_factory):
    """Launches a batch of which the hottest run fails: no potential knows what atoms do at 100 000 K."""
    folder = tmp_path_factory.mktemp('launch')
    (folder / 'overrides.yaml').write_text(yaml.safe_dump(OVERRIDES))
    write(folder / 'cold start.extxyz', start.get_ase())

    def run() -> tuple[Result, orm.WorkChainNode]:
        given = ('--potential', stored.pk, '--temperatures', '300,1e5', '--protocol', 'fast')
        found = command('launch', 'batch', folder / 'cold start.extxyz', *given, '--overrides',
                        folder / 'overrides.yaml')  # fmt: skip
        assert found.exit_code == 0, (found.output, found.exception)
        return found, orm.load_node(int(re.search(r'MdBatchWorkChain #(\d+)', found.output)[1]))

    return run


@pytest.fixture(scope='module')
def launched(launch) -> tuple[Result, orm.WorkChainNode]:
    return launch()


@pytest.mark.slow
def test_packed_runs_are_to_the_bit_those_of_jobs_of_their_own(code, stored, start, whole):
    assert len(called(whole, MdPackCalculation)) == 1 and len(called(whole, MdCalculation)) == 4
    own = {'ensemble': 'nvt', 'supercell': [1, 1, 1], 'temperature': 200.0, 'seed': 2, 'guard_fraction': 0.3}
    single = {'code': code, 'potential': stored, 'structure': start, 'parameters': {**PARAMETERS, **own}}
    alone, _ = run_get_node(MdCalculation, **single)
    assert whole.outputs.trajectories.run_003.sha256 == alone['trajectory'].sha256
    assert whole.outputs.runs.run_003.get_dict() == alone['results'].get_dict()
    assert len(set(hashes(whole).values())) == 4


@pytest.mark.slow
def test_what_went_into_a_packed_run_is_what_went_into_that_run_alone(whole, start):
    from aiida_ufpnmr.tools.queries import calculations_behind, settings_behind

    (behind,) = calculations_behind(whole.outputs.runs.run_003)
    assert behind.process_class is MdCalculation
    (setting,) = settings_behind(behind)
    assert (setting.value['temperature'], setting.value['seed']) == (200.0, 2)


@pytest.mark.slow
def test_the_same_batch_again_takes_up_all_and_runs_nothing(code, stored, start, whole):
    outputs, again = run_get_node(batch(code, stored, {'other_name': start}))
    assert again.is_finished_ok and again.called == []
    assert {label: one.uuid for label, one in outputs['trajectories'].items()} == {
        label: whole.outputs.trajectories[label].uuid for label in whole.outputs.trajectories
    }


@pytest.mark.slow
def test_a_batch_with_more_replicas_makes_the_new_runs_alone(code, stored, start, whole):
    _, more = run_get_node(batch(code, stored, {'beta': start}, temperatures_K=[100.0], replicas=3))
    assert more.is_finished_ok, more.exit_message
    (new,) = called(more, MdCalculation)
    assert (new.inputs.parameters['temperature'], new.inputs.parameters['seed']) == (100.0, 2)
    assert called(more, MdPackCalculation) == []  # one run is no pack


@pytest.mark.slow
def test_a_pack_that_is_killed_costs_no_run_and_changes_nothing(code, stored, start, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_plan, 'ended_well', lambda *_: {})  # or there would be nothing to do
    fragile = wrapped(code, tmp_path, KILLED_ONCE)
    _, node = run_get_node(batch(fragile, stored, {'beta': start}))
    assert node.is_finished_ok, node.exit_message
    assert hashes(node) == hashes(whole)
    (killed,) = called(node, MdPackCalculation)  # the run that had not begun goes alone
    assert killed.exit_status == 401 and 'killed with 2 of 4 runs left' in killed.exit_message
    runs = {link.link_label: link.node for link in node.base.links.get_outgoing() if link.link_label[:4] == 'run_'}
    attempts = {label: [job.exit_status for job in called(run, MdCalculation)] for label, run in runs.items()}
    assert attempts['run_001'] == attempts['run_002'] == attempts['run_004'] == [0]
    assert attempts['run_003'] == [400, 0]


@pytest.mark.slow
def test_so_many_are_submitted_at_a_time_and_the_next_follows_as_soon_as_one_has_ended(
    code, stored, start, tmp_path, monkeypatch
):
    monkeypatch.setattr(batch_plan, 'ended_well', lambda *_: {})
    large = orm.StructureData(ase=start.get_ase().repeat((2, 1, 1)))
    slow = wrapped(code, tmp_path, SLOW, atoms=len(start.sites))
    changes = {'most_at_once': 2, 'pack_to_s': 0.0, 'temperatures_K': [100.0], 'replicas': 1}
    structures = {'a_large': large, 'b': start, 'c': orm.StructureData(ase=start.get_ase().copy()), 'd': start}
    _, node = run_get_node(batch(slow, stored, structures, **changes))
    assert node.is_finished_ok, node.exit_message
    runs = sorted(called(node, MdWorkChain), key=lambda run: run.pk)
    jobs = [(run.ctime, run.mtime) for run in runs]
    assert len(jobs) == 4
    assert all(sum(begin <= when < end for begin, end in jobs) <= 2 for when, _ in jobs)
    assert jobs[3][0] < jobs[0][1]  # the last began before the first, which was slow, had ended


@pytest.mark.slow
def test_a_run_that_fails_stops_no_other_and_is_named_with_its_reason(launched, command, tmp_path):
    result, node = launched
    assert sorted(node.outputs.runs) == ['run_001']
    found = command('status', node.pk, '--json', tmp_path / 'status.json')
    assert found.exit_code == 0, found.exception
    for text in (result.output, found.output):
        assert re.search(r'done +1', text) and re.search(r'failed +1', text)
        assert re.search(r'run_002 +cold_start +100000 +MdWorkChain.*came closer', text)
    status = json.loads((tmp_path / 'status.json').read_text())
    assert status['counts'] == {'done': 1, 'running': 0, 'waiting': 0, 'failed': 1} and status['seconds_left'] == 0
    assert [(run['temperature_K'], run['state'], run['taken_up']) for run in status['runs']] == [
        (300.0, 'done', False), (1e5, 'failed', False),
    ]  # fmt: skip


@pytest.mark.slow
def test_the_same_command_again_makes_what_failed_and_nothing_else(launched, launch):
    result, again = launch()
    assert [run.exit_status for run in called(again, MdWorkChain)] == [410]
    assert re.search(r'done +1 +1 of them before', result.output)
    assert again.outputs.trajectories.run_001.uuid == launched[1].outputs.trajectories.run_001.uuid


@pytest.mark.slow
def test_a_share_that_must_end_well_is_asked_for_and_the_answers_stay(launched):
    builder = launched[1].get_builder_restart()
    builder.min_success_fraction = orm.Float(0.6)
    _, node = run_get_node(builder)
    assert node.exit_status == 502 and '1 of 2; run_002' in node.exit_message
    assert sorted(node.outputs.runs) == ['run_001']


def process(builder):
    """A batch before its first step."""
    return instantiate_process(get_manager().create_runner(communicator=None), builder)


def test_runs_are_packed_until_their_time_on_the_cores_of_a_job_reaches_the_goal(code, stored, start):
    steps = round(SPEED / len(start.sites) * (100 - START_S))  # 100 s each
    builder = batch(code, stored, {'beta': start}, replicas=10, pack_to_s=350.0)
    builder.md.parameters = orm.Dict({**builder.md.parameters.get_dict(), 'steps': steps})
    for options, expected in (
        ({}, 3),
        ({'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 2}}, 7),
        ({'max_wallclock_seconds': 400}, 2),
    ):
        builder.md.metadata.options.update(options)
        running = process(builder)
        running.ctx.speed = SPEED
        plan = running.plan(running.inputs)
        chosen = pack(
            list(plan), lambda label, running=running, plan=plan: running._seconds(plan[label]), running._goal_s()
        )
        assert len(chosen) == expected, options
        builder.md.metadata.options.clear()
    builder.md.parameters = orm.Dict({**builder.md.parameters.get_dict(), 'device': 'gpu', 'thermostat': 'langevin'})
    assert process(builder)._goal_s() == 0


def test_where_jobs_start_at_once_packs_are_shared_out_among_the_cores(code, queued_code, stored, start):
    def share(code, replicas, cores=1):
        """The share of a pack, in runs."""
        options = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': cores}}
        builder = batch(code, stored, {'beta': start}, replicas=replicas, options=options)
        builder.md.parameters = orm.Dict({**builder.md.parameters.get_dict(), 'seed': 987_654})  # none is there yet
        running = process(builder)
        running.take_up()
        return running.ctx.share_s / running._seconds(running.plan(running.inputs)['run_001'])

    at_each_temperature = 20
    number, cores = 2 * at_each_temperature, available_cores()
    assert share(code, at_each_temperature * cores) == pytest.approx(number)
    assert share(code, at_each_temperature, cores) == pytest.approx(number)  # the job itself shares them out
    assert 1 < share(code, 1) <= LEAST_SHARE_S / START_S
    assert share(queued_code, at_each_temperature) == float('inf')


@pytest.fixture(scope='module')
def queued_code(code):
    """The command on a computer with Slurm, where nothing is run."""
    where = orm.Computer('queue', 'localhost', transport_type='core.local', scheduler_type='core.slurm').store()
    return orm.InstalledCode(label='queued', computer=where, filepath_executable=str(code.filepath_executable))


def asked(builder, speed: float, number: int) -> dict[str, int | None]:
    """The time limits of the first run and of the pack of the first ``number`` runs that a batch would submit."""
    running, found = process(builder), {}
    running.ctx.speed, running.ctx.packs = speed, {}

    def note(process_class, link, inputs, *_):
        options = inputs.get('md', inputs)['metadata']['options']
        found[process_class.__name__] = options.get('max_wallclock_seconds')

    running._submit = note
    runs = list(running.plan(running.inputs).values())[:number]
    running._submit_run(runs[0])
    running._submit_pack(runs)
    return found


def test_jobs_ask_a_queue_for_the_time_of_their_runs_on_their_cores(code, queued_code, stored, start):
    def limits(code, speed=SPEED, options=None, **more):
        builder = batch(code, stored, {'beta': start}, replicas=10, options=options)
        builder.md.parameters = orm.Dict({**builder.md.parameters.get_dict(), 'steps': steps, **more})
        return asked(builder, speed, 6)

    def of(seconds):
        return {'MdWorkChain': pytest.approx(START + MARGIN * seconds[0], abs=60)} | {
            'MdPackCalculation': pytest.approx(START + MARGIN * seconds[1], abs=60)  # which whole minutes add
        }

    steps = round(SPEED / len(start.sites) * (1000 - START_S))  # 1000 s each
    assert limits(queued_code) == of((1000, 6000))
    two = {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': 2}}
    assert limits(queued_code, options=two) == of((1000, 3500))  # where the last one begins when all others have ended
    assert limits(queued_code, options=two, threads=2)['MdWorkChain'] == pytest.approx(START + MARGIN * 500, abs=60)
    assert limits(queued_code, equilibrate=steps) == of((2000, 12000))
    assert limits(queued_code, SPEED / 2) == of((2000, 12000))  # a potential that is known to be slow
    assert limits(queued_code, 10 * SPEED) == of((1000, 6000))  # one that is fast may be so with other cells alone
    assert set(limits(queued_code, SPEED / 100).values()) == {MOST}
    assert set(limits(queued_code, options={'max_wallclock_seconds': 4000}).values()) == {4000}
    assert set(limits(code).values()) == {None}  # where jobs begin at once, and end when they end


def test_a_law_of_arrhenius_leaves_time_limits_to_its_packs(queued_code, stored, start, efg_model_file):
    from aiida_ufpnmr.data import EfgModelData

    builder = ArrheniusWorkChain.get_builder_from_protocol(
        queued_code, start, stored, EfgModelData(efg_model_file), [300.0, 400.0]
    )
    assert 'max_wallclock_seconds' not in builder.md.metadata.options
    assert process(builder)._goal_s() == 1800.0


def test_no_order_of_runs_takes_longer_than_the_bound_and_one_reaches_it():
    def ended(seconds, cores):
        free = [0.0] * cores
        for one in seconds:
            heapq.heapreplace(free, free[0] + one)
        return max(free)

    rng = random.Random(0)
    for _ in range(200):
        seconds, cores = [rng.expovariate(1.0) for _ in range(rng.randint(1, 12))], rng.randint(1, 5)
        assert ended(seconds, cores) <= makespan_s(seconds, cores) * (1 + 1e-12)  # rounding of sums
    assert ended([1.0] * 6 + [3.0], 3) == makespan_s([1.0] * 6 + [3.0], 3) == 5.0
    assert makespan_s([1.0, 2.0, 4.0], 1) == 7.0


def test_a_long_run_is_a_pack_of_its_own():
    assert pack(['a', 'b', 'c'], {'a': 9.0, 'b': 1.0, 'c': 1.0}.__getitem__, 3.0) == ['a']
    assert pack(['b', 'c', 'a'], {'a': 9.0, 'b': 1.0, 'c': 1.0}.__getitem__, 3.0) == ['b', 'c']


def test_each_run_has_a_seed_of_its_own():
    runs = planned(['b', 'a'], [400.0, 300.0], 2, seed=5)
    assert [(run.structure, run.temperature_K, run.seed) for run in runs[:4]] == [
        ('a', 300.0, 5), ('a', 300.0, 6), ('a', 400.0, 7), ('a', 400.0, 8),
    ]  # fmt: skip
    assert [run.label for run in runs] == [f'run_{number:03d}' for number in range(1, 9)]
    assert len({run.seed for run in runs}) == 8


def test_runs_are_the_same_by_content_and_not_by_the_way_they_are_made(code, stored, start):
    known = MdBatchWorkChain.identities(batch(code, stored, {'beta': start}))
    copy = orm.StructureData(ase=start.get_ase()).store()
    elsewhere = orm.InstalledCode(label='elsewhere', computer=code.computer, filepath_executable='/bin/ufpnmr')
    options = {'max_wallclock_seconds': 60}
    assert MdBatchWorkChain.identities(batch(elsewhere, stored, {'copy': copy}, options=options)) == known
    warmer = MdBatchWorkChain.identities(batch(code, stored, {'beta': start}, temperatures_K=[100.0, 201.0]))
    assert [warmer[label] == known[label] for label in known] == [True, True, False, False]


@pytest.mark.parametrize(('attempt', 'stands'), [('iteration_01', True), ('iteration_02', False)])
def test_a_job_that_ended_well_stands_for_a_run_whose_workflow_was_killed(code, attempt, stands):
    run = orm.WorkChainNode(label=f'run of {attempt}', process_type='aiida.workflows:ufpnmr.md').store()
    job = orm.CalcJobNode(computer=code.computer, process_type='aiida.calculations:ufpnmr.md')
    job.base.links.add_incoming(run, link_type=LinkType.CALL_CALC, link_label=attempt)
    job.store().set_exit_status(0)
    # what a later attempt gives is the end of a run alone
    expected = {run.label: job.pk} if stands else {}
    assert batch_plan.ended_well([run.label], MdCalculation) == expected
    assert batch_plan.ended_well([run.label]) == {}
    run.set_exit_status(0)
    assert batch_plan.ended_well([run.label], MdCalculation) == {run.label: run.pk}


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'temperatures_K': []}, 'numbers above zero'),
        ({'temperatures_K': [300.0, 300.0]}, 'each be given once'),
        ({'replicas': 0}, 'replicas: must be at least 1'),
        ({'most_at_once': 0}, 'most_at_once: must be at least 1'),
        ({'replicas': 100_000_000}, 'replicas: must be at least 1 and at most 10000'),
        ({'pack_to_s': -1.0}, 'pack_to_s: must be at least 0'),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(code, stored, start, changes, words):
    with pytest.raises(ValueError, match=words):
        batch(code, stored, {'beta': start}, **changes)


def test_elements_that_the_potential_does_not_know_are_refused_before_anything_runs(code, stored, start):
    salt = orm.StructureData(ase=bulk('NaCl', 'rocksalt', 5.64))
    words = 'the potential does not know Cl, Na; it was fitted to Li, P, S'
    with pytest.raises(ValueError, match=words):
        batch(code, stored, {'beta': start, 'salt': salt})
    with pytest.raises(ValueError, match=words):
        MdWorkChain.get_builder_from_protocol(code, salt, stored)


def test_a_batch_that_has_ended_leaves_nothing_to_wait_for(capsys):
    print_progress(Progress(1, 'killed', (RunState('run_001', 'beta', 300.0, 0),), 0.0))
    text = capsys.readouterr().out
    assert re.search('not begun +1', text) and 'waiting' not in text and 'time left' not in text


def test_a_command_refuses_what_is_no_batch_and_structures_that_are_given_twice(command, stored, start, tmp_path):
    found = command('status', start.pk)
    assert 'is no batch' in str(found.exception)
    write(tmp_path / 'a.extxyz', start.get_ase())
    given = ('--potential', stored.pk, '--temperatures', '300')
    found = command('launch', 'batch', tmp_path / 'a.extxyz', tmp_path / 'a.extxyz', *given)
    assert 'is the same structure as' in str(found.exception)
    assert '--nmr needs --efg-model' in str(
        command('launch', 'batch', tmp_path / 'a.extxyz', '--nmr', *given).exception
    )
