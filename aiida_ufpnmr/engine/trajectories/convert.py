"""Trajectories of other programs as those of this package: unwrapped, in order, in Å and fs, streamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input, check_output, whole_file
from aiida_ufpnmr.engine.piece_folder import pieces_folder
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.trajectories.elements import numbers_of
from aiida_ufpnmr.engine.trajectories.frame_places import FramePlaces
from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings
from aiida_ufpnmr.engine.trajectories.h5md import series_names
from aiida_ufpnmr.engine.trajectories.readers import read_frames, reader_of
from aiida_ufpnmr.engine.trajectories.series import EDGES, POSITION, efg_group
from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.trajectories.writer import TrajectoryWriter

#: A displacement between two frames of more than this share of a cell vector may as well be one the other way round.
AMBIGUOUS = 0.45


@dataclass(frozen=True)
class Conversion:
    """What was read and written.

    Attributes:
        atoms: elements, cell and boundary conditions of the first frame.
        time_fs: (n_frames,) times of the frames written.
        unwrapped: whether positions were unwrapped already, so that no atom was moved.
        repeated: number of frames that were there twice, or were made again after a restart, and left out.
        notes: what else there is to know about what was read.
    """

    atoms: Atoms
    time_fs: np.ndarray
    unwrapped: bool
    repeated: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        spacing = f', one in {self.time_fs[1] - self.time_fs[0]:g} fs' if len(self.time_fs) > 1 else ''
        repeated = f', {self.repeated} of a restart left out' if self.repeated else ''
        how = 'unwrapped as they were' if self.unwrapped else 'unwrapped by nearest images'
        first = f'{self.atoms.symbols.formula:hill}, {len(self.time_fs)} frames{spacing}{repeated}, positions {how}'
        return '; '.join([first, *self.notes, *self._gaps()])

    def _gaps(self) -> list[str]:
        """A line where times jump by more than their usual spacing."""
        spacings = np.diff(self.time_fs)
        usual = np.median(spacings) if len(spacings) else 0.0
        gaps = np.flatnonzero(spacings > 1.5 * usual)
        if not len(gaps):
            return []
        begin, end = self.time_fs[gaps[0]], self.time_fs[gaps[0] + 1]
        more = f' and at {len(gaps) - 1} more places' if len(gaps) > 1 else ''
        return [f'frames are missing from {begin:g} to {end:g} fs{more}']


def convert_trajectory(
    inputs: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    settings: ReadingSettings = ReadingSettings(),
    storage: Storage = Storage(),
) -> Conversion:
    """Write a trajectory of another program, in one file or in parts, as one of this package, whole or not at all.

    Parts are taken in the order of their times. Where a part goes back in time, as after a restart, what was made
    again replaces what was there before. Memory does not grow with the trajectory.

    Raises:
        InputError: a frame that cannot be read or used, atoms that nothing names, no times, frames out of order, or
            displacements that nearest images cannot tell; the message names file and frame.
    """
    output = check_output(output)
    files = _in_order([check_input(path, 'trajectory') for path in inputs], settings)
    run: _Run | None = None
    first: Frame | None = None
    with whole_file(output) as partial, progress(None, 'trajectory', 'frame') as bar:
        try:
            for file in files:
                for number, frame in enumerate(read_frames(file, settings, first)):
                    where, first = f'{file}, frame {number}', first or frame
                    run = run or _Run(partial, frame, where, settings, storage)
                    run.add(frame, where, begins_file=number == 0)
                    bar.update()
            if run is None:
                raise InputError('no trajectory to convert; give at least one')
            return run.close()
        finally:
            if run is not None:
                run.release()
            shutil.rmtree(pieces_folder(partial), ignore_errors=True)


@contextmanager
def own_files(
    paths: Sequence[str | os.PathLike], settings: ReadingSettings = ReadingSettings()
) -> Iterator[tuple[list[Path], list[str]]]:
    """Trajectories of this package for files of any program, and a line about each that was converted.

    What is converted lies in a temporary folder (``TMPDIR``), and goes away with the context.
    """
    given = [Path(path) for path in paths]
    foreign = [path for path in given if reader_of(path) is not None]
    if not foreign:
        if settings.given:
            raise InputError(f'{given[0]}: {settings.given[0]} is for trajectories of other programs; leave it out')
        yield given, []
        return
    with TemporaryDirectory(prefix='ufpnmr-') as folder:
        files, lines = [], []
        try:
            for number, path in enumerate(given):
                if path in foreign:
                    file = Path(folder, str(number), path.name)
                    file.parent.mkdir()
                    converted = convert_trajectory([path], file, settings, Storage(double=True, compression=0))
                    lines.append(f'{path}: {converted}; converted into a temporary file')
                files.append(file if path in foreign else path)
            yield files, lines
        except InputError as error:  # names the file that the user knows
            message = str(error)
            for number, path in enumerate(given):
                message = message.replace(str(Path(folder, str(number), path.name)), str(path))
            raise InputError(message) from error


def _in_order(paths: list[Path], settings: ReadingSettings) -> list[Path]:
    """Files in the order of the times, or steps, of their first frames, where all hold any."""
    if len(paths) < 2:
        return paths
    firsts = [next(read_frames(path, replace(settings, frames=1))) for path in paths]
    for kind in ('time_fs', 'step'):
        begins = [getattr(frame, kind) for frame in firsts]
        if None not in begins:
            return [paths[number] for number in np.argsort(begins, kind='stable')]
    return paths


class _Run:
    """The trajectory that is being written, and the frame before.

    Args:
        path: the file, which other processes do not know.
        first: the first frame, which says what stays: atoms, boundary conditions, ions with EFG tensors.
        where: its file and number, for messages.
    """

    def __init__(self, path: Path, first: Frame, where: str, settings: ReadingSettings, storage: Storage):
        numbers = numbers_of(first, settings, where)
        self._atoms = Atoms(numbers, first.positions, cell=first.cell, pbc=first.pbc)
        self._path, self._settings, self._storage = path, settings, storage
        self._unwrapped = settings.unwrapped or first.unwrapped
        self._repeated = 0
        self._notes: list[str] = []
        self._places = FramePlaces()
        self._spacing_fs = first.spacing_fs
        self._went_back_to: float | None = None
        self._steps: list[int] = []
        self._times_fs: list[float] = []
        self._as_read = self._fractional = np.full((len(numbers), 3), np.nan)
        self._ions: dict[str, np.ndarray] = {}
        if first.efg is not None:
            known = np.isfinite(first.efg).all(axis=(1, 2))
            self._ions = {
                chemical_symbols[z]: np.flatnonzero(known & (numbers == z)) for z in np.unique(numbers[known])
            }
        self._writer = self._open()

    def add(self, frame: Frame, where: str, begins_file: bool) -> None:
        """Write a frame behind those before; ``where`` names it in messages."""
        self._notes += [note for note in frame.notes if note not in self._notes]
        place = len(self._steps)
        if frame.step is None and frame.time_fs is None:
            try:
                place = self._places.place(frame, begins_file)
            except ValueError as error:
                raise InputError(f'{where}: {error}') from error
            if np.array_equal(frame.positions, self._as_read):
                self._repeated += 1
                return
        self._as_read = frame.positions
        step, time_fs = self._clock(frame, place, where)
        if self._times_fs and time_fs < self._times_fs[-1] + self._tolerance_fs:
            self._go_back(time_fs, where)
            if frame.step is not None or frame.time_fs is not None:
                place = len(self._steps)
            step, time_fs = self._clock(frame, place, where)
        cell = np.asarray(frame.cell)
        positions = frame.positions if self._unwrapped else self._unwrap(frame, cell, where)
        self._writer.append(POSITION, step, time_fs, positions)
        self._writer.append(EDGES, step, time_fs, cell)
        for species, ions in self._ions.items():
            self._writer.append(f'{efg_group(species)}/efg', step, time_fs, np.asarray(frame.efg)[ions])
        self._writer.write_if_due()
        self._steps.append(step)
        self._times_fs.append(time_fs)

    def close(self) -> Conversion:
        """Join what was written into one plain file."""
        self._writer.close()
        time_fs = _without_rounding(np.array(self._times_fs))
        with h5py.File(self._path, 'r+') as file:
            for name in series_names(file):
                file[f'{name}/time'][...] = time_fs
        return Conversion(self._atoms, time_fs, self._unwrapped, self._repeated, tuple(self._notes))

    def release(self) -> None:
        """Let go of what is not written."""
        self._writer.__exit__()

    def _open(self, continue_after: int | None = None) -> TrajectoryWriter:
        return TrajectoryWriter(
            self._path, self._atoms, self._ions, continue_after=continue_after, storage=self._storage
        )

    def _clock(self, frame: Frame, place: int, where: str) -> tuple[int, float]:
        """Step and time of a frame in its place: of the file, or from the time step that was given."""
        timestep_fs, every = self._settings.timestep_fs, self._settings.every
        if frame.spacing_fs != self._spacing_fs:
            raise InputError(
                f'{where}: its INCAR asks for another spacing than that of the first file; give --timestep'
            )
        if timestep_fs is None:
            if frame.time_fs is None and frame.spacing_fs is not None:
                return place, place * frame.spacing_fs
            if frame.time_fs is None:
                given = (
                    '--timestep' if frame.step is not None else '--timestep, and --every where it was not every step'
                )
                raise InputError(f'{where}: the file holds no times; give {given}')
            return place, frame.time_fs
        if frame.step is None:
            if not every:
                note = 'each frame was taken for one step, as there is no --every'
                self._notes += [note] if note not in self._notes else []
            return place * (every or 1), place * (every or 1) * timestep_fs
        step = frame.step
        if every and self._steps and step - self._steps[-1] not in (every, 0) and step > self._steps[-1]:
            raise InputError(
                f'{where}: its step {step} comes {step - self._steps[-1]} after the one before, not --every {every}; '
                'leave --every out'
            )
        return step, step * timestep_fs

    @property
    def _tolerance_fs(self) -> float:
        """Times that differ by less are the same."""
        return 0.25 * (self._times_fs[1] - self._times_fs[0]) if len(self._times_fs) > 1 else 1e-6

    def _go_back(self, time_fs: float, where: str) -> None:
        """Take away the frames from a time on, which a restart made again."""
        row = int(np.searchsorted(self._times_fs, time_fs - self._tolerance_fs))
        only_one = len(self._times_fs) == 1
        if (row == 0 and not only_one) or abs(self._times_fs[row] - time_fs) > self._tolerance_fs:
            raise InputError(
                f'{where}: its time, {time_fs:g} fs, comes after {self._times_fs[-1]:g} fs and is not that of '
                'an earlier frame to go on from; give the frames of one run, in order'
            )
        if self._went_back_to == time_fs and row == len(self._times_fs) - 1:
            raise InputError(
                f'{where}: a third frame at {time_fs:g} fs, which no restart makes; give frames with steps or times of '
                'their own'
            )
        self._went_back_to = time_fs
        self._repeated += len(self._times_fs) - row
        self._writer.write()
        self._writer.__exit__()
        self._writer = self._open(continue_after=self._steps[row - 1] if row else None)
        del self._steps[row:], self._times_fs[row:]
        if not row:
            return
        with Trajectory(self._path) as written:
            last = written.atoms(row - 1)
        self._fractional = last.positions @ np.linalg.inv(last.cell.array)

    def _unwrap(self, frame: Frame, cell: np.ndarray, where: str) -> np.ndarray:
        """Positions of a frame (n_atoms, 3) in Å, each at the periodic image that is nearest to the one before."""
        fractional = frame.positions @ np.linalg.inv(cell)
        if not self._steps:
            self._fractional = fractional
            return frame.positions
        images = np.where(frame.pbc, np.round(self._fractional - fractional), 0.0)
        moved = np.abs(fractional + images - self._fractional) * frame.pbc
        if moved.max() > AMBIGUOUS:
            atom = int(moved.max(axis=1).argmax())
            raise InputError(
                f'{where}: atom {atom} moves by {moved.max():.2f} of a cell vector, so that nearest images cannot tell '
                'which way it went; write frames more often, or give --unwrapped if positions are unwrapped'
            )
        self._fractional = fractional + images
        return frame.positions + images @ cell


def _without_rounding(time_fs: np.ndarray) -> np.ndarray:
    """Times that are equally spaced but for their 32 bits, equally spaced; others as they are."""
    even = np.linspace(time_fs[0], time_fs[-1], len(time_fs))
    gaps = np.diff(time_fs)
    if len(gaps) < 2 or np.allclose(gaps, gaps[0], rtol=1e-6, atol=0):
        return time_fs
    return even if np.abs(time_fs - even).max() <= 2 * np.finfo(np.float32).eps * np.abs(time_fs).max() else time_fs
