"""Ridge regression that keeps the digits of its rows.

Rows are compressed by QR decompositions, so memory does not grow with their number. A solution starts from the Cholesky
factor of the normal equations, whose condition number is that of the rows squared, and is corrected by the residual of
the rows themselves, in the manner of the corrected semi-normal equations (Björck, Linear Algebra Appl. 88/89, 31
(1987)): as good as a QR decomposition of all rows, as a test shows, for a small part of its cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from aiida_ufpnmr.engine.regression.posterior import inverse_factor

#: Steps of refinement; one gives the digits of a QR decomposition, the second shows in none of them but the last.
CORRECTIONS = 2


class CompressedRows:
    """Rows X w = y of a least-squares problem, or fewer that have the same sum of squares for every w.

    Args:
        n_columns: of X.
    """

    def __init__(self, n_columns: int):
        self.n_columns = n_columns
        self._rows = np.zeros((0, n_columns + 1))
        self._waiting: list[np.ndarray] = []
        self._waiting_rows = 0

    def add(self, rows: np.ndarray, targets: np.ndarray) -> None:
        """Take in rows (m, n_columns) and their targets (m,)."""
        self._waiting.append(np.column_stack([rows, targets]))
        self._waiting_rows += len(targets)
        if len(self._rows) + self._waiting_rows > 3 * self.n_columns:
            self._compress()

    def __iadd__(self, other: CompressedRows) -> CompressedRows:
        self.add(other.rows, other.targets)
        return self

    def _compress(self) -> None:
        stacked = np.concatenate([self._rows, *self._waiting])
        self._waiting, self._waiting_rows = [], 0
        # R of [X y]: its last column holds the targets, its last row what no w can reach
        self._rows = np.asarray(np.linalg.qr(stacked, mode='r')) if len(stacked) > self.n_columns + 1 else stacked
        self.__dict__.pop('gram', None)

    @property
    def rows(self) -> np.ndarray:
        """Rows X (m, n_columns)."""
        if self._waiting:
            self._compress()
        return self._rows[:, :-1]

    @property
    def targets(self) -> np.ndarray:
        """Targets y (m,)."""
        if self._waiting:
            self._compress()
        return self._rows[:, -1]

    @cached_property
    def gram(self) -> np.ndarray:
        """XᵀX, (n_columns, n_columns)."""
        return self.rows.T @ self.rows

    def squared_error(self, weights: np.ndarray) -> float:
        """Sum of squared errors |X w − y|² of weights w (n_columns,)."""
        return float(np.sum((self.rows @ weights - self.targets) ** 2))


class RidgeSolution:
    """Weights w that minimise Σ |X w − y|² + penalty |w|² over some sets of rows.

    Attributes:
        weights: (n_columns,)
    """

    def __init__(self, parts: Sequence[CompressedRows], penalty: float):
        matrix = parts[0].gram.copy()
        for part in parts[1:]:
            matrix += part.gram
        matrix[np.diag_indices(len(matrix))] += penalty
        # it is symmetric: its transpose lies as LAPACK wants it, and needs no copy
        self._factor = cho_factor(matrix.T, lower=True, overwrite_a=True, check_finite=False)
        self.weights = np.zeros(len(matrix))
        for _ in range(1 + CORRECTIONS):
            gradient = -penalty * self.weights
            for part in parts:
                gradient += part.rows.T @ (part.targets - part.rows @ self.weights)
            self.weights = self.weights + cho_solve(self._factor, gradient, check_finite=False)

    @cached_property
    def whitening(self) -> np.ndarray:
        """Lower triangular W (n_columns, n_columns), float32; WᵀW is the inverse of XᵀX + penalty."""
        return np.asfortranarray(inverse_factor(self._factor[0]), dtype=np.float32)
