"""The domain of a model: how strange the surroundings of an ion are, seen from the training set.

The distance is that of Mahalanobis, in the λ = 0 features, which neither labels nor the fit have a say in. Directions
along which the training set hardly varies count as if it did by a share of its whole variance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from aiida_ufpnmr.engine.efg.descriptors import invariant_features
from aiida_ufpnmr.engine.efg.environments import Environments

#: The share of the whole variance that directions have at least. Of those tried (1e-2 to 1e-8), this one tells melts
#: best from withheld crystals.
SHARE = 1e-4
#: Directions with less variance than this part of it differ by no more from having none.
NEGLIGIBLE = 0.01
#: Of the ions of structures that were withheld, this share has a grade below 1.
WITHIN = 0.95


class Moments:
    """Sums over invariants, from which their mean and covariance follow.

    Args:
        environments: ions of the training set, structure by structure.
        weights: of the structures; all 1 where not given.
    """

    def __init__(self, environments: Iterable[Environments], weights: Iterable[float] = repeat(1.0)):
        self.count, self.sum, self.square = 0.0, np.zeros(()), np.zeros(())
        for part, weight in zip(environments, weights):
            features = invariant_features(part.density)
            self.count += weight * len(features)
            self.sum = self.sum + weight * features.sum(axis=0)
            self.square = self.square + weight * (features.T @ features)


@dataclass(frozen=True, eq=False)
class Domain:
    """The training set as an ellipsoid.

    Attributes:
        mean: (g,) of the invariants.
        directions: (g, k) orthonormal.
        stretch: (k,) by how much a squared coordinate along them counts less than along any other direction.
        other: weight of a squared coordinate along any other direction.
        limit: squared distance of grade 1.
    """

    mean: np.ndarray
    directions: np.ndarray
    stretch: np.ndarray
    other: float
    limit: float = 1.0

    @classmethod
    def of(cls, moments: Sequence[Moments]) -> Domain:
        """The domain of some parts of a training set."""
        count = sum(part.count for part in moments)
        mean = sum((part.sum for part in moments), np.zeros(())) / count
        covariance = sum((part.square for part in moments), np.zeros(())) / count - np.outer(mean, mean)
        values, vectors = np.linalg.eigh(covariance)
        floor = max(SHARE * float(np.trace(covariance)), 1e-14)
        kept = values > NEGLIGIBLE * floor
        return cls(
            mean=mean,
            directions=np.ascontiguousarray(vectors[:, kept]),
            stretch=1 / floor - 1 / (values[kept] + floor),
            other=1 / floor,
        )

    def squared_distances(self, environments: Environments) -> np.ndarray:
        """Squared distance of ions from the mean, (n,)."""
        apart = invariant_features(environments.density) - self.mean
        along = apart @ self.directions
        all_alike = self.other * np.einsum('ij,ij->i', apart, apart)
        return np.maximum(all_alike - along**2 @ self.stretch, 0.0)

    def grades(self, environments: Environments) -> np.ndarray:
        """Extrapolation grades (n,): the distance over that of grade 1."""
        return np.sqrt(self.squared_distances(environments) / self.limit)
