"""The factor W of a posterior's covariance WᵀW: applied to design rows, and packed for a file.

A linear fit with Gaussian errors and a Gaussian prior has a Gaussian posterior, whose covariance is the inverse A⁻¹ of
the normal matrix with penalties; the variance of a prediction with design row f is fᵀA⁻¹f = |W f|² (Bishop, Pattern
Recognition and Machine Learning, ch. 3.3). Single precision is enough for W, and halves its memory.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import blas, lapack


def inverse_factor(factor: np.ndarray) -> np.ndarray:
    """L⁻¹ of a lower Cholesky factor L."""
    return np.tril(lapack.dtrtri(factor, lower=1)[0])


def whiten(whitening: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """W f of design rows (n_columns, m), float32; products of its columns are covariances of predictions."""
    return blas.strmm(1.0, whitening, np.array(rows, dtype=np.float32, order='F'), lower=1, overwrite_b=1)


def squared_lengths(whitened: np.ndarray) -> np.ndarray:
    """Variances (m,) of whitened rows (n_columns, m), summed in double precision."""
    return np.einsum('ij,ij->j', whitened, whitened, dtype=float)


def pack(whitening: np.ndarray) -> np.ndarray:
    """The lower triangle, (n (n + 1) / 2,), for a file."""
    return whitening[np.tril_indices(len(whitening))]


def unpack(packed: np.ndarray) -> np.ndarray:
    """The factor (n, n) of a packed lower triangle.

    Raises:
        ValueError: no triangle has so many entries, or some are NaN or infinite.
    """
    n = int((np.sqrt(8 * len(packed) + 1) - 1) / 2)
    if len(packed) != n * (n + 1) // 2 or not np.isfinite(packed).all():
        raise ValueError('the posterior is no lower triangle of finite numbers')
    whitening = np.zeros((n, n), np.float32)
    whitening[np.tril_indices(n)] = packed
    return np.asfortranarray(whitening)
