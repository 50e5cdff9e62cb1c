"""Terms that give the λ = 2 components from the density's expansion: a linear model, or a sum over sparse points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.descriptors import coupled_pairs, feature_count, invariant_features, padded_couplings
from aiida_ufpnmr.engine.efg.environments import Environments
from aiida_ufpnmr.engine.efg.kernels import contract_weights
from aiida_ufpnmr.engine.efg.sparse import sum_kernels


@dataclass(frozen=True, eq=False)
class LinearTerms:
    """A linear model in the features, evaluated without forming them.

    Attributes:
        linear_weights: (mixed,) weights of the l = 2 coefficients, a.u.
        pair_weights: (n_pairs, mixed, mixed) weights of products of two coefficients, a.u.; the channel of l2 first.
        message_weights: (n_messages,) weights of the messages, a.u.
    """

    linear_weights: np.ndarray
    pair_weights: np.ndarray
    message_weights: np.ndarray

    def check(self, l_max: int, mixed: int, messages: int) -> None:
        """Raise :class:`ValueError` where the weights are not those of so many momenta, channels and messages."""
        if [x.shape for x in self.arrays] != [(mixed,), (len(coupled_pairs(l_max)), mixed, mixed), (messages,)]:
            raise ValueError('shapes of the weights do not fit the settings')

    def plus(self, change: LinearTerms) -> LinearTerms:
        """The sum of two models, of which one is a change of the other."""
        return LinearTerms(*(mine + others for mine, others in zip(self.arrays, change.arrays)))

    def components(self, environments: Environments) -> np.ndarray:
        """λ = 2 components, (n_ions, 5)."""
        told = environments.messages @ self.message_weights
        couplings = coupled_pairs(environments.l_max), padded_couplings(environments.l_max)
        return told + contract_weights(environments.density, self.linear_weights, *couplings, self.pair_weights)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All arrays of the terms."""
        return self.linear_weights, self.pair_weights, self.message_weights


@dataclass(frozen=True, eq=False)
class KernelTerms:
    """A sum of kernels of sparse points.

    Attributes:
        zeta: power of the kernel.
        directions: (points, features) what the features of density and messages are multiplied with, a.u.
        points: (points, invariants) of norm 1.
    """

    zeta: int
    directions: np.ndarray
    points: np.ndarray

    def check(self, l_max: int, mixed: int, messages: int) -> None:
        """Raise :class:`ValueError` where the points are not those of so many momenta, channels and messages."""
        empty = np.zeros((1, (l_max + 1) ** 2, mixed))
        wanted = feature_count(l_max, mixed) + messages, invariant_features(empty).shape[1]
        if (self.directions.shape[1], self.points.shape[1]) != wanted or len(self.points) != len(self.directions):
            raise ValueError('shapes of the sparse points do not fit the settings')

    def plus(self, change: KernelTerms) -> KernelTerms:
        """The sum of two models with the same points, of which one is a change of the other."""
        return KernelTerms(self.zeta, self.directions + change.directions, self.points)

    def components(self, environments: Environments) -> np.ndarray:
        """λ = 2 components, (n_ions, 5)."""
        invariants = invariant_features(environments.density)
        return sum_kernels(environments.features(), invariants, self.directions, self.points, self.zeta)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All arrays of the terms."""
        return self.directions, self.points
