"""Trajectories written from lists of structures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, TrajectoryWriter


def write_frames(path: Path, frames: Sequence[Atoms], step_fs: float = 100.0, pieces: bool = False) -> Path:
    """Write structures in double precision; with ``pieces`` leave them as a run that goes on does, in many files."""
    writer = TrajectoryWriter(path, frames[0], {}, seconds=1e9, megabytes=1e4, storage=Storage(double=True))
    for number, atoms in enumerate(frames):
        writer.append(POSITION, number, number * step_fs, atoms.positions)
        writer.append(EDGES, number, number * step_fs, atoms.cell.array)
        if pieces and number % 3 == 2:
            writer.write()
    writer.write() if pieces else writer.close()
    return path


def shaken(atoms: Atoms, n_frames: int, amplitude_angstrom: float = 0.1, seed: int = 0) -> list[Atoms]:
    """Copies with independent noise on each coordinate."""
    rng = np.random.default_rng(seed)
    frames = [atoms.copy() for _ in range(n_frames)]
    for one in frames:
        one.positions += amplitude_angstrom * rng.standard_normal(one.positions.shape)
    return frames
