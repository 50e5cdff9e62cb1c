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
#: Fewer ions than this do not tell whether they move at another rate later on.
FEWEST_IONS = 8
#: Rise of the displacement over the window, in units of that at its start, below which ions are said to rattle in
#: place.
LEAST_RISE = 0.1
#: Lags up to this share of the trajectory tell how the displacement grows.
LONGEST_LAG = 0.9
#: Exponents of the growth that are tried, and rates (per length of the trajectory) at which ions may relax in a cage.
EXPONENTS = np.linspace(0.0, 2.0, 81)
CAGE_RATES = np.concatenate([[1e-6], np.geomspace(0.05, 60.0, 60)])
#: An interval of the exponent that comes this near to one holds it; one that reaches farther than that tells nothing.
NEAR_ONE, FAR_FROM_ONE = 0.1, 0.5
#: Root mean square displacement in Å that no cage of a solid allows: half a hop, the threshold of a hop.
WIDEST_CAGE = 1.5
#: Diffusion is claimed where cages in which ions relax this often within the trajectory do not describe the curve.
CAGE_RATE_LIMIT = 2.0


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
    exponent_ci95: tuple[float, float]
    verdict: str
    reason: str


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


def walk_covariance(lag: np.ndarray, n_frames: int) -> np.ndarray:
    """Covariance (n, n) of the mean square displacement of one ion that walks at random in three dimensions.

    Displacements that overlap in time share steps (Qian, Sheetz & Elson, Biophys. J. 60, 910 (1991)). Lags are in
    frames, the mean square displacement is the lag.
    """
    k, m = lag[:, None, None], lag[None, :, None]
    apart = np.arange(-int(lag[-1]) - 1, int(lag[-1]) + 2, max(1, n_frames // 1000))
    shared = np.maximum(np.minimum(k, apart + m) - np.maximum(apart, 0), 0)
    origins = np.maximum(np.minimum(n_frames - k, n_frames - m - apart) - np.maximum(-apart, 0), 0)
    total = (origins * shared**2).sum(axis=2) * (apart[1] - apart[0])
    return 2 / 3 * total / ((n_frames - k) * (n_frames - m))[..., 0]


def _ages(positions: np.ndarray, lag: int) -> bool:
    """Whether ions move farther in the later half than in the earlier, or less far, by more than chance."""
    squares = ((positions[lag:] - positions[:-lag]) ** 2).sum(axis=2)
    half = len(squares) // 2
    change = squares[half:].mean(axis=0) - squares[:half].mean(axis=0)
    if len(change) < FEWEST_IONS:
        return False
    return bool(abs(change.mean()) > student.ppf(0.999, len(change) - 1) * change.std(ddof=1) / np.sqrt(len(change)))


def _growth(lag: np.ndarray, per_ion: np.ndarray, n_frames: int) -> tuple[float, tuple[float, float], float]:
    """Exponent of the growth with its 95 % interval, and the fastest rate of a cage (95 %, per trajectory).

    Both are profiles of the squares, made independent by the covariance of a walk, of an offset and a growth that are
    not negative. Where ions differ by more than walks do, that sets the errors.

    Args:
        lag: (n_bins,) in frames.
        per_ion: (n_ions, n_bins) mean square displacements.
        n_frames: of the trajectory.
    """
    n_ions, mean = len(per_ion), per_ion.mean(axis=0)
    covariance = walk_covariance(lag, n_frames)
    values, vectors = np.linalg.eigh(covariance)
    whitening = (vectors / np.sqrt(np.maximum(values, 1e-5 * values[-1]))).T
    y, one, line = whitening @ mean, whitening.sum(axis=1), whitening @ lag
    per_signal = max((y @ line) / (line @ line), 1e-300) ** 2 / n_ions
    t = lag / lag[-1]

    def profile(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Excess of the sum of squares for each shape (n_shapes, n_bins), and the height of its growth."""
        f = shapes @ whitening.T
        ff, f1, oo, yf, y1 = (f**2).sum(axis=1), f @ one, one @ one, f @ y, one @ y
        determinant = np.maximum(ff * oo - f1**2, 1e-9 * ff * oo)
        height, offset = (yf * oo - y1 * f1) / determinant, (y1 * ff - yf * f1) / determinant
        both = np.where((height >= 0) & (offset >= 0), height * yf + offset * y1, -np.inf)
        alone, level = np.maximum(yf, 0.0) ** 2 / ff, np.maximum(y1, 0.0) ** 2 / oo
        gain = np.maximum(np.maximum(both, alone), level)
        return gain.max() - gain, np.where(gain == both, height, np.where(gain == alone, yf / ff, 0.0))

    excess, heights = profile(t ** EXPONENTS[:, None])
    best = int(excess.argmin())
    exponent = max(EXPONENTS[best], 0.05)
    bend = max(heights[best], 1e-3 * mean[-1]) * t**exponent * np.log(t)
    score = np.linalg.lstsq(whitening @ np.column_stack([np.ones_like(t), t**exponent, bend]), whitening)[0][2]
    widening, limit, one_sided = 1.0, 1.96**2, 1.645**2
    if n_ions > 1:
        ratio = (per_ion @ score).var(ddof=1) / n_ions / (score @ covariance @ score * per_signal)
        if ratio > 1:
            widening = ratio
            limit, one_sided = (student.ppf(share, n_ions - 1) ** 2 for share in (0.975, 0.95))
    allowed = EXPONENTS[excess <= limit * widening * per_signal]
    rates = CAGE_RATES[:, None]
    cages = profile(-np.expm1(-rates * lag / n_frames) / rates)[0] <= one_sided * widening * per_signal
    return float(EXPONENTS[best]), (float(allowed[0]), float(allowed[-1])), float(CAGE_RATES[cages][-1])


def diffusion(
    positions: np.ndarray,
    step_ps: float,
    *,
    window: tuple[float, float] = (0.05, 0.25),
    bootstrap: int = 500,
    seed: int = 0,
) -> Diffusion:
    """Mean square displacement and D = slope/6 with an interval from resampled ions (and times, where ions are few).

    Diffusion is claimed where the displacement is larger than that of vibrations, its exponent is one within its
    error, and no cage describes the curve as well in which ions relax twice or more within the trajectory.

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
    long = LagBins.of(bin_nodes(int(LONGEST_LAG * (n_frames - 1)) + 1), n_frames)
    per_ion = np.array(
        [
            hat_sums(_displacements(positions[:, [ion]], 0, n_frames, long.last + 1)[0], long.nodes)
            for ion in range(n_ions)
        ]
    )
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
    growths = per_ion / long.weight
    later = long.centre >= min(window[0], 0.5) * (n_frames - 1)
    exponent, exponent_ci95, cage_rate = _growth(long.centre[later], growths[:, later], n_frames)
    first, last = mean[chosen][0], mean[chosen][-1]
    reason = ''
    if not (interval[0] > 0 and slope * (t[-1] - t[0]) > LEAST_RISE * first):
        reason = 'the ions rattle in place'
        exponent = float(np.log(last / first) / np.log(t[-1] / t[0])) if first > 0 and last > 0 else 0.0
        exponent_ci95 = min(exponent_ci95[0], exponent), max(exponent_ci95[1], exponent)
    elif exponent_ci95[1] < 1 - NEAR_ONE:
        reason = 'the displacement grows slower than time, as of ions that still feel their cage'
    elif exponent_ci95[0] > 1 + NEAR_ONE:
        reason = 'the displacement grows faster than time: the ions fly or drift; hold still what they move in'
    elif slope * t[-1] < offset or growths[:, -1].mean() < WIDEST_CAGE**2:
        reason = 'the ions have not moved farther than they vibrate'
    elif max(1 - exponent_ci95[0], exponent_ci95[1] - 1) > FAR_FROM_ONE:
        reason = 'the exponent is not known: too few ions or hops, or too short a time'
    elif cage_rate > CAGE_RATE_LIMIT:
        reason = f'ions in a cage that relax within {n_frames * step_ps / cage_rate:.3g} ps would look the same'
    elif _ages(positions, max(1, round(t[0] / step_ps))):
        reason = 'the ions move at another rate in the later half: they age, or are not in equilibrium yet'
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
        exponent_ci95=exponent_ci95,
        verdict=NO_DIFFUSION if reason else DIFFUSION,
        reason=reason,
    )
