"""Mean square displacement by FFT, and the diffusion coefficient with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.timeseries.correlation import lagged_products
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins, bin_nodes, hat_sums

#: Å²/ps in cm²/s.
CM2_PER_S = 1e-4
DIFFUSION = 'diffusion'
NO_DIFFUSION = 'no diffusion within the trajectory'
UNITS = 16
FEWEST_FRAMES = 16
#: Rise of the displacement over the window, in units of that at its start, below which ions are said to rattle in
#: place.
LEAST_RISE = 0.1


@dataclass(frozen=True)
class Diffusion:
    """Mean square displacement and diffusion coefficient of one species.

    Attributes:
        lag_ps, msd: (n_lags,) in ps and Å², averaged over ions and time origins.
        band_lag_ps, binned: (n_bins,) centres of bins of lags, and averages over them.
        band: (n_bins, 2) 2.5 and 97.5 % points of a bootstrap, in Å².
        window_ps: lags between which the slope was fitted.
        slope, offset: of the fitted line, Å²/ps and Å².
        coefficient_cm2_per_s: D = slope/6.
        ci95_cm2_per_s: its 95 % interval.
        exponent: d ln MSD / d ln t over the window: 1 for diffusion, 0 for rattling.
        verdict: ``diffusion``, or ``no diffusion within the trajectory``.
    """

    lag_ps: np.ndarray
    msd: np.ndarray
    band_lag_ps: np.ndarray
    binned: np.ndarray
    band: np.ndarray
    window_ps: tuple[float, float]
    slope: float
    offset: float
    coefficient_cm2_per_s: float
    ci95_cm2_per_s: tuple[float, float]
    exponent: float
    verdict: str


def mean_square_displacement(positions: np.ndarray, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean square displacement averaged over ions and all time origins, O(N log N).

    The sum |r(t + m) − r(t)|² is split into squares, summed cumulatively, and products, summed by FFT (as in
    tidynamics).

    Args:
        positions: (n_frames, n_ions, 3) unwrapped.
        dt: time between frames.

    Returns:
        lag (n_frames,) in the unit of ``dt`` and msd (n_frames,) in that of the positions squared.
    """
    n_frames, n_ions = positions.shape[:2]
    total = sum(_displacements(positions[:, [ion]], 0, n_frames, n_frames)[0] for ion in range(n_ions))
    return np.arange(n_frames) * dt, np.maximum(total, 0.0) / (n_ions * np.arange(n_frames, 0, -1))


def _displacements(positions: np.ndarray, begin: int, end: int, n_lags: int) -> np.ndarray:
    """Sums over origins begin ≤ t < end of squared displacements after each lag, (n_ions, n_lags)."""
    n_frames = len(positions)
    part = positions[begin : min(n_frames, end + n_lags)]
    part = part - part.mean(axis=0)
    products = lagged_products(part, end - begin, n_lags)
    squares = np.vstack([np.zeros(part.shape[1]), np.cumsum((part**2).sum(axis=2), axis=0)])
    lags = np.arange(n_lags)
    origins = np.maximum(np.minimum(end - begin, len(part) - lags), 0)
    begin, stop = np.minimum(lags, len(part)), np.minimum(origins + lags, len(part))
    return (squares[origins] + squares[stop] - squares[begin]).T - 2 * products


def diffusion(
    positions: np.ndarray,
    step_ps: float,
    *,
    window: tuple[float, float] = (0.05, 0.25),
    bootstrap: int = 500,
    seed: int = 0,
) -> Diffusion:
    """Mean square displacement and D = slope/6 with an interval from resampled ions (and times, where ions are few).

    Args:
        positions: (n_frames, n_ions, 3) unwrapped, Å, free of drift.
        step_ps: time between frames.
        window: lags of the straight-line fit, as shares of the trajectory.
        bootstrap: number of resamples.
        seed: of the resampling.

    Raises:
        InputError: fewer than 16 frames, or a window that holds fewer than three points.
    """
    n_frames, n_ions = positions.shape[:2]
    if n_frames < FEWEST_FRAMES:
        raise InputError(f'{n_frames} frames; a mean square displacement needs at least {FEWEST_FRAMES}')
    if not 0 < window[0] < window[1] <= 1:
        raise InputError(f'the window must be two rising shares of the trajectory, not {window[0]:g} to {window[1]:g}')
    nodes = bin_nodes(max(8, int(np.ceil(window[1] * (n_frames - 1))) + 1))
    bins = LagBins.of(nodes, n_frames)
    blocks = int(np.clip(-(-UNITS // n_ions), 1, 8))
    edges = np.linspace(0, n_frames, blocks + 1).astype(int)
    lag, msd = mean_square_displacement(positions, step_ps)
    n_lags = bins.last + 1
    sums = np.empty((n_ions, blocks, len(nodes)))
    counts = np.empty((blocks, len(nodes)))
    for b, (begin, end) in enumerate(zip(edges[:-1], edges[1:])):
        for ion in range(n_ions):
            sums[ion, b] = hat_sums(_displacements(positions[:, [ion]], begin, end, n_lags)[0], nodes)
        counts[b] = hat_sums(np.maximum(np.minimum(end, n_frames - np.arange(n_lags)) - begin, 0).astype(float), nodes)
    sums, counts = sums.reshape(n_ions * blocks, -1), np.tile(counts, (n_ions, 1))

    chosen = (bins.centre >= window[0] * (n_frames - 1)) & (bins.centre <= window[1] * (n_frames - 1))
    if chosen.sum() < 3:
        raise InputError('the window of the fit holds fewer than three lags; widen it')
    t, weight = bins.centre[chosen] * step_ps, bins.weight[chosen] / bins.weight[chosen].sum()
    centred = t - weight @ t
    score = weight * centred / (weight @ centred**2)
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    slope = float(score @ mean[chosen])
    offset = float(weight @ mean[chosen] - slope * (weight @ t))

    units = len(sums)
    times = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), bootstrap).astype(float)
    pairs = times @ counts
    resampled = np.divide(times @ sums, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)
    slopes = resampled[:, chosen] @ score
    # the spread of resamples of n units is short by (n − 1)/n; Student's factor for their small number
    error = np.nanstd(slopes) * np.sqrt(units / max(units - 1, 1)) * student.ppf(0.975, max(units - 1, 1))
    interval = ((slope - error) * CM2_PER_S / 6, (slope + error) * CM2_PER_S / 6)
    first, last = mean[chosen][0], mean[chosen][-1]
    exponent = float(np.log(last / first) / np.log(t[-1] / t[0])) if first > 0 and last > 0 else 0.0
    moves = interval[0] > 0 and slope * (t[-1] - t[0]) > LEAST_RISE * first
    return Diffusion(
        lag,
        msd,
        bins.centre * step_ps,
        mean,
        np.nanquantile(resampled, [0.025, 0.975], axis=0).T,
        (float(t[0]), float(t[-1])),
        slope,
        offset,
        slope * CM2_PER_S / 6,
        interval,
        exponent,
        DIFFUSION if moves else NO_DIFFUSION,
    )
