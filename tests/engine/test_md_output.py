"""Claims about what a run writes: cadences, precision, pieces, checkpoints, restarts, and clean ends."""

import json
import resource
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from analytic import solid, solid_potential
from ase.io import write

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash, seal
from aiida_ufpnmr.engine.md import Simulation, Trajectory, TrajectoryWriter, run_md
from aiida_ufpnmr.engine.md.checkpoint import checkpoint_path
from aiida_ufpnmr.engine.md.output import Output
from aiida_ufpnmr.engine.md.recording import GRADE, EfgOutput
from aiida_ufpnmr.engine.md.watches import GradeWatch
from aiida_ufpnmr.engine.trajectories import pieces
from aiida_ufpnmr.engine.trajectories.series import ENERGY, FAST_VELOCITY, FORCE
from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, VELOCITY, regular_frames


def argon(**options) -> Simulation:
    """Sixteen atoms with a pair potential: ten thousand steps in a second."""
    return Simulation(solid(), solid_potential(), **{'temperature_K': 200, 'timestep_fs': 2.0, **options})


def run(path, steps, every=10, restart=False, output=None, **options):
    return run_md(argon(**options), path, steps, output or Output(every), restart=restart)


def frames_of(path):
    with Trajectory(path) as trajectory:
        return trajectory.series(POSITION)['step'][...], trajectory.positions()


def tensors(simulation):
    return simulation.positions[:3, :, None] * simulation.positions[:3, None, :]


EFG = EfgOutput('Ar', np.arange(3), tensors, identity='a product')


@pytest.mark.parametrize('ensemble', ['nvt', 'npt'])
def test_trajectory_opens_in_mdanalysis_with_the_same_numbers(tmp_path, ensemble):
    import MDAnalysis

    path, simulation = tmp_path / 'run.h5', argon(ensemble=ensemble)
    output = Output(20, 1, 4, velocities=True, forces_every=10, energies_every=5, velocities_every=3)
    run_md(simulation, path, 60, output, efg=EFG)
    universe = MDAnalysis.Universe.empty(16, trajectory=True, velocities=True)
    universe.load_new(str(path), format='H5MD')
    with Trajectory(path) as trajectory:
        assert universe.trajectory.n_frames == trajectory.n_frames == 4
        assert trajectory.symbols == ['Ar'] * 16
        for frame, step in enumerate(universe.trajectory):
            np.testing.assert_allclose(step.positions, trajectory.positions(frame, frame + 1)[0], rtol=1e-6)
            assert step.time == pytest.approx(frame * 0.04)  # ps there, 40 fs here
            np.testing.assert_allclose(step.dimensions[:3], np.diag(trajectory.cells(frame, frame + 1)[0]), rtol=1e-6)
            velocity = trajectory.series(VELOCITY)['value'][frame] * 1000  # Å/ps there
            np.testing.assert_allclose(step.velocities, velocity, rtol=1e-5)
        np.testing.assert_allclose(trajectory.positions()[-1], simulation.positions, atol=1e-5)
        np.testing.assert_allclose(trajectory.cells()[-1], simulation.cell)
        assert (np.ptp(trajectory.cells(), axis=0).max() > 0) == (ensemble == 'npt')


def test_the_results_hold_the_guard_that_a_run_had(tmp_path):
    assert run(tmp_path / 'run.h5', 10, guard_fraction=0.7)['guard_fraction'] == 0.7


def test_each_quantity_has_its_own_cadence_and_the_last_step_is_in_all(tmp_path):
    simulation = argon()
    wanted = {
        POSITION: (20, simulation.positions), EDGES: (20, simulation.cell), FORCE: (10, simulation.forces),
        ENERGY: (5, simulation.energies), FAST_VELOCITY: (3, simulation.velocities),
        'particles/efg_Ar/efg': (4, tensors(simulation)),
        'log/temperature_K': (7, simulation.temperature),
    }  # fmt: skip
    output = Output(20, forces_every=10, energies_every=5, velocities_every=3, efg_every=4, log_every=7)
    run_md(simulation, tmp_path / 'run.h5', 50, output, efg=EFG)
    with Trajectory(tmp_path / 'run.h5') as trajectory:
        for name, (every, first) in wanted.items():
            series = trajectory.series(name)
            np.testing.assert_array_equal(series['step'], sorted({*range(0, 51, every), 50}))
            np.testing.assert_allclose(series['time'], 2.0 * series['step'][...])
            np.testing.assert_allclose(series['value'][0], first, rtol=1e-6, atol=1e-12)
        assert VELOCITY not in trajectory
        assert regular_frames(trajectory.time_fs, 0.0, 'run.h5') == slice(0, 3)
        assert trajectory.efg().tensors.shape == (13, 3, 3, 3)  # the odd last one is left out
        potential = trajectory.series('log/potential_energy_eV')['value'][-1]
        assert trajectory.series(ENERGY)['value'][-1].sum() == pytest.approx(potential, rel=1e-6)


def test_stored_precision_and_rounding(tmp_path):
    exact, sizes = [], {}
    for name, storage in {
        'double': Storage(double=True), 'single': Storage(), 'plain': Storage(compression=0),
        'rounded': Storage(rounding_angstrom=0.001, compression=4),
    }.items():  # fmt: skip
        simulation = argon()
        run_md(simulation, tmp_path / f'{name}.h5', 2000, Output(5, storage=storage))
        exact.append(simulation.positions)
        sizes[name] = (tmp_path / f'{name}.h5').stat().st_size
    assert all((positions == exact[0]).all() for positions in exact)
    last = {name: frames_of(tmp_path / f'{name}.h5')[1][-1] for name in sizes}
    assert (last['double'] == exact[0]).all()
    assert (last['single'] == exact[0].astype(np.float32)).all() and (last['plain'] == last['single']).all()
    assert 1e-4 < abs(last['rounded'] - exact[0]).max() <= 0.5 * 2**-10 + 1e-6
    assert sizes['rounded'] < 0.7 * sizes['plain'] and sizes['single'] < sizes['plain']


def test_steps_before_the_first_are_not_written(tmp_path):
    whole = argon(first_step=-30)
    run_md(whole, tmp_path / 'run.h5', 20, Output(10))
    steps, positions = frames_of(tmp_path / 'run.h5')
    assert list(steps) == [0, 10, 20] and whole.time_fs == 40.0
    by_hand = argon()
    by_hand.run(30)
    np.testing.assert_allclose(positions[0], by_hand.positions, atol=1e-5)


#: What tells one kind of run from another, as far as checkpoints go.
KINDS = {
    'nve': {'ensemble': 'nve'},
    'rescaling': {},
    'langevin': {'thermostat': 'langevin'},
    'nose-hoover': {'thermostat': 'nose-hoover'},
    'npt': {'ensemble': 'npt', 'pressure_GPa': 0.5, 'pressure_relaxation_fs': 100.0},
    'flexible': {'ensemble': 'npt', 'barostat': 'flexible', 'thermostat': 'langevin', 'pressure_relaxation_fs': 100.0},
    'ramp': {'final_temperature_K': 300.0, 'ramp_steps': 600},
    'equilibrated': {'first_step': -150},
}


@pytest.mark.parametrize('kind', KINDS)
def test_restart_gives_the_very_file_of_an_unbroken_run(tmp_path, kind):
    run(tmp_path / 'whole.h5', 600, **KINDS[kind])
    for steps in (47, 210, 333, 600):
        run(tmp_path / 'parts.h5', steps, restart=True, **KINDS[kind])
    assert content_hash(tmp_path / 'parts.h5') == content_hash(tmp_path / 'whole.h5')
    assert run(tmp_path / 'parts.h5', 600, restart=True, **KINDS[kind])['steps'] == 600
    assert content_hash(tmp_path / 'parts.h5') == content_hash(tmp_path / 'whole.h5')


@pytest.mark.parametrize('kind', ['rescaling', 'flexible'])
def test_a_restored_state_goes_on_bit_for_bit_wherever_it_was_taken(small_potential, crystal, kind):
    """Neither the age of the interaction lists nor how the compiler rounds outside of the loop may show."""
    whole = Simulation(crystal, small_potential, temperature_K=500, **KINDS[kind])
    for _ in range(10):
        whole.run(37)
        resumed = Simulation(crystal, small_potential, temperature_K=500, **KINDS[kind])
        resumed.restore(whole.state())
        whole.run(30)
        for steps in (1, 29):
            resumed.run(steps)
        assert (resumed.positions == whole.positions).all() and (resumed.velocities == whole.velocities).all()
        assert (resumed.cell == whole.cell).all() and resumed.conserved_energy == whole.conserved_energy


def test_a_run_that_is_killed_while_it_equilibrates_goes_on(tmp_path):
    options = {'first_step': -100}
    run_md(argon(**options), tmp_path / 'whole.h5', 50, Output(10))
    stopped = run_md(argon(**options), tmp_path / 'run.h5', 50, Output(10), checkpoint_every=40, max_wall_time_s=0.0)
    assert stopped['stop_reason'] == 'wall_time' and stopped['steps'] < 0
    run_md(argon(**options), tmp_path / 'run.h5', 50, Output(10), restart=True)
    assert content_hash(tmp_path / 'run.h5') == content_hash(tmp_path / 'whole.h5')


@pytest.mark.parametrize(
    ('changed', 'message'),
    [
        ({'relaxation_fs': 50.0}, 'another relaxation time'),
        ({'temperature_K': 250.0}, 'another temperature'),
        ({'thermostat': 'langevin'}, 'another thermostat'),
        ({'masses': {'Ar': 36.0}}, 'masses'),
        ({'seed': 1}, 'another seed'),
        ({'threads': 2}, 'another number of threads'),
        ({'output': Output(10, velocities=True)}, 'another output'),
    ],
)
def test_restart_with_a_changed_choice_is_refused_and_nothing_is_touched(tmp_path, changed, message):
    path = tmp_path / 'run.h5'
    run(path, 20)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        run(path, 40, restart=True, **changed)
    assert path.read_bytes() == before and not (tmp_path / 'run.h5.pieces').exists()


def test_checkpoints_of_another_start_version_or_format_are_refused(tmp_path):
    path = tmp_path / 'run.h5'
    run(path, 20)
    moved = solid()
    moved.positions[0, 0] += 0.01
    with pytest.raises(InputError, match='another start structure'):
        run_md(Simulation(moved, solid_potential(), temperature_K=200), path, 40, Output(10), restart=True)
    whole = checkpoint_path(path).read_bytes()
    with h5py.File(checkpoint_path(path), 'r+') as file:
        file.attrs['run'] = file.attrs['run'].replace('"version of aiida-ufpnmr": "', '"version of aiida-ufpnmr": "9.')
        seal(file)
    with pytest.raises(InputError, match='version 9.'):
        run(path, 40, restart=True)
    for version, message in ((99, 'newer'), (1, 'older')):
        checkpoint_path(path).write_bytes(whole)
        with h5py.File(checkpoint_path(path), 'r+') as file:
            file.attrs['format_version'] = version
            seal(file)
        with pytest.raises(InputError, match=message) as caught:
            run(path, 40, restart=True)
        assert '\n' not in str(caught.value)
    checkpoint_path(path).write_bytes(whole[:-100])
    with pytest.raises(InputError, match='checkpoint'):
        run(path, 40, restart=True)


def test_a_file_that_another_program_holds_is_named_in_one_line(tmp_path):
    path = tmp_path / 'run.h5'
    run(path, 20)
    whole = path.read_bytes()
    hold = f'import h5py, sys; file = h5py.File({str(path)!r}, "r+"); print("held", flush=True); sys.stdin.read()'
    holder = subprocess.Popen([sys.executable, '-c', hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == 'held\n'
    with pytest.raises(InputError, match='another program has it open'):
        run(path, 40, restart=True)
    holder.communicate()
    assert path.read_bytes() == whole and run(path, 40, restart=True)['steps'] == 40


def test_restart_of_a_foreign_or_damaged_trajectory_is_refused(tmp_path):
    path = tmp_path / 'run.h5'
    run(path, 20)
    whole = path.read_bytes()
    for damage in (whole[:900], checkpoint_path(path).read_bytes()):
        path.write_bytes(damage)
        with pytest.raises(InputError, match='run.h5'):
            run(path, 40, restart=True)
        assert path.read_bytes() == damage and not (tmp_path / 'run.h5.pieces').exists()
    path.write_bytes(whole)
    assert run(path, 40, restart=True)['steps'] == 40


def test_a_run_that_could_go_on_is_not_written_over_unasked(tmp_path):
    path = tmp_path / 'run.h5'
    run(path, 20)
    before = path.read_bytes()
    with pytest.raises(InputError, match='stands at step 20; go on with --restart, write over it with --overwrite'):
        run(path, 20)
    assert path.read_bytes() == before
    run_md(argon(seed=5), path, 30, Output(10), overwrite=True)
    assert list(frames_of(path)[0]) == [0, 10, 20, 30]


def test_restart_after_a_kill_drops_rows_beyond_the_checkpoint(tmp_path):
    path = tmp_path / 'run.h5'
    run(tmp_path / 'whole.h5', 60)
    run(path, 30)
    saved = checkpoint_path(path).read_bytes()
    run(path, 50, restart=True)
    checkpoint_path(path).write_bytes(saved)  # as if killed after frames were written and before the next checkpoint
    run(path, 60, restart=True)
    assert content_hash(path) == content_hash(tmp_path / 'whole.h5')


def test_a_run_that_was_killed_while_it_joined_its_pieces_is_joined_by_a_restart(tmp_path, monkeypatch):
    run(tmp_path / 'whole.h5', 47)
    monkeypatch.setattr(TrajectoryWriter, 'close', lambda self: None)
    run(tmp_path / 'run.h5', 47)
    monkeypatch.undo()
    assert (tmp_path / 'run.h5.pieces').exists()
    assert run(tmp_path / 'run.h5', 47, restart=True)['steps'] == 47
    assert not (tmp_path / 'run.h5.pieces').exists()
    assert content_hash(tmp_path / 'run.h5') == content_hash(tmp_path / 'whole.h5')


def test_no_checkpoint_is_made_of_what_a_guard_stopped(tmp_path):
    simulation = argon()
    simulation._limits = simulation._limits._replace(kinetic=0.0)
    found = run_md(simulation, tmp_path / 'run.h5', 20, Output(10), checkpoint_every=1)
    assert found['stop_reason'] == 'temperature' and found['steps'] == 1
    assert list(frames_of(tmp_path / 'run.h5')[0]) == [0, 1] and not checkpoint_path(tmp_path / 'run.h5').exists()


def filled_writer(path, steps, **options):
    atoms = solid()
    writer = TrajectoryWriter(path, atoms, **options)
    for step in range(steps):
        writer.append(POSITION, step, 2.0 * step, atoms.positions + step)
        writer.append(EDGES, step, 2.0 * step, atoms.cell.array)
        yield writer


def test_pieces_read_like_the_final_file(tmp_path, monkeypatch):
    """Also where pieces are joined on the way, and those that are not needed any more are gone."""
    monkeypatch.setattr(pieces, 'FANOUT', 3)
    for step, writer in enumerate(filled_writer(tmp_path / 'run.h5', 17)):
        writer.write()
        steps, positions = frames_of(tmp_path / 'run.h5')
        np.testing.assert_array_equal(steps, np.arange(step + 1))
        np.testing.assert_allclose(positions[:, 0, 0], np.arange(step + 1))
        assert len(list(writer.pieces_folder.iterdir())) <= 6  # two of each level
    writer.close()
    np.testing.assert_allclose(frames_of(tmp_path / 'run.h5')[1], solid().positions + np.arange(17)[:, None, None])
    assert not writer.pieces_folder.exists()


def test_pieces_that_were_joined_but_not_removed_before_a_kill_do_not_count_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, 'FANOUT', 3)
    kept = {}
    for writer in filled_writer(tmp_path / 'run.h5', 3):
        writer.write()
        kept |= {path.name: path.read_bytes() for path in writer.pieces_folder.iterdir()}
    writer.__exit__()
    assert sorted(kept) == ['000001-000003.h5', '000001.h5', '000002.h5', '000003.h5'][:1] + ['000001.h5', '000002.h5']
    for name, content in kept.items():
        (writer.pieces_folder / name).write_bytes(content)
    with TrajectoryWriter(tmp_path / 'run.h5', solid(), continue_after=2) as again:
        np.testing.assert_array_equal(frames_of(tmp_path / 'run.h5')[0], [0, 1, 2])
        again.close()
    np.testing.assert_array_equal(frames_of(tmp_path / 'run.h5')[0], [0, 1, 2])


def test_rows_of_a_missing_piece_are_no_zeros(tmp_path):
    for writer in filled_writer(tmp_path / 'run.h5', 2):
        writer.write()
    (writer.pieces_folder / '000001.h5').unlink()
    steps, positions = frames_of(tmp_path / 'run.h5')
    assert steps[0] == -1 and np.isnan(positions[0]).all() and np.isfinite(positions[1]).all()


def test_two_runs_cannot_write_one_trajectory(tmp_path):
    (writer,) = filled_writer(tmp_path / 'run.h5', 1)
    writer.write()
    with pytest.raises(InputError, match='another run is writing it'):
        TrajectoryWriter(tmp_path / 'run.h5', solid(), continue_after=0)
    checkpoint_path(tmp_path / 'run.h5').write_bytes(b'of the first')
    with pytest.raises(InputError, match='another run is writing it'):
        run_md(argon(), tmp_path / 'run.h5', 10, Output(10), overwrite=True)
    assert checkpoint_path(tmp_path / 'run.h5').read_bytes() == b'of the first'
    checkpoint_path(tmp_path / 'run.h5').unlink()
    assert len(frames_of(tmp_path / 'run.h5')[0]) == 1
    writer.__exit__()
    assert run(tmp_path / 'run.h5', 10)['frames'] == 2


def test_wall_time_ends_a_run_that_can_go_on(tmp_path):
    path = tmp_path / 'run.h5'
    run(tmp_path / 'whole.h5', 20_000, every=2500)
    parts = 0
    while True:
        found = run_md(argon(), path, 20_000, Output(2500), restart=True, max_wall_time_s=0.05)
        parts += 1
        if found['stop_reason'] == 'finished':
            break
        assert found['stop_reason'] == 'wall_time' and found['steps'] < 20_000
        assert len(frames_of(path)[0]) == found['steps'] // 2500 + 1
    assert parts > 1
    assert content_hash(path) == content_hash(tmp_path / 'whole.h5')


def test_statistics_of_the_log_cover_all_runs_that_made_it(tmp_path):
    found = run(tmp_path / 'whole.h5', 400, ensemble='npt')
    with Trajectory(tmp_path / 'whole.h5') as trajectory:
        names = ('temperature_K', 'conserved_energy_eV', 'volume_angstrom3')
        log = {name: trajectory.series(f'log/{name}') for name in names}
        temperature, energy, volume = (log[name]['value'][...] for name in log)
        time_ps = log['temperature_K']['time'][...] / 1000
    assert found['temperature_mean_K'] == pytest.approx(temperature.mean())
    assert found['temperature_std_K'] == pytest.approx(temperature.std())
    assert found['volume_mean_angstrom3'] == pytest.approx(volume.mean())
    slope = np.polyfit(time_ps, energy, 1)[0]
    assert found['energy_drift_meV_per_atom_per_ps'] == pytest.approx(1000 * slope / 16, rel=1e-6)
    run(tmp_path / 'parts.h5', 200, ensemble='npt')
    again = run(tmp_path / 'parts.h5', 400, restart=True, ensemble='npt')
    assert {k: v for k, v in again.items() if k != 'timing'} == {k: v for k, v in found.items() if k != 'timing'}


def test_a_run_that_extrapolates_stops_and_keeps_the_frame(tmp_path, small_potential, crystal):
    ahead = Simulation(crystal, small_potential, temperature_K=600)
    grades_ahead = []
    for _ in range(50):
        grades_ahead.append(ahead.extrapolation_grades().max())
        ahead.run(20)
    limit = 0.999 * max(grades_ahead)
    simulation = Simulation(crystal, small_potential, temperature_K=600)
    found = run_md(simulation, tmp_path / 'run.h5', 2000, Output(50), grade_watch=GradeWatch(20, limit))
    assert found['stop_reason'] == 'extrapolation' and 'extrapolation grade' in found['stop_message']
    assert found['steps'] == 20 * np.argmax(grades_ahead) > 0
    with Trajectory(tmp_path / 'run.h5') as trajectory:
        grades = trajectory.series(GRADE)
        np.testing.assert_array_equal(grades['step'], np.arange(0, found['steps'] + 1, 20))
        assert (grades['value'][:-1] <= limit).all() and grades['value'][-1] > limit
        assert found['extrapolation_grade_max'] == grades['value'][-1]
        np.testing.assert_allclose(trajectory.positions()[-1], simulation.positions, atol=1e-5)
    assert not (tmp_path / 'run.h5.pieces').exists()


@pytest.fixture
def files(tmp_path, small_potential, crystal):
    """Potential and structure as files, for the command."""
    small_potential.save(tmp_path / 'pot.h5')
    write(tmp_path / 'beta.extxyz', crystal)
    return tmp_path


def command(folder, *arguments):
    return [
        sys.executable, '-m', 'aiida_ufpnmr.engine.main', 'md', str(folder / 'pot.h5'), str(folder / 'beta.extxyz'),
        '-o', str(folder / 'run.h5'), '--json', str(folder / 'run.json'), *map(str, arguments),
    ]  # fmt: skip


def started(folder, *arguments):
    """A run in a process of its own that has begun to write."""
    process = subprocess.Popen(command(folder, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (folder / 'run.h5.pieces').exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    return process


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_a_readable_trajectory_and_a_checkpoint(files, number):
    process = started(files, '--steps', 10_000_000, '--every', 5)
    time.sleep(0.5)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert stderr.strip().count('\n') == 0 and 'Traceback' not in stderr and '--restart' in stderr
    steps, positions = frames_of(files / 'run.h5')
    assert len(steps) > 1 and (np.diff(steps) == 5).all() and np.isfinite(positions).all()
    with h5py.File(files / 'run.checkpoint.h5') as checkpoint:
        assert 0 <= checkpoint.attrs['step'] - steps[-1] < 5
    assert json.loads((files / 'run.json').read_text())['stop_reason'] == 'interrupted'


def test_statuses_tell_how_a_run_ended(files):
    ended = {
        'finished': (0, ['--steps', 20]),
        'wall_time': (4, ['--steps', 10_000_000, '--max-wall-time', 0.1]),
        'extrapolation': (3, ['--steps', 20, '--grade-limit', 1e-3]),
    }
    for reason, (status, arguments) in ended.items():
        done = subprocess.run(command(files, *arguments, '--overwrite'), capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert json.loads((files / 'run.json').read_text())['stop_reason'] == reason
        assert done.stderr.count('\n') == (status > 0)


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


@pytest.mark.slow
def test_kill_at_any_moment_costs_an_interval_at_most(files):
    arguments = ['--steps', 6000, '--every', 5, '--checkpoint-every', 400]
    subprocess.run(command(files, *arguments), check=True, capture_output=True)
    (files / 'run.h5').rename(files / 'whole.h5')
    (files / 'run.checkpoint.h5').unlink()
    for delay in (0.0, 0.11, 0.23, 0.34):
        process = started(files, *arguments, '--restart')
        time.sleep(delay)
        process.kill()
        process.communicate()
        if (files / 'run.checkpoint.h5').exists():
            steps, positions = frames_of(files / 'run.h5')
            with h5py.File(files / 'run.checkpoint.h5') as checkpoint:
                assert steps[-1] >= checkpoint.attrs['step'] - 5
            assert np.isfinite(positions).all()
    subprocess.run(command(files, *arguments, '--restart'), check=True, capture_output=True)
    assert content_hash(files / 'run.h5') == content_hash(files / 'whole.h5')
