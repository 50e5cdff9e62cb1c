"""Claims about molecular dynamics: integration, ensembles, guards, output, restart."""

import resource
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md import Simulation, Trajectory, TrajectoryWriter, run_md
from aiida_ufpnmr.engine.md.checkpoint import checkpoint_path
from aiida_ufpnmr.engine.md.run import EfgOutput
from aiida_ufpnmr.engine.md.trajectory import EDGES, POSITION, VELOCITY, regular_frames
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastCalculator, UltraFastPotential, fit_potential


@pytest.fixture(scope='session')
def potential(example_data):
    """A small potential fitted to every third of the shipped structures."""
    dataset = read_dataset(example_data)
    return fit_potential(dataset.subset(range(0, 73, 3)), PotentialSettings(leg_intervals=5))[0]


@pytest.fixture(scope='session')
def crystal(example_data):
    """β-Li3PS4 at 300 K, 32 atoms."""
    atoms = read_dataset(example_data).structures[6].copy()
    del atoms.arrays['efg']
    return atoms


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


def total_energies(potential, crystal, state, timestep, picoseconds):
    simulation = Simulation(crystal, potential, timestep_fs=timestep, temperature_K=400, ensemble='nve')
    simulation.restore({**state, 'step': 0, 'heat': 0.0})
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
    # knots of cubic splines, where the third derivative jumps, let the energy walk at random: judge by increments of 1 ps
    increments = np.diff(energies.reshape(20, -1).mean(axis=1))
    assert abs(increments.mean()) < 3 * increments.std(ddof=1) / np.sqrt(len(increments))
    assert abs(increments.mean()) < 1e-5 * len(crystal)  # and far below 1e-5 eV an atom and ps


@pytest.mark.slow
def test_thermostat_samples_the_canonical_kinetic_energy(potential, crystal):
    simulation = Simulation(crystal, potential, timestep_fs=2.0, temperature_K=500, relaxation_fs=20, seed=3)
    simulation.run(2000)
    kinetic = []
    for _ in range(2000):
        simulation.run(10)
        kinetic.append(simulation.kinetic_energy)
    kinetic = np.array(kinetic)
    degrees = 3 * 32 - 3
    mean, variance = 0.5 * degrees * units.kB * 500, 0.5 * degrees * (units.kB * 500) ** 2
    # samples 20 fs apart with a memory of some 20–40 fs: about 700 independent ones, so σ(mean) = 0.55 %, σ(var) = 5.5 %
    assert kinetic.mean() == pytest.approx(mean, rel=4 * np.sqrt(2 / degrees / 700))
    assert kinetic.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / 700))


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


def test_guard_stops_when_atoms_come_closer_than_the_data(potential, crystal):
    atoms = crystal.copy()
    i = np.flatnonzero(atoms.numbers == 3)[0]
    simulation = Simulation(atoms, potential, timestep_fs=0.5, temperature_K=300, ensemble='nve')
    state = simulation.state()
    j = int(np.argmin(np.where(simulation._types == 0, 99, np.linalg.norm(state['positions'] - state['positions'][i], axis=1))))
    direction = state['positions'][j] - state['positions'][i]
    state['velocities'][i] = 0.2 * direction / np.linalg.norm(direction)  # 1500 eV: nothing stops it but the guard
    simulation.restore(state)
    stop = simulation.run(2000)
    assert stop is not None and stop.reason in ('closest_approach', 'temperature')
    assert simulation.step < 2000


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


def test_trajectory_opens_in_mdanalysis_with_the_same_numbers(tmp_path, potential, crystal):
    import MDAnalysis

    simulation = Simulation(crystal, potential, seed=2, temperature_K=600)
    path = tmp_path / 'run.h5'
    run_md(simulation, path, 60, 20, velocities=True)
    universe = MDAnalysis.Universe.empty(len(crystal), trajectory=True, velocities=True)
    universe.load_new(str(path), format='H5MD')
    with Trajectory(path) as trajectory:
        assert universe.trajectory.n_frames == trajectory.n_frames == 4
        assert trajectory.symbols == crystal.get_chemical_symbols()
        for frame, step in enumerate(universe.trajectory):
            np.testing.assert_allclose(step.positions, trajectory.positions(frame, frame + 1)[0], rtol=1e-6)
            assert step.time == pytest.approx(frame * 0.04)  # ps there, 40 fs here
            np.testing.assert_allclose(step.dimensions[:3], crystal.cell.lengths(), rtol=1e-6)
            velocity = trajectory.series(VELOCITY)['value'][frame] * 1000  # Å/ps there
            np.testing.assert_allclose(step.velocities, velocity, rtol=1e-5)
        np.testing.assert_allclose(trajectory.positions()[-1], simulation.positions, atol=1e-5)


def test_first_and_last_step_are_written_and_the_odd_frame_is_left_out_of_analysis(tmp_path, potential, crystal):
    run_md(Simulation(crystal, potential), tmp_path / 'run.h5', 25, 10)
    with Trajectory(tmp_path / 'run.h5') as trajectory:
        np.testing.assert_array_equal(trajectory.series(POSITION)['step'], [0, 10, 20, 25])
        assert regular_frames(trajectory.time_fs, 0.0, 'run.h5') == slice(0, 3)


def test_efg_on_the_fly_is_stored_for_its_ions_alone(tmp_path, potential, crystal):
    ions = np.flatnonzero(crystal.numbers == 3)

    def predict(positions, cell):
        return positions[ions, :, None] * positions[ions, None, :]

    run_md(Simulation(crystal, potential), tmp_path / 'run.h5', 20, 10, efg=EfgOutput('Li', ions, predict))
    with Trajectory(tmp_path / 'run.h5') as trajectory:
        series = trajectory.efg()
        assert series.species == 'Li' and (series.index == ions).all()
        positions = trajectory.positions()[:, ions]
        np.testing.assert_allclose(series.tensors, positions[..., :, None] * positions[..., None, :], rtol=1e-5)


def frames_of(path):
    with Trajectory(path) as trajectory:
        return trajectory.series(POSITION)['step'][...], trajectory.positions()


def test_restart_continues_bit_for_bit(tmp_path, potential, crystal):
    run_md(Simulation(crystal, potential, temperature_K=700), tmp_path / 'whole.h5', 100, 10)
    run_md(Simulation(crystal, potential, temperature_K=700), tmp_path / 'parts.h5', 47, 10)
    resumed = Simulation(crystal, potential, temperature_K=700)
    run_md(resumed, tmp_path / 'parts.h5', 100, 10, restart=True)
    steps, positions = frames_of(tmp_path / 'whole.h5')
    steps_there, positions_there = frames_of(tmp_path / 'parts.h5')
    wanted = steps_there != 47  # the last step of the first run
    assert (steps_there[wanted] == steps).all() and (positions_there[wanted] == positions).all()
    again = run_md(Simulation(crystal, potential, temperature_K=700), tmp_path / 'parts.h5', 100, 10, restart=True)
    assert again['steps'] == 100 and (frames_of(tmp_path / 'parts.h5')[1] == positions_there).all()


def test_a_restored_state_goes_on_bit_for_bit_wherever_it_was_taken(potential, crystal):
    """Neither the age of the neighbour list nor how the compiler rounds outside of the loop may show."""
    whole = Simulation(crystal, potential, temperature_K=500)
    for _ in range(20):
        whole.run(37)
        resumed = Simulation(crystal, potential, temperature_K=500)
        resumed.restore(whole.state())
        whole.run(30)
        for steps in (1, 29):
            resumed.run(steps)
        assert (resumed.positions == whole.positions).all() and (resumed.velocities == whole.velocities).all()
        assert resumed.conserved_energy == whole.conserved_energy


def test_restart_with_a_changed_choice_or_a_foreign_trajectory_is_refused(tmp_path, potential, crystal):
    path = tmp_path / 'run.h5'

    def run(atoms=crystal, relaxation_fs=100.0, **options):
        return run_md(Simulation(atoms, potential, relaxation_fs=relaxation_fs), path, 40, 10, restart=True, **options)

    run_md(Simulation(crystal, potential), path, 20, 10)
    moved = crystal.copy()
    moved.positions[0, 0] += 0.01
    for refused in ({'relaxation_fs': 50.0}, {'velocities': True}, {'atoms': moved}):
        with pytest.raises(InputError, match='belongs to a run with another'):
            run(**refused)
    whole = path.read_bytes()
    for damage in (whole[:900], (tmp_path / 'run.checkpoint.h5').read_bytes()):
        path.write_bytes(damage)
        with pytest.raises(InputError, match='run.h5'):
            run()
        assert path.read_bytes() == damage and not (tmp_path / 'run.h5.pieces').exists()
    path.write_bytes(whole)
    assert run()['steps'] == 40


def test_restart_of_another_run_is_refused_and_nothing_is_touched(tmp_path, potential, crystal):
    path = tmp_path / 'run.h5'
    run_md(Simulation(crystal, potential, temperature_K=700), path, 20, 10)
    before = path.read_bytes()
    with pytest.raises(InputError, match='another temperature'):
        run_md(Simulation(crystal, potential, temperature_K=600), path, 40, 10, restart=True)
    assert path.read_bytes() == before


def test_restart_after_a_kill_drops_rows_beyond_the_checkpoint(tmp_path, potential, crystal):
    path = tmp_path / 'run.h5'
    run_md(Simulation(crystal, potential), tmp_path / 'whole.h5', 60, 10)
    run_md(Simulation(crystal, potential), path, 30, 10)
    saved = checkpoint_path(path).read_bytes()
    run_md(Simulation(crystal, potential), path, 50, 10, restart=True)
    checkpoint_path(path).write_bytes(saved)  # as if killed after frames were written and before the next checkpoint
    run_md(Simulation(crystal, potential), path, 60, 10, restart=True)
    for found, expected in zip(frames_of(path), frames_of(tmp_path / 'whole.h5')):
        assert (found == expected).all()


def test_pieces_read_like_the_final_file(tmp_path, crystal):
    writer = TrajectoryWriter(tmp_path / 'run.h5', crystal)
    for step in range(7):
        writer.append(POSITION, step, 2.0 * step, crystal.positions + step)
        writer.append(EDGES, step, 2.0 * step, crystal.cell.array)
        if step % 3 == 2:
            writer.write()
    with Trajectory(tmp_path / 'run.h5') as trajectory:
        assert trajectory.n_frames == 6
    writer.close()
    steps, positions = frames_of(tmp_path / 'run.h5')
    np.testing.assert_allclose(positions, crystal.positions + np.arange(7)[:, None, None], rtol=1e-6)
    assert not writer.pieces_folder.exists()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_a_readable_trajectory_and_a_checkpoint(files, number):
    process = subprocess.Popen(command(files, '--steps', 10_000_000, '--every', 5), stderr=subprocess.PIPE, text=True)
    while not (files / 'run.h5.pieces').exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert stderr.strip().count('\n') == 0 and 'Traceback' not in stderr
    steps, positions = frames_of(files / 'run.h5')
    assert len(steps) > 1 and (np.diff(steps) == 5).all() and np.isfinite(positions).all()
    with h5py.File(files / 'run.checkpoint.h5') as checkpoint:
        assert 0 <= checkpoint.attrs['step'] - steps[-1] < 5


def test_full_disk_leaves_a_readable_trajectory_of_whole_frames(files):
    """A limit on the size of a file stands in for a full disk: writing past it fails in the same way."""
    limit = 200_000

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        command(files, '--steps', 4000, '--every', 2), stderr=subprocess.PIPE, text=True, preexec_fn=small_files
    )
    assert done.returncode == 1
    assert done.stderr.strip().count('\n') == 0 and 'Traceback' not in done.stderr
    steps, positions = frames_of(files / 'run.h5')
    assert len(steps) > 10 and (steps == 2 * np.arange(len(steps))).all() and np.isfinite(positions).all()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--steps', 10, '--timestep', -1), 'timestep'),
        (('--steps', 10, '--temperature', -5), 'temperature'),
        (('--steps', 0), '--steps'),
        (('--steps', 10, '--every', 0), '--every'),
        (('--steps', 10, '--index', 3), 'no structure 3'),
        (('--steps', 10, '--efg-model', 'nowhere.h5'), 'no such file'),
        (('--steps', 'many'), "'many'"),
    ],
)
def test_bad_options_give_one_line_and_status_2(files, arguments, message):
    done = subprocess.run(command(files, *arguments), capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr and done.stderr.count('\n') == 1
    assert not (files / 'run.h5').exists() and not (files / 'run.h5.pieces').exists()


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
        del file['leg_start']
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
