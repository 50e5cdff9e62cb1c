"""Non-affine displacement D²_min of ions: what no strain of their neighbourhood explains.

Falk and Langer, Phys. Rev. E 57, 7192 (1998): with d the vectors from an ion to its neighbours at first and d′ the same
after a lag, D²_min is the least Σ|d′ − F d|² over all 3 × 3 matrices F. Here it is divided by the number of
neighbours, so that one ion that moves by u among neighbours that lie around it evenly has D²_min = u².
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import complete_cell, packed_atom, packed_neighbours, set_vector

#: Neighbours in fewer directions than space has leave F open: the least share that the thinnest one must have.
_FLAT = 1e-9


class NonaffineSteps:
    """D²_min of chosen atoms over one lag after the other, of positions that come some frames at a time.

    Args:
        ions: (n_ions,) indices of the atoms.
        counts: (n_atoms,) booleans, the atoms that count as neighbours.
        pbc: (3,) which directions are periodic.
        cutoff_angstrom: neighbours are the atoms that are nearer than this at the beginning of a lag.
        lag: frames from the beginning of a lag to that of the next.
    """

    def __init__(self, ions: np.ndarray, counts: np.ndarray, pbc: np.ndarray, cutoff_angstrom: float, lag: int):
        self.ions, self.counts, self.pbc, self.cutoff, self.lag = ions, counts, pbc, cutoff_angstrom, lag
        self.neighbours = np.zeros(len(ions), np.int64)
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._n_frames = 0
        self._found: list[np.ndarray] = []

    def add(self, positions: np.ndarray, cells: np.ndarray) -> None:
        """Take the next frames: unwrapped positions (frames, n_atoms, 3) and cells (frames, 3, 3) in Å.

        Raises:
            InputError: an ion whose neighbours, too few or all in a plane, do not tell a strain.
        """
        for frame in range(-self._n_frames % self.lag, len(positions), self.lag):
            place = np.ascontiguousarray(positions[frame], float)
            now = place, complete_cell(place, np.asarray(cells[frame], float), self.pbc)
            if self._before is not None:
                self._found.append(self._step(*self._before, *now))
            self._before = now
        self._n_frames += len(positions)

    def _step(self, before: np.ndarray, cell_before: np.ndarray, after: np.ndarray, cell_after: np.ndarray):
        found, number = nonaffine_displacement(
            before, cell_before, after, cell_after, self.pbc, self.ions, self.counts, self.cutoff
        )
        bad = np.flatnonzero(np.isnan(found))
        if len(bad):
            raise InputError(
                f'frame {len(self._found) * self.lag}: atom {self.ions[bad[0]]} has {number[bad[0]]} neighbours within '
                f'{self.cutoff:g} Å, which tell no strain; raise --cutoff-angstrom'
            )
        self.neighbours += number
        return found

    def squares(self) -> np.ndarray:
        """(n_lags, n_ions) D²_min in Å² of each lag so far."""
        return np.array(self._found).reshape(len(self._found), len(self.ions))


def nonaffine_displacement(
    before: np.ndarray,
    cell_before: np.ndarray,
    after: np.ndarray,
    cell_after: np.ndarray,
    pbc: np.ndarray,
    ions: np.ndarray,
    counts: np.ndarray,
    cutoff_angstrom: float,
) -> tuple[np.ndarray, np.ndarray]:
    """D²_min between two frames and the number of neighbours, (n_ions,) each.

    D²_min is in Å² and NaN where an ion has fewer than four neighbours, or all of them in a plane with it.

    Args:
        before, after: (n_atoms, 3) unwrapped positions in Å.
        cell_before, cell_after: (3, 3) in Å; they must span space.
        pbc, ions, counts, cutoff_angstrom: as in :class:`NonaffineSteps`.
    """
    wanted = np.zeros(len(before), bool)
    wanted[ions] = True
    return _nonaffine(
        before,
        cell_before,
        after,
        cell_after,
        np.asarray(pbc, bool),
        np.asarray(ions, np.int64),
        wanted,
        np.asarray(counts, bool),
        float(cutoff_angstrom),
        np.bool_(False),
    )


@njit(nogil=True)
def _nonaffine(before, cell_before, after, cell_after, pbc, ions, wanted, counts, cutoff, half):
    wrap, start, keys = packed_neighbours(before, cell_before, pbc, cutoff, wanted, half)
    n_ions = len(ions)
    found, number = np.empty(n_ions), np.zeros(n_ions, np.int64)
    most = (start[1:] - start[:-1]).max()
    first, moved = np.empty((most, 3)), np.empty((most, 3))
    for row in range(n_ions):
        i, n = ions[row], 0
        spread, change = np.zeros((3, 3)), np.zeros((3, 3))
        for q in range(start[i], start[i + 1]):
            key = keys[q]
            j = packed_atom(key)
            if not counts[j]:
                continue
            set_vector(first[n], before, cell_before, wrap, i, key)
            set_vector(moved[n], after, cell_after, wrap, i, key)
            for x in range(3):
                moved[n, x] -= first[n, x]
            for x in range(3):
                for y in range(3):
                    spread[x, y] += first[n, x] * first[n, y]
                    change[x, y] += moved[n, x] * first[n, y]
            n += 1
        number[row] = n
        size = (spread[0, 0] + spread[1, 1] + spread[2, 2]) / 3
        if n < 4 or np.linalg.det(spread) < _FLAT * size**3:
            found[row] = np.nan
            continue
        strain = change @ np.linalg.inv(spread)
        total = 0.0
        for k in range(n):
            for x in range(3):
                left = moved[k, x]
                for y in range(3):
                    left -= strain[x, y] * first[k, y]
                total += left * left
        found[row] = total / n
    return found, number
