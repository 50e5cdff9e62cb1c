"""The content of an ultra-fast potential: what a fit gives and a file holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.ufp.basis import Basis
from aiida_ufpnmr.engine.ufp.moments import MomentTerms
from aiida_ufpnmr.engine.ufp.posterior import Posterior
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.terms import Pair, PairTerm, Triplet, TripletTerm, pair_names, triplet_names


@dataclass(frozen=True, eq=False)
class PotentialContent:
    """Terms, settings and posterior of a potential; all numbers in eV and Å, ``s`` species.

    Attributes:
        species: chemical symbols, in order of atomic number.
        one_body: (s,) energy of each species.
        pairs: the term of each pair of species, the first not after the second in ``species``.
        triplets: the term of each centre and pair of neighbours, ordered likewise; empty without three-body energy.
        moments: many-body terms of some centres; ``None`` without any.
        closest_distance: (s, s) the shortest distance of each pair in the training data.
        settings: of the fit; ``None`` where they are not known, as in the formats of other programs.
        training_sha256: content hash of the training set.
        posterior: what the fit leaves open about the coefficients; ``None`` where it was not kept.
        source: what to call it in messages.

    Raises:
        ValueError: a term is missing, or the parts do not fit each other.
    """

    species: tuple[str, ...]
    one_body: np.ndarray
    pairs: Mapping[Pair, PairTerm]
    triplets: Mapping[Triplet, TripletTerm]
    closest_distance: np.ndarray
    settings: PotentialSettings | None = None
    training_sha256: str = ''
    posterior: Posterior | None = field(default=None, repr=False)
    moments: MomentTerms | None = None
    source: str = 'potential'

    def __post_init__(self):
        s = len(self.species)
        for name, shape in (('one_body', (s,)), ('closest_distance', (s, s))):
            value = getattr(self, name)
            if value.shape != shape or value.dtype.kind != 'f' or not np.isfinite(value).all():
                raise ValueError(f'{name} is not {shape} finite numbers')
        if list(self.pairs) != pair_names(self.species):
            raise ValueError(f'pairs of {", ".join(self.species)} are missing')
        if self.triplets and list(self.triplets) != triplet_names(self.species):
            raise ValueError(f'triplets of {", ".join(self.species)} are missing')
        symmetric = {
            name: term.with_equal_neighbours() if name[1] == name[2] else term for name, term in self.triplets.items()
        }
        object.__setattr__(self, 'triplets', symmetric)

    @cached_property
    def identity(self) -> str:
        """SHA-256 over everything that an energy depends on."""
        digest = hashlib.sha256(repr(self.species).encode())
        arrays: list[Any] = [self.one_body, self.closest_distance]
        for pair in self.pairs.values():
            arrays += [pair.grid.breaks, pair.coefficients]
        for triplet in self.triplets.values():
            arrays += [*(grid.breaks for grid in triplet.grids), triplet.coefficients]
        if self.moments is not None:
            basis = self.moments.basis
            arrays += [basis.row, basis.ranges, basis.closest, self.moments.coefficients]
        for array in arrays:
            digest.update(repr(np.shape(array)).encode() + np.ascontiguousarray(array, float).tobytes())
        return digest.hexdigest()

    @cached_property
    def basis(self) -> Basis:
        """The columns of the linear problem that its coefficients come from."""
        return Basis.of(
            self.species,
            {name: term.grid for name, term in self.pairs.items()},
            {name: term.grids for name, term in self.triplets.items()},
            None if self.moments is None else self.moments.basis,
        )

    @property
    def pair_start(self) -> np.ndarray:
        """(s, s) the first knot of each pair, Å; below it a pair is a straight line."""
        start = np.empty_like(self.closest_distance)
        for (a, b), term in self.pairs.items():
            i, j = self.species.index(a), self.species.index(b)
            start[i, j] = start[j, i] = term.grid.start
        return start

    @property
    def cutoff(self) -> float:
        """The longest cut-off, Å."""
        bonds = (grid.stop for term in self.triplets.values() for grid in term.grids[:2])
        ranges: Any = () if self.moments is None else self.moments.basis.ranges.flat
        return max(*(term.grid.stop for term in self.pairs.values()), *bonds, *ranges, 0.0)
