"""Trajectories as nodes."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
from aiida.common.exceptions import ValidationError
from aiida.orm import Data

from aiida_ufpnmr.data.checked_file import attribute
from aiida_ufpnmr.data.hdf5 import Hdf5Data
from aiida_ufpnmr.engine.hdf5 import content_hash, open_hdf5
from aiida_ufpnmr.engine.trajectories.chain import files_of
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, efg_group


class TrajectoryData(Hdf5Data):
    """An H5MD file with positions, EFG tensors, or both; arrays stay in the file until they are asked for.

    The rows of a long run may lie in pieces beside the file. The repository keeps equal files once, so a trajectory
    that was joined from the parts of a run takes no room of its own.
    """

    DEFAULT_FILENAME = 'trajectory.h5'

    def _set_path(self, path: Path, filename: str | Path | None) -> None:
        super()._set_path(path, filename)
        for piece in files_of(path):
            if piece != path:
                self.base.repository.put_object_from_file(str(piece.absolute()), str(piece.relative_to(path.parent)))

    def _validate(self) -> bool:
        """Refuse anything but one file, and the folder of its pieces where it has some."""
        Data._validate(self)
        names = self.base.repository.list_object_names()
        if self.filename not in names or len(names) > 2:
            raise ValidationError(f'a trajectory and its pieces should be here, not {names}')
        return True

    @property
    def is_in_pieces(self) -> bool:
        """True where the rows lie in files beside the file itself."""
        return len(self.base.repository.list_object_names()) > 1

    @contextmanager
    def as_path(self) -> Iterator[Path]:
        """A copy of the file, with its pieces beside it, as long as the context lasts."""
        self._must_be_there()
        with self.base.repository.as_path() as folder:
            yield Path(folder) / self.filename

    @contextmanager
    def _readable(self) -> Iterator[Path | t.BinaryIO]:
        """A source that the engine can open: the file where it lies, or a copy of it with its pieces."""
        if self.is_in_pieces:
            with self.as_path() as path:
                yield path
        else:
            with self.open(mode='rb') as handle:
                yield handle

    @contextmanager
    def open_hdf5(self) -> Iterator[h5py.File]:
        """Open the file for reading; where it is in pieces, a copy of them."""
        with self._readable() as source, open_hdf5(source) as file:
            yield file

    @classmethod
    def describe(cls, path: Path) -> dict[str, t.Any]:
        with Trajectory(path) as trajectory:
            times = [trajectory.time_fs] if trajectory.n_frames else []
            efg_frames = {}
            for species in trajectory.efg_species:
                efg_time = trajectory.series(f'{efg_group(species)}/efg')['time'][...]
                efg_frames[species] = len(efg_time)
                times.append(efg_time)
            return {
                'n_frames': trajectory.n_frames,
                'n_atoms': len(trajectory.numbers),
                'species': sorted(set(trajectory.symbols)),
                'efg_frames': efg_frames,
                'time_ps': max((float(time[-1] - time[0]) for time in times if len(time)), default=0.0) / 1000,
                'sha256': content_hash(path),
            }

    @contextmanager
    def open_trajectory(self) -> Iterator[Trajectory]:
        """The trajectory as the engine reads it, lazily, and without a copy of the file unless it is in pieces."""
        with self._readable() as source, Trajectory(source) as trajectory:
            yield trajectory

    n_frames = attribute('n_frames', 'Number of frames with positions.')
    n_atoms = attribute('n_atoms', 'Number of atoms; 0 where the file holds EFG tensors only.')
    time_ps = attribute('time_ps', 'Time from the first frame to the last, in ps.')
    species = attribute('species', 'Chemical symbols of the atoms, sorted.')
