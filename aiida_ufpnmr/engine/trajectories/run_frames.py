"""Frames of one run whose positions lie in one file or in several, of which each goes on from the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_masses, chemical_symbols

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.trajectories.paths import position_blocks, without_drift
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, regular_frames


@dataclass(frozen=True)
class RunFrames:
    """Frames with positions of one run; what two files hold both is taken from the later one.

    Attributes:
        numbers: (n_atoms,) atomic numbers.
        pbc: (3,) booleans.
        time_fs: (n_frames,) equally spaced times.
        files: each with the rows that count.
    """

    numbers: np.ndarray
    pbc: np.ndarray
    time_fs: np.ndarray
    files: tuple[tuple[Path, slice], ...]

    @classmethod
    def open(cls, paths: Sequence[Path], begin_fs: float) -> RunFrames:
        """The frames from a time on, of files in the order of time.

        Raises:
            InputError: a file without positions or with other atoms than the first, or frames not equally spaced.
        """
        times: list[np.ndarray] = []
        numbers, pbc = np.zeros(0, int), np.ones(3, bool)
        for path in paths:
            with Trajectory(path) as source:
                if source.n_frames == 0:
                    raise InputError(f'{path}: holds no positions; give the trajectory that "ufpnmr md" wrote')
                if times and not np.array_equal(source.numbers, numbers):
                    raise InputError(f'{path}: its atoms are not those of {paths[0]}; give runs of one structure')
                numbers, pbc = source.numbers, source.pbc
                times.append(source.time_fs)
        begins = [begin_fs, *(there[0] for there in times[1:]), np.inf]
        files = []
        for number, (path, there) in enumerate(zip(paths, times)):
            first, stop = np.searchsorted(there, np.array(begins[number : number + 2]) - 1e-6)
            kept = there[first:stop]
            if len(kept) > 2:  # the last step of a run is written also where it falls between two frames
                stop = first + regular_frames(kept, 0.0, path).stop
            files.append((path, slice(int(first), int(stop))))
        time_fs = np.concatenate([there[rows] for there, (_, rows) in zip(times, files)])
        regular_frames(time_fs, 0.0, paths[0])
        return cls(numbers, pbc, time_fs, tuple(files))

    @property
    def step_ps(self) -> float:
        """Time between frames."""
        return float(self.time_fs[1] - self.time_fs[0]) * 1e-3

    def atoms_of(self, element: str, option: str = 'species') -> np.ndarray:
        """Indices of the atoms of an element.

        Raises:
            InputError: there are none; the message says what there is, and the option that chooses.
        """
        symbols = np.array(chemical_symbols)[self.numbers]
        if element not in symbols:
            there = ', '.join(sorted(set(symbols)))
            raise InputError(f'{self.files[0][0]}: holds no {element}, only {there}; choose one with --{option}')
        return np.flatnonzero(symbols == element)

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Positions (frames, n_atoms, 3) and cells (frames, 3, 3) in Å, some frames at a time."""
        with progress(len(self.time_fs), 'positions', 'frame') as bar:
            for path, rows in self.files:
                with Trajectory(path) as source:
                    start = rows.start
                    for positions in position_blocks(source, rows):
                        yield positions, source.cells(start, start + len(positions))
                        start += len(positions)
                        bar.update(len(positions))

    def paths(self, ions: np.ndarray) -> Iterator[np.ndarray]:
        """Positions of some atoms (frames, n_ions, 3) in Å, the mass centre of all others held still."""
        chosen = np.isin(np.arange(len(self.numbers)), ions)
        masses = None if chosen.all() else atomic_masses[self.numbers] * ~chosen
        return without_drift((positions for positions, _ in self.parts()), chosen, masses)
