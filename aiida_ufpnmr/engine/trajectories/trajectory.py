"""Reads trajectories; see :mod:`~aiida_ufpnmr.engine.trajectories.h5md` for their layout."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.engine.trajectories.h5md import check_version
from aiida_ufpnmr.engine.trajectories.h5md_of_others import check_own
from aiida_ufpnmr.engine.trajectories.series import EDGES, POSITION, VELOCITY, efg_group
from aiida_ufpnmr.engine.trajectories.writer import TrajectoryWriter, write_efg_in_parts

__all__ = [
    'EDGES',
    'POSITION',
    'VELOCITY',
    'EfgSeries',
    'Trajectory',
    'TrajectoryWriter',
    'efg_group',
    'finite_positions',
    'regular_frames',
    'write_efg',
    'write_efg_in_parts',
]


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
        check_own(self._file, path)
        check_version(self._file, path)
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

    def one_efg_species(self, species: str | None = None) -> str:
        """The species whose EFG tensors to read: the one that is named, or the only one there.

        Raises:
            InputError: none there, several and none named, or not the one that is named.
        """
        there = self.efg_species
        if not there:
            raise InputError(
                f'{self.path}: holds no EFG tensors; run "ufpnmr md" with --efg-model, or "ufpnmr predict-efg" on it'
            )
        if species is None and len(there) > 1:
            raise InputError(f'{self.path}: holds EFG tensors of {", ".join(there)}; choose one with --species')
        if species is not None and species not in there:
            raise InputError(f'{self.path}: holds no EFG tensors of {species}, only of {", ".join(there)}')
        return species or there[0]

    def efg(self, species: str | None = None, skip_fs: float = 0.0) -> EfgSeries:
        """EFG tensors of one species (the only one there, if not named), without the first ``skip_fs``.

        Raises:
            InputError: none there, several and none named, fewer than two frames, or times that are not equally spaced.
        """
        species = self.one_efg_species(species)
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


def finite_positions(trajectory: Trajectory, start: int, stop: int) -> np.ndarray:
    """Positions of a range of frames, (frames, n_atoms, 3) in Å; :class:`InputError` where one is not finite."""
    part = trajectory.positions(start, stop)
    bad = np.flatnonzero(~np.isfinite(part).all(axis=(1, 2)))
    if len(bad):
        raise InputError(f'{trajectory.path}, frame {start + bad[0]}: a position is NaN or infinite; remake it')
    return part


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
        frame = first + 1 + int(uneven[0])
        raise InputError(
            f'{source}, frame {frame}: frames are not equally spaced in time, which correlation needs '
            f'({gaps[uneven[0]]:g} fs where {gaps[0]:g} fs came before); convert the {frame} frames before it alone '
            '(--frames), or write the trajectory anew with one spacing (--every)'
        )
    return slice(first, stop)


def write_efg(path: str | os.PathLike, series: EfgSeries) -> None:
    """Write EFG tensors alone as an H5MD file that :meth:`Trajectory.efg` reads back."""
    write_efg_in_parts(
        path, series.species, series.index, np.arange(len(series.time_fs)), series.time_fs, [series.tensors]
    )
