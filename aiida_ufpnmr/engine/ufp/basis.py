"""The B-splines of a potential, and the column of the linear problem that belongs to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sparse
from ase.data import atomic_numbers, covalent_radii

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp.layout import Layout, lay_out, padded
from aiida_ufpnmr.engine.ufp.moments import MomentBasis, MomentTerms
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.splines import TRIM, Grid
from aiida_ufpnmr.engine.ufp.terms import Pair, PairTerm, Triplet, TripletGrids, TripletTerm, pair_names, triplet_names

#: Intervals of a pair that must lie below the data, so that the coefficients of the wall there are its own.
_WALL_INTERVALS = 2
#: No grid of a pair begins closer than this, Å.
_CLOSEST_START = 0.05


@dataclass(frozen=True, eq=False)
class Basis:
    """Grids of all terms, and the column of each coefficient.

    Columns: one-body energies of the ``s`` species; then, for each pair, all functions but the last three, which vanish
    at the cut-off; then, for each triplet, the products that fade out at either end of every axis and that a triangle
    can reach. In a triplet with equal outer atoms, products that differ by their exchange share a column. Last come the
    terms of moments, centre by centre.

    Attributes:
        species: chemical symbols in order of atomic number.
        pairs, triplets: the grids.
        pair_columns: (n + 3,) int32 for each pair, -1 where a coefficient is zero by construction.
        triplet_columns: (a, b, c) int32 for each triplet, likewise.
        n_splines: columns of all but the moments.
        moments: the many-body terms, if any.
    """

    species: tuple[str, ...]
    pairs: Mapping[Pair, Grid]
    triplets: Mapping[Triplet, TripletGrids]
    pair_columns: Mapping[Pair, np.ndarray]
    triplet_columns: Mapping[Triplet, np.ndarray]
    n_splines: int
    moments: MomentBasis | None = None

    @classmethod
    def of(
        cls,
        species: Sequence[str],
        pairs: Mapping[Pair, Grid],
        triplets: Mapping[Triplet, TripletGrids],
        moments: MomentBasis | None = None,
    ) -> Basis:
        """Number the coefficients of given grids; equal grids always get equal numbers."""
        pair_columns, triplet_columns, column = {}, {}, len(species)
        for pair, grid in pairs.items():
            pair_columns[pair] = np.full(grid.n_functions, -1, np.int32)
            pair_columns[pair][:-TRIM] = np.arange(column, column + grid.n_functions - TRIM)
            column += grid.n_functions - TRIM
        for triplet, grids in triplets.items():
            wanted = np.zeros([grid.n_functions for grid in grids], bool)
            inner = (slice(TRIM, -TRIM),) * 3
            wanted[inner] = _reachable(grids)[inner]
            equal = triplet[1] == triplet[2]
            if equal:
                wanted &= np.tri(len(wanted), dtype=bool).T[:, :, None]
            numbered = np.full(wanted.shape, -1, np.int32)
            numbered[wanted] = np.arange(column, column + wanted.sum())
            triplet_columns[triplet] = np.maximum(numbered, numbered.transpose(1, 0, 2)) if equal else numbered
            column += int(wanted.sum())
        return cls(
            species=tuple(species),
            pairs=pairs,
            triplets=triplets,
            pair_columns=pair_columns,
            triplet_columns=triplet_columns,
            n_splines=column,
            moments=moments,
        )

    @property
    def n_columns(self) -> int:
        """Columns in all."""
        return self.n_splines + (0 if self.moments is None else self.moments.n_columns)

    def bond_reach(self, centre: str) -> float:
        """The longest bond of a centre in any triplet, Å."""
        return max(grid.stop for name, grids in self.triplets.items() if name[0] == centre for grid in grids[:2])

    @cached_property
    def layout(self) -> Layout:
        """The grids as compiled code wants them."""
        return lay_out(self.species, self.pairs, self.triplets)

    @cached_property
    def column_tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Columns of all pairs (s, s, n) and of all triplets (triplets, a, b, c), -1 where there is none."""
        s = len(self.species)
        rows = padded([self.pair_columns[pair] for pair in self.pairs], -1)
        pairs = np.empty((s, s, rows.shape[1]), np.int32)
        for (a, b), row in zip(self.pairs, rows):
            i, j = self.species.index(a), self.species.index(b)
            pairs[i, j] = pairs[j, i] = row
        return pairs, padded(
            [self.triplet_columns[triplet] for triplet in self.triplets] or [np.full((1, 1, 1), -1, np.int32)], -1
        )

    def expand(self, coefficients: np.ndarray) -> tuple[np.ndarray, dict[Pair, PairTerm], dict[Triplet, TripletTerm]]:
        """One-body energies, pair and triplet terms of coefficients (n_columns,), zero where there is no column."""
        known = np.append(coefficients[: self.n_splines], 0.0)
        return (
            coefficients[: len(self.species)].copy(),
            {name: PairTerm(grid, known[self.pair_columns[name]]) for name, grid in self.pairs.items()},
            {name: TripletTerm(grids, known[self.triplet_columns[name]]) for name, grids in self.triplets.items()},
        )

    def expand_moments(self, coefficients: np.ndarray) -> MomentTerms | None:
        """The terms of moments of coefficients (n_columns,)."""
        if self.moments is None:
            return None
        return MomentTerms(self.moments, coefficients[self.n_splines :].reshape(self.moments.scale.shape).copy())

    def covers(self, a: str, b: str) -> float:
        """The distance (Å) down to which all grids of two elements reach, as a pair, along bonds and on third sides."""
        starts = [grid.start for name, grid in self.pairs.items() if set(name) == {a, b}]
        for (centre, *others), (first, second, third) in self.triplets.items():
            starts += [grid.start for other, grid in zip(others, (first, second)) if {centre, other} == {a, b}]
            starts += [third.start] if set(others) == {a, b} else []
        return max(starts)

    def columns_around(self, species: int) -> np.ndarray:
        """The columns that the energy of an atom of one species depends on, in order."""
        symbol = self.species[species]
        own = [columns for pair, columns in self.pair_columns.items() if symbol in pair]
        own += [columns.ravel() for triplet, columns in self.triplet_columns.items() if symbol == triplet[0]]
        if self.moments is not None and species in self.moments.centres:
            row, size = self.moments.row[species], self.moments.terms.n_terms
            own.append(self.n_splines + row * size + np.arange(size))
        found = np.unique(np.concatenate(own))
        return np.append(species, found[found >= 0])

    def penalty(self, settings: PotentialSettings) -> sparse.csc_array:
        """Quadratic penalty on the coefficients: their size, and their second differences along every axis.

        That of a term of moments goes by what it adds to the energy of an atom. One-body energies are corrections to
        reference energies, known to about an electronvolt.
        """
        diagonal = np.ones(self.n_columns)
        if self.moments is not None:
            diagonal[self.n_splines :] = settings.moment_penalty * self.moments.scale.ravel() ** 2
        curvatures: list[Any] = []
        for pair, columns in self.pair_columns.items():
            diagonal[columns[columns >= 0]] = settings.of_pair('ridge_pair', pair)
            curvature = settings.of_pair('curvature_pair', pair)
            curvatures.append(curvature * self._gram(sparse.csr_matrix(self.pairs[pair].second_differences()), columns))
        for triplet, columns in self.triplet_columns.items():
            diagonal[columns[columns >= 0]] = settings.of_triplet('ridge_triplet', triplet)
            curvature = settings.of_triplet('curvature_triplet', triplet)
            for axis, grid in enumerate(self.triplets[triplet]):
                factors: list[Any] = [sparse.identity(length) for length in columns.shape]
                factors[axis] = sparse.csr_matrix(grid.second_differences())
                differences = sparse.kron(sparse.kron(factors[0], factors[1]), factors[2])
                curvatures.append(curvature * self._gram(differences, columns.ravel()))
        return sum(curvatures, start=sparse.diags_array(diagonal, format='csr')).tocsc()

    def _gram(self, differences: Any, columns: np.ndarray) -> Any:
        """DᵀD of differences D of expanded coefficients, taken to columns."""
        there = np.flatnonzero(columns >= 0)
        to_columns = sparse.csr_matrix(
            (np.ones(len(there)), (there, columns[there])), shape=(len(columns), self.n_columns)
        )
        reduced = differences @ to_columns
        return reduced.T @ reduced


def make_basis(species: Sequence[str], closest_distance: np.ndarray, settings: PotentialSettings) -> Basis:
    """Lay grids over the distances that occur.

    Args:
        closest_distance: (s, s) shortest distances in the data, Å.
        settings: with ``bond_intervals`` and ``third_intervals`` given.

    Raises:
        InputError: knots that are stated, or the intervals of a pair, leave no room for a wall below the data.
    """
    at = {name: i for i, name in enumerate(species)}
    closest = {(a, b): float(closest_distance[at[a], at[b]]) for a in species for b in species}
    pairs = {pair: _pair_grid(pair, closest[pair], settings) for pair in pair_names(species)}
    triplets = {triplet: _triplet_grids(triplet, closest, settings) for triplet in triplet_names(species)}
    basis = Basis.of(species, pairs, triplets)
    if not settings.moments:
        return basis
    reach = [basis.bond_reach(centre) for centre in settings.moments]
    return replace(basis, moments=MomentBasis.of([at[name] for name in settings.moments], reach, closest_distance))


def _pair_grid(pair: Pair, closest: float, settings: PotentialSettings) -> Grid:
    """A grid that begins at half of the closest distance, so that the wall below the data is part of the spline.

    Where a pair was hardly seen, the sum of its covalent radii says where a wall is needed.
    """
    stated = settings.stated_pair_knots(pair)
    cutoff = settings.of_pair('pair_cutoff', pair) if stated is None else stated[-1]
    closest = min(closest, 0.9 * cutoff)
    target = min(0.5 * closest, 0.6 * sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair))
    if stated is None:
        n = settings.pair_intervals
        target = min(target, (closest - _WALL_INTERVALS * cutoff / n) / (1 - _WALL_INTERVALS / n))
        grid = Grid.uniform(max(target, _CLOSEST_START), cutoff, n)
        remedy = 'raise pair_intervals'
    else:
        width = stated[1] - stated[0]
        target = max(min(target, closest - _WALL_INTERVALS * width), _CLOSEST_START)
        # whole intervals, as far as they find room
        grid = Grid(tuple(stated)).extended(start=target)
        if grid.start < _CLOSEST_START:
            grid = Grid(grid.breaks[1:])
        remedy = 'make the first interval of its pair_knots shorter'
    if grid.functions_below(closest) < _WALL_INTERVALS:
        raise InputError(
            f'the grid of {"-".join(pair)} has less than {_WALL_INTERVALS} intervals below the shortest distance in '
            f'the data ({closest:.2f} Å), too few for a wall there; {remedy}'
        )
    return grid


def _triplet_grids(triplet: Triplet, closest: Mapping[Pair, float], settings: PotentialSettings) -> TripletGrids:
    stated = settings.stated_triplet_knots(triplet)
    if stated is not None:
        return tuple(Grid(tuple(breaks)) for breaks in stated)
    centre, first, second = triplet
    cutoff = settings.of_triplet('triplet_cutoff', triplet)
    bonds, thirds = (int(settings.of_triplet(name, triplet)) for name in ('bond_intervals', 'third_intervals'))
    return (
        _grid_below(closest[centre, first], cutoff, bonds, 3.0),
        _grid_below(closest[centre, second], cutoff, bonds, 3.0),
        _grid_below(closest[first, second], 2 * cutoff, thirds, 2.0),
    )


def _grid_below(closest: float, stop: float, intervals: int, margin: float) -> Grid:
    """A grid that ends at ``stop`` and begins ``margin`` intervals below the closest distance.

    A trimmed spline takes three intervals to fade in. They must lie below the data: a grid that begins closer hampers
    the shortest bonds, and a third of the error of the forces with it.
    """
    closest = min(closest, 0.9 * stop)
    start = (closest - margin * stop / intervals) / (1 - margin / intervals)
    return Grid.uniform(max(start, 0.25 * closest), stop, intervals)


def _reachable(grids: TripletGrids) -> np.ndarray:
    """Mask of the products of three functions for which a triangle has its sides in their supports."""
    (low1, high1), (low2, high2), (low3, high3) = (grid.supports for grid in grids)
    low1, high1, low2, high2 = low1[:, None, None], high1[:, None, None], low2[:, None], high2[:, None]
    least_difference = np.maximum(0.0, np.maximum(low1 - high2, low2 - high1))
    return (high3 >= least_difference) & (low3 <= high1 + high2)
