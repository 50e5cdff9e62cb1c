"""Draws from a posterior, as wide as a model is expected to err.

The posterior alone knows neither that the form of a model limits it nor that rows of one structure err together; how
large errors are is measured on withheld structures. A draw is the fit and f Wᵀz, with z standard normal, WᵀW the
covariance of the coefficients, and f such that over some structures what draws predict differs from what the fit
predicts by as much, root mean square, as that is expected to err.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.errors import InputError

#: Structures along a run that say how wide draws are; of more, so many are taken at equal times.
FRAMES = 20


def widening(expected: np.ndarray, variances: np.ndarray) -> float:
    """The factor f, from expected errors and posterior variances of the same numbers.

    Raises:
        InputError: the posterior leaves nothing open about them.
    """
    if not np.mean(variances) > 0:
        raise InputError('the posterior knows these structures exactly; give some along a run')
    return float(np.sqrt(np.mean(expected**2) / np.mean(variances)))


def draw(whitening: np.ndarray, factor: float, seed: int) -> np.ndarray:
    """f Wᵀz (n_columns,) for the factor W of a covariance WᵀW."""
    return factor * (whitening.T.astype(float) @ np.random.default_rng(seed).standard_normal(len(whitening)))
