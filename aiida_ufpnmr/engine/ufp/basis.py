"""Which B-splines a potential has, and which column of the linear problem belongs to each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse

from aiida_ufpnmr.engine.ufp.splines import TRIM, second_differences


@dataclass(frozen=True)
class Basis:
    """Grids of all terms, ``s`` species, and the column of each coefficient.

    Columns: ``s`` one-body energies; then, for each pair of species, all functions but the last three, which vanish at the
    cut-off; then, for each trio, the products that fade out at either end of every axis and that some triangle can reach.
    In a trio whose outer atoms are of one species, products that differ by their exchange share a column.

    Attributes:
        species: chemical symbols in order of atomic number.
        pair_start, leg_start, third_start: (s, s) Å.
        pair_cutoff, trio_cutoff: Å.
        pair_intervals, leg_intervals, third_intervals: numbers of intervals of the grids.
        pair_columns: (s, s, pair_intervals + 3) int32, -1 where a coefficient is zero by construction.
        trio_columns: (s, s, s, leg_intervals + 3, leg_intervals + 3, third_intervals + 3) int32, likewise.
        n_columns: columns in all.
    """

    species: tuple[str, ...]
    pair_start: np.ndarray
    leg_start: np.ndarray
    third_start: np.ndarray
    pair_cutoff: float
    trio_cutoff: float
    pair_intervals: int
    leg_intervals: int
    third_intervals: int
    pair_columns: np.ndarray
    trio_columns: np.ndarray
    n_columns: int

    def expand(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One-body, pair and trio coefficients, zero where there is no column."""
        padded = np.append(coefficients, 0.0)
        return coefficients[: len(self.species)].copy(), padded[self.pair_columns], padded[self.trio_columns]

    def columns_around(self, species: int) -> np.ndarray:
        """The columns that the energy of an atom of one species depends on, in order."""
        found = np.unique(np.concatenate([self.pair_columns[species].ravel(), self.trio_columns[species].ravel()]))
        return np.append(species, found[found >= 0])

    def penalty(
        self, ridge_pair: float, curvature_pair: float, ridge_trio: float, curvature_trio: float
    ) -> sparse.csc_matrix:
        """Quadratic penalty on the coefficients: their size, and their second differences along every axis.

        One-body energies are corrections to reference energies, known to about an electronvolt.
        """
        s = len(self.species)
        diagonal = np.ones(self.n_columns)
        n_pair = int(self.pair_columns.max()) + 1
        diagonal[s:n_pair] = ridge_pair
        diagonal[n_pair:] = ridge_trio
        total = sparse.diags_array(diagonal, format='csr')
        pair = sparse.csr_matrix(second_differences(self.pair_intervals + 3))
        leg = sparse.csr_matrix(second_differences(self.leg_intervals + 3))
        third = sparse.csr_matrix(second_differences(self.third_intervals + 3))
        legs, thirds = sparse.identity(leg.shape[1]), sparse.identity(third.shape[1])
        trio = [
            sparse.kron(sparse.kron(leg, legs), thirds),
            sparse.kron(sparse.kron(legs, leg), thirds),
            sparse.kron(sparse.kron(legs, legs), third),
        ]
        for i, j in np.ndindex(s, s):
            if i <= j:
                total = total + curvature_pair * self._gram(pair, self.pair_columns[i, j])
        for i, j, k in np.ndindex(s, s, s):
            if j <= k:
                for differences in trio:
                    total = total + curvature_trio * self._gram(differences, self.trio_columns[i, j, k].ravel())
        return total.tocsc()

    def _gram(self, differences: sparse.sparray, columns: np.ndarray) -> sparse.csr_matrix:
        """DᵀD of differences D of expanded coefficients, taken to columns."""
        there = np.flatnonzero(columns >= 0)
        to_columns = sparse.csr_matrix(
            (np.ones(len(there)), (there, columns[there])), shape=(len(columns), self.n_columns)
        )
        reduced = differences @ to_columns
        return reduced.T @ reduced


def make_basis(
    species: tuple[str, ...],
    closest_distance: np.ndarray,
    pair_cutoff: float,
    trio_cutoff: float,
    pair_intervals: int,
    leg_intervals: int,
    third_intervals: int,
) -> Basis:
    """Lay grids over the distances that occur and number the coefficients.

    Args:
        closest_distance: (s, s) shortest distances in the data, Å. Pair grids begin at half of them, so that the wall below
            the data is part of the spline; three-body grids begin some intervals below them.
    """
    return number_columns(
        species,
        0.5 * closest_distance,
        _start_below(closest_distance, trio_cutoff, leg_intervals, 3.0),
        _start_below(closest_distance, 2 * trio_cutoff, third_intervals, 2.0),
        pair_cutoff,
        trio_cutoff,
        pair_intervals,
        leg_intervals,
        third_intervals,
    )


def _start_below(closest: np.ndarray, stop: float, intervals: int, margin: float) -> np.ndarray:
    """Starts of grids that end at ``stop``, ``margin`` intervals below the closest distances.

    A trimmed spline takes three intervals to fade in. They must lie below the data: a grid that begins closer hampers the
    shortest bonds, and a third of the error of the forces with it.
    """
    start = (np.minimum(closest, 0.9 * stop) - margin * stop / intervals) / (1 - margin / intervals)
    return np.maximum(start, 0.25 * closest)


def number_columns(
    species: tuple[str, ...],
    pair_start: np.ndarray,
    leg_start: np.ndarray,
    third_start: np.ndarray,
    pair_cutoff: float,
    trio_cutoff: float,
    pair_intervals: int,
    leg_intervals: int,
    third_intervals: int,
) -> Basis:
    """Number the coefficients of given grids; equal grids always get equal numbers."""
    s = len(species)
    n_leg, n_third, n_pair = leg_intervals + 3, third_intervals + 3, pair_intervals + 3
    pair_columns = np.full((s, s, n_pair), -1, np.int32)
    trio_columns = np.full((s, s, s, n_leg, n_leg, n_third), -1, np.int32)
    column = s
    for i, j in np.ndindex(s, s):
        if i <= j:
            pair_columns[i, j, : n_pair - TRIM] = np.arange(column, column + n_pair - TRIM)
            pair_columns[j, i] = pair_columns[i, j]
            column += n_pair - TRIM
    inner = slice(TRIM, -TRIM)
    for i, j, k in np.ndindex(s, s, s):
        if j > k:
            continue
        reachable = _reachable(
            (leg_start[i, j], leg_start[i, k], third_start[j, k]),
            (trio_cutoff, trio_cutoff, 2 * trio_cutoff),
            (leg_intervals, leg_intervals, third_intervals),
        )
        wanted = np.zeros_like(reachable)
        wanted[inner, inner, inner] = reachable[inner, inner, inner]
        if j == k:
            wanted &= np.tril(np.ones((n_leg, n_leg), bool)).T[:, :, None]
        count = int(wanted.sum())
        numbered = np.full(wanted.shape, -1, np.int32)
        numbered[wanted] = np.arange(column, column + count)
        if j == k:
            numbered = np.maximum(numbered, numbered.transpose(1, 0, 2))
        trio_columns[i, j, k] = numbered
        column += count
    return Basis(
        species, pair_start, leg_start, third_start, pair_cutoff, trio_cutoff, pair_intervals, leg_intervals,
        third_intervals, pair_columns, trio_columns, column,
    )  # fmt: skip


def _reachable(starts, stops, intervals) -> np.ndarray:
    """For which products of three functions there is a triangle whose sides lie in their supports."""
    low, high = [], []
    for start, stop, n in zip(starts, stops, intervals):
        spacing = (stop - start) / n
        a = np.arange(n + 3)
        low.append(np.clip(start + (a - 3) * spacing, start, stop))
        high.append(np.clip(start + (a + 1) * spacing, start, stop))
    low1, low2, low3 = low[0][:, None, None], low[1][None, :, None], low[2][None, None, :]
    high1, high2, high3 = high[0][:, None, None], high[1][None, :, None], high[2][None, None, :]
    least_difference = np.maximum(0.0, np.maximum(low1 - high2, low2 - high1))
    return (high3 >= least_difference) & (low3 <= high1 + high2)
