"""Some frames of a trajectory at equal times from each other."""

from __future__ import annotations

import os

from ase import Atoms

from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory


def spaced_frames(path: str | os.PathLike, number: int) -> list[Atoms]:
    """``number`` frames at equal times, the last among them, or all of fewer; the first of the run is left out.

    The first is where a run starts, a crystal at rest as a rule; it is all there is of a run of one frame.
    """
    with Trajectory(path) as trajectory:
        frames = range(1, trajectory.n_frames) or range(1)
        n = min(number, len(frames))
        found = [bare(trajectory.atoms(frames[(k + 1) * len(frames) // n - 1])) for k in range(n)]
    for atoms in found:
        atoms.wrap()
    return found
