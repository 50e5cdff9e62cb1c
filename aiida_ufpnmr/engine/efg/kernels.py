"""Compiled inner loops: the density expansion around ions, its mixing, and its contraction with weights.

The layout keeps the channels (neighbour species, then radial function) of one (l, m) side by side, so that the
innermost loops run over contiguous numbers.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.efg.harmonics import real_harmonics

#: Sums may be reordered into vector registers; NaN and infinity keep their meaning.
FAST = {'reassoc', 'contract', 'nsz'}


@njit(inline='always')
def spline_weights(r, spacing, last, cutoff, width):
    """Interval of a distance in a table of uniform cubic B-splines, at most ``last``, and weights of the coefficients.

    The weights fade out as a shifted cosine over the last ``width`` before ``cutoff``.
    """
    u = r / spacing
    k = min(int(u), last)
    t = u - k
    fade = 1 / 6
    if r > cutoff - width:
        fade *= 0.5 + 0.5 * np.cos(np.pi * (r - cutoff + width) / width)
    b0 = (1 - t) ** 3 * fade
    b1 = (3 * t**3 - 6 * t**2 + 4) * fade
    b2 = (-3 * t**3 + 3 * t**2 + 3 * t + 1) * fade
    return k, b0, b1, b2, t**3 * fade


@njit(nogil=True, fastmath=FAST)
def expand_density(start, index, vector, species, n_species, table, spacing, cutoff, width, constants):
    """Coefficients of the neighbour density around chosen ions, (n_ions, (l_max + 1)², n_species · n_max).

    Args:
        start, index, vector: the :class:`~aiida_ufpnmr.engine.neighbours.Surroundings` of the ions within ``cutoff``.
        species: (n_atoms,) index of each atom's species, 0 .. n_species - 1.
        table: (n_points + 2, l_max + 1, n_max) coefficients of uniform cubic B-splines in r, beyond the cut-off.
        spacing: distance of two points in Å.
        cutoff, width: Å; a shifted cosine over the last ``width`` makes it smooth. Its second derivative jumps, which
            a spline would blur, so it stands apart from the table.
        constants: of the harmonics.
    """
    n_l, n_max = table.shape[1], table.shape[2]
    last = len(table) - 4
    n_ions = len(start) - 1
    out = np.zeros((n_ions, n_l * n_l, n_species, n_max))
    harmonics = np.empty(n_l * n_l)
    radial = np.empty(n_max)
    for a in range(n_ions):
        for pair in range(start[a], start[a + 1]):
            x, y, z = vector[pair, 0], vector[pair, 1], vector[pair, 2]
            r = np.sqrt(x * x + y * y + z * z)
            real_harmonics(x / r, y / r, z / r, constants, harmonics)
            k, b0, b1, b2, b3 = spline_weights(r, spacing, last, cutoff, width)
            channel = species[index[pair]]
            for l in range(n_l):
                for n in range(n_max):
                    radial[n] = b0 * table[k, l, n] + b1 * table[k + 1, l, n]
                    radial[n] += b2 * table[k + 2, l, n] + b3 * table[k + 3, l, n]
                for lm in range(l * l, (l + 1) * (l + 1)):
                    value = harmonics[lm]
                    for n in range(n_max):
                        out[a, lm, channel, n] += value * radial[n]
    return out.reshape((n_ions, n_l * n_l, n_species * n_max))


@njit(nogil=True, fastmath=FAST)
def mix_channels(expansion, mixing):
    """Linear combinations of the channels for each l, (n_ions, (l_max + 1)², mixed).

    Args:
        expansion: from :func:`expand_density`.
        mixing: (l_max + 1, channels, mixed).
    """
    n_ions, _, channels = expansion.shape
    n_l, _, mixed = mixing.shape
    out = np.zeros((n_ions, n_l * n_l, mixed))
    for a in range(n_ions):
        for l in range(n_l):
            for lm in range(l * l, (l + 1) * (l + 1)):
                for p in range(channels):
                    value = expansion[a, lm, p]
                    for k in range(mixed):
                        out[a, lm, k] += value * mixing[l, p, k]
    return out


@njit(nogil=True, fastmath=FAST)
def contract_weights(expansion, linear_weights, pairs, couplings, weights):
    """The λ = 2 components (n_ions, 5) that a linear model gives, without forming its features.

    For each pair (l1, l2): Σ_m1m2 CG[M, m1, m2] Σ_pq c[l1 m1, p] W[p, q] c[l2 m2, q], and Σ_p w[p] c[2 M, p] beside it.

    Args:
        expansion: from :func:`mix_channels`.
        linear_weights: (channels,).
        pairs: (n_pairs, 2) of l1, l2.
        couplings: (n_pairs, 5, 2·l_max + 1, 2·l_max + 1), zero where l1 or l2 is smaller than l_max.
        weights: (n_pairs, channels, channels); the index q comes first.
    """
    n_ions, _, channels = expansion.shape
    out = np.zeros((n_ions, 5))
    weighted = np.empty(channels)
    for a in range(n_ions):
        c = expansion[a]
        for m in range(5):
            for p in range(channels):
                out[a, m] += linear_weights[p] * c[4 + m, p]
        for pair in range(len(pairs)):
            l1, l2 = pairs[pair, 0], pairs[pair, 1]
            for m2 in range(2 * l2 + 1):
                weighted[:] = 0.0
                for q in range(channels):
                    value = c[l2 * l2 + m2, q]
                    for p in range(channels):
                        weighted[p] += value * weights[pair, q, p]
                for m1 in range(2 * l1 + 1):
                    product = 0.0
                    for p in range(channels):
                        product += c[l1 * l1 + m1, p] * weighted[p]
                    for m in range(5):
                        out[a, m] += couplings[pair, m, m1, m2] * product
    return out
