"""A potential as flat arrays, for compiled code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.ufp.content import PotentialContent
from aiida_ufpnmr.engine.ufp.layout import Layout, lay_out, padded
from aiida_ufpnmr.engine.ufp.terms import Triplet, TripletTerm


class Tables(NamedTuple):
    """A potential of ``s`` species as flat arrays.

    Splines lie on ``g`` grids, each a row of the arrays ``grid_...``; other arrays say which grid a spline lies on.
    Those of the bonds may depend on the partner, the other neighbour: ``bond_grid`` has one place for each species of
    it, or a single one where all partners share a grid.
    """

    one_body: np.ndarray  # (s,) eV
    grid_start: np.ndarray  # (g,) Å
    grid_stop: np.ndarray  # (g,) Å
    grid_inverse: np.ndarray  # (g,) 1/Å, intervals per length; meaningful on uniform grids
    grid_intervals: np.ndarray  # (g,)
    grid_breaks: np.ndarray  # (g, n + 1) Å, the knots from start to stop
    grid_functions: np.ndarray  # (g, n, 4, 4) the four functions as cubics in t from 0 to 1, lowest power first
    pair_grid: np.ndarray  # (s, s)
    pair_polynomials: np.ndarray  # (s, s, n + 1, 4) eV, cubics in t likewise, those beyond the grid zero
    bond_grid: np.ndarray  # (s, s, s or 1) by centre, neighbour, partner
    bond_functions: np.ndarray  # (g,) functions of a grid up to the last with a coefficient along any bond
    third_grid: np.ndarray  # (triplets,)
    triplet_index: np.ndarray  # (s, s, s) row in triplet_coefficients for centre, first, second neighbour
    triplet_coefficients: np.ndarray  # (triplets, a, b, c) eV, float64 or float32: first bond, second bond, third side
    cutoff: float  # Å, of everything
    threads: int
    # what is None, and the other way to take the sums, is not compiled: that would double the time it takes
    plain: bool | None  # take the plain twin of the sums, for any grids; None for their vector form, for uniform ones
    parallel: bool | None  # several threads; None for one
    # bonds end at different lengths: neighbours of one species stand by distance; None where they stand in order
    by_distance: bool | None
    # many-body terms of c centres, see moments.py; None without any. A tuple within the tuple could not go to threads
    moment_row: np.ndarray | None  # (s,) place of each species among the centres, or -1
    moment_ranges: np.ndarray | None  # (c, k) Å
    moment_closest: np.ndarray | None  # (c, s) Å
    moment_coefficients: np.ndarray | None  # (c, kinds, pairs of densities, lanes + 1) eV, by the third density


def build_tables(potential: PotentialContent, precision: str = 'float64', threads: int = 1) -> Tables:
    """Tables of a potential.

    Args:
        precision: of the coefficients and contractions of the three-body terms, ``float64`` or ``float32``.
        threads: how many share the atoms.
    """
    species = potential.species
    s, at = len(species), {name: i for i, name in enumerate(species)}
    # beyond its grid a third side is taken for its last interval: let it reach as far as it can
    triplets = {name: term.covering() for name, term in potential.triplets.items()}
    layout = lay_out(
        species,
        {name: term.grid for name, term in potential.pairs.items()},
        {name: term.grids for name, term in triplets.items()},
    )
    rows = padded([term.grid.polynomials(term.coefficients) for term in potential.pairs.values()], 0.0)
    polynomials = np.zeros((s, s, rows.shape[1] + 1, 4))
    for (a, b), row in zip(potential.pairs, rows):
        polynomials[at[a], at[b], :-1] = polynomials[at[b], at[a], :-1] = row
    blocks = [term.coefficients for term in triplets.values()] or [np.zeros((4, 4, 4))]
    grids, moments = layout._asdict(), potential.moments
    uniform = grids.pop('uniform')
    return Tables(
        one_body=np.array(potential.one_body, float),
        pair_polynomials=polynomials,
        bond_functions=_bond_functions(layout, triplets, species),
        triplet_coefficients=padded(blocks, 0.0).astype(precision),
        threads=threads,
        plain=None if uniform else True,
        parallel=True if threads > 1 else None,
        by_distance=True if np.ptp(layout.grid_stop[layout.bond_grid]) > 0 else None,
        moment_row=None if moments is None else moments.basis.row,
        moment_ranges=None if moments is None else moments.basis.ranges,
        moment_closest=None if moments is None else moments.basis.closest,
        moment_coefficients=None if moments is None else moments.packed_coefficients(),
        **grids,
    )


def _bond_functions(layout: Layout, triplets: Mapping[Triplet, TripletTerm], species: Sequence[str]) -> np.ndarray:
    """(g,) the functions of each grid up to the last one that has a coefficient along any bond."""
    at = {name: i for i, name in enumerate(species)}
    functions = np.zeros(len(layout.grid_start), np.int64)
    for (centre, first, second), term in triplets.items():
        for own, other, axes in ((first, second, (1, 2)), (second, first, (0, 2))):
            g = layout.bond_grid[at[centre], at[own], min(at[other], layout.bond_grid.shape[2] - 1)]
            there = np.flatnonzero(term.coefficients.any(axis=axes))
            functions[g] = max(functions[g], 1 + there[-1] if len(there) else 0)
    return functions
