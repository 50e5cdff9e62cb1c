"""Radial part of the density expansion: overlaps of Gaussian densities with a radial basis, as splines of r."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh, solve_banded
from scipy.special import gamma, ive, spherical_jn

#: Names of the radial bases.
RADIAL_BASES = ('gto', 'laplacian')


def gto_basis(r: np.ndarray, n_max: int, cutoff: float) -> np.ndarray:
    """Orthonormal Gaussian-type radial functions, (n_max, len(r)), orthonormal with the weight r² on [0, ∞).

    r^n exp(-r²/2σ_n²) with σ_n = cutoff · max(√n, 1)/n_max for n = 0 .. n_max - 1, made orthonormal by S^(-1/2): the
    functions of featomic (Musil et al., J. Chem. Phys. 154, 114109 (2021)). Here n counts from 0, and l does not enter.
    """
    n = np.arange(n_max)
    widths = cutoff * np.maximum(np.sqrt(n), 1) / n_max
    exponents = 1 / (2 * widths**2)
    power = n[:, None] + n + 3
    overlap = 0.5 * (exponents[:, None] + exponents) ** (-power / 2) * gamma(power / 2)
    norm = 1 / np.sqrt(np.diag(overlap))
    values, vectors = eigh(overlap * np.outer(norm, norm))
    inverse_sqrt = vectors @ np.diag(values**-0.5) @ vectors.T
    primitive = r ** n[:, None] * np.exp(-exponents[:, None] * r**2) * norm[:, None]
    return inverse_sqrt @ primitive


def bessel_zeros(n_max: int, l_max: int) -> np.ndarray:
    """The first positive zeros of the spherical Bessel functions j_l, (l_max + 1, n_max)."""
    from scipy.optimize import brentq  # takes a while to import

    zeros = np.pi * np.arange(1, n_max + l_max + 1)
    rows = [zeros[:n_max]]
    for l in range(1, l_max + 1):  # its zeros lie between those of l - 1
        zeros = np.array([brentq(lambda x, l=l: spherical_jn(l, x), *ends) for ends in zip(zeros, zeros[1:])])
        rows.append(zeros[:n_max])
    return np.array(rows)


def laplacian_basis(r: np.ndarray, n_max: int, l_max: int, cutoff: float) -> np.ndarray:
    """Eigenfunctions of the Laplacian that vanish at the cut-off and beyond, (l_max + 1, n_max, len(r)).

    j_l(z_nl r/cutoff), orthonormal with the weight r²: the smoothest functions that there are for their number (Bigi,
    Huguenin-Dumittan, Ceriotti & Manolopoulos, J. Chem. Phys. 157, 234101 (2022)).
    """
    zeros = bessel_zeros(n_max, l_max)
    l = np.arange(l_max + 1)[:, None]
    norm = np.sqrt(2 / cutoff**3) / np.abs(spherical_jn(l + 1, zeros))
    inside = spherical_jn(l[..., None], zeros[..., None] * np.minimum(r / cutoff, 1.0))
    return norm[..., None] * np.where(r < cutoff, inside, 0.0)


def density_integrals(
    r: np.ndarray, n_max: int, l_max: int, cutoff: float, sigma: float, basis: str = 'gto'
) -> np.ndarray:
    """Coefficients of a Gaussian at distance ``r`` without its harmonic, (len(r), l_max + 1, n_max).

    ∫ dr' r'² R_n(r') 4π (πσ²)^(-3/4) exp(-(r² + r'²)/2σ²) i_l(r r'/σ²), i_l the modified spherical Bessel function
    (Bartók, Kondor & Csányi, Phys. Rev. B 87, 184115 (2013)); the density (πσ²)^(-3/4) exp(-r²/2σ²) has unit 2-norm.
    By Gauss–Legendre quadrature over the ± 9 σ outside which the integrand vanishes.
    """
    nodes, weights = np.polynomial.legendre.leggauss(96)
    low = np.maximum(r - 9 * sigma, 0.0)
    high = r + 9 * sigma
    half = ((high if basis == 'gto' else np.minimum(high, cutoff)) - low) / 2
    inner = low[:, None] + half[:, None] * (nodes + 1)  # (r, nodes)
    if basis == 'gto':
        values = gto_basis(inner.ravel(), n_max, cutoff)[None]
    else:
        values = laplacian_basis(inner.ravel(), n_max, l_max, cutoff)
    values = np.broadcast_to(values.reshape(-1, n_max, *inner.shape), (l_max + 1, n_max, *inner.shape))
    x = np.maximum(r[:, None] * inner / sigma**2, 1e-12)
    weight = half[:, None] * weights * inner**2 * np.exp(-((r[:, None] - inner) ** 2) / (2 * sigma**2))
    bessel = np.stack([np.sqrt(np.pi / (2 * x)) * ive(l + 0.5, x) for l in range(l_max + 1)])
    return (
        4 * np.pi * (np.pi * sigma**2) ** -0.75 * np.einsum('rg,lrg,lnrg->rln', weight, bessel, values, optimize=True)
    )


def radial_scaling(r: np.ndarray, scale: float, exponent: float) -> np.ndarray:
    """Weight of far neighbours, 1/(1 + (r/scale)^exponent) (Willatt, Musil & Ceriotti, PCCP 20, 29661 (2018))."""
    return 1 / (1 + (r / scale) ** exponent)


def uniform_spline(values: np.ndarray) -> np.ndarray:
    """Coefficients of the uniform cubic B-spline through ``values`` along the first axis, two more than values.

    Ends: no curvature at the start (no atom comes there), no slope at the end (which lies beyond the cut-off).
    """
    n = len(values)
    bands = np.zeros((5, n + 2))  # bands[2 + i - j, j] is element (i, j)
    bands[2, 1:-1] = 4 / 6
    bands[1, 2:] = 1 / 6
    bands[3, :-2] = 1 / 6
    bands[2, 0], bands[1, 1], bands[0, 2] = 1, -2, 1
    bands[2, -1], bands[4, -3] = 1, -1
    right = np.zeros((n + 2, *values.shape[1:]))
    right[1:-1] = values
    return solve_banded((2, 2), bands, right.reshape(n + 2, -1)).reshape(right.shape)
