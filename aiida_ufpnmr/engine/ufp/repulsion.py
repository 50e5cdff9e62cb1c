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

    Going inward from the shortest distance in the data, each coefficient rises above the one before by at least as much as
    the last two did, and by at least as much as the screened nuclear repulsion does. Half of the repulsion is taken,
    because each pair counts in both orders.
    """
    coefficients = potential.pair_coefficients.copy()
    n = coefficients.shape[2] - 3
    for i, a in enumerate(potential.species):
        for j, b in enumerate(potential.species):
            start = potential.pair_start[i, j]
            spacing = (potential.pair_cutoff[i, j] - start) / n
            first_seen = int((potential.closest_distance[i, j] - start) / spacing)
            centres = np.maximum(start + (np.arange(n + 3) - 1) * spacing, 0.1 * start)
            wall = 0.5 * screened_repulsion(centres, atomic_numbers[a], atomic_numbers[b])
            c = coefficients[i, j]
            for k in range(min(first_seen, n) - 1, -1, -1):
                c[k] = c[k + 1] + max(c[k + 1] - c[k + 2], wall[k] - wall[k + 1])
    return dataclasses.replace(potential, pair_coefficients=coefficients)
