"""Environments of ions: the density of their neighbours, and messages from these about their own surroundings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.descriptors import Expansion, equivariant_features
from aiida_ufpnmr.engine.efg.kernels import mix_channels
from aiida_ufpnmr.engine.efg.messages import RANK_MAX, RANKS, message_count, told_by
from aiida_ufpnmr.engine.neighbours import Surroundings


def centres(ions: np.ndarray, n_atoms: int, message_channels: int) -> np.ndarray:
    """Atoms whose surroundings must be known: the ions, or all atoms where neighbours send messages."""
    return np.arange(n_atoms) if message_channels else ions


@dataclass(frozen=True, eq=False)
class Environments:
    """Descriptors of the surroundings of ions.

    Attributes:
        density: (n_ions, (l_max + 1)², mixed) mixed expansions of the density of their neighbours.
        messages: (n_ions, 5, n_messages) from the neighbours; no message where a model has none.
    """

    density: np.ndarray
    messages: np.ndarray

    def __len__(self) -> int:
        return len(self.density)

    @property
    def l_max(self) -> int:
        """Largest angular momentum of the density."""
        return math.isqrt(self.density.shape[1]) - 1

    def features(self, scale: float = 1.0) -> np.ndarray:
        """λ = 2 features (n_ions, 5, n_features): those of the density times ``scale``, then the messages."""
        return np.concatenate([scale * equivariant_features(self.density), self.messages], axis=2)

    @classmethod
    def joined(cls, parts: Sequence[Environments]) -> Environments:
        """Environments in a row."""
        return cls(np.concatenate([x.density for x in parts]), np.concatenate([x.messages for x in parts]))

    def chosen(self, index: np.ndarray) -> Environments:
        """The environments of some of the ions, by their indices."""
        return Environments(self.density[index], self.messages[index])


@dataclass(frozen=True, eq=False)
class Representation:
    """The map from surroundings to environments, the same for training and for prediction.

    Attributes:
        expansion: of the density.
        mixing: (l_max + 1, channels, mixed) combinations of the channels of an ion.
        message_mixing: (2, n_species, channels, message channels) combinations that make messages, by rank and species.

    Raises:
        ValueError: the shapes do not fit each other.
    """

    expansion: Expansion
    mixing: np.ndarray
    message_mixing: np.ndarray

    def __post_init__(self):
        n_species, channels = len(self.expansion.known_species), self.expansion.channels
        if (
            (self.mixing.ndim, self.message_mixing.ndim) != (3, 4)
            or self.mixing.shape[:2] != (self.expansion.l_max + 1, channels)
            or self.message_mixing.shape[:3] != (len(RANKS), n_species, channels)
        ):
            raise ValueError('shapes of the mixing do not fit the settings')

    @property
    def message_channels(self) -> int:
        """Combinations of channels in the messages of each rank; 0 for no messages."""
        return self.message_mixing.shape[3]

    @property
    def n_messages(self) -> int:
        """Number of messages to an ion."""
        expansion = self.expansion
        return message_count(expansion.l_max, len(expansion.known_species), expansion.n_max, self.message_channels)

    def environments(self, around: Surroundings, species: np.ndarray, ions: np.ndarray) -> Environments:
        """Environments of ions.

        Args:
            around: surroundings of :func:`centres` within the cut-off.
            species: (n_atoms,) index of each atom's species.
            ions: (n_ions,) indices.
        """
        expansion = self.expansion
        if not self.message_channels:
            density = mix_channels(expansion.coefficients_from(around, species), self.mixing)
            return Environments(density, np.zeros((len(ions), 5, 0)))
        own = around.of(ions)
        density = mix_channels(expansion.coefficients_from(own, species), self.mixing)
        told = told_by(expansion.coefficients_from(around, species, RANK_MAX), species, self.message_mixing)
        return Environments(density, expansion.messages_from(own, species, told))
