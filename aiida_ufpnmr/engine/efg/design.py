"""Rows of the ridge regression: λ-SOAP features, or functions in the space of sparse kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.descriptors import (
    contraction_weights,
    equivariant_features,
    feature_count,
    invariant_features,
)
from aiida_ufpnmr.engine.efg.environments import Environments
from aiida_ufpnmr.engine.efg.sparse import SparseKernel, farthest_points
from aiida_ufpnmr.engine.efg.terms import KernelTerms, LinearTerms


@dataclass(frozen=True, eq=False)
class Design:
    """The map from environments to design rows.

    Attributes:
        l_max: largest angular momentum.
        channels: mixed channels.
        messages: number of messages to an ion.
        scale: of the features of the density, so that their mean square norm in training is 1.
        kernel: the space of sparse kernels; ``None`` for the features themselves.
    """

    l_max: int
    channels: int
    messages: int
    scale: float
    kernel: SparseKernel | None = None

    @classmethod
    def of(
        cls, environments: Sequence[Environments], weights: np.ndarray, l_max: int, zeta: int, sparse_points: int
    ) -> Design:
        """The rows for training environments, with the weight of each structure.

        Raises:
            ValueError: no environment has a neighbour.
        """
        weighted = list(zip(weights, environments))
        norms = [weight * float((equivariant_features(part.density) ** 2).sum()) for weight, part in weighted]
        ions, channels = sum(weight * len(part) for weight, part in weighted), environments[0].density.shape[2]
        if not sum(norms):
            raise ValueError('no environment has a neighbour')
        scale = (sum(norms) / (5 * ions)) ** -0.5
        messages = environments[0].messages.shape[2]
        if zeta == 1:
            return cls(l_max, channels, messages, scale)
        invariants = np.concatenate([invariant_features(part.density) for part in environments])
        chosen = np.sort(farthest_points(invariants, sparse_points))
        points = Environments.joined(environments).chosen(chosen)
        kernel = SparseKernel.of(points.features(scale), invariants[chosen], zeta)
        return cls(l_max=l_max, channels=channels, messages=messages, scale=scale, kernel=kernel)

    @property
    def n_columns(self) -> int:
        """Number of weights to be fitted."""
        return self._density_columns + self.messages if self.kernel is None else self.kernel.n_columns

    @property
    def _density_columns(self) -> int:
        return feature_count(self.l_max, self.channels)

    def rows(self, environments: Environments) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n_ions, 5, n_columns), and the prior variance (n_ions,) that they cannot express."""
        features = environments.features(self.scale)
        if self.kernel is None:
            return features, np.zeros(len(features))
        rows = self.kernel.rows(features, invariant_features(environments.density))
        return rows, self.kernel.unexplained(features, rows)

    def terms(self, weights: np.ndarray) -> LinearTerms | KernelTerms:
        """The terms that predict with the weights (n_columns,) of a fit."""
        if self.kernel is None:
            density, messages = np.split(weights, [self._density_columns])
            return LinearTerms(*contraction_weights(self.scale * density, self.l_max, self.channels), messages)
        directions = self.kernel.directions(weights)
        directions[:, : self._density_columns] *= self.scale
        return KernelTerms(self.kernel.zeta, directions, self.kernel.invariant)
