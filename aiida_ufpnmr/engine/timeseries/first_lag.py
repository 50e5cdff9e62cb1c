"""Search for the first lag of the slow decay, after which a curve follows its own fit, and a judgement of that fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aiida_ufpnmr.engine.timeseries.binned_fit import BinnedCurve, BinnedFit, lasting_vibration

#: A first lag is good if what follows departs from the fit by less than this share of what has not yet decayed there,
#: besides so many standard deviations of an average over a doubling of the lag, and over a period, of which there are
#: more.
TOLERANCE, DEVIATIONS, PERIOD_DEVIATIONS = 0.02, 2.5, 3.0
#: Beyond so many decay times waves of noise are all there is, and the share is that of all that decays.
LAST_TAU = 5.0
#: First bins that are tried; beyond the single lags each.
CANDIDATES = (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, *range(24, 1000))
#: Lags over which a vibration that lasts is not yet averaged away.
PERIOD = 8


def first_bin(
    curve: BinnedCurve,
    first_lag: float | None,
    step: float,
    fit: Callable[[BinnedCurve, int], BinnedFit] = BinnedCurve.fit,
) -> tuple[BinnedFit, float] | None:
    """The fit from the first good lag on, and its misfit; ``None`` where fewer than six bins would be left.

    The misfit is the largest departure of the curve from the fit, over a period where the fit has its full weight or
    over a doubling of the lag, in units of what noise and vibrations allow.

    Args:
        curve: the curve.
        first_lag: given by the user, in units of which a frame has ``step``; searched where not given.
        step: time between frames.
        fit: the fit, of one law or another, from a bin on.
    """
    first_lags = np.concatenate([[0], curve.bins.nodes[:-1] + 1])
    last = len(first_lags) - 6
    candidates = CANDIDATES
    if first_lag is not None:
        candidates = (max(1, int(np.searchsorted(first_lags * step, first_lag * (1 - 1e-9)))),)
    else:
        last = min(last, int(np.searchsorted(first_lags, curve.bins.last / 5)))
    best = None
    for first in candidates:
        if first > last:
            break
        fitted = fit(curve, first)
        misfit = _misfit(curve, fitted)
        if best is None or misfit < best[1]:
            best = fitted, misfit
        if misfit <= 1:
            break
    return best


def _misfit(curve: BinnedCurve, fit: BinnedFit) -> float:
    """The largest departure of averages over a period, and over doublings of the lag, from the fit."""
    first, end = fit.bins.first, fit.bins.last + 1
    lasting = lasting_vibration(curve.c[first:end] - fit.decay(np.arange(first, end)))
    n_bins = len(fit.curve)
    covariance = fit.covariance() * fit.per_signal if curve.error is None else curve.error[-n_bins:, -n_bins:]
    t, full = fit.bins.centre, fit.first_full_bin
    law = fit.decay(t)
    left = np.where(t > LAST_TAU * fit.decay.tau, fit.decay.decaying, law - fit.decay.constant)
    # what is averaged: a period or a wide bin, where the fit has its full weight; and doublings
    octave = np.log2(t / first).astype(int)
    doublings = np.unique(octave)
    period = (t >= t[full:, None]) & (t < t[full:, None] + PERIOD)
    inside = np.vstack([period, octave == doublings[:, None]])
    means = inside * fit.bins.weight / (inside @ fit.bins.weight)[:, None]
    lags = np.concatenate([np.maximum(PERIOD, 1 / np.diag(fit.bins.shared)[full:]), first * 2.0**doublings])
    deviations = np.repeat([PERIOD_DEVIATIONS, DEVIATIONS], [len(period), len(doublings)])
    # an average over many lags lets little of a vibration through
    vibration = 1.5 * lasting * np.minimum(1.0, np.sqrt(PERIOD / lags))
    noise = deviations * np.sqrt(np.maximum(np.einsum('ij,jk,ik->i', means, covariance, means), 0.0)) + vibration
    allowed = TOLERANCE * (means @ left) + noise
    return float((abs(means @ (fit.curve - law)) / np.maximum(allowed, 1e-12)).max())
