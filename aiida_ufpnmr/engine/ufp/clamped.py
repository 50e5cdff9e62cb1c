"""Common ground of other programs' formats: clamped knots, complete sets of terms, a wall within the grids.

LAMMPS (``pair_style uf3``, :mod:`~aiida_ufpnmr.engine.ufp.lammps_file`) and the UF3 package
(:mod:`~aiida_ufpnmr.engine.ufp.uf3_json`) both write clamped knots, the first and the last repeated four times.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.data import atomic_numbers

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp.content import PotentialContent
from aiida_ufpnmr.engine.ufp.splines import Grid
from aiida_ufpnmr.engine.ufp.terms import Pair, PairTerm, Triplet, TripletTerm, pair_names, triplet_names

#: What neither format has a place for.
LOST_EVERYWHERE = 'settings, hash of the training set, shortest distances in it, and the posterior for uncertainties'
#: The wall of a pair is written down to here or closer, Å.
_WALL_START = 0.3
#: Knots that agree within this share of the next interval are one.
_ONE_KNOT = 1e-9


def grid_of(knots: np.ndarray) -> Grid:
    """The grid of clamped knots.

    Raises:
        ValueError: they are not clamped, not ascending, or too few.
    """
    if knots.ndim != 1 or len(knots) < 8 or not np.isfinite(knots).all():
        raise ValueError('8 or more finite knots are needed')
    ends = max(np.ptp(knots[:4]), np.ptp(knots[-4:]))
    if ends > _ONE_KNOT * (knots[-1] - knots[0]) / len(knots) or not (np.diff(knots[3:-3]) > 0).all():
        raise ValueError('knots must ascend, with four equal ones at either end')
    return Grid(tuple(knots[3:-3].tolist()))


def pair_term(knots: np.ndarray, coefficients: np.ndarray) -> PairTerm:
    """A pair of clamped knots; raises as :func:`grid_of` and :class:`PairTerm`."""
    grid = grid_of(knots)
    PairTerm(grid, coefficients)  # the coefficients must fit before they can be changed
    return PairTerm(grid, grid.from_clamped() @ coefficients)


def triplet_term(knots: tuple[np.ndarray, ...], coefficients: np.ndarray) -> TripletTerm:
    """A triplet of clamped knots along three axes; raises as :func:`grid_of` and :class:`TripletTerm`."""
    grids = tuple(grid_of(one) for one in knots)
    shape = tuple(grid.n_functions for grid in grids)
    if coefficients.shape != shape:
        raise ValueError(f'a table of {coefficients.shape} does not fit knots for {shape}')
    changes = [grid.from_clamped() for grid in grids]
    return TripletTerm(grids, np.einsum('al,bm,cn,lmn->abc', *changes, coefficients, optimize=True))


def pair_coefficients(term: PairTerm) -> np.ndarray:
    """Coefficients (n + 3,) of a pair in the clamped basis."""
    return term.grid.to_clamped() @ term.coefficients


def triplet_coefficients(term: TripletTerm) -> np.ndarray:
    """Coefficients (a, b, c) of a triplet in the clamped basis."""
    changes = [grid.to_clamped() for grid in term.grids]
    return np.einsum('al,bm,cn,lmn->abc', *changes, term.coefficients, optimize=True)


def with_walls(potential: PotentialContent) -> tuple[dict[Pair, PairTerm], str]:
    """Pairs on grids that begin close to zero, for programs that know nothing below the first knot.

    The straight line that a pair goes on as below its grid is put into the spline. Coefficients that follow the line
    make the line itself, but for the first three intervals, over which its curvature has to come in.

    Returns:
        The pairs, and a line that says what becomes of the straight lines.

    Raises:
        InputError: the potential has terms that neither program knows.
    """
    if potential.moments is not None:
        raise InputError(
            f'{potential.source}: has many-body terms, for which there is no place in the format; fit it without '
            '"moments", or keep it as .h5'
        )
    pairs, worst = {}, (0.0, '', 0.0, 0.0)
    for name, term in potential.pairs.items():
        step = term.grid.breaks[1] - term.grid.start
        room = int(term.grid.start / step * (1 - _ONE_KNOT))
        pairs[name] = term
        if term.grid.start > _WALL_START and room:
            grid = term.grid.extended(start=term.grid.start - room * step)
            line = term.values(grid.centres[:room])
            pairs[name] = PairTerm(grid, np.concatenate([line, term.coefficients]))
            r = np.linspace(grid.start, term.grid.start, 50 * room)
            # each pair counts in both orders
            error = 2 * abs(pairs[name].values(r) - term.values(r))
            at = error.argmax()
            worst = max(worst, (error[at], '-'.join(name), r[at], 2 * term.values(r[at : at + 1])[0]))
    lowest = max(term.grid.start for term in pairs.values())
    lost = f'the straight lines that pairs go on as below {lowest:.2f} Å'
    off, where, below, wall = worst
    if where:
        lost += (
            f'; from the first knots down to there they are written as splines, off by {off:.2g} eV at most '
            f'({where} at {below:.2f} Å, where the wall is {wall:.2g} eV)'
        )
    return pairs, lost


def assemble(
    pairs: Mapping[Pair, PairTerm], triplets: Mapping[Triplet, TripletTerm], one_body: Mapping[str, float], path
) -> PotentialContent:
    """The content of a potential from terms by names in any order.

    Raises:
        InputError: an unknown element, or a pair or triplet that is missing, given twice or has no meaning.
    """
    names = {s for key in (*pairs, *triplets) for s in key} | set(one_body)
    unknown = sorted(names - set(atomic_numbers))
    if unknown:
        raise InputError(f'{path}: unknown element {unknown[0]!r}')
    if not pairs:
        raise InputError(f'{path}: no pair potential in it')
    species = tuple(sorted(names, key=lambda s: atomic_numbers[s]))
    ordered_pairs, ordered_triplets = {}, {}
    for a, b in pair_names(species):
        ordered_pairs[a, b] = _one_of(pairs, (a, b), path)
    for centre, a, b in triplet_names(species) if triplets else ():
        term = _one_of(triplets, (centre, a, b), path)
        if (centre, a, b) not in triplets:
            term = term.exchanged()
        try:
            ordered_triplets[centre, a, b] = term.with_equal_neighbours() if a == b else term
        except ValueError as error:
            raise InputError(f'{path}, {centre}-{a}-{b}: {error}') from None
    # what was in the training data is not known: the first knots are the least that the potential was made for
    closest = np.zeros((len(species), len(species)))
    for (a, b), term in ordered_pairs.items():
        i, j = species.index(a), species.index(b)
        closest[i, j] = closest[j, i] = term.grid.start
    for (centre, *others), term in ordered_triplets.items():
        for other, grid in zip(others, term.grids):
            i, j = species.index(centre), species.index(other)
            closest[i, j] = closest[j, i] = max(closest[i, j], grid.start)
    return PotentialContent(
        species=species,
        one_body=np.array([one_body.get(name, 0.0) for name in species]),
        pairs=ordered_pairs,
        triplets=ordered_triplets,
        closest_distance=closest,
    )


def _one_of(terms: Mapping, name: tuple, path):
    """The term of a name, or of the name with its last two species exchanged; :class:`InputError` where not one is."""
    exchanged = (*name[:-2], *name[:-3:-1])
    there = [key for key in dict.fromkeys([name, exchanged]) if key in terms]
    if len(there) != 1:
        what = 'pair' if len(name) == 2 else 'triplet'
        problem = 'is missing' if not there else 'is given twice, in both orders'
        raise InputError(f'{path}: the {what} {"-".join(name)} {problem}')
    return terms[there[0]]
