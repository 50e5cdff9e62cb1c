"""Chosen frames of a trajectory with all atoms, read some at a time: what the structure is told from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, finite_positions, regular_frames

#: Upper limit on the positions held at a time.
CHUNK_BYTES = 16e6


@dataclass(frozen=True)
class SnapshotSettings(Settings):
    """Choice of the frames."""

    skip_ps: float = setting(0.0, 'Leave out the first ps.', least=0)
    stride: int = setting(1, 'Take one frame of so many.', least=1)


@dataclass(frozen=True)
class Snapshots:
    """Frames of all atoms.

    Attributes:
        path: the trajectory.
        atoms: elements and boundary conditions, with the positions and the cell of the first frame.
        frames: numbers of the frames in the file.
        time_fs: (n_frames,) their times.
    """

    path: Path
    atoms: Atoms
    frames: range
    time_fs: np.ndarray

    @classmethod
    def open(cls, path: Path, settings: SnapshotSettings = SnapshotSettings()) -> Snapshots:
        """The frames that the settings ask for; one is enough, and their times need not be regular.

        Raises:
            InputError: no positions, or none after the time to skip.
        """
        with Trajectory(path) as trajectory:
            if trajectory.n_frames == 0:
                raise InputError(f'{path}: holds no positions; give the trajectory that "ufpnmr md" wrote')
            time_fs = trajectory.time_fs
            first = int(np.searchsorted(time_fs, time_fs[0] + 1000 * settings.skip_ps - 1e-6))
            frames = range(first, len(time_fs), settings.stride)
            if not frames:
                raise InputError(f'{path}: ends after {1e-3 * (time_fs[-1] - time_fs[0]):g} ps; shorten --skip-ps')
            return cls(Path(path), trajectory.atoms(first), frames, time_fs[frames.start :: frames.step])

    @property
    def symbols(self) -> np.ndarray:
        """(n_atoms,) chemical symbols."""
        return np.array(self.atoms.symbols)

    @property
    def length_ps(self) -> float:
        """Time between the first and the last frame."""
        return 1e-3 * float(self.time_fs[-1] - self.time_fs[0])

    @property
    def step_ps(self) -> float:
        """Time between frames; the mean one where they are not regular, and zero for a single frame."""
        return self.length_ps / max(1, len(self.frames) - 1)

    def at_regular_times(self) -> Snapshots:
        """The same, without a last frame that the cadence does not hold.

        Raises:
            InputError: fewer than two frames, or not equally spaced.
        """
        kept = regular_frames(self.time_fs, 0.0, self.path)
        return Snapshots(self.path, self.atoms, self.frames[kept], self.time_fs[kept])

    def periodic(self, what: str) -> Snapshots:
        """The same, for ``what`` has a meaning in a periodic cell alone.

        Raises:
            InputError: a direction that is not periodic.
        """
        if not self.atoms.pbc.all():
            raise InputError(f'{self.path}: not periodic in all directions; {what} needs a density')
        return self

    def chosen(self, symbol: str, option: str) -> np.ndarray:
        """Indices of the atoms of one element; :class:`InputError`, which names the option, where there is none."""
        index = np.flatnonzero(self.symbols == symbol)
        if not len(index):
            there = ', '.join(sorted(set(self.symbols)))
            raise InputError(f'{self.path}: holds no {symbol}, only {there}; choose one with --{option}')
        return index

    def mean_cell(self) -> np.ndarray:
        """Cell vectors (3, 3) in Å, averaged over the frames."""
        with Trajectory(self.path) as trajectory:
            return trajectory.cells(self.frames.start, self.frames.stop)[:: self.frames.step].mean(axis=0)

    def mean_structure(self) -> Atoms:
        """Atoms at the mean of their unwrapped positions, in the mean cell."""
        atoms = self.atoms.copy()
        atoms.positions = sum(positions.sum(axis=0) for positions, _ in self.parts()) / len(self.frames)
        atoms.cell[:] = self.mean_cell()
        return atoms

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Unwrapped positions (frames, n_atoms, 3) and cells (frames, 3, 3) in Å, some frames at a time.

        Raises:
            InputError: a position that is not finite.
        """
        size = max(1, int(CHUNK_BYTES // (24 * len(self.atoms) * self.frames.step)))
        with Trajectory(self.path) as trajectory, progress(len(self.frames), 'structure', 'frame') as bar:
            for start in range(0, len(self.frames), size):
                part = self.frames[start : start + size]
                positions = finite_positions(trajectory, part.start, part[-1] + 1)[:: part.step]
                cells = trajectory.cells(part.start, part[-1] + 1)[:: part.step]
                yield np.ascontiguousarray(positions), np.ascontiguousarray(cells, float)
                bar.update(len(part))
