"""Claims about protocols: random structures, melt–quench, replicas."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase.io import read, write
from ase.neighborlist import neighbor_list
from click.testing import CliRunner

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.main import ufpnmr as program
from aiida_ufpnmr.engine.md import Trajectory
from aiida_ufpnmr.engine.md.melt_quench import MeltQuench, random_start
from aiida_ufpnmr.engine.md.placement import random_structure
from aiida_ufpnmr.engine.md.replicas import in_processes, summary

LEAST = {(a, b): 2.0 + 0.2 * (a == b) for a in ('Li', 'P', 'S') for b in ('Li', 'P', 'S')}


def test_random_structure_has_the_composition_the_density_and_the_distances():
    atoms = random_structure('(Li2S)3P2S5', 64, 1.9, LEAST, seed=1)
    assert atoms.get_chemical_formula() == 'Li24P8S32' and atoms.pbc.all()
    grams = atoms.get_masses().sum() * 1.66053907e-24
    assert grams / (atoms.get_volume() * 1e-24) == pytest.approx(1.9, rel=1e-6)
    distances = atoms.get_all_distances(mic=True) + 99 * np.eye(64)
    symbols = atoms.get_chemical_symbols()
    least = np.array([[LEAST[a, b] for b in symbols] for a in symbols])
    assert (distances >= least).all()
    again, other = (random_structure('Li3PS4', 64, 1.9, LEAST, seed=seed) for seed in (1, 2))
    assert (again.positions == atoms.positions).all() and abs(other.positions - atoms.positions).max() > 1


def test_large_cells_are_filled_as_small_ones_are():
    atoms = random_structure('Li3PS4', 2048, 1.9, LEAST, seed=1)
    first, second, distance = neighbor_list('ijd', atoms, max(LEAST.values()))
    least = [LEAST[atoms.symbols[i], atoms.symbols[j]] for i, j in zip(first, second)]
    assert (distance >= least).all()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('Li3PS4', 100, 1.9), 'no multiple of the 8 atoms'),
        (('Na3PS4', 64, 1.9), 'does not know Na'),
        (('hello', 64, 1.9), 'no formula'),
        (('', 64, 1.9), 'no formula'),
        (('Li3PS4', 64, 9.0), 'lower the density'),
    ],
)
def test_impossible_structures_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        random_structure(*arguments, LEAST, seed=0)


def test_a_random_start_lies_where_the_potential_knows_something(small_potential):
    atoms = random_start(small_potential, 'Li3PS4', 64, 1.8, seed=0)
    forces = small_potential.compute(atoms).forces
    assert np.linalg.norm(forces, axis=1).max() < 50


def test_stages_of_a_quench_follow_each_other():
    stages = MeltQuench(melt_temperature_K=1300, temperature_K=300, quench_rate_K_per_ps=5).stages(2.0)
    assert [stage.name for stage in stages] == ['melt', 'hold', 'quench', 'anneal']
    quench = stages[2]
    assert quench.picoseconds == 200 and quench.steps(2.0) == quench.conditions['ramp_steps'] == 100_000
    assert quench.conditions['ensemble'] == 'npt' and quench.conditions['final_temperature_K'] == 300
    with pytest.raises(InputError, match='cannot be quenched'):
        MeltQuench(melt_temperature_K=300, temperature_K=300)
    with pytest.raises(InputError, match='quench_rate_K_per_ps must be above zero'):
        MeltQuench(quench_rate_K_per_ps=0.0)


@pytest.fixture(scope='module')
def folder(tmp_path_factory, small_potential, crystal):
    """Potential and structure as files."""
    path = tmp_path_factory.mktemp('files')
    small_potential.save(path / 'pot.h5')
    write(path / 'beta.extxyz', crystal)
    return path


def ufpnmr(command, folder, *arguments):
    return [sys.executable, '-m', 'aiida_ufpnmr.engine.main', command, str(folder / 'pot.h5'), *map(str, arguments)]


def test_melt_quench_makes_a_glass_from_a_composition_and_a_density_and_can_be_restarted(tmp_path, folder):
    def quench(output, *arguments):
        command = [
            'melt-quench', folder / 'pot.h5', '--composition', 'Li3PS4', '--atoms', 32, '--density', 1.8, '-o', output,
            '--json', tmp_path / 'glass.json', '--melt-ps', 0.2, '--hold-ps', 0.2, '--melt-temperature', 1000,
            '--quench-rate', 2000, '--anneal-ps', 0.1, '--produce-ps', 0.1, '--every', 20, '--timestep', 1, *arguments,
        ]  # fmt: skip
        return CliRunner().invoke(program, list(map(str, command)))

    done = quench(tmp_path / 'glass.extxyz')
    assert done.exit_code == 0, done.output
    glass, found = read(tmp_path / 'glass.extxyz'), json.loads((tmp_path / 'glass.json').read_text())
    assert glass.get_chemical_formula() == 'Li12P4S16'
    assert set(found['stages']) == {'melt', 'hold', 'quench', 'anneal', 'produce'}
    with Trajectory(tmp_path / 'glass-quench.h5') as trajectory:
        assert trajectory.time_fs[-1] == 350
        assert np.ptp(trajectory.cells()[:, 0, 0]) > 0
        np.testing.assert_allclose(trajectory.cells()[0], np.diag(3 * [trajectory.cells()[0, 0, 0]]))
    with Trajectory(tmp_path / 'glass-produce.h5') as trajectory:
        np.testing.assert_allclose(trajectory.cells()[-1], glass.cell.array)
        scaled = glass.cell.scaled_positions(trajectory.positions()[-1] - glass.positions)
        np.testing.assert_allclose(scaled, np.round(scaled), atol=1e-5)

    # cut off in the fourth stage; the second command goes on there
    for name in ('glass.extxyz', 'glass-produce.h5', 'glass-produce.checkpoint.h5', 'glass-anneal.checkpoint.h5'):
        (tmp_path / name).unlink()
    refused = quench(tmp_path / 'glass.extxyz')
    assert isinstance(refused.exception, InputError) and '--restart' in str(refused.exception)
    begun = (tmp_path / 'glass-melt.h5').stat().st_mtime_ns
    assert quench(tmp_path / 'glass.extxyz', '--restart').exit_code == 0
    assert (tmp_path / 'glass-melt.h5').stat().st_mtime_ns == begun
    assert (read(tmp_path / 'glass.extxyz').positions == glass.positions).all()


@pytest.mark.slow
def test_replicas_are_the_runs_with_their_seeds(tmp_path, folder):
    arguments = ['--steps', 100, '--every', 20, '--temperature', 500]
    done = subprocess.run(
        ufpnmr('md', folder, folder / 'beta.extxyz', '-o', tmp_path / 'run.h5', *arguments, '--replicas', 3,
               '--seed', 4, '--json', tmp_path / 'run.json', '--jobs', 2),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / 'run.json').read_text())
    assert [replica['seed'] for replica in found['replicas']] == [4, 5, 6] and found['stop_reason'] == 'finished'
    means = [replica['temperature_mean_K'] for replica in found['replicas']]
    assert found['temperature_mean_K'] == pytest.approx(np.mean(means))
    assert found['standard_errors']['temperature_mean_K'] == pytest.approx(np.std(means, ddof=1) / np.sqrt(3))
    single = [*arguments, '--seed', 5, '-o', tmp_path / 'single.h5']
    subprocess.run(ufpnmr('md', folder, folder / 'beta.extxyz', *single), check=True, capture_output=True)
    assert content_hash(tmp_path / 'run-1.h5') == content_hash(tmp_path / 'single.h5')
    assert content_hash(tmp_path / 'run-0.h5') != content_hash(tmp_path / 'run-1.h5')


@pytest.mark.slow
def test_replicas_end_together_when_asked_and_go_on(tmp_path, folder):
    command = ufpnmr(
        'md', folder, folder / 'beta.extxyz', '-o', tmp_path / 'run.h5', '--steps', 10_000_000, '--replicas', 2,
        '--restart',
    )  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not all((tmp_path / f'run-{k}.h5').exists() for k in range(2)):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and 'Traceback' not in stderr and stderr.count('\n') == 1
    for k in range(2):
        with Trajectory(tmp_path / f'run-{k}.h5') as trajectory:
            assert trajectory.n_frames > 0
        assert (tmp_path / f'run-{k}.checkpoint.h5').exists()


def squared(number):
    if number < 0:
        raise InputError('negative')
    return {'square': number**2, 'process': os.getpid()}


def test_tasks_run_in_processes_of_their_own_and_pass_on_what_they_raise():
    found = in_processes(squared, [(3,), (4,)], 2)
    assert [result['square'] for result in found] == [9, 16]
    assert os.getpid() not in {result['process'] for result in found}
    with pytest.raises(InputError, match='negative'):
        in_processes(squared, [(-1,), (2,)], 1)


def test_a_summary_names_the_first_that_did_not_finish():
    timing = {'wall_s': 1.0, 'cpu_s': 1.0, 'atom_steps_per_second': 5.0, 'ns_per_day': 2.0}
    results = [
        {'stop_reason': reason, 'stop_message': reason, 'temperature_mean_K': 300.0, 'timing': timing}
        for reason in ('finished', 'wall_time', 'temperature')
    ]
    together = summary(results)
    assert together['stop_reason'] == 'wall_time' and together['timing']['cpu_s'] == 3.0
    assert together['standard_errors'] == {'temperature_mean_K': 0.0}
