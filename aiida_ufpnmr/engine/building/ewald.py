"""Coulomb energy of point charges in a periodic cell, as a quadratic form of the charges."""

from __future__ import annotations

import math

import numpy as np
from ase.units import Bohr, Hartree

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.efg.electrostatics import reciprocal_vectors
from aiida_ufpnmr.engine.neighbours import find_surroundings

#: Argument of erfc at the cut-off in real space: 2e-12 of a nearby charge is left out on either side.
DECAY = 5.0
#: e²/4πε₀ in eV Å.
COULOMB_EV_ANGSTROM = Hartree * Bohr


def ewald_matrix(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """The matrix M (n, n), in eV, of the energy qᵀ M q per cell of charges q (n,) in elementary charges.

    Images and self-interaction are in it, and so is the uniform background that makes a charged cell neutral. After
    P. P. Ewald, Ann. Phys. 369, 253 (1921); sums run in a fixed order, so that equal input gives equal bits.

    Args:
        positions: (n, 3) in Å, no two of them the same.
        cell: (3, 3) in Å, periodic along all directions.
    """
    volume = abs(np.linalg.det(cell))
    # as much work in real as in reciprocal space
    alpha = math.sqrt(math.pi) * (len(positions) / volume**2) ** (1 / 6)
    positions, cell = np.ascontiguousarray(positions, float), np.ascontiguousarray(cell, float)
    vectors = reciprocal_vectors(cell, 2 * alpha * DECAY)
    return 0.5 * COULOMB_EV_ANGSTROM * _potentials(positions, cell, alpha, vectors, volume)


@njit(nogil=True)
def _potentials(positions, cell, alpha, vectors, volume):
    """Potential (n, n) in 1/Å at each site of a unit charge at each other one, with all its images."""
    n = len(positions)
    potential = np.full((n, n), -np.pi / (volume * alpha * alpha))
    start, index, vector = find_surroundings(positions, cell, np.ones(3, np.bool_), DECAY / alpha, np.arange(n))
    for i in range(n):
        potential[i, i] -= 2 * alpha / np.sqrt(np.pi)
        for pair in range(start[i], start[i + 1]):
            x, y, z = vector[pair, 0], vector[pair, 1], vector[pair, 2]
            r = np.sqrt(x * x + y * y + z * z)
            potential[i, index[pair]] += math.erfc(alpha * r) / r
    cosine, sine = np.empty(n), np.empty(n)
    for k in range(len(vectors)):
        x, y, z = vectors[k, 0], vectors[k, 1], vectors[k, 2]
        k2 = x * x + y * y + z * z
        # both of a vector and its opposite
        factor = 8 * np.pi / volume * np.exp(-k2 / (4 * alpha * alpha)) / k2
        for i in range(n):
            phase = x * positions[i, 0] + y * positions[i, 1] + z * positions[i, 2]
            cosine[i], sine[i] = np.cos(phase), np.sin(phase)
        for i in range(n):
            for j in range(i + 1):
                potential[i, j] += factor * (cosine[i] * cosine[j] + sine[i] * sine[j])
    for i in range(n):
        for j in range(i):
            potential[j, i] = potential[i, j]
    return potential
