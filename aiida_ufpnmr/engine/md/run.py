"""A molecular dynamics run with its output: trajectory, log, checkpoints, and a clean end whatever ends it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, NamedTuple, ParamSpec

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.md.checkpoint import (
    checkpoint_path,
    checkpoint_step,
    identity,
    read_checkpoint,
    write_checkpoint,
)
from aiida_ufpnmr.engine.md.guards import Stop
from aiida_ufpnmr.engine.md.looks import look
from aiida_ufpnmr.engine.md.output import Output
from aiida_ufpnmr.engine.md.recording import BROKEN_UNITS, GRADE, EfgOutput, Recorder, series_of
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.md.statistics import log_statistics
from aiida_ufpnmr.engine.md.watches import GradeWatch, UnitWatch
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.signals import on_request_to_end
from aiida_ufpnmr.engine.trajectories.series import POSITION
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.trajectories.writer import TrajectoryWriter, follows_step, in_pieces

#: Wall time between checkpoints where no number of steps is given, s.
CHECKPOINT_SECONDS = 600.0
#: Settings that stand in the results.
REPORTED = (
    'ensemble', 'thermostat', 'barostat', 'timestep_fs', 'temperature_K', 'final_temperature_K', 'seed', 'precision',
    'threads', 'guard_fraction',
)  # fmt: skip


class Request(NamedTuple):
    """What a run wants next: its atoms at step ``target``; most likely at step ``following`` after that."""

    target: int
    following: int


#: A run that someone else moves: it is sent the reason to stop, or ``None``, when its atoms are where it wanted them.
Requests = Generator[Request, Stop | None, dict]
_Options = ParamSpec('_Options')


def _alone(
    requests: Callable[Concatenate[Simulation, _Options], Requests],
) -> Callable[Concatenate[Simulation, _Options], dict]:
    """The run with its own simulation to move the atoms."""

    @functools.wraps(requests)
    def run(simulation: Simulation, *arguments: _Options.args, **options: _Options.kwargs) -> dict:
        with closing(requests(simulation, *arguments, **options)) as waiting:
            try:
                wanted = next(waiting)
                while True:
                    wanted = waiting.send(simulation.run(wanted.target - simulation.step))
            except StopIteration as end:
                return end.value

    run.__name__ = 'run_md'
    return run


def md_requests(
    simulation: Simulation,
    path: str | os.PathLike,
    steps: int,
    output: Output,
    *,
    efg: EfgOutput | None = None,
    grade_watch: GradeWatch | None = None,
    unit_watch: UnitWatch | None = None,
    checkpoint_every: int | None = None,
    max_wall_time_s: float | None = None,
    origin: str | os.PathLike | None = None,
    restart: bool = False,
    overwrite: bool = False,
    end_requests: list | None = None,
) -> Requests:
    """Run up to step ``steps`` and write the trajectory.

    Args:
        simulation: at its first step; a restart takes it to the step of the checkpoint. Steps below 0 are not written.
        path: the trajectory.
        steps: the last step, counted from step 0.
        output: what is written; the first and the last step always are.
        efg: EFG tensors to predict.
        grade_watch: stop where the potential extrapolates too far.
        unit_watch: stop where a unit breaks or a foreign bond forms.
        checkpoint_every: steps between checkpoints; by default one is written every ten minutes.
        max_wall_time_s: end with a checkpoint when this much time has gone by.
        origin: a checkpoint of the same run to go on from, whose frames are elsewhere; the trajectory holds what comes
            after, and :func:`~aiida_ufpnmr.engine.trajectories.chain.chain` makes one of them.
        restart: go on from the checkpoint if there is one.
        overwrite: write over a run that could be continued.
        end_requests: gets an item when somebody asks for the end; made and watched by the run where ``None``.

    Returns:
        Results: what was run, temperature and energy statistics, speed under ``timing``, and the end of the run under
        ``stop_reason``: ``finished``, or the reason of a :class:`~aiida_ufpnmr.engine.md.guards.Stop`. After
        ``wall_time`` and ``interrupted`` the trajectory is left in pieces that read like a whole, for a restart to go
        on with.

    Raises:
        OSError: the disk is full; the trajectory is whole up to the last frame that fitted.
        InputError: the checkpoint belongs to another run, or a run is there and neither restarted nor to be
            overwritten.
    """
    path = Path(path)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    checkpoint = checkpoint_path(path)
    run = identity(simulation, output, efg)
    there = checkpoint.exists() and path.exists()
    if there and not (restart or overwrite):
        raise InputError(
            f'{path}: holds a run that stands at step {checkpoint_step(checkpoint)}; go on with --restart, write over '
            'it with --overwrite, or choose another name'
        )
    series = series_of(output, simulation.ensemble, efg)
    continued = restart and there
    if continued:
        simulation.restore(read_checkpoint(checkpoint, simulation, run))
        _check_frames(path, simulation, output.every)
    elif origin is not None:
        simulation.restore(read_checkpoint(Path(origin), simulation, run))
        if simulation.step >= steps:
            raise InputError(f'{origin}: stands at step {simulation.step}, the last one; there is nothing left to do')
    first_step, stop = simulation.step, None
    reached = continued and first_step >= steps
    if not reached or in_pieces(path):  # pieces of a run that was killed while it joined them
        with TrajectoryWriter(
            path,
            simulation.atoms,
            efg={efg.species: efg.index} if efg else None,
            continue_after=first_step if continued else None,
            follows=None if origin is None else first_step,
            every=None if reached else {name: kept.every for name, kept in series.items()},
            storage=output.storage,
        ) as writer:
            if not continued:
                checkpoint.unlink(missing_ok=True)
            loop = _Loop(
                simulation=simulation,
                recorder=Recorder(simulation, writer, series),
                watches={GRADE: grade_watch, BROKEN_UNITS: unit_watch},
                checkpoint=checkpoint,
                identity=run,
                checkpoint_every=checkpoint_every,
                deadline=None if max_wall_time_s is None else begin + max_wall_time_s,
                end_requests=end_requests,
            )
            stop = yield from loop.run(steps, new=not continued and origin is None)
    wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    settings, n_atoms = simulation.settings, len(simulation.atoms)
    taken = simulation.step - first_step
    return {
        'atoms': n_atoms,
        'steps': simulation.step,
        'simulated_ps': simulation.time_fs / 1000,
        **{name: getattr(settings, name) for name in REPORTED},
        'pressure_GPa': settings.pressure_GPa if settings.barostat else None,
        **log_statistics(path, n_atoms),
        'density_g_per_cm3': simulation.density_g_per_cm3,
        'grade_limit': grade_watch.limit if grade_watch else None,
        **({'guard_units': unit_watch.every} if unit_watch and unit_watch.every else {}),
        'stop_reason': stop.reason if stop else 'finished',
        'stop_message': stop.message if stop else '',
        **({} if simulation.device == 'cpu' else {'device': simulation.device}),
        **({'efg_device': efg.device or 'cpu'} if efg and simulation.device != 'cpu' else {}),
        'potential_sha256': simulation.potential.identity,
        'versions': versions(),
        'timing': {
            'wall_s': wall,
            'cpu_s': cpu,
            'atom_steps_per_second': n_atoms * taken / wall,
            'ns_per_day': 86400 * taken * simulation.timestep_fs * 1e-6 / wall,
            'threads': simulation.threads,
            **({'device_name': simulation.device_name} if simulation.device_name else {}),
        },
    }


run_md = _alone(md_requests)


def _check_frames(path: Path, simulation: Simulation, every: int) -> None:
    """Refuse to continue a trajectory that is not the one of the checkpoint, or has lost frames."""
    with Trajectory(path) as trajectory:
        same = np.array_equal(trajectory.numbers, simulation.atoms.numbers)
        last = int(trajectory.series(POSITION)['step'][-1]) if same and trajectory.n_frames else -1
    last = max(last, follows_step(path) or -1)
    if last < simulation.step // every * every:
        raise InputError(
            f'{path}: does not hold the frames before step {simulation.step}, where its checkpoint stands; '
            'remove the checkpoint to start anew, or write elsewhere'
        )


@dataclass
class _Loop:
    """The loop over steps with all that happens between them.

    Attributes:
        watches: looks at the run now and then, by the series that holds what they saw.
        checkpoint_every: steps; by wall time where ``None``.
        deadline: of ``time.perf_counter``, when to end.
        end_requests: see :func:`run_md`.
    """

    simulation: Simulation
    recorder: Recorder
    watches: Mapping[str, GradeWatch | UnitWatch | None]
    checkpoint: Path
    identity: dict
    checkpoint_every: int | None
    deadline: float | None
    end_requests: list | None

    def run(self, steps: int, new: bool) -> Generator[Request, Stop | None, Stop | None]:
        """Go to step ``steps``; ``new`` says that the present step is not written yet."""
        simulation, writer = self.simulation, self.recorder.writer
        last_checkpoint = time.monotonic()
        asked = [] if self.end_requests is None else self.end_requests
        with ExitStack() as stack:
            if self.end_requests is None:
                stack.enter_context(on_request_to_end(lambda: asked.append(True)))
            bar = stack.enter_context(
                progress(steps, 'md', 'step', initial=simulation.step, silent=self.end_requests is not None)
            )
            try:
                stop = self._look(steps, None) if new else None
                while simulation.step < steps and stop is None:
                    before = simulation.step
                    target = self._next_step(steps, before)
                    stop = yield Request(target, self._next_step(steps, target))
                    stop = self._look(steps, stop)
                    bar.update(simulation.step - before)
                    writer.write_if_due()
                    if stop is None and self._checkpoint_is_due(last_checkpoint):
                        self._save()
                        last_checkpoint = time.monotonic()
                    if stop is None and simulation.step < steps:
                        stop = self._end_of_time(bool(asked))
                writer.write()
                if stop is None or not stop.is_guard:
                    self._save()
                if stop is None or stop.is_guard:
                    writer.close()
            except OSError as error:
                # what is on disk is whole, and so is the last checkpoint: a restart goes on from there
                raise OSError(
                    f'{writer.path}: writing failed at step {simulation.step} ({error.strerror or error})'
                ) from error
        return stop

    def _next_step(self, steps: int, now: int) -> int:
        """The next step after ``now`` at which there is something to do."""
        targets = [steps, now + self.simulation.chunk]
        if now < 0:
            targets.append(0)
        else:
            targets.append(self.recorder.next_step(now))
        for every in (self.checkpoint_every, *(watch.every for watch in self.watches.values() if watch)):
            if every:
                targets.append((now // every + 1) * every)
        return min(targets)

    def _look(self, steps: int, stop: Stop | None) -> Stop | None:
        """Watch and record the present step; returns why to stop, if that is so."""
        step = self.simulation.step
        for series, watch in self.watches.items():
            if stop is None and watch and watch.every and step % watch.every == 0:
                seen, stop = look(watch, self.simulation)
                if step >= 0 or stop:
                    self.recorder.writer.append(series, step, self.simulation.time_fs, seen)
        if stop:
            self.recorder.record(everything=True)
        elif step >= 0:
            self.recorder.record(everything=step == steps)
        return stop

    def _checkpoint_is_due(self, last: float) -> bool:
        if self.checkpoint_every:
            return self.simulation.step % self.checkpoint_every == 0
        return time.monotonic() - last > CHECKPOINT_SECONDS

    def _save(self) -> None:
        """Write what was recorded, then the checkpoint that goes on from there."""
        self.recorder.writer.write()
        write_checkpoint(self.checkpoint, self.simulation, self.identity)

    def _end_of_time(self, interrupted: bool) -> Stop | None:
        at = f'at step {self.simulation.step}'
        if interrupted:
            return Stop('interrupted', at)
        if self.deadline is not None and time.perf_counter() > self.deadline:
            return Stop('wall_time', f'{at}: the wall time is used up')
        return None
