"""λ = 2 SOAP descriptors (Grisafi, Wilkins, Csányi & Ceriotti, Phys. Rev. Lett. 120, 036002 (2018))."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from aiida_ufpnmr.engine.efg.harmonics import coupling, harmonic_constants
from aiida_ufpnmr.engine.efg.kernels import expand_density
from aiida_ufpnmr.engine.efg.messages import RANK_MAX, coupling_table, gather_messages
from aiida_ufpnmr.engine.efg.radial import density_integrals, radial_scaling, uniform_spline
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import Surroundings, surroundings

#: Points of the radial splines a width of the Gaussian density: interpolation error below 1e-7 of the largest value.
POINTS_A_WIDTH = 32
#: Points beyond the cut-off: what is assumed at the end of a spline falls off by 4 a point.
_MARGIN = 8


@dataclass(frozen=True)
class Expansion:
    """The expansion of the density of neighbours: all that fixes the coefficients c[species n, l m].

    Attributes:
        known_species: chemical symbols of the neighbours, in the order of the channels.
        cutoff, cutoff_width: Å; the density fades to zero over the last ``cutoff_width``.
        n_max: number of radial functions.
        l_max: largest angular momentum.
        sigma: width of the Gaussian of one neighbour, Å.
        radial_basis: ``gto`` or ``laplacian``.
        scale, exponent: far neighbours weigh 1/(1 + (r/scale)^exponent); exponent 0 switches this off.
    """

    known_species: tuple[str, ...]
    cutoff: float
    cutoff_width: float
    n_max: int
    l_max: int
    sigma: float
    scale: float
    exponent: float
    radial_basis: str = 'gto'

    @cached_property
    def _tables(self) -> dict[int, tuple[np.ndarray, float, np.ndarray]]:
        """By angular momentum: radial splines up to it, their spacing in Å, and the constants of the harmonics."""
        points = int(np.ceil(POINTS_A_WIDTH * self.cutoff / self.sigma)) + 1
        # over the cut-off, so that what the end of the spline is made to be has no say below it
        r = np.arange(points + _MARGIN) * self.cutoff / (points - 1)
        values = density_integrals(r, self.n_max, self.l_max, self.cutoff, self.sigma, self.radial_basis)
        if self.exponent:
            values *= radial_scaling(r, self.scale, self.exponent)[:, None, None]
        table, momenta = uniform_spline(values), {self.l_max, RANK_MAX, self._direction_max}
        return {l: (np.ascontiguousarray(table[:, : l + 1]), r[1], harmonic_constants(l)) for l in momenta}

    @cached_property
    def _index_of_number(self) -> np.ndarray:
        """The place of each chemical element, by atomic number, among the known species; -1 for one that is none."""
        indices = np.full(max(atomic_numbers.values()) + 1, -1)
        indices[[atomic_numbers[symbol] for symbol in self.known_species]] = np.arange(len(self.known_species))
        return indices

    @property
    def _direction_max(self) -> int:
        """Largest angular momentum of the directions to neighbours in messages."""
        return min(self.l_max, RANK_MAX + 2)

    def radial(self, l_max: int) -> tuple:
        """Radial splines up to an angular momentum; spacing, cut-off and width in Å; constants of the harmonics."""
        table, spacing, constants = self._tables[l_max]
        return table, spacing, self.cutoff, self.cutoff_width, constants

    @property
    def channels(self) -> int:
        """Number of channels: species times radial functions."""
        return len(self.known_species) * self.n_max

    def species_indices(self, numbers: np.ndarray) -> np.ndarray:
        """The place of each atom's element among the known species, (n_atoms,).

        Raises:
            InputError: an element that is none of them.
        """
        indices = self._index_of_number[np.asarray(numbers, int)]
        if (indices < 0).any():
            strange = chemical_symbols[int(numbers[np.argmin(indices)])]
            raise InputError(
                f'the EFG model does not know the element {strange}, only {", ".join(self.known_species)}; '
                'fit one to structures that hold it'
            )
        return indices

    def coefficients(self, positions, cell, pbc, species: np.ndarray, ions: np.ndarray) -> np.ndarray:
        """c[l m, channel] around chosen ions, (n_ions, (l_max + 1)², channels).

        Args:
            positions: (n_atoms, 3) in Å.
            cell: (3, 3) in Å.
            pbc: three booleans.
            species: (n_atoms,) from :meth:`species_indices`.
            ions: (n_ions,) atom indices.
        """
        return self.coefficients_from(surroundings(positions, cell, pbc, self.cutoff, ions), species)

    def coefficients_from(self, around: Surroundings, species: np.ndarray, l_max: int | None = None) -> np.ndarray:
        """c[l m, channel] as of :meth:`coefficients`, from the surroundings of the ions within the cut-off.

        Args:
            l_max: largest angular momentum, that of the expansion where not given; ``RANK_MAX`` is the other choice.
        """
        radial = self.radial(self.l_max if l_max is None else l_max)
        return expand_density(*around, species, len(self.known_species), *radial)

    def messages_from(self, around: Surroundings, species: np.ndarray, told: np.ndarray) -> np.ndarray:
        """Messages to ions, (n_ions, 5, n_messages), from their surroundings within the cut-off.

        Args:
            told: (n_atoms, 8, channels), from :func:`~aiida_ufpnmr.engine.efg.messages.told_by`.
        """
        radial, couplings = self.radial(self._direction_max), coupling_table(self._direction_max)
        return gather_messages(*around, species, len(self.known_species), told, *radial, *couplings)


@lru_cache
def coupled_pairs(l_max: int) -> np.ndarray:
    """Pairs (l1 ≤ l2) that couple to λ = 2 and are even under inversion, (n_pairs, 2)."""
    pairs = [(l, l) for l in range(1, l_max + 1)] + [(l, l + 2) for l in range(l_max - 1)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


@lru_cache
def padded_couplings(l_max: int) -> np.ndarray:
    """The couplings of all pairs in one array, (n_pairs, 5, 2·l_max + 1, 2·l_max + 1)."""
    pairs = coupled_pairs(l_max)
    out = np.zeros((len(pairs), 5, 2 * l_max + 1, 2 * l_max + 1))
    for target, (l1, l2) in zip(out, pairs):
        target[:, : 2 * l1 + 1, : 2 * l2 + 1] = coupling(l1, l2)
    return out


def equivariant_features(expansion: np.ndarray) -> np.ndarray:
    """λ = 2 features (n_ions, 5, n_features): the l = 2 coefficients themselves, then all products of two coefficients.

    Of equal l1 = l2 only p ≤ q is kept, with √2 for p < q; of the rest only l1 < l2, with √2. So the dot product of two
    feature vectors is the λ-SOAP kernel over all pairs.

    Args:
        expansion: (n_ions, (l_max + 1)², channels), mixed or not.
    """
    n_ions, n_lm, channels = expansion.shape
    l_max = int(np.sqrt(n_lm)) - 1
    upper = np.triu_indices(channels)
    twice = np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))
    blocks = [expansion[:, 4:9]]
    for l1, l2 in coupled_pairs(l_max):
        first = expansion[:, None, l1 * l1 : (l1 + 1) ** 2].swapaxes(2, 3)  # ion, 1, p, m1
        second = np.einsum('Mab,ibq->iMaq', coupling(l1, l2), expansion[:, l2 * l2 : (l2 + 1) ** 2], optimize=True)
        product = first @ second
        if l1 == l2:
            blocks.append(product[..., upper[0], upper[1]] * twice)
        else:
            blocks.append(product.reshape(n_ions, 5, -1) * np.sqrt(2.0))
    return np.concatenate(blocks, axis=2)


def invariant_features(expansion: np.ndarray) -> np.ndarray:
    """λ = 0 features (n_ions, n_features) of norm 1: the l = 0 coefficients, then all products that are invariant.

    Of the products of one l only p ≤ q is kept, with √2 for p < q, so the dot product of two feature vectors is, up to
    the norm, the SOAP kernel (with the linear one). An ion without neighbours has zeros.

    Args:
        expansion: (n_ions, (l_max + 1)², channels), mixed or not.
    """
    channels = expansion.shape[2]
    upper = np.triu_indices(channels)
    twice = np.where(upper[0] == upper[1], 1.0, np.sqrt(2.0))
    blocks = [expansion[:, 0]]
    for l in range(int(np.sqrt(expansion.shape[1]))):
        block = expansion[:, l * l : (l + 1) ** 2]
        product = block.swapaxes(1, 2) @ block / np.sqrt(2 * l + 1)
        blocks.append(product[:, upper[0], upper[1]] * twice)
    features = np.concatenate(blocks, axis=1)
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norm > 0, norm, 1.0)


def contraction_weights(weights: np.ndarray, l_max: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn weights of :func:`equivariant_features`, (n_features,), into those of the compiled contraction.

    Returns:
        linear (channels,) and pair weights (n_pairs, channels, channels), the channel of l2 first.
    """
    upper = np.triu_indices(channels)
    taken = channels
    matrices = []
    for l1, l2 in coupled_pairs(l_max):
        matrix = np.zeros((channels, channels))
        if l1 == l2:
            block = weights[taken : taken + len(upper[0])]
            # half of √2 on each side of the diagonal
            matrix[upper] = np.where(upper[0] == upper[1], 0.5, np.sqrt(0.5)) * block
            matrix += matrix.T
        else:
            block = weights[taken : taken + channels * channels]
            matrix[:] = np.sqrt(2.0) * block.reshape(channels, channels).T
        taken += len(block)
        matrices.append(matrix)
    return weights[:channels].copy(), np.array(matrices)


def feature_count(l_max: int, channels: int) -> int:
    """Number of features of :func:`equivariant_features`."""
    return channels + l_max * channels * (channels + 1) // 2 + (l_max - 1) * channels**2
