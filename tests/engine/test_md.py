"""Claims about molecular dynamics in memory: integration, first velocities, guards; and about bad input."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write

from aiida_ufpnmr.engine import main
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.md.speed import LEAST_ATOMS, atom_steps_per_second, cell_for_speed
from aiida_ufpnmr.engine.ufp import UltraFastCalculator, UltraFastPotential


@pytest.fixture(scope='session')
def potential(small_potential):
    return small_potential


@pytest.fixture
def files(tmp_path, potential, crystal):
    """Potential and structure as files, for the command."""
    potential.save(tmp_path / 'pot.h5')
    write(tmp_path / 'beta.extxyz', crystal)
    return tmp_path


def command(folder, *arguments):
    return [
        sys.executable, '-m', 'aiida_ufpnmr.engine.main', 'md', str(folder / 'pot.h5'), str(folder / 'beta.extxyz'),
        '-o', str(folder / 'run.h5'), *map(str, arguments),
    ]  # fmt: skip


def test_verlet_follows_the_plain_recursion(potential, crystal):
    """The compiled step against velocity Verlet written with the ASE calculator."""
    simulation = Simulation(crystal, potential, timestep_fs=1.0, temperature_K=300, ensemble='nve', seed=4)
    atoms = simulation.atoms
    atoms.calc = UltraFastCalculator(potential)
    positions, velocities = atoms.positions.copy(), atoms.get_velocities()
    masses, dt = atoms.get_masses()[:, None], 1.0 * units.fs
    forces = atoms.get_forces()
    for _ in range(20):
        velocities += 0.5 * dt * forces / masses
        positions += dt * velocities
        atoms.positions = positions
        forces = atoms.get_forces()
        velocities += 0.5 * dt * forces / masses
    simulation.run(20)
    np.testing.assert_allclose(simulation.positions, positions, atol=1e-11)  # float64 sums in another order


def test_speed_is_that_of_the_calmest_structure_in_a_cell_that_is_large_enough(potential, example_data):
    labelled = read_dataset(example_data)
    cell = cell_for_speed(labelled)
    copies = len(cell) // 32
    assert LEAST_ATOMS <= len(cell) < 2 * LEAST_ATOMS
    calmest = min(labelled, key=lambda atoms: np.square(atoms.get_forces()).mean())
    assert cell.get_volume() == pytest.approx(copies * calmest.get_volume())
    assert 1e3 < atom_steps_per_second(potential, cell) < 1e8


def total_energies(potential, crystal, state, timestep, picoseconds):
    simulation = Simulation(crystal, potential, timestep_fs=timestep, temperature_K=400, ensemble='nve')
    simulation.restore({**state, 'step': 0})
    energies = []
    for _ in range(int(1000 * picoseconds / timestep)):
        simulation.run(1)
        energies.append(simulation.total_energy)
    return np.array(energies)


@pytest.fixture(scope='module')
def equilibrated(potential, crystal):
    """State of the crystal after 2 ps at 400 K."""
    simulation = Simulation(crystal, potential, timestep_fs=1.0, temperature_K=400, seed=1)
    simulation.run(2000)
    return simulation.state()


def test_energy_fluctuation_falls_fourfold_with_half_the_timestep(potential, crystal, equilibrated):
    # one picosecond, over which runs with different time steps are still the same trajectory
    fluctuation = [total_energies(potential, crystal, equilibrated, dt, 1.0).std() for dt in (2.0, 1.0, 0.5)]
    # velocity Verlet is of second order; the next term is of fourth, (ω dt)² ≈ 5 % at 2 fs and 600 cm⁻¹
    assert fluctuation[0] / fluctuation[1] == pytest.approx(4, rel=0.05)
    assert fluctuation[1] / fluctuation[2] == pytest.approx(4, rel=0.05)


@pytest.mark.slow
def test_energy_does_not_drift(potential, crystal, equilibrated):
    energies = total_energies(potential, crystal, equilibrated, 1.0, 20.0)
    # knots of cubic splines, where the third derivative jumps, let the energy walk at random: judge by increments of 1
    # ps
    increments = np.diff(energies.reshape(20, -1).mean(axis=1))
    assert abs(increments.mean()) < 3 * increments.std(ddof=1) / np.sqrt(len(increments))
    assert abs(increments.mean()) < 1e-5 * len(crystal)  # and far below 1e-5 eV an atom and ps


def test_first_velocities_have_the_temperature_and_no_total_momentum(potential, crystal):
    simulation = Simulation(crystal, potential, temperature_K=321.0)
    assert simulation.temperature == pytest.approx(321.0)
    momentum = crystal.get_masses() @ simulation.velocities
    np.testing.assert_allclose(momentum, 0, atol=1e-14)
    simulation.run(200)
    np.testing.assert_allclose(crystal.get_masses() @ simulation.velocities, 0, atol=1e-11)  # rounding of 200 steps


def test_same_seed_same_run_and_chunks_do_not_matter(potential, crystal):
    whole, pieces, other = (Simulation(crystal, potential, seed=seed, temperature_K=600) for seed in (7, 7, 8))
    whole.run(60)
    for n in (1, 9, 50):
        pieces.run(n)
    other.run(60)
    assert (whole.positions == pieces.positions).all()
    assert abs(whole.positions - other.positions).max() > 1e-3


def test_result_does_not_depend_on_the_skin(potential, crystal):
    """Forces are summed in the order of atoms, whatever else the list holds.

    Atoms are wrapped when a list is made, which rounds at 1e-15 Å; the motion lets that grow a hundredfold or so.
    """
    thin, thick = (Simulation(crystal, potential, seed=1, temperature_K=900, skin=skin) for skin in (0.3, 1.2))
    thin.run(200)
    thick.run(200)
    assert abs(thin.positions - thick.positions).max() < 1e-11


def test_threads_and_precision_are_part_of_what_a_run_is(potential, crystal):
    def positions(**options):
        simulation = Simulation(crystal, potential, seed=1, temperature_K=600, **options)
        assert simulation.run(100) is None
        return simulation.positions

    plain = positions()
    for options, tolerance in (({'threads': 2}, 1e-9), ({'precision': 'float32'}, 1e-3)):
        found = positions(**options)
        assert (found == positions(**options)).all()
        # rounding at 1e-16 and 1e-7, which 200 fs let grow a thousandfold
        assert 0 < abs(found - plain).max() < tolerance
    for options, message in (({'threads': 0}, 'threads'), ({'precision': 'float16'}, 'not known')):
        with pytest.raises(InputError, match=message):
            positions(**options)


def test_guard_stops_when_atoms_come_closer_than_the_data(potential, crystal):
    atoms = crystal.copy()
    i = np.flatnonzero(atoms.numbers == 3)[0]
    simulation = Simulation(atoms, potential, timestep_fs=0.5, temperature_K=300, ensemble='nve')
    state = simulation.state()
    distance = np.linalg.norm(state['positions'] - state['positions'][i], axis=1)
    j = int(np.argmin(np.where(simulation._system.types == 0, 99, distance)))
    direction = state['positions'][j] - state['positions'][i]
    state['velocities'][i] = 0.2 * direction / np.linalg.norm(direction)  # 1500 eV: nothing stops it but the guard
    simulation.restore(state)
    closest = simulation._limits.closest
    simulation._limits = simulation._limits._replace(kinetic=np.inf, force=np.inf, speed=np.inf)
    stop = simulation.run(2000)
    assert stop.reason == 'closest_approach' and 0 < simulation.step < 2000
    apart = simulation.atoms.get_all_distances(mic=True) + 99 * np.eye(len(atoms))
    types = simulation._system.types
    too_close = np.argwhere(apart < closest[np.ix_(types, types)])
    assert sorted(map(sorted, too_close.tolist())) == [sorted((i, j))] * 2


def test_guard_names_the_pair(potential):
    closest = potential.closest_distance[0, 2]
    dimer = Atoms('LiS', positions=[[0, 0, 0], [closest + 0.1, 0, 0]])
    simulation = Simulation(dimer, potential, timestep_fs=0.2, temperature_K=30_000, ensemble='nve')
    state = simulation.state()
    state['velocities'][:] = [[0.075, 0, 0], [-0.075, 0, 0]]  # 6.6 eV: enough to climb the wall
    simulation.restore(state)
    stop = simulation.run(2000)
    assert stop.reason == 'closest_approach'
    assert 'Li 0 and S 1' in stop.message or 'S 1 and Li 0' in stop.message


def test_temperature_guard(potential, crystal):
    simulation = Simulation(crystal, potential, timestep_fs=20.0, temperature_K=300, ensemble='nve', guard_fraction=0.0)
    stop = simulation.run(5000)  # a time step longer than the fastest vibration: the energy explodes
    assert stop.reason == 'temperature'


@pytest.mark.parametrize(
    ('name', 'limit', 'reason'),
    [('force', 1.0, 'force'), ('speed', 0.001, 'displacement'), ('kinetic', 0.1, 'temperature')],
)
def test_each_limit_stops_the_run_with_all_its_numbers_in_place(potential, crystal, name, limit, reason):
    simulation = Simulation(crystal, potential, temperature_K=300, seed=1)
    simulation._limits = simulation._limits._replace(**{name: limit})
    stop = simulation.run(100)
    assert stop.reason == reason and stop.is_guard and f'at step {simulation.step}' in stop.message
    # in the middle of a chunk, energies are computed for the frame that is kept
    assert simulation.potential_energy == pytest.approx(potential.compute(simulation.atoms).energy, abs=1e-9)


def test_nothing_goes_below_the_first_knot_even_without_a_guard_on_the_training_data(potential, crystal):
    simulation = Simulation(crystal, potential, guard_fraction=0.0)
    assert (simulation._limits.closest == potential.pair_start).all()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--steps', 10, '--timestep', -1), 'timestep'),
        (('--steps', 10, '--timestep', 0.002), 'give 2 for 0.002 ps'),
        (('--steps', 10, '--max-wall-time', '3 days'), '23.5h'),
        (('--steps', 10, '--temperature', -5), 'temperature'),
        (('--steps', 0), '--steps'),
        (('--steps', 10, '--every', 0), '--every'),
        (('--steps', 10, '--index', 3), 'no structure 3'),
        (('--steps', 10, '--efg-model', 'nowhere.h5'), 'no such file'),
        (('--steps', 'many'), "'many'"),
    ],
)
def test_bad_options_give_one_line_and_status_2(files, arguments, message, monkeypatch, capsys):
    _, _, _, *words = command(files, *arguments)
    monkeypatch.setattr('sys.argv', ['ufpnmr', *words])
    with pytest.raises(SystemExit, match='2'):
        main.main()
    stderr = capsys.readouterr().err
    assert message in stderr and stderr.count('\n') == 1
    assert not (files / 'run.h5').exists() and not (files / 'run.h5.pieces').exists()


def test_a_start_that_cannot_be_used_is_named_by_its_file(files, crystal):
    close = crystal.copy()
    close.positions[0] = close.positions[1] + [0.9, 0.0, 0.0]
    open_ended = crystal.copy()
    open_ended.pbc = [True, True, False]
    for atoms, arguments, message in (
        (close, (), 'beta.extxyz: atoms'),
        (open_ended, ('--ensemble', 'npt'), 'beta.extxyz: constant pressure'),
    ):
        write(files / 'beta.extxyz', atoms)
        done = subprocess.run(command(files, '--steps', 10, *arguments), capture_output=True, text=True)
        assert done.returncode == 2
        assert message in done.stderr.splitlines()[-1]


def test_damaged_and_foreign_potentials_are_refused(tmp_path, files):
    whole = (files / 'pot.h5').read_bytes()
    with h5py.File(tmp_path / 'foreign.h5', 'w') as file:
        file['a'] = 1
    newer = tmp_path / 'newer.h5'
    newer.write_bytes(whole)
    with h5py.File(newer, 'r+') as file:
        file.attrs['format_version'] = 99
    lacking = tmp_path / 'lacking.h5'
    lacking.write_bytes(whole)
    with h5py.File(lacking, 'r+') as file:
        del file['closest_distance']
    for name, content, message in (
        ('cut.h5', whole[: len(whole) // 2], 'not a readable HDF5'),
        ('text.h5', b'hello', 'not a readable HDF5'),
        ('empty.h5', b'', 'is empty'),
        ('foreign.h5', None, 'not a ufpnmr potential'),
        ('newer.h5', None, 'newer'),
        ('lacking.h5', None, 'incomplete'),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            UltraFastPotential.load(tmp_path / name)


@pytest.mark.slow
def test_the_process_that_compiles_gets_the_bits_of_those_that_find_the_kernels_in_the_cache(files, tmp_path):
    environment = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path / 'cache')}
    environment.pop('NUMBA_CACHE_DIR', None)
    hashes = []
    for _ in range(2):
        run = command(files, '--steps', 60, '--every', 20, '--ensemble', 'npt', '--forces-every', 20, '--overwrite')
        subprocess.run(run, env=environment, check=True, capture_output=True)
        hashes.append(content_hash(files / 'run.h5'))
    assert hashes[0] == hashes[1]
