"""Mean square displacement by FFT, the diffusion coefficient with its interval, and whether the motion is diffusion.

Ions in a cage have a slope, too: their displacement rises as long as the run is not much longer than the memory of the
cage. So a verdict asks for more than a slope. Positions are averaged over eighths of the run, which removes vibrations,
and with x the path of an ion through these averages, x̄ its mean and Δ its steps,

    confinement = − Σ (x − x̄)·Δ / Σ |x − x̄|², in units of its value for free diffusion.

It depends on second moments alone, so it is 1 for any walk of independent steps, be they small or rare and long. A cage
pulls
back: 1.3 where the run is 1.3 times as long as its memory, 3 where it is much longer. A drift has less than 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import t as student

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.timeseries.correlation import lagged_products
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins, bin_nodes, hat_sums

#: Å²/ps in cm²/s.
CM2_PER_S = 1e-4
DIFFUSION = 'diffusion'
NO_DIFFUSION = 'no diffusion within the trajectory'
CAGE = 'no diffusion: ions are drawn back, as in a cage'
PERHAPS_CAGE = 'no diffusion told: ions move less than a hop, which a cage could do as well'
DRIFT = 'no diffusion: ions move faster than a walk, as in a drift'
TOO_FEW = 'no diffusion told: too few paths to know from a drift or a cage'
UNITS = 16
#: Averages of positions along a path in which a cage is told from free motion.
AVERAGES = 8
#: Confinement in a cage whose memory is three quarters of the run: what free motion is told from where ions move
#: little.
CAGED = 1.28
#: Ions that move farther than this in half of the run, Å, leave any cage that a solid has.
HOP = 1.5
FEWEST_FRAMES = 16
#: Rise of the displacement over the window, in units of that at its start, below which ions rattle in place.
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
        exponent, exponent_ci95: d ln MSD / d ln t over the window, 1 for diffusion without vibrations, 0 for rattling;
            and its 95 % interval.
        confinement, confinement_ci95: pull towards the mean place, 1 for diffusion and more in a cage; and its
            interval.
        verdict: ``diffusion``, or what speaks against it.
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
    exponent_ci95: tuple[float, float]
    confinement: float
    confinement_ci95: tuple[float, float]
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
    ratio = np.log(t[-1] / t[0])
    first, last = mean[chosen][0], mean[chosen][-1]
    exponent = float(np.log(last / first) / ratio) if first > 0 and last > 0 else 0.0
    with np.errstate(divide='ignore', invalid='ignore'):
        exponents = np.log(resampled[:, chosen][:, -1] / resampled[:, chosen][:, 0]) / ratio
    exponents = exponents[np.isfinite(exponents)]
    spread = np.quantile(exponents, [0.025, 0.975]).tolist() if len(exponents) else [np.nan, np.nan]
    bent, bent_error = confinement(positions, blocks)
    moves = interval[0] > 0 and slope * (t[-1] - t[0]) > LEAST_RISE * first
    far = len(msd) > 1 and msd[len(msd) // 2] > HOP**2
    return Diffusion(
        lag_ps=lag,
        msd=msd,
        band_lag_ps=bins.centre * step_ps,
        binned=mean,
        band=np.nanquantile(resampled, [0.025, 0.975], axis=0).T,
        window_ps=(float(t[0]), float(t[-1])),
        slope=slope,
        offset=offset,
        coefficient_cm2_per_s=slope * CM2_PER_S / 6,
        ci95_cm2_per_s=interval,
        exponent=exponent,
        exponent_ci95=(spread[0], spread[1]),
        confinement=bent,
        confinement_ci95=(bent - bent_error, bent + bent_error),
        verdict=_verdict(bent, bent_error, far) if moves else NO_DIFFUSION,
    )


def _verdict(bent: float, error: float, far: bool) -> str:
    """Words for a displacement that rises; ``error`` is half a 95 % interval of the confinement ``bent``."""
    if not np.isfinite(error):
        return TOO_FEW
    doubt = (
        1.25 * error if far else error
    )  # two and a half standard errors where only a surprise speaks against diffusion
    if bent + doubt < 1:
        return DRIFT
    if bent - doubt > 1:
        return CAGE
    # one-sided: a cage would show at least this much
    return DIFFUSION if far or bent + 0.84 * error < CAGED else PERHAPS_CAGE


def confinement(positions: np.ndarray, segments: int = 1) -> tuple[float, float]:
    """Pull of paths towards their mean place, in units of that of free diffusion, and half of its 95 % interval.

    Args:
        positions: (n_frames, n_ions, 3).
        segments: parts of the time that count as paths of their own, where ions are few.

    Returns:
        The number, and the half width by a jackknife over paths; NaN where there are fewer than three.
    """
    pull, spread = [], []
    for part in np.array_split(positions, max(1, min(segments, len(positions) // (2 * AVERAGES)))):
        edges = np.linspace(0, len(part), AVERAGES + 1).astype(int)
        x = np.add.reduceat(part, edges[:-1], axis=0) / np.diff(edges)[:, None, None]
        x = x - x.mean(axis=0)
        pull.append(-(x[:-1] * np.diff(x, axis=0)).sum(axis=(0, 2)))
        spread.append((x**2).sum(axis=(0, 2)))
    a, b = np.concatenate(pull), np.concatenate(spread)
    n = len(a)
    if n < 3 or not b.sum() > 0:
        return float(a.sum() / b.sum() / _free_pull()) if b.sum() > 0 else np.nan, np.nan
    without = (a.sum() - a) / (b.sum() - b) / _free_pull()
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()) * student.ppf(0.975, n - 1)
    return float(a.sum() / b.sum() / _free_pull()), float(error)


@lru_cache(maxsize=1)
def _free_pull(points: int = 64) -> float:
    """Pull over spread of averages of free diffusion, from the covariance min(t, t') of its places."""
    t = np.arange(1, AVERAGES * points + 1) / (AVERAGES * points)
    average = np.kron(np.eye(AVERAGES), np.full((1, points), 1 / points))
    covariance = average @ np.minimum.outer(t, t) @ average.T
    centred = np.eye(AVERAGES) - 1 / AVERAGES
    steps = np.diff(np.eye(AVERAGES), axis=0)
    pull = -np.trace(steps @ covariance @ centred[:-1].T)
    return float(pull / np.trace(centred @ covariance @ centred))
