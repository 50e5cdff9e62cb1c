"""Trajectories as nodes."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiida_ufpnmr.data.hdf5 import Hdf5Data
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.md.trajectory import Trajectory, efg_group


class TrajectoryData(Hdf5Data):
    """An H5MD file with positions, EFG tensors, or both; arrays stay in the file until they are asked for."""

    DEFAULT_FILENAME = 'trajectory.h5'

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
        """The trajectory as the engine reads it, lazily and without a copy of the file."""
        with self.open(mode='rb') as handle, Trajectory(handle) as trajectory:
            yield trajectory

    @property
    def n_frames(self) -> int:
        """Number of frames with positions."""
        return self.base.attributes.get('n_frames')

    @property
    def n_atoms(self) -> int:
        """Number of atoms; 0 where the file holds EFG tensors only."""
        return self.base.attributes.get('n_atoms')

    @property
    def time_ps(self) -> float:
        """Time from the first frame to the last, in ps."""
        return self.base.attributes.get('time_ps')

    @property
    def species(self) -> list[str]:
        """Chemical symbols of the atoms, sorted."""
        return self.base.attributes.get('species')
