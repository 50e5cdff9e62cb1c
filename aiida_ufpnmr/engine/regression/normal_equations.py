"""Normal equations of a linear fit, whose memory does not grow with the number of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse as sparse
from scipy.linalg import blas, lapack
from scipy.sparse.linalg import LinearOperator, eigsh

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.regression.posterior import inverse_factor


class NormalEquations:
    """Sums of weighted products of design rows: all that the data say about the coefficients.

    Sums over disjoint sets of structures add up. Only the lower triangle of ``matrix`` is kept.
    """

    def __init__(self, n_columns: int):
        self.matrix = np.zeros((n_columns, n_columns), order='F')
        self.vector = np.zeros(n_columns)

    def add(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Add weighted design rows (n_columns, m) with their labels (m,); columns without an entry cost nothing."""
        columns = np.flatnonzero(rows.any(axis=1))
        if not len(columns):  # all weights are on numbers that nothing changes, such as forces on a lone atom
            return
        # (m, k) in Fortran order, so that BLAS takes it as it lies
        taken = np.ascontiguousarray(rows[columns]).T
        _scatter(self.matrix, blas.dsyrk(1.0, taken, trans=1, lower=1), columns)
        self.vector += rows @ labels

    def __iadd__(self, other: NormalEquations) -> NormalEquations:
        self.matrix += other.matrix
        self.vector += other.vector
        return self

    def solve(self, penalty: sparse.csc_array) -> Solution:
        """Coefficients that minimise weighted residuals plus penalty. Destroys the equations, to spare a copy."""
        matrix = self.matrix
        _add_lower(matrix, penalty.indptr, penalty.indices, penalty.data)
        # columns differ by orders of magnitude in size: bring the diagonal to one before the factorisation
        scale = 1 / np.sqrt(np.diag(matrix))
        _scale_lower(matrix, scale)
        factor, info = lapack.dpotrf(matrix, lower=1, clean=1, overwrite_a=1)
        if info:
            raise InputError(f'the normal equations are singular at column {info}; raise ridge_pair and ridge_triplet')
        coefficients = scale * scipy.linalg.cho_solve((factor, True), scale * self.vector, check_finite=False)
        return Solution(coefficients, factor, scale)


@dataclass(frozen=True)
class Solution:
    """Coefficients of a fit and what is needed for their covariance.

    Attributes:
        coefficients: (n_columns,) eV.
        factor: lower Cholesky factor L of the scaled normal matrix.
        scale: (n_columns,) S, so that the covariance is S L⁻ᵀ L⁻¹ S.
    """

    coefficients: np.ndarray
    factor: np.ndarray
    scale: np.ndarray

    def variances(self, rows: np.ndarray) -> np.ndarray:
        """Variance (m,) of what design rows (n_columns, m) predict, were the errors of the settings true."""
        solved = scipy.linalg.solve_triangular(
            self.factor, rows * self.scale[:, None], lower=True, overwrite_b=True, check_finite=False
        )
        return np.einsum('ij,ij->j', solved, solved)

    def condition_number(self) -> float:
        """Condition number of the scaled normal matrix: its largest eigenvalue over its smallest."""
        n = len(self.scale)

        def matrix(x):
            return blas.dtrmv(self.factor, blas.dtrmv(self.factor, x, lower=1, trans=1), lower=1)

        def inverse(x):
            return scipy.linalg.cho_solve((self.factor, True), x, check_finite=False)

        def largest_eigenvalue(product):
            operator = LinearOperator((n, n), matvec=product, dtype=float)
            return eigsh(operator, k=1, v0=np.ones(n), tol=1e-3, return_eigenvectors=False)[0]

        return float(largest_eigenvalue(matrix) * largest_eigenvalue(inverse))

    def whitening(self) -> np.ndarray:
        """Lower triangular W (float64) with WᵀW the covariance of the coefficients."""
        return inverse_factor(self.factor) * self.scale


@njit()
def _scatter(matrix, part, columns):
    """Add the lower triangle of ``part`` to the rows and columns where it belongs."""
    for b in range(len(columns)):
        for a in range(b, len(columns)):
            matrix[columns[a], columns[b]] += part[a, b]


@njit()
def _add_lower(matrix, start, index, values):
    """Add the lower triangle of a sparse matrix in compressed columns."""
    for b in range(len(start) - 1):
        for q in range(start[b], start[b + 1]):
            if index[q] >= b:
                matrix[index[q], b] += values[q]


@njit()
def _scale_lower(matrix, scale):
    """Scale rows and columns of the lower triangle."""
    for b in range(len(scale)):
        for a in range(b, len(scale)):
            matrix[a, b] *= scale[a] * scale[b]
