"""Terms that give the λ = 2 components from the density's expansion: a linear model, or a sum over sparse points."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
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

    def prepare(self, l_max: int, mixed: int, messages: int) -> None:
        """Build the couplings; :class:`ValueError` where the weights do not fit momenta, channels and messages."""
        pairs = coupled_pairs(l_max)
        if [x.shape for x in self.arrays] != [(mixed,), (len(pairs), mixed, mixed), (messages,)]:
            raise ValueError('shapes of the weights do not fit the settings')
        object.__setattr__(self, '_couplings', (pairs, padded_couplings(l_max)))

    def components(self, environments: Environments) -> np.ndarray:
        """λ = 2 components, (n_ions, 5)."""
        told = environments.messages @ self.message_weights
        return told + contract_weights(environments.density, self.linear_weights, *self._couplings, self.pair_weights)

    def write(self, file: h5py.File) -> None:
        """Write into a model's file."""
        for name in _LINEAR:
            file[name] = getattr(self, name)
            file[name].attrs['unit'] = 'a.u.'

    @classmethod
    def read(cls, file: h5py.File) -> LinearTerms:
        """Read what :meth:`write` wrote."""
        return cls(*(file[name][...] if name in file else np.zeros(0) for name in _LINEAR))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All numbers."""
        return tuple(getattr(self, name) for name in _LINEAR)


#: What a file holds of a linear model; the first versions had no messages.
_LINEAR = ('linear_weights', 'pair_weights', 'message_weights')


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

    def prepare(self, l_max: int, mixed: int, messages: int) -> None:
        """Raise :class:`ValueError` where the points are not those of so many momenta, channels and messages."""
        empty = np.zeros((1, (l_max + 1) ** 2, mixed))
        wanted = feature_count(l_max, mixed) + messages, invariant_features(empty).shape[1]
        if (self.directions.shape[1], self.points.shape[1]) != wanted or len(self.points) != len(self.directions):
            raise ValueError('shapes of the sparse points do not fit the settings')

    def components(self, environments: Environments) -> np.ndarray:
        """λ = 2 components, (n_ions, 5)."""
        invariants = invariant_features(environments.density)
        return sum_kernels(environments.features(), invariants, self.directions, self.points, self.zeta)

    def write(self, file: h5py.File) -> None:
        """Write into a model's file."""
        group = file.create_group('kernel')
        group.attrs['zeta'] = self.zeta
        group['directions'], group['points'] = self.directions, self.points
        group['directions'].attrs['unit'] = 'a.u.'

    @classmethod
    def read(cls, file: h5py.File) -> KernelTerms:
        """Read what :meth:`write` wrote."""
        group = file['kernel']
        return cls(int(group.attrs['zeta']), group['directions'][...], group['points'][...])

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All numbers."""
        return self.directions, self.points
