"""What gives the λ = 2 components from the expansion of the density: a linear model, or a sum over sparse points."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from aiida_ufpnmr.engine.efg.descriptors import (
    coupled_pairs,
    equivariant_features,
    invariant_features,
    padded_couplings,
)
from aiida_ufpnmr.engine.efg.kernels import contract_weights
from aiida_ufpnmr.engine.efg.sparse import sum_kernels


@dataclass(frozen=True, eq=False)
class LinearTerms:
    """A linear model in the features, evaluated without forming them.

    Attributes:
        linear_weights: (mixed,) weights of the l = 2 coefficients, a.u.
        pair_weights: (n_pairs, mixed, mixed) weights of products of two coefficients, a.u.; the channel of l2 first.
    """

    linear_weights: np.ndarray
    pair_weights: np.ndarray

    def prepare(self, l_max: int, mixed: int) -> None:
        """Build the couplings; :class:`ValueError` where the weights do not fit angular momenta and channels."""
        pairs = coupled_pairs(l_max)
        if (self.linear_weights.shape, self.pair_weights.shape) != ((mixed,), (len(pairs), mixed, mixed)):
            raise ValueError('shapes of the weights do not fit the settings')
        object.__setattr__(self, '_couplings', (pairs, padded_couplings(l_max)))

    def components(self, mixed: np.ndarray) -> np.ndarray:
        """λ = 2 components (n_ions, 5) from the mixed expansion (n_ions, (l_max + 1)², mixed)."""
        return contract_weights(mixed, self.linear_weights, *self._couplings, self.pair_weights)

    def write(self, file: h5py.File) -> None:
        """Write into a model's file."""
        for name in ('linear_weights', 'pair_weights'):
            file[name] = getattr(self, name)
            file[name].attrs['unit'] = 'a.u.'

    @classmethod
    def read(cls, file: h5py.File) -> LinearTerms:
        """Read what :meth:`write` wrote."""
        return cls(file['linear_weights'][...], file['pair_weights'][...])

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All numbers."""
        return self.linear_weights, self.pair_weights


@dataclass(frozen=True, eq=False)
class KernelTerms:
    """A sum of kernels of sparse points.

    Attributes:
        zeta: power of the kernel.
        directions: (points, features) what the equivariant features are multiplied with, a.u.
        points: (points, invariants) of norm 1.
    """

    zeta: int
    directions: np.ndarray
    points: np.ndarray

    def prepare(self, l_max: int, mixed: int) -> None:
        """Raise :class:`ValueError` where the points are not those of so many angular momenta and channels."""
        empty = np.zeros((1, (l_max + 1) ** 2, mixed))
        wanted = equivariant_features(empty).shape[2], invariant_features(empty).shape[1]
        if (self.directions.shape[1], self.points.shape[1]) != wanted or len(self.points) != len(self.directions):
            raise ValueError('shapes of the sparse points do not fit the settings')

    def components(self, mixed: np.ndarray) -> np.ndarray:
        """λ = 2 components (n_ions, 5) from the mixed expansion (n_ions, (l_max + 1)², mixed)."""
        return sum_kernels(
            equivariant_features(mixed), invariant_features(mixed), self.directions, self.points, self.zeta
        )

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
