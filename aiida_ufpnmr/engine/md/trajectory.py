"""Trajectories in H5MD 1.1 (de Buyl, Colberg & Höfling, Comput. Phys. Commun. 185, 1546 (2014)).

One file holds any number of series, each with its own cadence::

    particles/all/position        unwrapped, Å          (frames, atoms, 3)  float32
    particles/all/velocity        Å/fs, where asked     (frames, atoms, 3)  float32
    particles/all/box/edges       cell vectors, Å       (frames, 3, 3)      float64
    particles/all/species         atomic numbers        (atoms,)
    particles/efg_Li/efg          EFG tensors, a.u.     (frames, ions, 3, 3) float32
    particles/efg_Li/id           which atoms           (ions,)
    log/<quantity>                one number a row, the unit in the name

Each series is a group with ``step``, ``time`` (fs) and ``value``. Readers of the wider world (MDAnalysis) see
``particles/all``, which sorts first; everything with another cadence or unit sorts after it.

While a run is going, rows are collected and written as closed pieces into the folder ``NAME.pieces``; ``NAME`` itself is
a small file of virtual datasets over them. At the end the pieces are copied into one plain file. At every moment, ``NAME``
is a whole file that reads like the final one, so a kill or a full disk costs at most the rows that were not yet written.
"""

from __future__ import annotations

import os
import shutil
import time as clock
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from aiida_ufpnmr import __version__
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file
from aiida_ufpnmr.engine.hdf5 import RECORD, open_hdf5, versions

POSITION = 'particles/all/position'
VELOCITY = 'particles/all/velocity'
EDGES = 'particles/all/box/edges'
_UNITS = {POSITION: 'Angstrom', VELOCITY: 'Angstrom fs-1', EDGES: 'Angstrom'}
_TYPES = {EDGES: np.float64}
#: No more than this much wall time (s) lies between two pieces.
LONGEST_INTERVAL = 600.0


def efg_group(species: str) -> str:
    """Name of the group that holds the EFG tensors of one species."""
    return f'particles/efg_{species}'


@dataclass(frozen=True)
class EfgSeries:
    """EFG tensors of chosen ions along a trajectory.

    Attributes:
        species: chemical symbol of the ions.
        index: (n_ions,) atom indices.
        time_fs: (n_frames,) equally spaced times.
        tensors: (n_frames, n_ions, 3, 3) in atomic units.
    """

    species: str
    index: np.ndarray
    time_fs: np.ndarray
    tensors: np.ndarray

    @property
    def timestep_fs(self) -> float:
        """Time between two frames."""
        return float(self.time_fs[1] - self.time_fs[0])


@dataclass
class _Series:
    step: list = field(default_factory=list)
    time: list = field(default_factory=list)
    value: list = field(default_factory=list)


class TrajectoryWriter:
    """Writes a trajectory in closed pieces and joins them at the end.

    Args:
        path: the trajectory file.
        atoms: species and boundary conditions.
        efg: for each species whose EFG tensors will be written, the indices of its ions.
        continue_after: keep what is there up to and including this step; ``None`` starts anew.
        seconds: wall time after which collected rows are written as a piece; longer in long runs, up to ten minutes.
        megabytes: size after which they are written however little time has passed.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        atoms: Atoms,
        efg: Mapping[str, np.ndarray] | None = None,
        continue_after: int | None = None,
        seconds: float = 10.0,
        megabytes: float = 64.0,
    ):
        self.path = check_output(path)
        self.pieces_folder = self.path.with_name(self.path.name + '.pieces')
        self._numbers = atoms.numbers.copy()
        self._pbc = atoms.pbc.copy()
        self._efg = dict(efg or {})
        self._seconds, self._longest = seconds, max(seconds, LONGEST_INTERVAL)
        self._bytes_limit = megabytes * 1e6
        self._collected: dict[str, _Series] = {}
        self._bytes = 0
        self._begin = self._last_write = clock.monotonic()
        self._pieces: list[Path] = []
        self._rows: dict[Path, dict[str, int]] = {}
        if continue_after is None:
            shutil.rmtree(self.pieces_folder, ignore_errors=True)
        self.pieces_folder.mkdir(exist_ok=True)
        if continue_after is not None:
            self._take_up(continue_after)

    def _take_up(self, last_step: int) -> None:
        """Continue an earlier run: its rows up to ``last_step`` stay, later ones go (they will be made again)."""
        with open_hdf5(self.path) as file:
            joined = file.attrs.get('pieces')
        existing = sorted(self.pieces_folder.glob('[0-9]*.h5'))
        if joined is None:  # a finished file: it becomes the first piece, without being copied
            for stale in existing:
                stale.unlink()
            first = self.pieces_folder / '000000.h5'
            os.replace(self.path, first)
            existing = [first]
        for piece in existing:
            rows = {}
            with h5py.File(piece, 'r') as file:
                for name in _series_names(file):
                    rows[name] = int(np.searchsorted(file[f'{name}/step'][...], last_step, side='right'))
            if any(rows.values()):
                self._pieces.append(piece)
                self._rows[piece] = rows
            else:
                piece.unlink()
        self._write_index()

    def append(self, name: str, step: int, time_fs: float, value) -> None:
        """Add one row to the series ``name``; it is written with the next piece."""
        series = self._collected.setdefault(name, _Series())
        value = np.array(value, dtype=_TYPES.get(name, np.float64 if name.startswith('log/') else np.float32))
        series.step.append(step)
        series.time.append(time_fs)
        series.value.append(value)
        self._bytes += value.nbytes + 16

    def write_if_due(self) -> None:
        """Write a piece if enough rows or enough time have gathered."""
        now = clock.monotonic()
        # every ten seconds at first, then after a hundredth of the time so far: long runs have few pieces
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
        number = 1 + max((int(piece.stem) for piece in self._pieces), default=0)
        piece = self.pieces_folder / f'{number:06d}.h5'
        rows = {name: int(np.searchsorted(s.step, last_step, side='right')) for name, s in self._collected.items()}
        with _in_memory() as file:
            self._write_static(file)
            for name, count in rows.items():
                series = self._collected[name]
                if count:
                    _create_series(file, name, series.step[:count], series.time[:count], np.array(series.value[:count]))
            image = _image(file)
        with whole_file(piece) as partial:
            partial.write_bytes(image)
        self._pieces.append(piece)
        self._rows[piece] = rows
        try:
            self._write_index()
        except OSError:
            self._pieces.pop()
            del self._rows[piece]
            piece.unlink(missing_ok=True)
            raise
        for name, count in rows.items():
            series = self._collected[name]
            del series.step[:count], series.time[:count], series.value[:count]
        self._bytes = sum(v.nbytes + 16 for s in self._collected.values() for v in s.value)

    def _write_static(self, file: h5py.File) -> None:
        _write_header(file)
        particles = file.create_group('particles/all')
        particles['species'] = self._numbers.astype(np.int32)
        box = particles.create_group('box')
        box.attrs['dimension'] = 3
        box.attrs['boundary'] = ['periodic' if periodic else 'none' for periodic in self._pbc]
        for species, index in self._efg.items():
            _write_efg_header(file, species, index)

    def _write_index(self) -> None:
        """Write the trajectory file as virtual datasets over the pieces."""
        with _in_memory() as file:
            self._write_static(file)
            file.attrs['pieces'] = len(self._pieces)
            for name in sorted({name for rows in self._rows.values() for name in rows}):
                parts = [(piece, self._rows[piece].get(name, 0)) for piece in self._pieces]
                parts = [(piece, count) for piece, count in parts if count]
                if not parts:
                    continue
                group = file.create_group(name)
                for part in ('step', 'time', 'value'):
                    with h5py.File(parts[0][0], 'r') as first:
                        shape, dtype = first[f'{name}/{part}'].shape[1:], first[f'{name}/{part}'].dtype
                        attributes = dict(first[f'{name}/{part}'].attrs)
                    virtual = h5py.VirtualLayout((sum(count for _, count in parts), *shape), dtype)
                    row = 0
                    for piece, count in parts:
                        source = h5py.VirtualSource(
                            f'{self.pieces_folder.name}/{piece.name}', f'{name}/{part}', (count, *shape), dtype
                        )
                        virtual[row : row + count] = source
                        row += count
                    group.create_virtual_dataset(part, virtual).attrs.update(attributes)
            image = _image(file)
        with whole_file(self.path) as partial:
            partial.write_bytes(image)

    def close(self) -> None:
        """Write what is left and join all pieces into one plain file.

        Raises:
            OSError: there was no room; the pieces stay, and the file over them keeps working.
        """
        self.write()
        try:
            with whole_file(self.path) as partial, h5py.File(partial, 'w') as file:
                self._write_static(file)
                with h5py.File(self.path, 'r') as index:
                    for name in _series_names(index):
                        _copy_series(index, file, name)
        except RuntimeError as error:  # what HDF5 makes of a full disk while it closes a file
            raise OSError(f'{self.path}: cannot be written ({error})') from error
        shutil.rmtree(self.pieces_folder, ignore_errors=True)


@contextmanager
def _in_memory() -> Iterator[h5py.File]:
    """A new HDF5 file in memory, so that a disk that fills up is met by a plain write and nothing is left half done."""
    with h5py.File('memory', 'w', driver='core', backing_store=False) as file:
        yield file


def _image(file: h5py.File) -> bytes:
    """The bytes of a file in memory."""
    file.flush()
    return file.id.get_file_image()


def _write_header(file: h5py.File) -> None:
    """The groups that every H5MD file has."""
    header = file.create_group('h5md')
    header.attrs['version'] = np.array([1, 1], np.int32)
    header.create_group('author').attrs['name'] = 'unknown'
    creator = header.create_group('creator')
    creator.attrs['name'] = 'aiida-ufpnmr'
    creator.attrs['version'] = __version__
    file.create_group(RECORD).attrs.update(versions())


def _write_efg_header(file: h5py.File, species: str, index: np.ndarray) -> None:
    group = file.create_group(efg_group(species))
    group['id'] = np.asarray(index, np.int64)
    group['species'] = np.full(len(index), atomic_numbers[species], np.int32)
    group.attrs['convention'] = 'V_ij = d2V/dx_i dx_j, atomic units, Cartesian frame of the cell'


def _create_series(file, name: str, step, time_fs, value) -> None:
    group = file.create_group(name)
    _create_times(group, step, time_fs)
    group['value'] = value
    unit = 'a.u.' if name.startswith('particles/efg_') else _UNITS.get(name)
    if unit:
        group['value'].attrs['unit'] = unit


def _create_times(group: h5py.Group, step, time_fs) -> None:
    group['step'] = np.asarray(step, np.int64)
    group['time'] = np.asarray(time_fs, np.float64)
    group['time'].attrs['unit'] = 'fs'


def _copy_series(source: h5py.File, target: h5py.File, name: str, rows: int = 4096) -> None:
    """Copy a series piece by piece, so that memory does not grow with its length."""
    group = target.create_group(name)
    for part in ('step', 'time', 'value'):
        data = source[f'{name}/{part}']
        copy = group.create_dataset(part, shape=data.shape, dtype=data.dtype)
        copy.attrs.update(dict(data.attrs))
        for start in range(0, len(data), rows):
            copy[start : start + rows] = data[start : start + rows]


def _series_names(file: h5py.File) -> list[str]:
    names = []

    def visit(name, item):
        if isinstance(item, h5py.Group) and 'value' in item and 'step' in item:
            names.append(name)

    file.visititems(visit)
    return sorted(names)


class Trajectory:
    """Reads a trajectory lazily, from a file or from an open binary handle.

    Attributes:
        path: the file, as messages name it.
        numbers: (n_atoms,) atomic numbers; empty in a file that holds EFG tensors only.
        pbc: (3,) booleans.

    Raises:
        InputError: the file is no H5MD trajectory.
    """

    def __init__(self, path: str | os.PathLike | BinaryIO):
        self.path = Path('trajectory') if hasattr(path, 'read') else Path(path)
        self._file = open_hdf5(path)
        if 'h5md' not in self._file or 'particles' not in self._file:
            self._file.close()
            raise InputError(f'{path}: not an H5MD trajectory; make one with "ufpnmr md" or "ufpnmr predict-efg"')
        everything = self._file.get('particles/all')
        self.numbers = np.zeros(0, int) if everything is None else everything['species'][...].astype(int)
        boundary = [] if everything is None else everything['box'].attrs['boundary']
        self.pbc = np.array([b == 'periodic' for b in boundary] or [True] * 3)

    def __enter__(self) -> Trajectory:
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols of the atoms."""
        return [chemical_symbols[z] for z in self.numbers]

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def series(self, name: str) -> h5py.Group:
        """The group of a series, with ``step``, ``time`` and ``value``; :class:`InputError` where it is missing."""
        if name not in self._file:
            raise InputError(f'{self.path}: holds no {name}')
        return self._file[name]

    @property
    def n_frames(self) -> int:
        """Number of frames with positions."""
        return len(self._file[POSITION]['value']) if POSITION in self._file else 0

    @property
    def time_fs(self) -> np.ndarray:
        """Times of the frames with positions, (n_frames,)."""
        return self.series(POSITION)['time'][...]

    def positions(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Unwrapped positions in Å of a range of frames, (frames, n_atoms, 3), float64."""
        return self.series(POSITION)['value'][start:stop].astype(float)

    def cells(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Cell vectors in Å, (frames, 3, 3)."""
        return self.series(EDGES)['value'][start:stop]

    def atoms(self, frame: int) -> Atoms:
        """One frame as ASE atoms."""
        frame = range(self.n_frames)[frame]
        return Atoms(
            self.numbers, self.positions(frame, frame + 1)[0], cell=self.cells(frame, frame + 1)[0], pbc=self.pbc
        )

    @property
    def efg_species(self) -> list[str]:
        """Species whose EFG tensors the file holds."""
        return [name[4:] for name in self._file['particles'] if name.startswith('efg_')]

    def efg(self, species: str | None = None, skip_fs: float = 0.0) -> EfgSeries:
        """EFG tensors of one species (the only one there, if not named), without the first ``skip_fs``.

        Raises:
            InputError: none there, several and none named, fewer than two frames, or times that are not equally spaced.
        """
        there = self.efg_species
        if not there:
            raise InputError(
                f'{self.path}: holds no EFG tensors; run "ufpnmr md" with --efg-model, or "ufpnmr predict-efg" on it'
            )
        if species is None and len(there) > 1:
            raise InputError(f'{self.path}: holds EFG tensors of {", ".join(there)}; choose one with --species')
        species = species or there[0]
        if species not in there:
            raise InputError(f'{self.path}: holds no EFG tensors of {species}, only of {", ".join(there)}')
        group = self._file[efg_group(species)]
        if 'efg' not in group:
            raise InputError(f'{self.path}: holds no frame with EFG tensors')
        time_fs = group['efg/time'][...]
        frames = regular_frames(time_fs, skip_fs, self.path)
        tensors = group['efg/value'][frames].astype(float)
        if not np.isfinite(tensors).all():
            frame = frames.start + int(np.flatnonzero(~np.isfinite(tensors).all(axis=(1, 2, 3)))[0])
            raise InputError(f'{self.path}, frame {frame}: EFG is NaN or infinite; remake the trajectory')
        return EfgSeries(species, group['id'][...], time_fs[frames], tensors)


def regular_frames(time_fs: np.ndarray, skip_fs: float, source) -> slice:
    """The equally spaced frames of a series, without the first ``skip_fs``.

    The last step of a run is always written; where it falls between two frames of the cadence it is left out.

    Raises:
        InputError: fewer than two frames stay, or they are not equally spaced.
    """
    first = int(np.searchsorted(time_fs, time_fs[0] + skip_fs - 1e-6)) if len(time_fs) else 0
    stop = len(time_fs)
    if stop - first >= 3 and time_fs[-1] - time_fs[-2] < (time_fs[-2] - time_fs[-3]) * (1 - 1e-6):
        stop -= 1
    if stop - first < 2:
        raise InputError(f'{source}: {max(0, stop - first)} frames to analyse; at least 2 are needed')
    gaps = np.diff(time_fs[first:stop])
    uneven = np.flatnonzero(~np.isclose(gaps, gaps[0], rtol=1e-6))
    if len(uneven):
        raise InputError(
            f'{source}, frame {first + 1 + uneven[0]}: frames are not equally spaced in time, which correlation needs'
        )
    return slice(first, stop)


def write_efg(path: str | os.PathLike, series: EfgSeries) -> None:
    """Write EFG tensors alone as an H5MD file that :meth:`Trajectory.efg` reads back."""
    write_efg_in_parts(
        path, series.species, series.index, np.arange(len(series.time_fs)), series.time_fs, [series.tensors]
    )


def write_efg_in_parts(
    path: str | os.PathLike, species: str, index: np.ndarray, step, time_fs, parts: Iterable[np.ndarray]
) -> None:
    """Like :func:`write_efg`, for tensors that come in parts of some frames each, (frames, n_ions, 3, 3) in a.u."""
    with whole_file(path) as partial, h5py.File(partial, 'w') as file:
        _write_header(file)
        _write_efg_header(file, species, index)
        name = f'{efg_group(species)}/efg'
        value = file.create_dataset(f'{name}/value', (len(step), len(index), 3, 3), np.float32)
        value.attrs['unit'] = 'a.u.'
        _create_times(file[name], step, time_fs)
        row = 0
        for part in parts:
            value[row : row + len(part)] = part
            row += len(part)
