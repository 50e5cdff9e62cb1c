"""Messages: descriptors of the surroundings of an ion's neighbours.

The density expansion of a neighbour j, c_λ(j), is coupled with the direction in which the ion sees it and summed over
the neighbours of one species, Σ_j R_nl(r_ij) [Y_l(r̂_ij) ⊗ c_λ(j)]_2: the simplest equivariant message of Nigam,
Pozdnyakov, Fraux & Ceriotti, J. Chem. Phys. 156, 204115 (2022). λ = 1 is where the surroundings of the neighbour are
lopsided, as a dipole that they induce would be; λ = 2 where they are stretched. Messages bring twice the cut-off into
reach, with a number of features that stays small.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.efg.harmonics import coupling, real_harmonics
from aiida_ufpnmr.engine.efg.kernels import FAST, spline_weights

#: Ranks of the neighbours' expansions that are told.
RANKS = (1, 2)
#: Highest angular momentum of what neighbours tell.
RANK_MAX = RANKS[-1]


def message_pairs(l_max: int) -> list[tuple[int, int]]:
    """Pairs (l, λ) of direction and rank that couple to rank 2 and are even under inversion."""
    return [(l, rank) for rank in RANKS for l in range(abs(rank - 2), min(rank + 2, l_max) + 1, 2)]


def message_count(l_max: int, n_species: int, n_max: int, channels: int) -> int:
    """Number of messages to an ion, with ``channels`` combinations of each rank."""
    return n_species * len(message_pairs(l_max)) * n_max * channels


@lru_cache
def coupling_table(l_max: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The couplings of all pairs, without their zeros.

    Returns:
        l (n_pairs,) of the direction; index (n, 4) of pair, component, harmonic (l² + l + m) and number of the
        neighbour (λ² + λ + m − 1, from λ = 1 on); value (n,).
    """
    pairs = message_pairs(l_max)
    index, value = [], []
    for p, (l, rank) in enumerate(pairs):
        couplings = coupling(l, rank)
        for component, m, told in zip(*np.nonzero(couplings)):
            index.append((p, component, l * l + m, rank * rank - 1 + told))
            value.append(couplings[component, m, told])
    return np.array([l for l, _ in pairs]), np.array(index), np.array(value)


def told_by(coefficients: np.ndarray, species: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """The message of each atom, (n_atoms, 8, channels): three numbers of λ = 1, five of λ = 2.

    Args:
        coefficients: (n_atoms, 9, n) density expansion up to λ = 2.
        species: (n_atoms,) index of the species.
        mixing: (2, n_species, n, channels) combinations by rank.
    """
    parts = [
        coefficients[:, rank * rank : (rank + 1) ** 2] @ matrices[species] for rank, matrices in zip(RANKS, mixing)
    ]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


@njit(nogil=True, fastmath=FAST)
def gather_messages(
    start, index, vector, species, n_species, told, table, spacing, cutoff, width, constants, momenta, couplings, values
):
    """Messages to ions, (n_ions, 5, n_species · n_pairs · n_max · channels).

    Args:
        start, index, vector: the :class:`~aiida_ufpnmr.engine.neighbours.Surroundings` of the ions within ``cutoff``.
        species: (n_atoms,) index of each atom's species, 0 .. n_species - 1.
        told: (n_atoms, 8, channels), from :func:`told_by`.
        table, spacing, cutoff, width, constants: as in :func:`~aiida_ufpnmr.engine.efg.kernels.expand_density`.
        momenta, couplings, values: from :func:`coupling_table`.
    """
    n_max, channels, n_pairs = table.shape[2], told.shape[2], len(momenta)
    last = len(table) - 4
    n_ions = len(start) - 1
    out = np.zeros((n_ions, 5, n_species, n_pairs, n_max, channels))
    harmonics = np.empty(table.shape[1] ** 2)
    coupled = np.empty((n_pairs, 5, channels))
    for a in range(n_ions):
        for pair in range(start[a], start[a + 1]):
            x, y, z = vector[pair, 0], vector[pair, 1], vector[pair, 2]
            r = np.sqrt(x * x + y * y + z * z)
            real_harmonics(x / r, y / r, z / r, constants, harmonics)
            neighbour = index[pair]
            coupled[:] = 0.0
            for entry in range(len(values)):
                p, m, number = couplings[entry, 0], couplings[entry, 1], couplings[entry, 3]
                factor = values[entry] * harmonics[couplings[entry, 2]]
                for q in range(channels):
                    coupled[p, m, q] += factor * told[neighbour, number, q]
            k, b0, b1, b2, b3 = spline_weights(r, spacing, last, cutoff, width)
            channel = species[neighbour]
            for p in range(n_pairs):
                l = momenta[p]
                for n in range(n_max):
                    radial = b0 * table[k, l, n] + b1 * table[k + 1, l, n]
                    radial += b2 * table[k + 2, l, n] + b3 * table[k + 3, l, n]
                    for m in range(5):
                        for q in range(channels):
                            out[a, m, channel, p, n, q] += radial * coupled[p, m, q]
    return out.reshape((n_ions, 5, n_species * n_pairs * n_max * channels))
