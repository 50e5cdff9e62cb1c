"""Rows of the ridge regression: λ-SOAP features, or functions in the space of sparse kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from aiida_ufpnmr.engine.efg.descriptors import (
    contraction_weights,
    equivariant_features,
    feature_count,
    invariant_features,
)
from aiida_ufpnmr.engine.efg.sparse import SparseKernel, farthest_points
from aiida_ufpnmr.engine.efg.terms import KernelTerms, LinearTerms


@dataclass(frozen=True, eq=False)
class Design:
    """How environments become rows.

    Attributes:
        l_max: largest angular momentum.
        channels: mixed channels.
        scale: of the features, so that their mean square norm in training is 1.
        kernel: the space of sparse kernels; ``None`` for the features themselves.
    """

    l_max: int
    channels: int
    scale: float
    kernel: SparseKernel | None = None

    @classmethod
    def of(cls, mixed: Sequence[np.ndarray], l_max: int, zeta: int, sparse_points: int) -> Design:
        """The rows for training environments, (n_ions, (l_max + 1)², channels) each.

        Raises:
            ValueError: no environment has a neighbour.
        """
        norms = [float((equivariant_features(part) ** 2).sum()) for part in mixed]
        ions, channels = sum(map(len, mixed)), mixed[0].shape[2]
        if not sum(norms):
            raise ValueError('no environment has a neighbour')
        scale = (sum(norms) / (5 * ions)) ** -0.5
        if zeta == 1:
            return cls(l_max, channels, scale)
        invariants = np.concatenate([invariant_features(part) for part in mixed])
        chosen = np.sort(farthest_points(invariants, sparse_points))
        points = np.concatenate(list(mixed))[chosen]
        kernel = SparseKernel.of(scale * equivariant_features(points), invariants[chosen], zeta)
        return cls(l_max, channels, scale, kernel)

    @property
    def n_columns(self) -> int:
        """Numbers to be fitted."""
        return feature_count(self.l_max, self.channels) if self.kernel is None else self.kernel.n_columns

    def rows(self, mixed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows (n_ions, 5, n_columns), and the prior variance (n_ions,) that they cannot express."""
        features = self.scale * equivariant_features(mixed)
        if self.kernel is None:
            return features, np.zeros(len(features))
        rows = self.kernel.rows(features, invariant_features(mixed))
        return rows, self.kernel.unexplained(features, rows)

    def terms(self, weights: np.ndarray) -> LinearTerms | KernelTerms:
        """What predicts with the weights (n_columns,) of a fit."""
        if self.kernel is None:
            terms = LinearTerms(*contraction_weights(self.scale * weights, self.l_max, self.channels))
        else:
            directions = self.scale * self.kernel.directions(weights)
            terms = KernelTerms(self.kernel.zeta, directions, self.kernel.invariant)
        terms.prepare(self.l_max, self.channels)
        return terms

    def write(self, group: h5py.Group) -> None:
        """Write into a group of a model's file."""
        group.attrs['scale'] = self.scale
        if self.kernel is not None:
            group['equivariant'], group['projection'] = self.kernel.equivariant, self.kernel.projection

    @classmethod
    def read(cls, group: h5py.Group, l_max: int, channels: int, terms: LinearTerms | KernelTerms) -> Design:
        """Read what :meth:`write` wrote; what it shares with the ``terms`` of the model stands there."""
        kernel = None
        if isinstance(terms, KernelTerms):
            kernel = SparseKernel(group['equivariant'][...], terms.points, terms.zeta, group['projection'][...])
        return cls(l_max, channels, float(group.attrs['scale']), kernel)
