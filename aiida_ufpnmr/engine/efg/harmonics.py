"""Real spherical harmonics and the couplings between them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from aiida_ufpnmr.engine.compiled import njit


def harmonic_constants(l_max: int) -> np.ndarray:
    """Factors in :func:`real_harmonics`, (3, l_max + 1, l_max + 1) by l and |m|.

    The normalisation of Y_lm (√2 of m ≠ 0 included), and the two factors of the recursion from l to l + 1.
    """
    constants = np.zeros((3, l_max + 1, l_max + 1))
    for l in range(l_max + 1):
        for m in range(l + 1):
            ratio = math.factorial(l - m) / math.factorial(l + m)
            constants[0, l, m] = math.sqrt((2 * l + 1) / (4 * math.pi) * ratio * (1 if m == 0 else 2))
            constants[1, l, m] = (2 * l + 1) / (l + 1 - m)
            constants[2, l, m] = (l + m) / (l + 1 - m)
    return constants


@njit()
def real_harmonics(x, y, z, constants, out):
    """Orthonormal real spherical harmonics of the unit vector (x, y, z), into ``out`` at l² + l + m.

    Condon–Shortley phase left out: l = 1 is (y, z, x), l = 2 is (xy, yz, 3z²-r², xz, x²-y²), all with positive factors.
    Legendre polynomials without sin^m θ by their recursion in l; sin^m θ goes with cos mφ and sin mφ into (x + iy)^m,
    so that no angle is formed and the poles are like any other point.
    """
    n_l = constants.shape[1]
    real, imaginary = 1.0, 0.0
    diagonal = 1.0
    for m in range(n_l):
        before, now = 0.0, diagonal
        for l in range(m, n_l):
            value = constants[0, l, m] * now
            out[l * l + l + m] = value * real
            if m > 0:
                out[l * l + l - m] = value * imaginary
            before, now = now, constants[1, l, m] * z * now - constants[2, l, m] * before
        diagonal *= 2 * m + 1
        real, imaginary = x * real - y * imaginary, x * imaginary + y * real


@lru_cache
def sphere_quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) and weights (n,) that integrate polynomials up to ``degree`` over the unit sphere exactly."""
    z, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    phi = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    rho = np.sqrt(1 - z**2)
    points = np.stack(
        [np.outer(rho, np.cos(phi)), np.outer(rho, np.sin(phi)), np.repeat(z[:, None], degree + 1, 1)], -1
    ).reshape(-1, 3)
    return points, np.repeat(weights * 2 * np.pi / (degree + 1), degree + 1)


@lru_cache
def coupling(l1: int, l2: int, rank: int = 2) -> np.ndarray:
    """Clebsch–Gordan coefficients in the real basis, (2·rank + 1, 2·l1 + 1, 2·l2 + 1), for even l1 + l2 + rank.

    There they are proportional to the integrals of three harmonics, which a quadrature gives exactly. Orthonormal in
    the first index. The overall sign, which no linear model sees, is that of the integrals.
    """
    if (l1 + l2 + rank) % 2 or not abs(l1 - l2) <= rank <= l1 + l2:
        raise ValueError(f'no coupling of {l1} and {l2} to {rank} that is even under inversion')
    l_max = max(l1, l2, rank)
    points, weights = sphere_quadrature(l1 + l2 + rank)
    values = np.empty((len(points), (l_max + 1) ** 2))
    constants = harmonic_constants(l_max)
    for point, row in zip(points, values):
        real_harmonics(*point, constants, row)
    order = lambda l: values[:, l * l : (l + 1) ** 2]  # noqa: E731
    integrals = np.einsum('p,pM,pa,pb->Mab', weights, order(rank), order(l1), order(l2))
    integrals[np.abs(integrals) < 1e-12] = 0.0
    return integrals / np.sqrt((integrals**2).sum(axis=(1, 2), keepdims=True))
