"""The repulsion of two atoms that are closer than any in the data.

There the universal screened repulsion of nuclei (Ziegler, Biersack & Littmark, The Stopping and Range of Ions in
Matter, 1985) says what no datum does. Where atoms bind it is far too strong, so as a prior it fades out towards the sum
of the covalent radii, by the polynomial of Gasteiger, Groß & Günnemann (ICLR 2020, eq. 8), as in MACE.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.terms import PairTerm

#: e²/(4πε₀) in eV Å.
COULOMB = 14.399645
#: No two nuclei are taken to be closer than this, Å.
_NUCLEI = 0.05
#: The spline of the repulsion is fitted to a share of its energy, or of this where it is less, eV.
_RESOLVED = 0.1


def screened_repulsion(r: np.ndarray, z1: int, z2: int) -> np.ndarray:
    """Energy of two nuclei at ``r`` (Å) in eV."""
    length = 0.46850 / (z1**0.23 + z2**0.23)
    x = np.asarray(r, float) / length
    screening = (
        0.18175 * np.exp(-3.19980 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.40290 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    return COULOMB * z1 * z2 / r * screening


def faded_repulsion(r: np.ndarray, z1: int, z2: int) -> np.ndarray:
    """The screened repulsion (eV) at ``r`` (Å), faded out: nothing from the sum of the covalent radii on.

    Value, slope and curvature are continuous there.
    """
    x = np.minimum(np.asarray(r, float) / (covalent_radii[z1] + covalent_radii[z2]), 1.0)
    return screened_repulsion(r, z1, z2) * (1 - x**6 * (28 - 48 * x + 21 * x**2))


def extend_wall(potential: UltraFastPotential) -> UltraFastPotential:
    """Replace pair coefficients that no datum has seen, so that each pair goes on repelling.

    Going inward from the shortest distance in the data, each coefficient rises above the one before by at least as much
    as the last two did, and by at least as much as the screened nuclear repulsion does. Half of the repulsion is
    taken, because each pair counts in both orders. At least two coefficients are replaced (see
    :func:`~aiida_ufpnmr.engine.ufp.basis.make_basis`), so that the straight line below the grid rises inward, too.

    With the setting ``short_range`` what a pair has beside the faded repulsion goes on as a straight line instead, or
    level where that would attract: the prior is that nothing but the nuclei bends it.
    """
    extended = _with_repulsion if potential.settings and potential.settings.short_range else _with_rise
    pairs = {}
    for pair, term in potential.pairs.items():
        a, b = map(potential.species.index, pair)
        unseen = min(term.grid.functions_below(potential.closest_distance[a, b]), term.grid.n_intervals)
        numbers = [atomic_numbers[symbol] for symbol in pair]
        pairs[pair] = dataclasses.replace(term, coefficients=extended(term, unseen, *numbers))
    return dataclasses.replace(potential, pairs=pairs)


def _with_rise(term: PairTerm, unseen: int, z1: int, z2: int) -> np.ndarray:
    """Coefficients of a pair, the first ``unseen`` of which rise by the last slope, or by the repulsion if more."""
    centres = term.grid.centres
    wall = 0.5 * screened_repulsion(np.maximum(centres, _NUCLEI), z1, z2)
    c, steps = term.coefficients.copy(), np.diff(centres)
    for k in range(unseen - 1, -1, -1):
        c[k] = c[k + 1] + max((c[k + 1] - c[k + 2]) * steps[k] / steps[k + 1], wall[k] - wall[k + 1])
    return c


def _with_repulsion(term: PairTerm, unseen: int, z1: int, z2: int) -> np.ndarray:
    """Coefficients of a pair, the first ``unseen`` of which add the faded repulsion to a straight line."""
    wall = term.grid.nearest_spline(lambda r: 0.5 * faded_repulsion(r, z1, z2), _RESOLVED)
    wall = np.maximum.accumulate(wall[::-1])[::-1]  # where the grid is coarse, the spline swings past zero
    c, centres = term.coefficients.copy(), term.grid.centres
    first, second = (c - wall)[unseen : unseen + 2]
    slope = max((first - second) / (centres[unseen + 1] - centres[unseen]), 0.0)
    c[:unseen] = first + slope * (centres[unseen] - centres[:unseen]) + wall[:unseen]
    return c
