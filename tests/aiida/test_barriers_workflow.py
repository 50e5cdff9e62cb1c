"""Claims about barriers in AiiDA: a step with nodes of its own, which goes on where it was cut off."""

import re

import numpy as np
import pytest
from aiida import orm
from aiida.common.links import LinkType
from aiida.engine import run_get_node
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.plugins import WorkflowFactory
from ase.io import read

from aiida_ufpnmr.calculations.barriers import BarriersCalculation
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, TrajectoryWriter

WORKFLOW = WorkflowFactory('ufpnmr.barriers')
CODES = BarriersCalculation.exit_codes


@pytest.fixture(scope='session')
def hopping_file(dataset_file):
    """Atoms that shake about their places for 4 ps, of which two ions move by 2 Å after half of it."""
    path = dataset_file.with_name('hopping.h5')
    atoms = read_dataset(dataset_file).structures[0]
    step = np.zeros_like(atoms.positions)
    step[np.flatnonzero(atoms.numbers == 3)[:2], 0] = 2.0
    rng = np.random.default_rng(0)
    writer = TrajectoryWriter(path, atoms, {})
    for number in range(81):
        shaken = atoms.positions + step * (number >= 40) + 0.05 * rng.normal(size=step.shape)
        writer.append(POSITION, number, 50.0 * number, shaken)
        writer.append(EDGES, number, 50.0 * number, atoms.cell.array)
    writer.close()
    return path


@pytest.fixture(scope='session')
def launched(code, command, hopping_file, potential_file):
    overrides = hopping_file.with_name('barriers.yaml')
    overrides.write_text('calculation: {parameters: {quench_force: 0.05, steps: 30}}\n')
    return command(
        *('launch', 'barriers', hopping_file, '--potential', potential_file, '--max-hops', 5),
        *('--protocol', 'fast', '--overrides', overrides),
    )


def test_barriers_are_launched_with_files_and_leave_paths_and_a_figure(launched, tmp_path):
    assert launched.exit_code == 0, (launched.output, launched.exception)
    assert '2 of 2 hops' in launched.output
    node = orm.load_node(int(re.search(r'BarriersWorkChain #(\d+)', launched.output)[1]))
    results = node.outputs.results.get_dict()
    assert sum(results['outcomes'].values()) == len(results['hops']) == 2
    assert results['max_hops'] == 5
    assert node.outputs.timing['wall_s'] > 0
    assert node.outputs.figure.get_content(mode='rb').startswith(b'\x89PNG')
    (tmp_path / 'paths.extxyz').write_text(node.outputs.paths.get_content())
    assert {image.info['hop'] for image in read(tmp_path / 'paths.extxyz', ':')} == {0, 1}


def builder(code, trajectory, potential, **overrides):
    return WORKFLOW.get_builder_from_protocol(code, trajectory, potential, protocol='fast', overrides=overrides)


@pytest.mark.parametrize('code_name', ['ERROR_INTERRUPTED', 'ERROR_SCHEDULER_OUT_OF_WALLTIME'])
def test_a_job_that_is_cut_off_hands_its_hops_to_the_next(code, trajectory, potential, code_name):
    runner = get_manager().create_runner(communicator=None)
    chain = instantiate_process(runner, builder(code, trajectory.store(), potential.store()))
    chain.setup()
    chain.ctx.iteration = 1
    node = orm.CalcJobNode(computer=code.computer)
    node.set_process_state('finished')
    node.set_exit_status(getattr(CODES, code_name).status)
    node.set_exit_message('What happened.')
    folder = orm.RemoteData('/tmp', computer=code.computer)
    node.store()
    folder.base.links.add_incoming(node, LinkType.CREATE, 'remote_folder')
    folder.store()
    chain.ctx.children = [node]
    assert chain.inspect_process().status == 0
    assert chain.ctx.inputs.parent_folder == folder


def test_a_job_that_was_killed_at_once_is_followed_by_one_that_has_its_say(code, trajectory, potential, tmp_path):
    killed_once = orm.InstalledCode(
        label='killed-once-by-hop',
        computer=code.computer,
        filepath_executable=str(code.filepath_executable),
        prepend_text=f'[ -e {tmp_path}/killed ] || {{ touch {tmp_path}/killed; kill -9 $$; }}',
        with_mpi=False,
    ).store()
    shaken = builder(killed_once, trajectory, potential, calculation={'parameters': {'threshold_angstrom': 0.05}})
    _, node = run_get_node(shaken)
    assert [job.exit_status for job in sorted(node.called, key=lambda job: job.pk)] == [400, 210]
    assert 'none of its' in node.exit_message


def test_settings_that_contradict_each_other_are_refused_before_anything_runs(code, trajectory, potential):
    with pytest.raises(ValueError, match='must be shorter than the longest'):
        builder(code, trajectory, potential, calculation={'parameters': {'min_length': 11.0}})
    with pytest.raises(ValueError, match="unknown parameter 'imagez'"):
        builder(code, trajectory, potential, calculation={'parameters': {'imagez': 3}})
