"""Symmetry-adapted Gaussian process regression on sparse points (Grisafi et al., Phys. Rev. Lett. 120, 036002 (2018)).

The kernel of two environments is that of their equivariant features times a power of that of their invariants,
k(A, B) = e(A)·e(B) (p(A)·p(B))^(ζ − 1), with |p| = 1. A function in the span of the sparse points is linear in
Φ = K_nm U s^(-1/2), where K_mm = U s Uᵀ, with the identity for its prior; so the fit is a ridge regression on Φ, and
the inverse of K_mm, whose condition number is that of the kernel squared, is never formed (Foster et al., J. Mach.
Learn. Res. 10, 857 (2009)). What the points do not span has the variance k(x, x) − |Φ(x)|² of the process.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Directions of K_mm below this share of the largest are rounding.
SMALLEST = 1e-12


def farthest_points(features: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """Indices (count,) of points that lie far from each other: each is the farthest from all before it.

    Points that stand there twice are taken once, so fewer may come back.

    Args:
        features: (n, n_features).
        first: where to begin.
    """
    chosen = [first]
    square = np.einsum('ij,ij->i', features, features)
    distance = np.full(len(features), np.inf)
    while len(chosen) < min(count, len(features)):
        last = chosen[-1]
        distance = np.minimum(distance, square + square[last] - 2 * (features @ features[last]))
        farthest = int(np.argmax(distance))
        if distance[farthest] <= 1e-12 * square[farthest]:
            break
        chosen.append(farthest)
    return np.array(chosen)


def tensor_kernel(
    equivariant: np.ndarray, invariant: np.ndarray, others: np.ndarray, other_invariants: np.ndarray, zeta: int
) -> np.ndarray:
    """Kernel of two sets of environments, (n · c, m · c) for tensors of c components.

    Args:
        equivariant, others: (n, c, f) and (m, c, f).
        invariant, other_invariants: (n, g) and (m, g), of norm 1.
    """
    n, c, f = equivariant.shape
    kernel = equivariant.reshape(-1, f) @ others.reshape(-1, f).T
    if zeta > 1:
        power = (invariant @ other_invariants.T) ** (zeta - 1)
        kernel = (kernel.reshape(n, c, -1, c) * power[:, None, :, None]).reshape(n * c, -1)
    return kernel


@dataclass(frozen=True, eq=False)
class SparseKernel:
    """The space of functions that the kernels of sparse points span.

    Attributes:
        equivariant: (m, c, f) features of the points.
        invariant: (m, g) of norm 1.
        zeta: power of the kernel.
        projection: (m · c, k) U s^(-1/2).
    """

    equivariant: np.ndarray
    invariant: np.ndarray
    zeta: int
    projection: np.ndarray

    @classmethod
    def of(cls, equivariant: np.ndarray, invariant: np.ndarray, zeta: int) -> SparseKernel:
        """The space of some points."""
        kernel = tensor_kernel(equivariant, invariant, equivariant, invariant, zeta)
        values, vectors = np.linalg.eigh(kernel)
        kept = values > SMALLEST * values[-1]
        return cls(equivariant, invariant, zeta, np.ascontiguousarray(vectors[:, kept] / np.sqrt(values[kept])))

    @property
    def n_columns(self) -> int:
        """Dimension of the space."""
        return self.projection.shape[1]

    def rows(self, equivariant: np.ndarray, invariant: np.ndarray) -> np.ndarray:
        """Φ of environments, (n, c, n_columns)."""
        kernel = tensor_kernel(equivariant, invariant, self.equivariant, self.invariant, self.zeta)
        return (kernel @ self.projection).reshape(*equivariant.shape[:2], -1)

    def unexplained(self, equivariant: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Mean prior variance of the components that lies outside the space, (n,); ``rows`` are of :meth:`rows`."""
        c = equivariant.shape[1]
        total, within = ((x**2).sum(axis=(1, 2)) for x in (equivariant, rows))
        return np.maximum(total - within, 0.0) / c

    def directions(self, weights: np.ndarray) -> np.ndarray:
        """The directions (m, f) by which :func:`sum_kernels` evaluates weights (n_columns,)."""
        m, c, _ = self.equivariant.shape
        return np.einsum('mcf,mc->mf', self.equivariant, (self.projection @ weights).reshape(m, c))


def sum_kernels(
    equivariant: np.ndarray, invariant: np.ndarray, directions: np.ndarray, points: np.ndarray, zeta: int
) -> np.ndarray:
    """Components (n, c) of a function in the space, without the c × c kernels of all pairs.

    Args:
        equivariant: (n, c, f).
        invariant: (n, g) of norm 1.
        directions: (m, f), from :meth:`SparseKernel.directions`.
        points: (m, g) invariants of the sparse points.
    """
    n, c, f = equivariant.shape
    products = (equivariant.reshape(-1, f) @ directions.T).reshape(n, c, -1)
    return np.einsum('ncm,nm->nc', products, (invariant @ points.T) ** (zeta - 1), optimize=True)
