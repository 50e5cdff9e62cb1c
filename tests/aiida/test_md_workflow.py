"""Claims about runs that are cut off and go on: jobs of the real command that end too early by plan."""

from __future__ import annotations

import re
import shlex

import pytest
from aiida import orm
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from ase.io import write
from click.testing import CliRunner

from aiida_ufpnmr.calculations.analyse import AnalyseCalculation
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.cli.data import data_ufpnmr
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.tools.archives import archive_result
from aiida_ufpnmr.tools.verification import verify_archive
from aiida_ufpnmr.workflows.md import MdWorkChain

#: Runs the command as the next line of the plan says; well where there is none.
SCRIPT = """#!/bin/bash
plan={folder}/plan
behaviour=$(head -n 1 $plan)
sed -i 1d $plan
case $behaviour in
    cut)  # as if all time had been used up when something is written for the first time
        exec {command} "$@" --max-wall-time 1e-6 ;;
    kill)  # after a checkpoint, with nothing said
        {command} "$@" --max-wall-time 1e-6
        rm results.json
        kill -9 $$ ;;
    late)  # when all is done, with nothing said
        {command} "$@"
        kill -9 $$ ;;
    lose)  # before there is anything
        kill -9 $$ ;;
    *)
        exec {command} "$@" ;;
esac
"""


@pytest.fixture(scope='module')
def fragile(code, tmp_path_factory):
    """A code that follows a plan, and the function that sets it."""
    folder = tmp_path_factory.mktemp('fragile')
    script = folder / 'ufpnmr'
    command = shlex.quote(str(code.filepath_executable))
    script.write_text(SCRIPT.format(folder=shlex.quote(str(folder)), command=command))
    script.chmod(0o755)
    fragile = orm.InstalledCode(
        label='fragile', computer=code.computer, filepath_executable=str(script), default_calc_job_plugin='ufpnmr.md'
    ).store()

    def plan(*behaviours: str) -> orm.InstalledCode:
        (folder / 'plan').write_text(''.join(f'{line}\n' for line in behaviours))
        return fragile

    return plan


@pytest.fixture
def inputs(potential, structure):
    parameters = {'steps': 400, 'timestep': 1.0, 'every': 10, 'log_every': 3, 'temperature': 100.0}
    return {'structure': structure, 'potential': potential, 'parameters': orm.Dict(parameters)}


@pytest.fixture
def whole(code, inputs):
    """The same run in one job."""
    outputs, node = run_get_node(MdCalculation, code=code, **inputs)
    assert node.is_finished_ok, node.exit_message
    return outputs


def attempts(node) -> list[int]:
    return [called.exit_status for called in node.called if isinstance(called, orm.CalcJobNode)]


def keys(repository: dict) -> set[str]:
    """Keys of all files below an entry of a repository."""
    below = [keys(entry) for entry in repository.get('o', {}).values()]
    return set().union(*below) | ({repository['k']} if 'k' in repository else set())


def test_a_run_in_three_jobs_is_the_run_in_one(fragile, inputs, whole, tmp_path, code):
    outputs, node = run_get_node(MdWorkChain, md={'code': fragile('cut', 'cut'), **inputs})
    assert node.is_finished_ok, node.exit_message
    assert attempts(node) == [401, 401, 0]
    joined = outputs['trajectory']
    assert joined.sha256 == whole['trajectory'].sha256
    assert outputs['results'].get_dict() == whole['results'].get_dict()

    # its frames are the files of the parts
    parts = joined.creator.base.links.get_incoming(node_class=type(joined)).all_nodes()
    frames = keys(joined.base.repository.metadata['o']['trajectory.h5.pieces'])
    assert len(parts) == 3 and frames <= set().union(*(keys(part.base.repository.metadata) for part in parts))

    # it is read like any other: here, by a calculation, from a file, and in an archive
    with joined.open_trajectory() as trajectory:
        assert trajectory.n_frames == 41
    found = [
        run_get_node(
            AnalyseCalculation,
            code=code,
            trajectory=given,
            analysis='msd',
            parameters={'skip_ps': 0.0, 'bootstrap': 10},
        )[0]['results'].get_dict()
        for given in (joined, whole['trajectory'])
    ]
    assert found[0] == found[1]
    assert CliRunner().invoke(data_ufpnmr, ['export', str(joined.pk), '-o', str(tmp_path / 'run.h5')]).exit_code == 0
    assert content_hash(tmp_path / 'run.h5') == joined.sha256
    with Trajectory(tmp_path / 'run.h5') as trajectory:
        assert trajectory.n_frames == 41
    checks, faults = verify_archive(archive_result(node, path=tmp_path / 'run.aiida'))
    assert (
        faults == [] and [check.fault for check in checks if check.kind == 'TrajectoryData'] == [''] * 4
    )  # the parts, and the whole


def test_a_killed_job_costs_no_more_than_what_came_after_its_checkpoint(fragile, inputs, whole):
    outputs, node = run_get_node(MdWorkChain, md={'code': fragile('kill'), **inputs})
    assert node.is_finished_ok, node.exit_message
    assert attempts(node) == [400, 0]
    assert 0 < node.called[1].inputs.checkpoint.base.attributes.get('step') < 400
    assert outputs['trajectory'].sha256 == whole['trajectory'].sha256


def test_a_job_that_is_killed_after_its_last_step_is_run_again(fragile, inputs, whole):
    outputs, node = run_get_node(MdWorkChain, md={'code': fragile('cut', 'late'), **inputs})
    assert node.is_finished_ok, node.exit_message
    assert attempts(node) == [401, 400, 0]
    assert outputs['trajectory'].sha256 == whole['trajectory'].sha256


def test_jobs_that_save_nothing_are_not_repeated_for_ever(fragile, inputs):
    outputs, node = run_get_node(MdWorkChain, md={'code': fragile('lose', 'lose', 'lose'), **inputs})
    assert (node.exit_status, attempts(node)) == (420, [400, 400])
    assert not outputs


def test_a_guard_ends_the_chain_and_its_frames_are_kept(fragile, inputs):
    inputs['parameters'] = orm.Dict({**inputs['parameters'].get_dict(), 'grade_every': 50, 'grade_limit': 1e-6})
    outputs, node = run_get_node(MdWorkChain, md={'code': fragile(), **inputs})
    assert (node.exit_status, attempts(node)) == (410, [414])
    assert 'extrapolation grade' in node.exit_message and list(outputs) == ['stopped_trajectory']


def test_what_a_guard_stopped_is_the_same_whether_or_not_the_run_was_cut_off_before(fragile, inputs):
    inputs['parameters'] = orm.Dict({**inputs['parameters'].get_dict(), 'temperature': 3000.0})
    whole, node = run_get_node(MdCalculation, code=fragile(), **inputs)
    assert node.exit_status == 410
    outputs, node = run_get_node(MdWorkChain, md={'code': fragile('cut'), **inputs})
    assert (node.exit_status, attempts(node)) == (410, [401, 410])
    assert outputs['stopped_trajectory'].sha256 == whole['stopped_trajectory'].sha256


def test_a_job_ends_by_itself_before_its_time_limit(fragile, inputs):
    """Within a tenth of it, or ten minutes."""
    for limit, expected in ((100, '90'), (86_400, '85800')):
        options = {'resources': {'num_machines': 1}, 'max_wallclock_seconds': limit}
        given = {**inputs, 'code': fragile(), 'metadata': {'options': options}}
        process = instantiate_process(get_manager().get_runner(), MdCalculation, **given)
        assert process.file_arguments()[-2:] == ['--max-wall-time', expected]


def test_launching_runs_a_protocol_and_says_where_the_trajectory_is(command, code, potential, structure, tmp_path):
    potential.store()
    (tmp_path / 'overrides.yaml').write_text('min_cell_height_angstrom: 1.0\nmd: {parameters: {timestep: 1.0}}\n')
    write(tmp_path / 'start.extxyz', structure.get_ase())
    given = ('--steps', 100, '--temperature', 100, '--overrides', tmp_path / 'overrides.yaml')
    found = command('launch', 'md', tmp_path / 'start.extxyz', '--potential', potential.pk, *given)
    assert found.exit_code == 0, (found.output, found.exception)
    trajectory = orm.load_node(int(re.search(r'Trajectory #(\d+)', found.output)[1]))
    assert trajectory.time_ps == pytest.approx(0.1)
    assert trajectory.creator.caller.process_class is MdWorkChain


def test_a_launch_names_the_device(command, code, potential, structure, tmp_path):
    potential.store()
    write(tmp_path / 'start.extxyz', structure.get_ase())
    # the job is refused where there is no GPU; what it was asked for counts here
    given = ('--steps', 100, '--device', 'gpu', '--protocol', 'fast')
    command('launch', 'md', tmp_path / 'start.extxyz', '--potential', potential.pk, *given)
    job = orm.QueryBuilder().append(orm.CalcJobNode, filters={'process_type': {'like': '%ufpnmr.md'}})
    node = job.order_by({orm.CalcJobNode: {'id': 'desc'}}).first(flat=True)
    parameters = node.inputs.parameters.get_dict()
    assert (parameters['device'], parameters['thermostat']) == ('gpu', 'langevin')
