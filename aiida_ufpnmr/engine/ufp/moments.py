"""Moments of the densities around an atom, and the terms of up to four bodies that are products of them.

An atom of a centre has moments of the densities of its neighbours, by species t and range R,

    A = Σ_j g(r_ij),    v = Σ_j g(r_ij) u_ij,    M = Σ_j g(r_ij) (u_ij u_ijᵀ − 1/3),    g(r) = (1 − r / R)³ below R,

with u_ij the unit vector to neighbour j. Where neighbours come closer than any in the data, g stays what it is there:
products of densities know nothing of contacts that nobody has seen, and the wall of the pairs shall rule. The terms
are their scalar products of two or three factors: A A A, A v·v, A M:M, v·M·v, v·v and M:M, over all combinations of
species and ranges. Those of three factors join a centre and three neighbours: four bodies. They are a small set of the
terms of moment tensor potentials (Shapeev, Multiscale Model. Simul. 14, 1153 (2016)), and linear in their coefficients,
as splines are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import NamedTuple

import h5py
import numpy as np

#: The ranges R of the densities, as shares of the longest bond of the centre in any triplet.
RANGES = (0.75, 1.0)
#: Share of the shortest distance in the data over which a density ceases to grow below it.
FADE = 0.1
#: Components of the moments of one density: A, v, and M as xx, yy, zz, xy, xz, yz.
N_MOMENTS = 10
_SCALAR, _VECTOR = 0, (1, 2, 3)
_MATRIX = ((4, 7, 8), (7, 5, 9), (8, 9, 6))
#: Densities that the kernel takes side by side.
LANES = 8
#: The kinds of terms, by their place in the coefficients that the kernel takes.
_KINDS = ('A A A', 'A v·v', 'A M:M', 'v·M·v')


class Products(NamedTuple):
    """Terms as sums of products of three moments."""

    factors: np.ndarray  # (m, 4) the term, and three moments; the last moment of all is the number one
    counts: np.ndarray  # (m,) how often the product counts
    places: np.ndarray  # (terms, 3) pair of densities, kind, and third density, or lanes() for none

    @property
    def n_terms(self) -> int:
        """Number of terms of a centre."""
        return len(self.places)


def lanes(n_densities: int) -> int:
    """Densities, and as many more as fill whole registers."""
    return -(-n_densities // LANES) * LANES


@cache
def products(n_densities: int) -> Products:
    """All terms of a centre with so many densities."""
    one, none = n_densities * N_MOMENTS, lanes(n_densities)
    pairs = list(itertools.combinations_with_replacement(range(n_densities), 2))

    def at(density: int, component: int) -> int:
        return one if density == none else density * N_MOMENTS + component

    def all_terms() -> Iterator[tuple[tuple[int, int, int], list[tuple[int, int, int]]]]:
        for p, q, r in itertools.combinations_with_replacement(range(n_densities), 3):
            yield (pairs.index((p, q)), 0, r), [(at(p, _SCALAR), at(q, _SCALAR), at(r, _SCALAR))]
        entries = [x for line in _MATRIX for x in line]
        for kind, components in ((1, _VECTOR), (2, entries)):
            for h, (p, q) in enumerate(pairs):
                for r in (*range(n_densities), none):
                    yield (h, kind, r), [(at(p, x), at(q, x), at(r, _SCALAR)) for x in components]
        for h, (p, q) in enumerate(pairs):
            for r in range(n_densities):
                three = itertools.product(range(3), range(3))
                yield (h, 3, r), [(at(p, _VECTOR[x]), at(q, _VECTOR[y]), at(r, _MATRIX[x][y])) for x, y in three]

    places, found = zip(*all_terms())
    rows = [(term, *factors) for term, all_factors in enumerate(found) for factors in all_factors]
    factors, counts = np.unique(np.array(rows), axis=0, return_counts=True)
    return Products(factors, counts.astype(float), np.array(places))


@dataclass(frozen=True, eq=False)
class MomentBasis:
    """The terms of some centres, among atoms of ``s`` species.

    Attributes:
        centres: (c,) species numbers.
        ranges: (c, k) R of the densities of each centre, Å.
        n_species: s; there are k s densities, those of one species together.
        closest: (c, s) shortest distance in the data of centres and neighbours, below which densities do not grow, Å.
        scale: (c, terms) size of each term in the data, which its penalty goes by.

    Raises:
        ValueError: they do not fit each other.
    """

    centres: tuple[int, ...]
    ranges: np.ndarray
    n_species: int
    closest: np.ndarray
    scale: np.ndarray

    def __post_init__(self):
        c = len(self.centres)
        if self.ranges.shape != (c, len(RANGES)) or not (self.ranges > 0).all() or max(self.centres) >= self.n_species:
            raise ValueError(f'moments of {c} centres have ranges of shape {self.ranges.shape}')
        if self.closest.shape != (c, self.n_species) or not (self.closest > 0).all():
            raise ValueError(f'moments of {c} centres have shortest distances of shape {self.closest.shape}')
        if self.scale.shape != (c, self.terms.n_terms) or not (np.isfinite(self.scale) & (self.scale > 0)).all():
            raise ValueError(f'sizes of shape {self.scale.shape} do not fit the moments of {c} centres')

    @classmethod
    def of(cls, centres: Sequence[int], reach: Sequence[float], closest: np.ndarray) -> MomentBasis:
        """Terms of equal size of centres whose bonds reach so far (c,), for shortest distances (s, s), Å."""
        n_species = len(closest)
        scale = np.ones((len(centres), products(n_species * len(RANGES)).n_terms))
        return cls(tuple(centres), np.outer(reach, RANGES), n_species, closest[list(centres)], scale)

    @property
    def n_densities(self) -> int:
        """Number of densities around an atom."""
        return self.n_species * len(RANGES)

    @property
    def terms(self) -> Products:
        """The terms of each centre."""
        return products(self.n_densities)

    @property
    def n_columns(self) -> int:
        """Number of coefficients of all centres."""
        return self.scale.size

    @cached_property
    def row(self) -> np.ndarray:
        """(s,) place of each species among the centres, -1 for one that is none."""
        row = np.full(self.n_species, -1)
        row[list(self.centres)] = np.arange(len(self.centres))
        return row

    def with_scale(self, scale: np.ndarray) -> MomentBasis:
        """The basis with other sizes of terms; 1 where one is zero, as that of a density that no structure has."""
        return replace(self, scale=np.where(scale > 0, scale, 1.0))

    def write(self, group: h5py.Group) -> None:
        """Write into a group of a file."""
        group['centres'] = np.array(self.centres)
        for name in ('ranges', 'closest', 'scale'):
            group[name] = getattr(self, name)

    @classmethod
    def read(cls, group: h5py.Group, n_species: int) -> MomentBasis:
        """Read what :meth:`write` wrote; :class:`KeyError` or :class:`ValueError` where it is damaged."""
        ranges, closest, scale = (group[name][...] for name in ('ranges', 'closest', 'scale'))
        return cls(tuple(map(int, group['centres'][...])), ranges, n_species, closest, scale)


@dataclass(frozen=True, eq=False)
class MomentTerms:
    """The terms of some centres with their coefficients.

    Attributes:
        basis: which terms.
        coefficients: (c, terms) eV.

    Raises:
        ValueError: they do not fit each other, or are no numbers.
    """

    basis: MomentBasis
    coefficients: np.ndarray

    def __post_init__(self):
        if self.coefficients.shape != self.basis.scale.shape or not np.isfinite(self.coefficients).all():
            raise ValueError(f'coefficients of moments are not {self.basis.scale.shape} finite numbers')

    def write(self, group: h5py.Group) -> None:
        """Write into a group of a potential's file."""
        self.basis.write(group)
        group['coefficients'] = self.coefficients

    @classmethod
    def read(cls, group: h5py.Group, n_species: int) -> MomentTerms:
        """Read what :meth:`write` wrote; raises as :meth:`MomentBasis.read`."""
        return cls(MomentBasis.read(group, n_species), group['coefficients'][...])

    def packed_coefficients(self) -> np.ndarray:
        """(c, kinds, pairs of densities, lanes + 1) eV, by the third density, as the kernel wants them.

        The last place is for v·v and M:M alone.
        """
        n = self.basis.n_densities
        packed = np.zeros((len(self.coefficients), len(_KINDS), n * (n + 1) // 2, lanes(n) + 1))
        pair, kind, third = self.basis.terms.places.T
        packed[:, kind, pair, third] = self.coefficients
        return packed
