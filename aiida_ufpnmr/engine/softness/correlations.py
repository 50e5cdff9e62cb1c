"""Correlation of the softness of ions with what lies around them, with intervals that know what hangs together.

Frames of one ion, and ions close to each other, are not independent. So what is resampled are whole runs where there
are enough of them; else parts of the cells, ions by where they are at first with all their frames, where there are
enough of these; else ions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.neighbours import cell_heights
from aiida_ufpnmr.engine.records import Record, quantity

#: Runs and parts of cells that an interval needs.
FEWEST_RUNS, FEWEST_PARTS = 5, 8
#: Least width of a part of a cell in Å.
PART_ANGSTROM = 10.0
#: Bins of equal size in softness.
BINS = 10
POSITIVE, NEGATIVE, NONE = 'positive', 'negative', 'not told from none'


@dataclass(frozen=True)
class Correlation(Record):
    """Correlation of softness with one property of the ions."""

    pearson_r: float = quantity('', 'of all ions and frames; NaN where the property never changes')
    pearson_r_ci95: tuple[float, float] = quantity('', 'its 95 % interval')
    pearson_r_of_ions: float = quantity('', 'of the means of each ion over time')
    pearson_r_of_ions_ci95: tuple[float, float] = quantity('', 'its 95 % interval')
    pearson_r_within_runs: float = quantity('', 'of what ions differ by from the mean of their run')
    pearson_r_of_bins: float = quantity('', 'of means over bins of softness; close to 1 or -1 also where r is small')
    mean_of_soft: float = quantity('', 'mean over ions and frames with a softness above zero, in the unit of the name')
    mean_of_hard: float = quantity('', 'mean over those below zero')
    sign: str = quantity('', 'positive, negative, or not told from none, by the interval over all ions and frames')
    bin_mean: np.ndarray = quantity('', 'mean over each bin of softness', 'bins')


def parts_of_cell(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Number of the part of the cell that each ion is in, (n_ions,); parts are at least 10 Å wide.

    Args:
        positions: (n_ions, 3) and cell: (3, 3) in Å.
    """
    number = np.maximum(1, cell_heights(cell) // PART_ANGSTROM).astype(int)
    place = ((positions @ np.linalg.inv(cell)) % 1.0 * number).astype(int) % number
    return np.ravel_multi_index(tuple(place.T), tuple(number))


def units_of(parts: Sequence[np.ndarray]) -> tuple[list[np.ndarray], str]:
    """What is resampled: for the ions of each run (n_ions,) the number of their unit, and what units are.

    Args:
        parts: for each run the part of the cell of each ion, (n_ions,).
    """
    if len(parts) >= FEWEST_RUNS:
        return [np.full(len(part), run) for run, part in enumerate(parts)], 'run'
    most = max(int(part.max()) for part in parts) + 1
    if sum(len(np.unique(part)) for part in parts) >= FEWEST_PARTS:
        return [run * most + part for run, part in enumerate(parts)], 'part of a cell'
    starts = np.cumsum([0, *map(len, parts)])
    return [start + np.arange(len(part)) for start, part in zip(starts, parts)], 'ion'


def softness_bins(softness: Sequence[np.ndarray]) -> np.ndarray:
    """Edges (n_bins + 1,) of bins that hold equally many ions and frames."""
    edges = np.quantile(np.concatenate([one.ravel() for one in softness]), np.linspace(0, 1, BINS + 1))
    return np.maximum.accumulate(edges)


def correlate(
    softness: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    units: Sequence[np.ndarray],
    edges: np.ndarray,
    bootstrap: int,
    seed: int,
) -> Correlation:
    """Correlation of one property with softness.

    Args:
        softness, values: for each run (frames, n_ions).
        units: for each run (n_ions,) the number of the unit of each ion.
        edges: of :func:`softness_bins`.
        bootstrap, seed: of the resampling.
    """
    unit = np.unique(np.concatenate(units), return_inverse=True)[1]
    n_units, ends = int(unit.max()) + 1, np.cumsum([len(one) for one in units])[:-1]
    repeated = [np.broadcast_to(part, one.shape) for part, one in zip(np.split(unit, ends), values)]
    x, y, unit_of = (np.concatenate([np.ravel(one) for one in parts]) for parts in (softness, values, repeated))
    x_of_ions, y_of_ions = (np.concatenate([one.mean(axis=0) for one in parts]) for parts in (softness, values))
    x_within, y_within = (np.concatenate([np.ravel(one - one.mean()) for one in parts]) for parts in (softness, values))
    times = np.random.default_rng(seed).multinomial(n_units, np.full(n_units, 1 / n_units), bootstrap)
    r, interval = _with_interval(x, y, unit_of, times)
    of_ions, of_ions_interval = _with_interval(x_of_ions, y_of_ions, unit, times)
    number = np.clip(np.searchsorted(edges, x, side='right') - 1, 0, len(edges) - 2)
    filled = np.maximum(np.bincount(number, minlength=len(edges) - 1), 1)
    bin_softness, bin_mean = (np.bincount(number, one, len(edges) - 1) / filled for one in (x, y))
    soft = x > 0
    return Correlation(
        pearson_r=r,
        pearson_r_ci95=interval,
        pearson_r_of_ions=of_ions,
        pearson_r_of_ions_ci95=of_ions_interval,
        pearson_r_within_runs=float(_pearson(_sums(x_within, y_within))),
        pearson_r_of_bins=float(_pearson(_sums(bin_softness, bin_mean))),
        mean_of_soft=float(y[soft].mean()) if soft.any() else np.nan,
        mean_of_hard=float(y[~soft].mean()) if not soft.all() else np.nan,
        sign=POSITIVE if interval[0] > 0 else NEGATIVE if interval[1] < 0 else NONE,
        bin_mean=bin_mean,
    )


def _sums(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.array([len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def _with_interval(
    x: np.ndarray, y: np.ndarray, unit: np.ndarray, times: np.ndarray
) -> tuple[float, tuple[float, float]]:
    """Pearson's r of x and y (n,), and its interval over resampled units, times (bootstrap, n_units) each."""
    x, y = x - x.mean(), y - y.mean()
    sums = np.array([np.bincount(unit, one, times.shape[1]) for one in (np.ones(len(x)), x, y, x * x, y * y, x * y)])
    drawn = _pearson(sums @ times.T)
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return float(_pearson(sums.sum(axis=1))), (float(low), float(high))


def _pearson(sums: np.ndarray) -> np.ndarray:
    """Pearson's r (...,) of sums (6, ...) of 1, x, y, x², y² and xy; NaN where one of both does not change."""
    n, x, y, xx, yy, xy = sums
    spread = (xx - x * x / n) * (yy - y * y / n)
    flat = spread <= 1e-12 * np.maximum(xx * yy, 1e-300)
    return np.where(flat, np.nan, (xy - x * y / n) / np.sqrt(np.where(flat, 1.0, spread)))
