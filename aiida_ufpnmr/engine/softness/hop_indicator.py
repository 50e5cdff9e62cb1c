"""The hop indicator p_hop of ions: how far apart the places before and after a time are.

Candelier et al., Phys. Rev. Lett. 105, 135702 (2010), after Candelier, Dauchot and Biroli, Phys. Rev. Lett. 102, 088001
(2009): with A the positions in half a window before a time and B those in half a window after it,
p_hop = √(⟨|r − ⟨r⟩_B|²⟩_A ⟨|r − ⟨r⟩_A|²⟩_B). An ion that only rattles has about its variance, one that hops by d has
about d² more.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit

#: Half a window has at least so many frames.
FEWEST_FRAMES = 3


class HopIndicator:
    """The largest p_hop of each ion in each of equal spans, of positions that come some frames at a time.

    Args:
        n_ions: number of ions.
        half: frames before and after, each.
        span: frames over which the largest value is taken.
        n_spans: number of spans; what comes after them is left out.
    """

    def __init__(self, n_ions: int, half: int, span: int, n_spans: int):
        self.half, self.span = half, span
        #: (n_spans, n_ions) in Å²; NaN where no window lies within the trajectory.
        self.largest = np.full((n_spans, n_ions), np.nan)
        self._kept = np.empty((0, n_ions, 3))
        self._n_frames = 0

    def add(self, positions: np.ndarray) -> None:
        """Take the next frames, (frames, n_ions, 3), unwrapped, Å, free of drift."""
        path = np.concatenate([self._kept, positions])
        first = self._n_frames - len(self._kept)
        self._n_frames += len(positions)
        _add_hop_indicator(path, self.half, self.span, first, self.largest)
        self._kept = path[max(0, len(path) - 2 * self.half + 1) :].copy()


@njit(nogil=True)
def _add_hop_indicator(path, half, span, first, largest):
    """Raise ``largest`` to the values at all frames of path (n_frames, n_ions, 3) with a whole window.

    ``first`` is the number of the first frame of the path among all.
    """
    n_frames, n_ions = path.shape[:2]
    for i in range(n_ions):
        for f in range(half, n_frames - half + 1):
            row = (f + first) // span
            if row >= len(largest):
                break
            between, before, after = 0.0, 0.0, 0.0
            for x in range(3):
                mean_before, mean_after = 0.0, 0.0
                for k in range(half):
                    mean_before += path[f - 1 - k, i, x]
                    mean_after += path[f + k, i, x]
                mean_before /= half
                mean_after /= half
                for k in range(half):
                    before += (path[f - 1 - k, i, x] - mean_before) ** 2 / half
                    after += (path[f + k, i, x] - mean_after) ** 2 / half
                between += (mean_after - mean_before) ** 2
            value = np.sqrt((before + between) * (after + between))
            if not largest[row, i] >= value:
                largest[row, i] = value
