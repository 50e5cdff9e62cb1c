"""The function of van Hove, Phys. Rev. 95, 249 (1954): where ions are some time after one of them was at the origin."""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.neighbours import cell_heights

#: Frames that count as origins; more are alike, and tell little more.
ORIGINS = 400


def origins(n_frames: int, lag: int) -> np.ndarray:
    """Evenly spaced frames that have a partner after ``lag`` frames, at most :data:`ORIGINS`."""
    return np.unique(np.linspace(0, n_frames - 1 - lag, min(ORIGINS, n_frames - lag)).astype(int))


def self_part(positions: np.ndarray, lag: int, edges: np.ndarray) -> np.ndarray:
    """Probability density 4πr² G_s(r) of the distance after ``lag`` frames, (n_bins,); in units of 1/edges.

    Args:
        positions: (n_frames, n_ions, 3) unwrapped, free of drift.
        lag: in frames.
        edges: (n_bins + 1,) of the distances; farther ions are left out, so that the area may be below 1.
    """
    start = origins(len(positions), lag)
    distance = np.linalg.norm(positions[start + lag] - positions[start], axis=2)
    return np.histogram(distance, edges)[0] / distance.size / np.diff(edges)


def distinct_part(positions: np.ndarray, cells: np.ndarray, lag: int, edges: np.ndarray) -> np.ndarray:
    """G_d(r) over the mean density: other ions after ``lag`` frames around where one was, (n_bins,); 1 far away.

    Args:
        positions: (n_frames, n_ions, 3) in Å.
        cells: (n_frames, 3, 3) cell vectors.
        lag: in frames.
        edges: (n_bins + 1,) of bins of one width from 0 to half the smallest height of a cell, see :func:`reach`.
    """
    counts, density = np.zeros(len(edges) - 1, np.int64), 0.0
    n_ions = positions.shape[1]
    for first in origins(len(positions), lag):
        cell = np.ascontiguousarray(cells[first], float)
        inverse = np.linalg.inv(cell)
        before, after = (np.ascontiguousarray((positions[n] @ inverse).T) for n in (first, first + lag))
        _count_others(before, after, cell, float(edges[1]), counts)
        density += n_ions / abs(np.linalg.det(cell))
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    return counts / (n_ions * density * shells)


@njit(nogil=True, error_model='numpy')
def _count_others(before, after, cell, width, counts):
    """Add to ``counts`` (n_bins,) the distances from each ion to the others later, both in fractions (3, n_ions)."""
    n_ions = before.shape[1]
    bins = np.empty(n_ions)
    for i in range(n_ions):
        for j in range(n_ions):
            a, b, c = after[0, j] - before[0, i], after[1, j] - before[1, i], after[2, j] - before[2, i]
            a, b, c = a - np.rint(a), b - np.rint(b), c - np.rint(c)
            square = 0.0
            for x in range(3):
                square += (a * cell[0, x] + b * cell[1, x] + c * cell[2, x]) ** 2
            bins[j] = np.sqrt(square) / width
        bins[i] = np.inf
        for j in range(n_ions):
            if bins[j] < len(counts):
                counts[int(bins[j])] += 1


def reach(cells: np.ndarray) -> float:
    """Half the smallest height of the cells (n_frames, 3, 3): within it no image is nearer than the nearest."""
    return float(cell_heights(cells).min() / 2)
