"""Mean square displacement by FFT, the diffusion coefficient with its interval, and whether it is one.

The cosine modes of a random walk, scaled, have the same mean square (:mod:`~aiida_ufpnmr.engine.transport.walk`): each
tells a diffusion coefficient of its own. Vibrations add to the fast modes; a cage takes away from the slow ones, and so
does sub-diffusion; drift and flight add to them. The trend among the slow modes decides the verdict, with the way from
start to end, which a cage shortens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.timeseries.correlation import lagged_products
from aiida_ufpnmr.engine.timeseries.distributions import student_factor
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins, bin_nodes, hat_sums
from aiida_ufpnmr.engine.timeseries.sums import resampled_averages
from aiida_ufpnmr.engine.transport.walk import chance_of_return, cosine_modes, fit_walk

#: Å²/ps in cm²/s.
CM2_PER_S = 1e-4
DIFFUSION = 'diffusion'
NO_DIFFUSION = 'no diffusion that is certain: the interval of D reaches zero, or rattling is larger'
TOO_LITTLE = 'no diffusion beyond rattling: the ions move less than 1 Å within the window'
SLOWER = 'slower than diffusion: the ions come back, as in a cage'
UNCLEAR = 'not told apart from rattling in a cage: too few ions, or too short a trajectory'
FASTER = 'faster than diffusion: drift or flight'
CHANGING = 'no steady diffusion: the motion changes along the trajectory'
UNITS = 16
FEWEST_FRAMES = 16
#: Mean square displacement beyond vibrations at the end of the window, Å², that no rattling reaches for certain.
LEAST_GROWTH = 1.0
#: Slow modes that are looked at; their periods are a twelfth of the trajectory and more.
MODES = 24
#: Deviations of the slow modes in standard errors: of a walk, one in twenty comes back as much, few run as fast.
COMES_BACK, RUNS = 1.6, 3.0
#: Growth beyond this, Å², leaves any cage that a solid has: the same deviations must then be rarer to mean anything.
FAR, SURPRISE = 9.0, 2.5
#: Chance of so short a way from start to end in a walk without a cage.
RETURN = 0.025
#: Exponents beyond this are no diffusion, however wide their interval.
STEEPEST = 1.5
#: Chance of so large a change of the mobility along the trajectory without a cause.
CHANGE = 0.015


@dataclass(frozen=True)
class Diffusion(Record):
    """Mean square displacement of the ions of one species, and D = slope/6."""

    lag_ps: np.ndarray = quantity('ps', 'lags', 'lags')
    msd_angstrom2: np.ndarray = quantity('Å²', 'mean square displacement over ions and origins', 'lags')
    band_lag_ps: np.ndarray = quantity('ps', 'centres of bins of lags', 'bins')
    band_angstrom2: np.ndarray = quantity('Å²', '2.5 and 97.5 % of the bootstrap', 'bins, 2')
    slope_angstrom2_per_ps: float = quantity('Å²/ps', 'slope of the fitted line')
    offset_angstrom2: float = quantity('Å²', 'its value at lag 0')
    window_ps: tuple[float, float] = quantity('ps', 'lags between which it was fitted')
    diffusion_coefficient_cm2_per_s: float = quantity('cm²/s', 'slope/6')
    diffusion_coefficient_cm2_per_s_ci95: tuple[float, float] = quantity('cm²/s', 'its 95 % interval')
    verdict: str = quantity('', 'diffusion, or what speaks against it')
    msd_exponent: float = quantity('', 'd ln MSD / d ln t over the window', default=np.nan)
    msd_exponent_ci95: tuple[float, float] = quantity('', 'its 95 % interval', default=(np.nan, np.nan))
    slow_motion_ratio: float = quantity(
        '', 'D of the slowest motion over that of faster ones: 1 for diffusion, 0 in a cage', default=np.nan
    )
    slow_motion_ratio_error: float = quantity('', 'its standard error for a walk', default=np.nan)
    chance_of_return: float = quantity(
        '', 'chance that ions of a walk with this D end as near to where they began', default=np.nan
    )
    diffusion_coefficient_xyz_cm2_per_s: tuple[float, ...] = quantity(
        'cm²/s', 'along each axis of the coordinates', default=()
    )
    diffusion_coefficient_xyz_cm2_per_s_ci95: tuple[tuple[float, float], ...] = quantity(
        'cm²/s', 'their 95 % intervals', default=()
    )
    collective_ratio: float = quantity(
        '', 'variance over time of the mean square displacement, over that of independent ions', default=np.nan
    )
    binned_angstrom2: np.ndarray | None = quantity('Å²', 'averages over the bins', 'bins', default=None)


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
    first, stop = np.minimum(lags, len(part)), np.minimum(origins + lags, len(part))
    return (squares[origins] + squares[stop] - squares[first]).T - 2 * products


def diffusion(
    positions: np.ndarray,
    step_ps: float,
    *,
    window: tuple[float, float] = (0.05, 0.25),
    bootstrap: int = 500,
    seed: int = 0,
) -> Diffusion:
    """Mean square displacement, and D with its interval from motions slower than the start of the window.

    Args:
        positions: (n_frames, n_ions, 3) unwrapped, Å, free of drift.
        step_ps: time between frames.
        window: as shares of the trajectory: shortest period that counts for D, and the lag up to which the line of
            that slope is drawn and the verdict made.
        bootstrap: number of resampled curves, for the band and the exponent.
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
    sums = np.empty((n_ions * blocks, len(nodes)))
    counts = np.empty_like(sums)
    for b, (begin, end) in enumerate(zip(edges[:-1], edges[1:])):
        for ion in range(n_ions):
            sums[ion * blocks + b] = hat_sums(_displacements(positions[:, [ion]], begin, end, n_lags)[0], nodes)
        pairs = np.maximum(np.minimum(end, n_frames - np.arange(n_lags)) - begin, 0).astype(float)
        counts[b::blocks] = hat_sums(pairs, nodes)

    chosen = (bins.centre >= window[0] * (n_frames - 1)) & (bins.centre <= window[1] * (n_frames - 1))
    if chosen.sum() < 3:
        raise InputError('the window of the fit holds fewer than three lags; widen it')
    t, weight = bins.centre[chosen] * step_ps, bins.weight[chosen] / bins.weight[chosen].sum()
    mean = sums.sum(axis=0) / counts.sum(axis=0)
    walk = fit_walk(positions, step_ps, window[0])
    axes = [fit_walk(positions[..., [axis]], step_ps, window[0]) for axis in range(3)]
    slope = 6 * walk.diffusion
    offset = float(weight @ mean[chosen] - slope * (weight @ t))

    units = len(sums)
    resampled = resampled_averages(sums, counts, bootstrap, seed)
    # the spread of resamples of n units is short by (n − 1)/n; Student's factor for their small number
    width = np.sqrt(units / max(units - 1, 1)) * student_factor(max(units - 1, 1))
    interval = walk.interval(CM2_PER_S)
    exponent = float(_exponent(t, mean[chosen]))
    exponent_error = float(np.nanstd(_exponent(t, resampled[:, chosen])) * width)
    ratio, ratio_error = slow_motion(positions)
    returns = chance_of_return(positions, walk, step_ps) if walk.diffusion > 0 else np.nan
    growth = slope * t[-1]
    deviations = SURPRISE if growth > FAR else COMES_BACK
    if exponent > STEEPEST:
        verdict = FASTER
    elif interval[0] <= 0 or growth <= offset:
        verdict = NO_DIFFUSION
    elif ratio > 1 + RUNS * ratio_error:
        verdict = FASTER
    elif growth <= LEAST_GROWTH:
        verdict = TOO_LITTLE
    elif ratio < 1 - deviations * ratio_error or returns < RETURN:
        verdict = SLOWER
    elif not ratio > ratio_error:
        verdict = UNCLEAR
    else:
        verdict = CHANGING if change_of_mobility(positions, int(window[0] * n_frames) + 1) < CHANGE else DIFFUSION
    return Diffusion(
        lag_ps=lag,
        msd_angstrom2=msd,
        band_lag_ps=bins.centre * step_ps,
        band_angstrom2=np.nanquantile(resampled, [0.025, 0.975], axis=0).T,
        binned_angstrom2=mean,
        window_ps=(float(t[0]), float(t[-1])),
        slope_angstrom2_per_ps=slope,
        offset_angstrom2=offset,
        diffusion_coefficient_cm2_per_s=walk.diffusion * CM2_PER_S,
        diffusion_coefficient_cm2_per_s_ci95=interval,
        diffusion_coefficient_xyz_cm2_per_s=tuple(one.diffusion * CM2_PER_S for one in axes),
        diffusion_coefficient_xyz_cm2_per_s_ci95=tuple(one.interval(CM2_PER_S) for one in axes),
        collective_ratio=walk.collective_ratio,
        msd_exponent=exponent,
        msd_exponent_ci95=(exponent - exponent_error, exponent + exponent_error),
        slow_motion_ratio=ratio,
        slow_motion_ratio_error=ratio_error,
        chance_of_return=returns,
        verdict=verdict,
    )


def _exponent(t: np.ndarray, msd: np.ndarray) -> np.ndarray:
    """Slope of ln MSD (..., n) over ln t from the first lag to the last; 0 where the displacement vanishes."""
    first, last = msd[..., 0], msd[..., -1]
    rise = np.divide(last, first, out=np.ones_like(first), where=(first > 0) & (last > 0))
    return np.log(rise) / np.log(t[-1] / t[0])


def slow_motion(positions: np.ndarray) -> tuple[float, float]:
    """Diffusion coefficient of the slowest mode over that of the faster ones, and its standard error for a walk.

    The mean squares of the slow modes times λ_k are fitted by A + B k² + C/k²: diffusion, vibrations, and what comes
    back or runs away. The error is made of the scatter of the modes of single ions.

    Args:
        positions: (n_frames, n_ions, 3) unwrapped, free of drift.

    Returns:
        1 + C over the mean of the modes, and its error; NaN where the trajectory has fewer than 64 frames.
    """
    n_frames, n_ions = positions.shape[:2]
    count = min(MODES, n_frames // 8)
    if count < 8:
        return np.nan, np.nan
    k = np.arange(1, count + 1)
    modes = cosine_modes(positions, count)
    design = np.column_stack([np.ones(count), (k / count) ** 2, k**-2.0])
    inverse = np.linalg.pinv(design)
    mean = modes.mean(axis=0)
    scale = mean.mean()
    if scale <= 0:
        return np.nan, np.nan
    expected = np.maximum(design @ (inverse @ mean), 0.0)
    # ions of different mobility differ in all modes alike, which the ratio does not see
    scatter = modes - np.outer(modes.mean(axis=1) / scale, expected)
    variance = (scatter**2).sum() / (n_ions * count - n_ions - 2) / n_ions
    return float(1 + inverse[2] @ mean / scale), float(np.sqrt(variance * (inverse[2] ** 2).sum()) / scale)


def change_of_mobility(positions: np.ndarray, lag: int) -> float:
    """Chance that ions which move steadily show as large a trend along the trajectory, by Student's test over the ions.

    Where waiting times have no mean, the displacement grows with the lag as in diffusion, but ever fewer ions move;
    each ion counts alike, since then few of them make most of the moves.

    Args:
        positions: (n_frames, n_ions, 3) unwrapped.
        lag: of the displacements, in frames.

    Returns:
        1 for a single ion.
    """
    from scipy.stats import ttest_1samp  # takes a while to import

    time = np.linspace(-1, 1, len(positions) - lag)
    squares = (((path[lag:] - path[:-lag]) ** 2).sum(axis=1) for path in positions.swapaxes(0, 1))
    centres = [time @ one / one.sum() for one in squares if one.any()]
    return float(ttest_1samp(centres, 0.0).pvalue) if len(centres) > 1 else 1.0
