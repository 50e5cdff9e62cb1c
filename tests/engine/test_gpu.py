"""Claims about molecular dynamics on a GPU, for which the processor or numba's simulator stands in here."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numba as nb
import numpy as np
import pytest
from ase.io import write
from click.testing import CliRunner
from gpu_stand_ins import ONE_LANE, one_lane
from numba import cuda

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.gpu import device, ensemble
from aiida_ufpnmr.engine.gpu.arrays import Observed
from aiida_ufpnmr.engine.gpu.kernels import gpu_kernels
from aiida_ufpnmr.engine.gpu.noise import normals_function, philox_function
from aiida_ufpnmr.engine.gpu.simulation import GpuReplicas, GpuSimulation
from aiida_ufpnmr.engine.gpu.tables import gpu_tables
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.md.checkpoint import checkpoint_path
from aiida_ufpnmr.engine.trajectories.series import efg_group
from aiida_ufpnmr.engine.ufp import PotentialSettings, fit_potential

LANGEVIN = {'thermostat': 'langevin', 'timestep_fs': 2.0, 'temperature_K': 300.0}
EFG_MODEL = Path(__file__).parent / 'fixtures' / 'v0.1' / 'efg-linear.h5'
#: eV/Å, what float32 may cost where forces are some eV/Å: 10⁻⁷ of a distance times the steepest 100 eV/Å².
CLOSE = 2e-5


@pytest.fixture(scope='module')
def potential(example_data):
    """Triplets whose bonds differ by partner, in more intervals than are looked at at a time, and moments."""
    settings = PotentialSettings(
        bond_intervals={'default': 5, 'P-S-S': 8}, triplet_cutoff={'default': 4.0, 'S-Li-P': 3.6}, moments=['P', 'S']
    )
    return fit_potential(read_dataset(example_data).subset(range(0, 73, 3)), settings)[0]


def on_processor(*simulations: GpuSimulation) -> GpuReplicas:
    """Replicas that the processor moves as a GPU would, a lane at a time."""
    return GpuReplicas(simulations, ONE_LANE, 'processor')


def moved(simulation: GpuSimulation, steps: int) -> GpuSimulation:
    """A simulation, as the only replica, after some steps."""
    on_processor(simulation)
    assert simulation.run(steps) is None
    return simulation


def same_bits(one: GpuSimulation, other: GpuSimulation) -> bool:
    """Whether two simulations will have the same future."""
    mine, theirs = one.state(), other.state()
    return all(np.array_equal(mine[name], theirs[name]) for name in mine)


def wide(crystal):
    """Cells in which the nearest image is the only neighbour."""
    return crystal.repeat((2, 2, 3))


def narrow(crystal):
    """A cell where an atom has several images of another one as neighbours, and its own."""
    return crystal.copy()


def skewed(crystal):
    """A cell without right angles."""
    skewed = crystal.repeat((1, 2, 2))
    skewed.set_cell(skewed.cell.array + [[0, 0.3, 0.2], [1.0, 0, 0.4], [-0.5, 1.0, 0]], scale_atoms=True)
    return skewed


@pytest.mark.parametrize('shape', [wide, narrow, skewed])
def test_energy_forces_and_pressure_are_those_of_the_processor(potential, crystal, shape):
    atoms = shape(crystal)
    atoms.rattle(0.05, seed=1)
    simulation = GpuSimulation(atoms, potential, **LANGEVIN, guard_fraction=0.0)
    on_processor(simulation)
    there = simulation.atoms
    exact = potential.compute(there)
    assert abs(simulation.forces - exact.forces).max() < CLOSE
    assert simulation.potential_energy == pytest.approx(exact.energy, abs=1e-6 * len(atoms))
    assert np.trace(simulation._system.virial) == pytest.approx(np.trace(exact.virial), abs=1e-5 * len(atoms))
    assert (simulation._now.force.sum(axis=1) == 0).all()


def test_kernels_compile_for_a_gpu_within_its_limits(potential, crystal, monkeypatch):
    pytest.importorskip('numba_cuda', reason='numba-cuda, which brings the compiler, is not installed')
    dispatcher = importlib.import_module('numba.cuda.dispatcher')
    monkeypatch.setattr(dispatcher, 'get_current_device', lambda: SimpleNamespace(compute_capability=(9, 0)))
    monkeypatch.setattr(ensemble, 'MOST_IN_BLOCK', 1)
    there = on_processor(GpuSimulation(crystal.repeat((2, 3, 4)), potential, **LANGEVIN)).ensemble
    kernels = gpu_kernels(there._shape, there._near)
    state, lists, tables, rule = there._state, there._lists, there._tables, there._rule
    observed = Observed(np.zeros((1, 1), np.int64), np.zeros((1, 6), np.int64))
    for kernel, arguments in (
        (kernels.steps, (1, state, lists, tables, rule, there._hottest)),
        (kernels.fill, (state, there._bins)),
        (kernels.renew_near, (state, lists, rule, there._bins)),
        (kernels.observe, (state, lists, tables, observed)),
    ):
        signature = nb.types.void(*(nb.typeof(argument) for argument in arguments))
        code, _ = cuda.compile_ptx(kernel.py_func, signature, cc=(9, 0))
        shared = [int(size) for size in re.findall(r'\.shared \.align \d+ \.b8 \w+\[(\d+)\]', code)]
        assert sum(shared) <= 48 * 1024
        assert 'fma.rn.f32' in code or kernel is kernels.fill


def test_random_numbers_are_those_of_the_paper():
    philox = philox_function(one_lane())

    @nb.njit
    def draw(words, key):
        return philox(words[0], words[1], words[2], words[3], key[0], key[1])

    ones = np.full(4, 0xFFFFFFFF, np.uint64)
    # of the file kat_vectors of Random123
    assert draw(0 * ones, 0 * ones) == (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)
    assert draw(ones, ones) == (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)


def test_noise_is_normal_and_independent():
    normals = normals_function(one_lane())

    @nb.njit
    def draw(n):
        found = np.empty((n, 4, 3))
        for step in range(n):
            for atom in range(4):
                found[step, atom] = normals(7, atom, step - 10)
        return found

    found = draw(20000).reshape(20000, 12)
    # standard errors are 0.007 of means and covariances, 0.035 of fourth moments
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(found.T), np.eye(12), atol=0.04)
    np.testing.assert_allclose((found**4).mean(axis=0), 3, atol=0.3)


def test_verlet_is_that_of_the_processor(potential, crystal):
    conditions = {'ensemble': 'nve', 'timestep_fs': 2.0, 'temperature_K': 300.0}
    exact = Simulation(crystal, potential, **conditions)
    exact.run(20)
    there = moved(GpuSimulation(crystal, potential, **conditions), 20)
    # errors of forces of 5e-6 eV/Å in 40 fs: half the acceleration of Li times time squared
    assert abs(there.positions - exact.positions).max() < 1e-5
    assert there.total_energy == pytest.approx(exact.total_energy, abs=1e-5)


def test_energy_does_not_drift(potential, crystal):
    simulation = moved(
        GpuSimulation(crystal, potential, ensemble='nve', timestep_fs=1.0, temperature_K=300.0, guard_fraction=0.0), 0
    )
    energies = []
    for _ in range(200):
        assert simulation.run(50) is None
        energies.append(1000 * simulation.total_energy / len(crystal))
    # meV per atom and ps over 10 ps; the slope's standard error is below 1e-3 where energies scatter by 0.03
    assert abs(np.polyfit(0.05 * np.arange(200), energies, 1)[0]) < 5e-3
    momentum = (crystal.get_masses()[:, None] * simulation.velocities).sum(axis=0)
    assert abs(momentum).max() < 1e-10


def test_langevin_keeps_temperature_and_centre_of_mass_and_books_its_heat(potential, crystal):
    replicas = [GpuSimulation(crystal, potential, **LANGEVIN, seed=seed, guard_fraction=0.0) for seed in range(4)]
    group = on_processor(*replicas)
    temperatures, conserved = [], []
    for step in range(500, 8001, 10):
        assert group.run([step] * 4) == [None] * 4
        temperatures.append([replica.temperature for replica in replicas])
        conserved.append([replica.conserved_energy for replica in replicas])
    # 4 replicas x 15 ps with a relaxation time of 0.1 ps: 300 independent values that scatter by 14 %
    assert np.mean(temperatures) == pytest.approx(300, abs=10)
    assert np.std(temperatures) == pytest.approx(300 * np.sqrt(2 / (3 * 32 - 3)), rel=0.15)
    for replica in replicas:
        assert abs((crystal.get_masses()[:, None] * replica.velocities).sum(axis=0)).max() < 1e-9
    # the scatter is that of the time step; heat that is not booked would be tenths of eV in each ps
    assert np.ptp(conserved, axis=0).max() < 0.1


def test_a_replica_has_the_same_bits_alone_and_among_others(potential, crystal):
    several = [GpuSimulation(crystal, potential, **LANGEVIN, seed=seed, guard_fraction=0.0) for seed in (3, 4, 5)]
    group = on_processor(*several)
    group.run([60, 35, 60])
    group.run([100, 100, 100])
    alone = moved(GpuSimulation(crystal, potential, **LANGEVIN, seed=4, guard_fraction=0.0), 100)
    assert same_bits(several[1], alone) and not same_bits(several[0], alone)


def test_replicas_may_differ_in_temperature_and_start(potential, crystal):
    other = crystal.copy()
    other.rattle(0.02, seed=3)
    hot = LANGEVIN | {'temperature_K': 600.0, 'guard_fraction': 0.0}
    replicas = [
        GpuSimulation(crystal, potential, **LANGEVIN, guard_fraction=0.0),
        GpuSimulation(other, potential, **hot, seed=1),
    ]
    on_processor(*replicas).run([30, 30])
    assert same_bits(replicas[1], moved(GpuSimulation(other, potential, **hot, seed=1), 30))
    with pytest.raises(InputError, match='replicas on one GPU must have the same timestep_fs'):
        on_processor(replicas[0], GpuSimulation(other, potential, **{**hot, 'timestep_fs': 1.0}))
    with pytest.raises(InputError, match='the same number of atoms of each element'):
        on_processor(replicas[0], GpuSimulation(other[:-1], potential, **LANGEVIN, guard_fraction=0.0))


def test_a_state_is_continued_bit_for_bit(potential, crystal):
    conditions = LANGEVIN | {'guard_fraction': 0.0, 'final_temperature_K': 500.0, 'ramp_steps': 150}
    whole = moved(GpuSimulation(crystal, potential, **conditions, first_step=-20), 90)
    middle = whole.state()
    whole.run(80)
    rest = GpuSimulation(crystal, potential, **conditions, first_step=-20)
    on_processor(rest)
    rest.restore(middle)
    rest.run(80)
    assert rest.step == 150 and rest.target_temperature == pytest.approx(500)
    assert same_bits(whole, rest)


def test_steps_that_were_begun_ahead_are_taken_back_where_they_are_not_wanted(potential, crystal):
    expected = moved(GpuSimulation(crystal, potential, **LANGEVIN, guard_fraction=0.0), 50)
    simulation = moved(GpuSimulation(crystal, potential, **LANGEVIN, guard_fraction=0.0), 20)
    for ahead, target in ((40, 40), (60, 45), (45, 50)):
        simulation._group.ensemble.run_ahead(np.array([ahead]))
        simulation.run(target - simulation.step)
    assert same_bits(simulation, expected)


def test_lists_from_boxes_give_the_same_bits(potential, crystal, monkeypatch):
    atoms = crystal.repeat((2, 3, 4))
    conditions = LANGEVIN | {'temperature_K': 600.0, 'guard_fraction': 0.0, 'timestep_fs': 1.0}
    one_block = moved(GpuSimulation(atoms, potential, **conditions), 40)
    monkeypatch.setattr(ensemble, 'MOST_IN_BLOCK', 100)
    spread = GpuSimulation(atoms, potential, **conditions)
    on_processor(spread)
    assert spread._group.ensemble._bins is not None
    spread.run(40)
    assert same_bits(one_block, spread)


def test_room_that_is_too_little_grows_without_a_trace(potential, crystal, monkeypatch):
    hot = LANGEVIN | {'temperature_K': 600.0, 'timestep_fs': 1.0, 'guard_fraction': 0.0}
    expected = moved(GpuSimulation(crystal, potential, **hot), 200)
    monkeypatch.setattr(ensemble, '_LIST_MARGIN', 0.2)
    tight = GpuSimulation(crystal, potential, **hot)
    there = on_processor(tight).ensemble
    there._capacity = before = int(there._lists.length.max())  # what the first lists need, and no more
    there._lists = there._lists._replace(entry=there._lists.entry[..., : there._capacity].copy())
    tight.run(200)
    assert there._capacity == before + 32
    assert same_bits(tight, expected)


@pytest.mark.parametrize(
    ('limit', 'reason', 'words'),
    [
        ({'force': 0.5}, 'force', 'a force of'),
        ({'kinetic': 0.1}, 'temperature', 'ran away to'),
        ({'speed': 1e-3}, 'displacement', 'moved by more than'),
    ],
)
def test_each_limit_stops_a_replica_and_no_other(potential, crystal, limit, reason, words):
    conditions = LANGEVIN | {'guard_fraction': 0.0}
    stopped, other = (GpuSimulation(crystal, potential, **conditions, seed=seed) for seed in (0, 1))
    stopped._limits = other._limits._replace(**limit)
    if reason != 'temperature':  # these are one number for all
        other = GpuSimulation(crystal, potential, **conditions, seed=1)
        stops = on_processor(stopped).run([10])
    else:
        stops = on_processor(stopped, other).run([10, 10])
        assert stops[1] is None and other.step == 10
    assert stops[0].reason == reason and words in stops[0].message and stopped.step == 1


def test_atoms_that_come_too_close_are_named(potential, crystal):
    conditions = {'ensemble': 'nve', 'timestep_fs': 1.0, 'temperature_K': 300.0}
    atoms = crystal.copy()
    lithium = np.flatnonzero(atoms.numbers == 3)
    distances = atoms.get_all_distances(mic=True)[np.ix_(lithium, lithium)] + 99 * np.eye(len(lithium))
    i, j = (int(lithium[k]) for k in np.unravel_index(distances.argmin(), distances.shape))
    velocities = np.zeros((len(atoms), 3))
    velocities[j] = -0.1 * atoms.get_distance(i, j, mic=True, vector=True) / atoms.get_distance(i, j, mic=True)
    here = Simulation(atoms, potential, velocities=velocities, **conditions).run(60)
    simulation = GpuSimulation(atoms, potential, velocities=velocities, **conditions)
    on_processor(simulation)
    assert simulation.run(60) == here and here.reason == 'closest_approach'


@pytest.mark.parametrize(
    ('conditions', 'message'),
    [
        ({}, 'a GPU knows the thermostat langevin, not rescaling; choose that, or --device cpu'),
        ({'ensemble': 'npt', 'thermostat': 'langevin'}, 'a GPU keeps no pressure'),
    ],
)
def test_what_a_gpu_does_not_know_is_refused_by_name(potential, crystal, conditions, message):
    with pytest.raises(InputError, match=message):
        GpuSimulation(crystal, potential, **conditions)


def test_structures_and_knots_that_a_gpu_does_not_know_are_refused(potential, crystal):
    slab = crystal.copy()
    slab.pbc = (True, True, False)
    with pytest.raises(InputError, match='periodic along all directions'):
        GpuSimulation(slab, potential, **LANGEVIN)
    with pytest.raises(InputError, match='knots that are not uniform'):
        gpu_tables(potential.tables._replace(plain=True), potential.closest_distance, 'potential.h5')
    with pytest.raises(InputError, match=r'the cell is 2\.50 Å wide, and a GPU needs 4\.20 Å'):
        ensemble._reach(np.diag([9.0, 9.0, 2.5])[None], 10.5)


def test_without_a_gpu_a_command_says_so_in_one_line(tmp_path, potential, crystal):
    if cuda.is_available():
        pytest.skip('this machine has a GPU')
    write(tmp_path / 'start.extxyz', crystal)
    potential.save(tmp_path / 'potential.h5')
    arguments = ['md', tmp_path / 'potential.h5', tmp_path / 'start.extxyz', '-o', tmp_path / 'run.h5', '--steps', 5]
    result = CliRunner().invoke(ufpnmr, [*map(str, arguments), '--device', 'gpu'])
    assert result.exit_code == 2 or isinstance(result.exception, InputError)
    message = str(result.exception) if isinstance(result.exception, InputError) else result.output
    assert 'no GPU can be used here' in message and 'aiida-ufpnmr[gpu]' in message and '\n' not in message.strip()


@pytest.fixture
def files(tmp_path, potential, crystal):
    """A potential, a structure, and what commands begin with."""
    write(tmp_path / 'start.extxyz', crystal)
    potential.save(tmp_path / 'potential.h5')
    return [
        'md', tmp_path / 'potential.h5', tmp_path / 'start.extxyz', '--device', 'gpu', '--thermostat', 'langevin',
        '--guard-fraction', 0, '--grade-every', 0,
    ]  # fmt: skip


@pytest.fixture
def command(monkeypatch):
    """The command with the processor in place of a GPU."""
    monkeypatch.setattr(device, 'check_gpu', lambda: None)
    monkeypatch.setattr(
        device, 'on_gpu', lambda simulations, *efg: GpuReplicas(simulations, ONE_LANE, 'processor', *efg)
    )

    def run(*arguments) -> int:
        result = CliRunner().invoke(ufpnmr, list(map(str, arguments)))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code

    return run


def contents(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file."""
    found = {}
    with h5py.File(path, 'r') as file:
        file.visititems(lambda name, item: found.update({name: item[...]}) if isinstance(item, h5py.Dataset) else None)
    return found


def assert_same(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_a_run_that_was_cut_off_goes_on_to_the_same_file(tmp_path, files, command):
    cadences = ['--every', 6, '--log-every', 4, '--velocities-every', 10, '--replicas', 2, '--equilibrate', 7]
    cadences += ['--replica-temperatures', '300,450', '--threads', 2, '--steps', 40]
    cadences += ['--efg-model', EFG_MODEL, '--efg-every', 3, '--efg-uncertainty-every', 12]
    command(*files, '-o', tmp_path / 'whole.h5', *cadences, '--json', tmp_path / 'whole.json')
    cut = [*files, '-o', tmp_path / 'cut.h5', *cadences, '--checkpoint-every', 5]
    assert command(*cut, '--max-wall-time', '1e-6') == 4
    parts = 0
    while command(*cut, '--restart', '--max-wall-time', '1e-6') == 4:
        parts += 1
    assert parts > 3
    for number in range(2):
        assert_same(tmp_path / f'whole-{number}.h5', tmp_path / f'cut-{number}.h5')
        assert_same(checkpoint_path(tmp_path / f'whole-{number}.h5'), checkpoint_path(tmp_path / f'cut-{number}.h5'))
    results = json.loads((tmp_path / 'whole.json').read_text())
    assert [found['temperature_K'] for found in results['replicas']] == [300, 450]
    assert {(found['device'], found['precision'], found['timing']['device_name']) for found in results['replicas']} == {
        ('gpu', 'float32', 'processor')
    }


def test_a_checkpoint_goes_on_where_it_was_made(tmp_path, files, command):
    arguments = [*files, '-o', tmp_path / 'run.h5', '--steps', 20]
    command(*arguments)
    elsewhere = [word if word != 'gpu' else 'cpu' for word in arguments]
    with pytest.raises(InputError, match='belongs to a run with another device'):
        command(*elsewhere, '--restart', '--precision', 'float32')


def test_tensors_along_a_run_are_those_of_its_frames(tmp_path, files, command, crystal):
    run = [*files, '-o', tmp_path / 'run.h5', '--steps', 27, '--every', 10, '--json', tmp_path / 'run.json']
    command(*run, '--efg-model', EFG_MODEL, '--efg-every', 5, '--efg-uncertainty-every', 20, '--equilibrate', 3)
    model, found = EfgModel.load(EFG_MODEL), contents(tmp_path / 'run.h5')
    group = efg_group('Li')
    assert found[f'{group}/efg/step'].tolist() == [0, 5, 10, 15, 20, 25, 27]
    np.testing.assert_array_equal(found[f'{group}/efg/time'], 2.0 * found[f'{group}/efg/step'])
    assert found['particles/all/position/step'].tolist() == [0, 10, 20, 27]
    assert found[f'{group}/efg_error/step'].tolist() == [0, 20, 27]
    for positions, tensors in zip(found['particles/all/position/value'], found[f'{group}/efg/value'][[0, 2, 4, 6]]):
        frame = crystal.copy()
        frame.positions = positions
        # positions and tensors are stored in float32
        np.testing.assert_allclose(tensors, model.predict(frame), atol=1e-6)
    assert json.loads((tmp_path / 'run.json').read_text())['efg_device'] == 'gpu'


def test_tensors_of_a_model_that_a_gpu_does_not_know_come_from_the_processor(tmp_path, files, command, crystal):
    path = EFG_MODEL.with_name('efg-kernel.h5')
    run = [*files, '-o', tmp_path / 'run.h5', '--steps', 4, '--every', 2, '--json', tmp_path / 'run.json']
    command(*run, '--efg-model', path)
    assert json.loads((tmp_path / 'run.json').read_text())['efg_device'] == 'cpu'
    found, frame = contents(tmp_path / 'run.h5'), crystal.copy()
    frame.positions = found['particles/all/position/value'][-1]
    # positions and tensors are stored in float32
    np.testing.assert_allclose(found[f'{efg_group("Li")}/efg/value'][-1], EfgModel.load(path).predict(frame), atol=1e-6)


def test_the_simulator_of_kernels_gives_the_same_bits(tmp_path, files, command, crystal):
    write(tmp_path / 'start.extxyz', crystal[:12])
    run = [*files, '--steps', 3, '--every', 1, '--log-every', 2, '--temperature', 200, '--timestep', 1]
    run += ['--efg-model', EFG_MODEL, '--efg-every', 2, '--efg-uncertainty-every', 0]
    command(*run, '-o', tmp_path / 'processor.h5')
    subprocess.run(
        [sys.executable, str(Path(__file__).parent / 'gpu_simulated.py'), *map(str, [*run, '-o', tmp_path / 'gpu.h5'])],
        env=os.environ | {'NUMBA_ENABLE_CUDASIM': '1'},
        check=True,
    )
    one, other = contents(tmp_path / 'processor.h5'), contents(tmp_path / 'gpu.h5')
    for name in ('particles/all/position', f'{efg_group("Li")}/efg'):
        np.testing.assert_array_equal(one[f'{name}/value'], other[f'{name}/value'], err_msg=name)
    assert one[f'{efg_group("Li")}/efg/step'].tolist() == [0, 2, 3]
    states = [contents(checkpoint_path(tmp_path / name)) for name in ('processor.h5', 'gpu.h5')]
    for name in GpuSimulation.state_arrays:
        np.testing.assert_array_equal(states[0][name], states[1][name], err_msg=name)
