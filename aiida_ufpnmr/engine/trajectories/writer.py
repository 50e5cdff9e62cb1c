"""Writes trajectories so that whatever happens, what was written before can be read.

While a run is going, rows are collected and written as closed pieces into the folder ``NAME.pieces``; ``NAME`` itself
is a small file of virtual datasets over them. At the end the pieces are joined into one plain file. At every moment,
``NAME`` is a whole file that reads like the final one, so a kill or a full disk costs at most the rows that were not
yet written.
"""

from __future__ import annotations

import os
import time as clock
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.files import check_output, whole_file
from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.engine.trajectories.h5md import (
    create_series,
    image,
    in_memory,
    series_names,
    write_efg_header,
    write_header,
    write_particles,
)
from aiida_ufpnmr.engine.trajectories.pieces import PieceFolder, pieces_in, write_index
from aiida_ufpnmr.engine.trajectories.series import efg_group
from aiida_ufpnmr.engine.trajectories.storage import Storage

#: No more than this much wall time (s) lies between two pieces.
LONGEST_INTERVAL = 600.0
#: Attribute of a file over pieces: how many there are.
PIECES = 'pieces'
#: Attribute of a trajectory that begins where another one ended: the last step of that one.
FOLLOWS = 'follows_step'


def in_pieces(path: str | os.PathLike) -> bool:
    """Whether a trajectory is a small file over pieces that are not joined yet."""
    with open_hdf5(path) as file:
        return PIECES in file.attrs


def follows_step(path: str | os.PathLike) -> int | None:
    """The step after which a trajectory begins, where it goes on from another one."""
    with open_hdf5(path) as file:
        return int(file.attrs[FOLLOWS]) if FOLLOWS in file.attrs else None


@dataclass
class _Series:
    step: list = field(default_factory=list)
    time: list = field(default_factory=list)
    value: list = field(default_factory=list)


class TrajectoryWriter:
    """Writes a trajectory in closed pieces and joins them at the end.

    Args:
        path: the trajectory file.
        atoms: species, masses and boundary conditions.
        efg: for each species whose EFG tensors will be written, the indices of its ions.
        continue_after: keep what is there up to and including this step; ``None`` starts anew.
        follows: the last step of a trajectory elsewhere that a new one goes on from.
        seconds: wall time after which collected rows are written as a piece; longer in long runs, up to ten minutes.
        megabytes: size after which they are written however little time has passed.
        every: cadence of each series in steps. Where an earlier run is continued, its last row goes if it fell between.
        storage: precision and compression.

    Raises:
        InputError: the file cannot be written, or another process is writing it.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        atoms: Atoms,
        efg: Mapping[str, np.ndarray] | None = None,
        continue_after: int | None = None,
        follows: int | None = None,
        seconds: float = 10.0,
        megabytes: float = 64.0,
        every: Mapping[str, int] | None = None,
        storage: Storage = Storage(),
    ):
        self.path = check_output(path)
        self.storage = storage
        self._atoms = atoms.copy()
        self._efg = dict(efg or {})
        self._every = dict(every or {})
        self._seconds, self._longest = seconds, max(seconds, LONGEST_INTERVAL)
        self._follows = follows if continue_after is None else follows_step(self.path)
        self._bytes_limit = megabytes * 1e6
        self._collected: dict[str, _Series] = {}
        self._bytes = 0
        self._begin = self._last_write = clock.monotonic()
        self._folder = PieceFolder(self.path)
        for partial in self.path.parent.glob(f'.{self.path.name}.*.part*'):  # of a run that was killed
            partial.unlink()
        if continue_after is None:
            if pieces_in(self._folder.path)[0]:  # the file is nothing without its pieces
                self.path.unlink(missing_ok=True)
            self._folder.clear()
            self._write_index()
        else:
            self._take_up(continue_after)

    def __enter__(self) -> TrajectoryWriter:
        return self

    def __exit__(self, *exception) -> None:
        """Let other processes write; what was collected and not written is lost."""
        self._folder.release()

    @property
    def pieces_folder(self) -> Path:
        """Folder of the pieces until they are joined."""
        return self._folder.path

    def _take_up(self, last_step: int) -> None:
        """Continue an earlier run: its rows up to ``last_step`` stay, later ones go (they will be made again)."""
        if not in_pieces(self.path):  # a finished file: it becomes the first piece
            self._folder.clear()
            self._folder.adopt(self.path)
        pieces, stale = pieces_in(self._folder.path)
        for piece in pieces:
            with h5py.File(piece.path, 'r') as file:
                rows = {name: self._rows_to_keep(name, file[f'{name}/step'], last_step) for name in series_names(file)}
            if any(rows.values()):
                self._folder.pieces.append(replace(piece, rows=rows))
            else:
                stale.append(piece.path)
        self._write_index()
        for path in stale:
            path.unlink()

    def _rows_to_keep(self, name: str, step: h5py.Dataset, last_step: int) -> int:
        count = int(np.searchsorted(step[...], last_step, side='right'))
        odd = count > 0 and step[count - 1] % self._every.get(name, 1) != 0
        return count - 1 if odd else count

    def append(self, name: str, step: int, time_fs: float, value) -> None:
        """Add one row to the series ``name``; it is written with the next piece."""
        series = self._collected.setdefault(name, _Series())
        stored = self.storage.stored(name, value)
        series.step.append(step)
        series.time.append(time_fs)
        series.value.append(stored)
        self._bytes += stored.nbytes + 16

    def append_rows(self, name: str, steps: np.ndarray, times_fs: np.ndarray, values: np.ndarray) -> None:
        """Add rows (m, ...) to the series ``name``, as :meth:`append` adds one."""
        series = self._collected.setdefault(name, _Series())
        stored = self.storage.stored(name, values)
        series.step.extend(steps.tolist())
        series.time.extend(times_fs.tolist())
        series.value.extend(stored)
        self._bytes += stored.nbytes + 16 * len(stored)

    def write_if_due(self) -> None:
        """Write a piece if enough rows or enough time have gathered."""
        now = clock.monotonic()
        # every ten seconds at first, then after a hundredth of the time so far
        interval = min(max(self._seconds, 0.01 * (now - self._begin)), self._longest)
        if self._bytes > self._bytes_limit or now - self._last_write > interval:
            self.write()

    def write(self) -> None:
        """Write all collected rows as a new piece, whole or not at all.

        On a disk that fills up, as many whole rows as still fit are written, and the :class:`OSError` is raised.
        """
        if not any(series.step for series in self._collected.values()):
            return
        steps = sorted({step for series in self._collected.values() for step in series.step})
        try:
            self._write_piece(steps[-1])
        except OSError:
            kept = len(steps) // 2
            while kept:  # less may still fit
                try:
                    self._write_piece(steps[kept - 1])
                    break
                except OSError:
                    kept //= 2
            raise
        self._last_write = clock.monotonic()

    def _write_piece(self, last_step: int) -> None:
        rows = {name: int(np.searchsorted(s.step, last_step, side='right')) for name, s in self._collected.items()}
        with in_memory() as file:
            for name, count in rows.items():
                if count:
                    series = self._collected[name]
                    values = np.array(series.value[:count])
                    step, time_fs = series.step[:count], series.time[:count]
                    create_series(file, name, step, time_fs, values.shape, values.dtype, self.storage)[...] = values
            content = image(file)
        self._folder.add(content, rows)
        try:
            self._write_index()
        except OSError:
            self._folder.drop_last()
            raise
        for name, count in rows.items():
            series = self._collected[name]
            del series.step[:count], series.time[:count], series.value[:count]
        self._bytes = sum(v.nbytes + 16 for s in self._collected.values() for v in s.value)
        with suppress(OSError):  # without room to join them, pieces stay as they are
            while stale := self._folder.join_some(self.storage):
                self._write_index()
                for path in stale:
                    path.unlink()

    def _write_static(self, file: h5py.File) -> None:
        write_header(file)
        write_particles(file, self._atoms)
        if self._follows is not None:
            file.attrs[FOLLOWS] = self._follows
        for species, index in self._efg.items():
            write_efg_header(file, species, index)

    def _write_index(self) -> None:
        """Write the trajectory file as virtual datasets over the pieces."""
        pieces = self._folder.pieces
        with in_memory() as file:
            self._write_static(file)
            file.attrs[PIECES] = len(pieces)
            write_index(file, pieces)
            content = image(file)
        with whole_file(self.path) as partial:
            partial.write_bytes(content)

    def close(self) -> None:
        """Write what is left and join all pieces into one plain file.

        Raises:
            OSError: there was no room; the pieces stay, and the file over them keeps working.
        """
        self.write()
        self._folder.join(self._folder.pieces, self.path, self.storage, self._write_static)
        self._folder.remove()


def write_efg_in_parts(
    path: str | os.PathLike, species: str, index: np.ndarray, step, time_fs, parts: Iterable[np.ndarray]
) -> None:
    """Write EFG tensors alone as an H5MD file that :meth:`Trajectory.efg` reads back.

    Args:
        parts: tensors of some frames each, (frames, n_ions, 3, 3) in a.u.
    """
    with whole_file(path) as partial, h5py.File(partial, 'w') as file:
        write_header(file)
        write_efg_header(file, species, index)
        shape, storage = (len(step), len(index), 3, 3), Storage()
        value = create_series(file, f'{efg_group(species)}/efg', step, time_fs, shape, np.float32, storage)
        row = 0
        for part in parts:
            value[row : row + len(part)] = part
            row += len(part)
