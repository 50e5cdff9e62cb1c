"""Numbers of pairs by distance, and the partial radial distribution functions g(r) that they give."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from scipy.ndimage import gaussian_filter1d, label
from scipy.signal import find_peaks

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.neighbours import packed_atom, packed_neighbours, set_vector
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots

#: Parts of the trajectory whose spread gives errors.
TIME_PARTS = 8
#: Peaks of g(r) are looked for after it was smoothed over this distance, and stand out by so much.
SMOOTHING_ANGSTROM, PROMINENCE = 0.08, 0.1


@dataclass(frozen=True)
class PairCounts:
    """Pairs of atoms by distance, counted over frames.

    Attributes:
        elements: (n_elements,) chemical symbols, and atoms: (n_elements,) how many there are of each.
        edges: (n_bins + 1,) edges of the bins in Å.
        counts: (time parts, n_elements, n_elements, n_bins) neighbours of the second element, in all frames of a part,
            of all atoms of the first; images count, also those of an atom itself.
        frames: (time parts,) number of frames, and per_volume: (time parts,) sum over them of 1/V, Å⁻³.
    """

    elements: tuple[str, ...]
    atoms: np.ndarray
    edges: np.ndarray
    counts: np.ndarray
    frames: np.ndarray
    per_volume: np.ndarray

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Numbers of the elements of each pair, each pair once."""
        return list(combinations_with_replacement(range(len(self.elements)), 2))

    @property
    def density(self) -> float:
        """Number of atoms by volume, Å⁻³, averaged over frames."""
        return float(self.atoms.sum() * self.per_volume.sum() / self.frames.sum())

    def g(self, a: int, b: int) -> np.ndarray:
        """g(r) in each bin: the neighbours found over those in an ideal gas of the density of each frame."""
        return self._g(a, b, self.counts.sum(axis=0), self.per_volume.sum())

    def g_error(self, a: int, b: int) -> np.ndarray:
        """Standard error of g(r), from the spread over parts of the trajectory; NaN for a single part."""
        if len(self.frames) < 2:
            return np.full(len(self.edges) - 1, np.nan)
        parts = [self._g(a, b, counts, volume) for counts, volume in zip(self.counts, self.per_volume)]
        return np.std(parts, axis=0, ddof=1) / np.sqrt(len(parts))

    def _g(self, a: int, b: int, counts: np.ndarray, per_volume: float) -> np.ndarray:
        shells = 4 / 3 * np.pi * np.diff(self.edges**3)
        return counts[a, b] / (self.atoms[a] * self.atoms[b] * per_volume * shells)

    def coordination(self, a: int, b: int) -> np.ndarray:
        """Mean number of neighbours b of an atom a up to the upper edge of each bin."""
        return np.cumsum(self.counts[:, a, b].sum(axis=0)) / (self.atoms[a] * self.frames.sum())


def count_pairs(snapshots: Snapshots, r_max_angstrom: float, bin_angstrom: float) -> PairCounts:
    """Count all pairs up to ``r_max_angstrom``, which may exceed the cell: every image counts.

    The last bin ends at or beyond that distance.

    Raises:
        InputError: a direction that is not periodic, or a position that is not finite.
    """
    elements, kind = np.unique(snapshots.periodic('g(r)').symbols, return_inverse=True)
    n_bins = int(np.ceil(r_max_angstrom / bin_angstrom - 1e-9))
    n_frames = len(snapshots.frames)
    n_parts = TIME_PARTS if n_frames >= TIME_PARTS else 1
    counts = np.zeros((n_parts, len(elements), len(elements), n_bins), np.int64)
    frames, per_volume, done = np.zeros(n_parts, int), np.zeros(n_parts), 0
    for positions, cells in snapshots.parts():
        volume = np.abs(np.linalg.det(cells))
        for part in range(n_parts):
            first, last = (max(0, -(-n * n_frames // n_parts) - done) for n in (part, part + 1))
            _count_pairs(
                positions[first:last],
                cells[first:last],
                kind.astype(np.int64),
                float(bin_angstrom),
                counts[part],
                np.bool_(True),
            )
            frames[part] += len(volume[first:last])
            per_volume[part] += (1 / volume[first:last]).sum()
        done += len(positions)
    return PairCounts(
        elements=tuple(map(str, elements)),
        atoms=np.bincount(kind),
        edges=bin_angstrom * np.arange(n_bins + 1),
        counts=counts + counts.swapaxes(1, 2),
        frames=frames,
        per_volume=per_volume,
    )


@njit(nogil=True)
def _count_pairs(positions, cells, kind, width, counts, half):
    """Add each pair once to ``counts``, (n_elements, n_elements, n_bins)."""
    n_bins = counts.shape[2]
    everyone = np.ones(len(kind), np.bool_)
    periodic = np.ones(3, np.bool_)
    vector = np.empty(3)
    for f in range(len(positions)):
        place, cell = positions[f], cells[f]
        wrap, start, keys = packed_neighbours(place, cell, periodic, n_bins * width, everyone, half)
        for i in range(len(kind)):
            for q in range(start[i], start[i + 1]):
                set_vector(vector, place, cell, wrap, i, keys[q])
                bin_ = int(np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2) / width)
                if bin_ < n_bins:
                    counts[kind[i], kind[packed_atom(keys[q])], bin_] += 1


@dataclass(frozen=True)
class FirstShell:
    """The first peak of a g(r), bin by bin.

    Attributes:
        peak: number of its highest bin; ``None`` where nothing stands out.
        end: number of the bin at the minimum behind it; ``None`` where g(r) does not rise again.
    """

    peak: int | None
    end: int | None


def first_shell(g: np.ndarray, bin_angstrom: float) -> FirstShell:
    """Find the first peak of g(r) (n_bins,) and the minimum behind it.

    Both are looked for in a smoothed copy, so that noise makes none. Where g(r) is zero over a range, as between the
    shells of a crystal, the minimum is its middle.
    """
    smooth = gaussian_filter1d(g, SMOOTHING_ANGSTROM / bin_angstrom, mode='nearest')
    peaks = find_peaks(smooth, prominence=PROMINENCE)[0]
    if not len(peaks):
        return FirstShell(None, None)
    reach = int(np.ceil(SMOOTHING_ANGSTROM / bin_angstrom))
    near = slice(max(0, peaks[0] - reach), peaks[0] + reach + 1)
    peak = near.start + int(np.argmax(g[near]))
    stop = peaks[1] + 1 if len(peaks) > 1 else len(g)
    behind = smooth[peak:stop]
    lowest, _ = label(behind <= behind.min() + 1e-6)
    first = np.flatnonzero(lowest == 1)
    if len(peaks) == 1 and first[0] == len(behind) - 1:
        return FirstShell(peak, None)
    return FirstShell(peak, peak + int(first[len(first) // 2]))
