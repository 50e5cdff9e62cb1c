"""A molecular dynamics run with its output: trajectory, log, checkpoints, and a clean end whatever ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.md.checkpoint import checkpoint_path, identity, read_checkpoint, write_checkpoint
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.md.trajectory import EDGES, POSITION, VELOCITY, Trajectory, TrajectoryWriter, efg_group
from aiida_ufpnmr.engine.progress import progress

#: Wall time between checkpoints where no number of steps is given, s.
CHECKPOINT_SECONDS = 600.0


@dataclass(frozen=True)
class EfgOutput:
    """EFG tensors to predict at every frame.

    Attributes:
        species: chemical symbol of the ions.
        index: their indices.
        predict: positions, cell (Å) → tensors (a.u.).
        identity: tells one model from another, when a run is continued.
    """

    species: str
    index: np.ndarray
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray]
    identity: str = ''


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and a request to terminate into a flag that is looked at between steps."""
    caught = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda *_: caught.append(True))
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_md(
    simulation: Simulation,
    path: str | os.PathLike,
    steps: int,
    every: int,
    *,
    efg: EfgOutput | None = None,
    velocities: bool = False,
    checkpoint_every: int | None = None,
    restart: bool = False,
) -> dict:
    """Run up to step ``steps`` and write the trajectory.

    Args:
        simulation: at step 0; a restart takes it to the step of the checkpoint.
        path: the trajectory.
        steps: the last step, counted from the very beginning.
        every: steps between two frames; the first and the last step are always written.
        efg: EFG tensors to predict at every frame.
        velocities: write them too.
        checkpoint_every: steps between checkpoints; by default one is written every ten minutes.
        restart: go on from the checkpoint if there is one.

    Returns:
        Results: what was run, temperature and energy statistics, why it ended, speed under ``timing``.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; trajectory and checkpoint are whole.
        OSError: the disk is full; the trajectory is whole up to the last frame that fitted.
        InputError: the checkpoint belongs to another run.
    """
    path = Path(path)
    checkpoint = checkpoint_path(path)
    run = identity(simulation, every, efg.identity if efg else None, velocities)
    continued = restart and checkpoint.exists() and path.exists()
    if continued:
        simulation.restore(read_checkpoint(checkpoint, run))
        _check_frames(path, simulation, every)
    first_step = simulation.step
    stop = None
    begin, begin_cpu = time.perf_counter(), time.process_time()
    if not continued or first_step < steps:
        if not continued:
            checkpoint.unlink(missing_ok=True)
        writer = TrajectoryWriter(
            path,
            simulation.atoms,
            efg={efg.species: efg.index} if efg else None,
            continue_after=first_step if continued else None,
        )
        stop = _run(simulation, writer, checkpoint, run, steps, every, efg, velocities, checkpoint_every, not continued)
    wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    taken = simulation.step - first_step
    n_atoms = len(simulation.atoms)
    return {
        'atoms': n_atoms,
        'steps': simulation.step,
        'simulated_ps': simulation.time_fs / 1000,
        'ensemble': simulation.ensemble,
        'timestep_fs': simulation.timestep_fs,
        'temperature_K': simulation.temperature_K,
        'seed': simulation.seed,
        **_statistics(path, n_atoms),
        'stop_reason': stop.reason if stop else 'finished',
        'stop_message': stop.message if stop else '',
        'potential_sha256': simulation.potential.identity,
        'threads': 1,
        'versions': versions(),
        'timing': {
            'wall_s': wall,
            'cpu_s': cpu,
            'atom_steps_per_second': n_atoms * taken / wall,
            'ns_per_day': 86400 * taken * simulation.timestep_fs * 1e-6 / wall,
        },
    }


def _check_frames(path: Path, simulation: Simulation, every: int) -> None:
    """Refuse to continue a trajectory that is not the one of the checkpoint, or has lost frames."""
    with Trajectory(path) as trajectory:
        same = np.array_equal(trajectory.numbers, simulation.atoms.numbers)
        last = int(trajectory.series(POSITION)['step'][-1]) if same and trajectory.n_frames else -1
    if last < simulation.step // every * every:
        raise InputError(
            f'{path}: does not hold the frames before step {simulation.step}, where its checkpoint stands; '
            'remove the checkpoint to start anew, or write elsewhere'
        )


def _run(simulation, writer, checkpoint, run, steps, every, efg, velocities, checkpoint_every, write_first):
    """The loop over frames; returns the :class:`Stop` if a guard ended it."""
    last_checkpoint = time.monotonic()
    stop = None
    if write_first:
        _write_frame(simulation, writer, efg, velocities)
    with (
        _interruption() as interrupted,
        progress(steps, 'md', 'step', initial=simulation.step) as bar,
    ):
        try:
            while simulation.step < steps and stop is None and not interrupted():
                targets = [steps, simulation.step + simulation.chunk, (simulation.step // every + 1) * every]
                if checkpoint_every:
                    targets.append((simulation.step // checkpoint_every + 1) * checkpoint_every)
                before = simulation.step
                stop = simulation.run(min(targets) - simulation.step)
                bar.update(simulation.step - before)
                if simulation.step % every == 0 or simulation.step == steps or stop:
                    _write_frame(simulation, writer, efg, velocities)
                    writer.write_if_due()
                due = (
                    simulation.step % checkpoint_every == 0
                    if checkpoint_every
                    else time.monotonic() - last_checkpoint > CHECKPOINT_SECONDS
                )
                if due:
                    writer.write()
                    write_checkpoint(checkpoint, simulation, run)
                    last_checkpoint = time.monotonic()
            writer.close()
            if stop is None:
                write_checkpoint(checkpoint, simulation, run)
        except OSError as error:
            # what is on disk is whole, and so is the last checkpoint: a restart goes on from there
            raise OSError(f'{writer.path}: writing failed at step {simulation.step} ({error.strerror or error})') from error
    if simulation.step < steps and stop is None:
        raise KeyboardInterrupt
    return stop


def _write_frame(simulation, writer, efg, velocities) -> None:
    step, time_fs = simulation.step, simulation.time_fs
    positions, cell = simulation.positions, simulation.cell
    writer.append(POSITION, step, time_fs, positions)
    writer.append(EDGES, step, time_fs, cell)
    if velocities:
        writer.append(VELOCITY, step, time_fs, simulation.velocities)
    if efg:
        writer.append(f'{efg_group(efg.species)}/efg', step, time_fs, efg.predict(positions, cell))
    for name, value in (
        ('temperature_K', simulation.temperature),
        ('potential_energy_eV', simulation.potential_energy),
        ('kinetic_energy_eV', simulation.kinetic_energy),
        ('conserved_energy_eV', simulation.conserved_energy),
        ('pressure_GPa', simulation.pressure_GPa),
    ):
        writer.append(f'log/{name}', step, time_fs, value)


def _statistics(path: Path, n_atoms: int) -> dict:
    """Means over the whole log of a trajectory, however many runs it took to make it."""
    with Trajectory(path) as trajectory:
        frames = trajectory.n_frames
        log = {name: trajectory.series(f'log/{name}')['value'][...] for name in (
            'temperature_K', 'conserved_energy_eV', 'pressure_GPa',
        )}  # fmt: skip
        time_ps = trajectory.series('log/temperature_K')['time'][...] / 1000
    drift = None
    with suppress(np.linalg.LinAlgError):
        if frames > 2:
            drift = 1000 * np.polyfit(time_ps, log['conserved_energy_eV'], 1)[0] / n_atoms
    return {
        'frames': frames,
        'temperature_mean_K': log['temperature_K'].mean(),
        'temperature_std_K': log['temperature_K'].std(),
        'pressure_mean_GPa': log['pressure_GPa'].mean(),
        'energy_drift_meV_per_atom_per_ps': drift,
    }
