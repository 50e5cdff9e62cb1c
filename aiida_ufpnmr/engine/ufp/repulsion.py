"""The wall below the data: pair splines that keep rising where no training structure ever was.

The universal screened nuclear repulsion (Ziegler, Biersack & Littmark, The Stopping and Range of Ions in Matter, 1985)
gives the least steepness of the wall.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from ase.data import atomic_numbers

from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: e²/(4πε₀) in eV Å.
COULOMB = 14.399645
#: No two nuclei are taken to be closer than this, Å.
_NUCLEI = 0.05


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


def extend_wall(potential: UltraFastPotential) -> UltraFastPotential:
    """Replace pair coefficients that no datum has seen, so that each pair goes on repelling.

    Going inward from the shortest distance in the data, each coefficient rises above the one before by at least as much
    as the last two did, and by at least as much as the screened nuclear repulsion does. Half of the repulsion is
    taken, because each pair counts in both orders. At least two coefficients are replaced (see
    :func:`~aiida_ufpnmr.engine.ufp.basis.make_basis`), so that the straight line below the grid rises inward, too.
    """
    pairs = dict(potential.pairs)
    for (a, b), term in pairs.items():
        closest = potential.closest_distance[potential.species.index(a), potential.species.index(b)]
        centres = term.grid.centres
        wall = 0.5 * screened_repulsion(np.maximum(centres, _NUCLEI), atomic_numbers[a], atomic_numbers[b])
        steps = np.diff(centres)
        c = term.coefficients.copy()
        for k in range(min(term.grid.functions_below(closest), term.grid.n_intervals) - 1, -1, -1):
            c[k] = c[k + 1] + max((c[k + 1] - c[k + 2]) * steps[k] / steps[k + 1], wall[k] - wall[k + 1])
        pairs[a, b] = dataclasses.replace(term, coefficients=c)
    return dataclasses.replace(potential, pairs=pairs)
