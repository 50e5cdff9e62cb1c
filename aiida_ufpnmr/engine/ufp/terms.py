"""The two- and three-body terms of a potential, each on grids of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from aiida_ufpnmr.engine.ufp.splines import TRIM, Grid

Pair = tuple[str, str]
Triplet = tuple[str, str, str]
#: Three: the bonds to the first and to the second neighbour, and the third side between these.
TripletGrids = tuple[Grid, ...]

#: Differences under exchange of equal neighbours below this share of the largest coefficient are round-off.
_SYMMETRIC = 1e-6
#: Å by which sides may fall short.
_CLOSE = 1e-9
#: The group of a file that holds the triplets; its name is part of the format.
_TRIPLETS = 'trios'
_KNOTS = ('knots_first', 'knots_second', 'knots_third')


def pair_names(species: Sequence[str]) -> list[Pair]:
    """All pairs of species, the first not after the second."""
    return [(a, b) for i, a in enumerate(species) for b in species[i:]]


def triplet_names(species: Sequence[str]) -> list[Triplet]:
    """All centres with all pairs of neighbours."""
    return [(centre, *pair) for centre in species for pair in pair_names(species)]


@dataclass(frozen=True, eq=False)
class PairTerm:
    """V₂ of a pair of species.

    Attributes:
        grid: ends at the cut-off.
        coefficients: (grid.n_functions,) eV.

    Raises:
        ValueError: they do not fit each other, or are no numbers.
    """

    grid: Grid
    coefficients: np.ndarray

    def __post_init__(self):
        _check((self.grid,), self.coefficients)

    def values(self, r: np.ndarray) -> np.ndarray:
        """V₂ at distances ``r`` (Å), eV: a straight line below the first knot, nothing beyond the last."""
        r = np.asarray(r, float)
        first, slope = ((self.grid.design_matrix(self.grid.start, d) @ self.coefficients)[0] for d in (0, 1))
        inside = self.grid.design_matrix(r) @ self.coefficients
        return np.where(r < self.grid.start, first + slope * (r - self.grid.start), inside)

    def reaching(self, stop: float) -> PairTerm:
        """The term on a grid that goes on with zeros to ``stop`` (Å) at least.

        Raises:
            ValueError: the spline does not end smoothly.
        """
        grid = self.grid.extended(stop=stop)
        return PairTerm(grid, _with_zeros(self.coefficients, 0, self.grid, grid))


@dataclass(frozen=True, eq=False)
class TripletTerm:
    """V₃ of a centre and two neighbours.

    Attributes:
        grids: bonds end at the cut-off; the third side reaches as far as both together, or fades out before.
        coefficients: (a, b, c) eV, an axis a grid.

    Raises:
        ValueError: they do not fit each other, are no numbers, or the third side breaks off within reach of the bonds.
    """

    grids: TripletGrids
    coefficients: np.ndarray

    def __post_init__(self):
        _check(self.grids, self.coefficients)
        if self.grids[2].stop < self.reach - _CLOSE and self.coefficients[..., -TRIM:].any():
            raise ValueError(
                f'the third side breaks off at {self.grids[2].stop:g} Å, but the bonds reach {self.reach:g} Å apart'
            )

    @property
    def reach(self) -> float:
        """The longest third side that two bonds can span, Å."""
        return self.grids[0].stop + self.grids[1].stop

    def covering(self) -> TripletTerm:
        """The term with a third side that reaches as far as the bonds."""
        return self.reaching(2, self.reach - _CLOSE)

    def reaching(self, axis: int, stop: float) -> TripletTerm:
        """The term with the grid of one axis going on with zeros to ``stop`` (Å) at least.

        Raises:
            ValueError: the spline does not end smoothly there.
        """
        grids = list(self.grids)
        grids[axis] = grids[axis].extended(stop=stop)
        return TripletTerm(tuple(grids), _with_zeros(self.coefficients, axis, self.grids[axis], grids[axis]))

    def exchanged(self) -> TripletTerm:
        """The term with the neighbours in the other order."""
        first, second, third = self.grids
        return TripletTerm((second, first, third), self.coefficients.transpose(1, 0, 2))

    def with_equal_neighbours(self) -> TripletTerm:
        """The term, exactly symmetric under exchange of two neighbours of one species.

        Raises:
            ValueError: it is not symmetric, so that it would depend on the order of the atoms.
        """
        other = self.coefficients.transpose(1, 0, 2)
        if self.grids[0] != self.grids[1]:
            raise ValueError('two neighbours of one species have different knots along their bonds')
        if not np.allclose(self.coefficients, other, rtol=0, atol=_SYMMETRIC * abs(self.coefficients).max()):
            raise ValueError('coefficients change under exchange of two neighbours of one species')
        return dataclasses.replace(self, coefficients=0.5 * (self.coefficients + other))


def _check(grids: Iterable[Grid], coefficients: np.ndarray) -> None:
    shape = tuple(grid.n_functions for grid in grids)
    if coefficients.shape != shape:
        raise ValueError(f'coefficients of shape {coefficients.shape} do not fit knots for {shape}')
    if not np.isfinite(coefficients).all():
        raise ValueError('NaN or infinite coefficients')
    if any(grid.start < 0 for grid in grids):
        raise ValueError('knots at negative distances')


def _with_zeros(coefficients: np.ndarray, axis: int, old: Grid, new: Grid) -> np.ndarray:
    """Coefficients on a grid that has been extended at its end."""
    more = new.n_intervals - old.n_intervals
    if more and np.take(coefficients, range(-TRIM, 0), axis).any():
        raise ValueError(f'the spline breaks off at {old.stop:g} Å; only one that ends smoothly can be taken further')
    return np.pad(coefficients, [(0, more if a == axis else 0) for a in range(coefficients.ndim)])


def write_grids(file: h5py.Group, pairs: Mapping[Pair, Grid], triplets: Mapping[Triplet, TripletGrids]) -> None:
    """Write the breaks of all grids as ``pairs/A-B/knots`` and ``trios/A-B-C/knots_first`` and so on."""
    for pair, grid in pairs.items():
        file[f'pairs/{"-".join(pair)}/knots'] = grid.breaks
    for triplet, grids in triplets.items():
        for name, grid in zip(_KNOTS, grids):
            file[f'{_TRIPLETS}/{"-".join(triplet)}/{name}'] = grid.breaks


def read_grids(file: h5py.Group, species: Sequence[str]) -> tuple[dict[Pair, Grid], dict[Triplet, TripletGrids]]:
    """Read what :func:`write_grids` wrote; :class:`KeyError` or :class:`ValueError` where it is damaged."""

    def grid(name):
        breaks = file[name][...]
        if breaks.ndim != 1:
            raise ValueError(f'{name} of shape {breaks.shape} instead of a row')
        return Grid(tuple(breaks.tolist()))

    pairs = {pair: grid(f'pairs/{"-".join(pair)}/knots') for pair in pair_names(species)}
    triplets = {
        triplet: tuple(grid(f'{_TRIPLETS}/{"-".join(triplet)}/{name}') for name in _KNOTS)
        for triplet in (triplet_names(species) if _TRIPLETS in file else ())
    }
    return pairs, triplets


def write_terms(file: h5py.Group, pairs: Mapping[Pair, PairTerm], triplets: Mapping[Triplet, TripletTerm]) -> None:
    """Write all terms: their grids, and ``coefficients`` beside them."""
    write_grids(
        file, {name: term.grid for name, term in pairs.items()}, {name: term.grids for name, term in triplets.items()}
    )
    for group, terms in (('pairs', pairs), (_TRIPLETS, triplets)):
        for name, term in terms.items():
            file[f'{group}/{"-".join(name)}/coefficients'] = term.coefficients


def read_terms(file: h5py.Group, species: Sequence[str]) -> tuple[dict[Pair, PairTerm], dict[Triplet, TripletTerm]]:
    """Read what :func:`write_terms` wrote; raises as :func:`read_grids`."""
    pairs, triplets = read_grids(file, species)

    def terms(group, kind, grids) -> Iterator:
        for name, own in grids.items():
            place = f'{group}/{"-".join(name)}'
            try:
                yield name, kind(own, file[f'{place}/coefficients'][...])
            except ValueError as error:
                raise ValueError(f'{place}: {error}') from None

    return dict(terms('pairs', PairTerm, pairs)), dict(terms(_TRIPLETS, TripletTerm, triplets))
