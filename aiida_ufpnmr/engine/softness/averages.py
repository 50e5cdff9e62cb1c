"""Means over a time up to a frame, which leave the structure that lasts where vibrations would hide it.

Nothing of later frames enters, so that what comes of an ion is not known from its surroundings beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.trajectories.snapshots import CHUNK_BYTES, Snapshots
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, finite_positions


def frames_in(average_ps: float, time_fs: np.ndarray) -> int:
    """Number of frames at the times (n_frames,) that a mean over ``average_ps`` takes; at least one."""
    return 1 if len(time_fs) < 2 else max(1, round(1000 * average_ps / float(np.median(np.diff(time_fs)))))


def trailing_mean(values: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Mean over ``count`` rows up to each of ``rows``, (n_rows, ...), of values (n, ...); fewer where there are not so
    many before."""
    total = np.zeros((len(rows), *values.shape[1:]))
    for back in range(count):
        there = rows >= back
        total[there] += values[rows[there] - back]
    return total / np.minimum(rows + 1, count).reshape(-1, *[1] * (values.ndim - 1))


def averaged_parts(snapshots: Snapshots, average_ps: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions and cells as of :meth:`Snapshots.parts`, averaged over all frames of the file in a time up to each.

    Raises:
        InputError: a position that is not finite.
    """
    with Trajectory(snapshots.path) as trajectory:
        count = frames_in(average_ps, trajectory.time_fs)
    if count == 1:
        yield from snapshots.parts()
        return
    with Trajectory(snapshots.path) as trajectory, progress(len(snapshots.frames), 'structure', 'frame') as bar:
        size = max(1, int(CHUNK_BYTES // (24 * len(snapshots.atoms) * snapshots.frames.step)))
        for start in range(0, len(snapshots.frames), size):
            part = snapshots.frames[start : start + size]
            first = max(0, part.start - count + 1)
            rows = np.array(part) - first
            positions = finite_positions(trajectory, first, part[-1] + 1)
            cells = trajectory.cells(first, part[-1] + 1).astype(float)
            yield trailing_mean(positions, rows, count), trailing_mean(cells, rows, count)
            bar.update(len(part))
