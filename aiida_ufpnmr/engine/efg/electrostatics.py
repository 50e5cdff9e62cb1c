"""EFG tensors of point charges by Ewald summation: a baseline that knows what lies beyond the cut-off."""

from __future__ import annotations

import math

import numpy as np
from ase.units import Bohr

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import find_surroundings

#: Cut-off in real space, Å, and the argument of erfc there: 7e-7 of a nearby charge is left out on either side.
REAL_CUTOFF, DECAY = 9.0, 3.5


def point_charge_components(
    positions: np.ndarray, cell: np.ndarray, pbc, charges: np.ndarray, ions: np.ndarray
) -> np.ndarray:
    """λ = 2 components (n_ions, 5) in a.u. of the EFG of point charges at chosen ions.

    V_ab = Σ q (3 r_a r_b − r² δ_ab)/r⁵ over all charges and their images. The background that makes a charged cell
    neutral has no gradient.

    Args:
        positions: (n, 3) in Å.
        cell: (3, 3) in Å.
        pbc: three booleans, all alike.
        charges: (n,) in elementary charges.
        ions: (n_ions,) atom indices.

    Raises:
        InputError: periodic along some directions only.
    """
    pbc = np.asarray(pbc, bool) & np.ones(3, bool)
    positions = np.ascontiguousarray(positions, float)
    if not pbc.any():
        return _direct(positions, np.asarray(charges, float), ions) * Bohr**3
    if not pbc.all():
        raise InputError('charges need a structure that is periodic along all directions or none')
    cell = np.ascontiguousarray(cell, float)
    alpha = DECAY / REAL_CUTOFF
    vectors = reciprocal_vectors(cell, 2 * alpha * DECAY)
    volume = abs(np.linalg.det(cell))
    return _ewald(positions, cell, np.asarray(charges, float), ions, alpha, vectors, volume) * Bohr**3


def reciprocal_vectors(cell: np.ndarray, longest: float) -> np.ndarray:
    """Half of all vectors of the reciprocal lattice up to a length, without zero, (m, 3) in 1/Å."""
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    most = np.ceil(longest * np.linalg.norm(cell, axis=1) / (2 * np.pi)).astype(int)
    grid = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in most], indexing='ij'), -1).reshape(-1, 3)
    grid = grid[len(grid) // 2 + 1 :]  # of a vector and its opposite, one
    vectors = grid @ reciprocal
    return np.ascontiguousarray(vectors[np.linalg.norm(vectors, axis=1) <= longest])


@njit(nogil=True, inline='always')
def _add(out, x, y, z, factor):
    """Add the λ = 2 components of ``factor`` times the outer product of a vector with itself."""
    sqrt_2 = np.sqrt(2.0)
    out[0] += factor * sqrt_2 * x * y
    out[1] += factor * sqrt_2 * y * z
    out[2] += factor * (2 * z * z - x * x - y * y) / np.sqrt(6.0)
    out[3] += factor * sqrt_2 * x * z
    out[4] += factor * (x * x - y * y) / sqrt_2


@njit(nogil=True)
def _direct(positions, charges, ions):
    out = np.zeros((len(ions), 5))
    for a in range(len(ions)):
        i = ions[a]
        for j in range(len(positions)):
            if j != i:
                x, y, z = positions[j] - positions[i]
                r2 = x * x + y * y + z * z
                _add(out[a], x, y, z, 3 * charges[j] / (r2 * r2 * np.sqrt(r2)))
    return out


@njit(nogil=True)
def _ewald(positions, cell, charges, ions, alpha, vectors, volume):
    """Isotropic parts (of the self-interaction, too) have no λ = 2 component, so only r r and k k are summed."""
    n = len(positions)
    start, index, vector = find_surroundings(positions, cell, np.ones(3, np.bool_), DECAY / alpha, ions)
    out = np.zeros((len(ions), 5))
    for a in range(len(ions)):
        for pair in range(start[a], start[a + 1]):
            x, y, z = vector[pair, 0], vector[pair, 1], vector[pair, 2]
            r2 = x * x + y * y + z * z
            r = np.sqrt(r2)
            gauss = 2 * alpha / np.sqrt(np.pi) * np.exp(-alpha * alpha * r2)
            first = (math.erfc(alpha * r) / r + gauss) / r2
            second = (3 * first + 2 * alpha * alpha * gauss) / r2
            _add(out[a], x, y, z, charges[index[pair]] * second)
    cosine, sine = np.empty(n), np.empty(n)
    for k in range(len(vectors)):
        x, y, z = vectors[k, 0], vectors[k, 1], vectors[k, 2]
        k2 = x * x + y * y + z * z
        real, imaginary = 0.0, 0.0
        for j in range(n):
            phase = x * positions[j, 0] + y * positions[j, 1] + z * positions[j, 2]
            cosine[j], sine[j] = np.cos(phase), np.sin(phase)
            real += charges[j] * cosine[j]
            imaginary += charges[j] * sine[j]
        # both of a vector and its opposite
        factor = -8 * np.pi / volume * np.exp(-k2 / (4 * alpha * alpha)) / k2
        for a in range(len(ions)):
            i = ions[a]
            _add(out[a], x, y, z, factor * (real * cosine[i] + imaginary * sine[i]))
    return out
