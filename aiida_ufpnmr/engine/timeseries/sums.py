"""Sums of lagged products over runs, ions and origins: what correlation functions and their errors are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.timeseries.correlation import lagged_products
from aiida_ufpnmr.engine.timeseries.distributions import chi_squared_quantile, student_factor
from aiida_ufpnmr.engine.timeseries.lag_bins import hat_sums

#: Upper limit on the padded series of a transform.
BATCH_BYTES = 256e6
#: Where there are fewer ions than this, so many parts of their time count as independent units instead.
FEWEST_IONS, PARTS = 16, 8
#: The scatter of fewer units than this says nothing.
FEWEST_UNITS = 1.5


@dataclass(frozen=True)
class Group:
    """Ions, or origins of ions, over which a correlation function is averaged.

    Attributes:
        name: appended to the name of the observable; empty for all ions.
        words: for labels.
        members: for each run (n_ions,) or (n_frames, n_ions) booleans: ions, or frames of ions, that count as origins.
    """

    name: str
    words: str
    members: tuple[np.ndarray, ...]

    def origins(self) -> float:
        """Number of origins."""
        return float(sum(member.sum() for member in self.members))


def with_all_ions(groups: Sequence[Group], lengths: Sequence[int], n_ions: int) -> list[Group]:
    """All ions, without a name, and then the groups that have an origin."""
    everyone = Group('', '', tuple(np.ones(n_ions, bool) for _ in lengths))
    return [everyone, *(group for group in groups if group.origins() > 0)]


def resampled_averages(sums: np.ndarray, counts: np.ndarray, bootstrap: int, seed: int) -> np.ndarray:
    """Averages over resampled units, (bootstrap, n_bins), NaN in bins without a pair.

    Args:
        sums, counts: (n_units, n_bins) sums of each unit, and the number of pairs behind them.
        bootstrap: number of resamples.
        seed: of the resampling.
    """
    units = len(sums)
    times = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), bootstrap).astype(float)
    pairs = times @ counts
    return np.divide(times @ sums, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)


def poisson_limits(events: float) -> tuple[float, float]:
    """Exact 95 % interval of the mean of a Poisson count (Garwood, Biometrika 28, 437 (1936))."""
    low = float(chi_squared_quantile(0.025, 2 * events)) / 2 if events else 0.0
    return low, float(chi_squared_quantile(0.975, 2 * events + 2)) / 2


def influence(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Pull of each unit (n_units,) on a ratio of sums: the variance of the ratio is the sum of their squares.

    This is the error of a ratio to first order (Cochran, Sampling Techniques, 1977, section 2.11), where units are
    independent and what they hold is not.
    """
    return (sums - sums.sum() / counts.sum() * counts) / counts.sum()


def units_worth(counts: np.ndarray) -> float:
    """Number of units of equal size that units with so many values each (n_units,) are worth."""
    return float(counts.sum() ** 2 / (counts**2).sum())


def error_of(pulls: np.ndarray, units: float) -> float:
    """Half width of a 95 % interval, by Student's factor for so many units; NaN where these are too few."""
    if units < FEWEST_UNITS:
        return np.nan
    return float(student_factor(units - 1) * np.sqrt((pulls**2).sum() * units / (units - 1)))


def mean_with_interval(sums: np.ndarray, counts: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Mean over all that independent units hold, and its 95 % interval by the scatter of the units.

    Args:
        sums, counts: (n_units,) sum of each unit, and the number of values behind it.

    Returns:
        NaN where there is no value; the limits are NaN also where there are too few units.
    """
    if not counts.sum() > 0:
        return np.nan, (np.nan, np.nan)
    mean = float(sums.sum() / counts.sum())
    error = error_of(influence(sums, counts), units_worth(counts))
    return mean, (mean - error, mean + error)


class CorrelationSums:
    """Adds up lagged products ion by ion; products never span two runs.

    Args:
        lengths: frames of each run.
        n_ions: number of ions.
        nodes: lags at which the bins peak, for the bootstrap.
        blocks: parts of the time into which the origins of an ion are cut, for the bootstrap.
    """

    def __init__(self, lengths: tuple[int, ...], n_ions: int, nodes: np.ndarray, blocks: int):
        self.lengths, self.nodes, self.blocks = lengths, nodes, blocks
        self._total = np.zeros(max(lengths))
        self._pairs = np.zeros(max(lengths))
        self._sums = np.zeros((len(lengths), n_ions, blocks, len(nodes)))
        self._counts = np.zeros_like(self._sums)

    def add(self, run: int, ions: np.ndarray, share: float, x: np.ndarray, origins: np.ndarray | None) -> None:
        """Add ``share`` times the products of x (n_frames, n_ions, k) of the ions at positions ``ions``."""
        size = max(1, int(BATCH_BYTES // (2 * len(x) * x.shape[2] * 32)))
        for start in range(0, len(ions), size):
            part = slice(start, start + size)
            self._add(run, ions[part], share, x[:, part], None if origins is None else origins[:, part])

    def _add(self, run, ions, share, x, origins):
        n_frames = len(x)
        products = lagged_products(x, origins=origins)
        self._total[:n_frames] += share * products.sum(axis=0)
        n_lags = int(self.nodes[-1]) + 1
        if self.blocks == 1:
            self._sums[run, ions, 0] += share * hat_sums(_of_length(products, n_lags), self.nodes)
            return
        edges = np.linspace(0, n_frames, self.blocks + 1).astype(int)
        for b, (begin, end) in enumerate(zip(edges[:-1], edges[1:])):
            stop = min(n_frames, end + n_lags)
            mask = None if origins is None else origins[begin:stop]
            products = lagged_products(x[begin:stop], end - begin, n_lags, mask)
            self._sums[run, ions, b] += share * hat_sums(products, self.nodes)

    def count(self, run: int, ions: np.ndarray, origins: np.ndarray | None) -> None:
        """Count the pairs behind the sums of some ions, once for all shares."""
        n_frames = self.lengths[run]
        if origins is None:
            origins = np.ones((n_frames, 1))
        edges = np.linspace(0, n_frames, self.blocks + 1).astype(int)
        n_lags = int(self.nodes[-1]) + 1
        running = np.vstack([np.zeros(origins.shape[1]), np.cumsum(origins, axis=0)])
        left = n_frames - np.arange(n_frames)  # origins that have a partner at each lag
        self._pairs[:n_frames] += running[left].sum(axis=1) * (len(ions) / origins.shape[1])
        lags = np.arange(n_lags)
        for b, (begin, end) in enumerate(zip(edges[:-1], edges[1:])):
            pairs = running[np.clip(n_frames - lags, begin, end)] - running[begin]
            self._counts[run, ions, b] = hat_sums(pairs.T, self.nodes)

    def curve(self) -> np.ndarray:
        """The function, one at lag 0, at all lags up to the first that no pair has."""
        empty = np.flatnonzero(self._pairs <= 0)
        stop = int(empty[0]) if len(empty) else len(self._pairs)
        c = self._total[:stop] / self._pairs[:stop]
        return c / c[0]

    def units(self) -> tuple[np.ndarray, np.ndarray]:
        """Binned sums and pairs of the units that a bootstrap resamples, (n_units, n_bins): parts of runs of ions."""
        sums, counts = (a.reshape(-1, len(self.nodes)) for a in (self._sums, self._counts))
        used = counts[:, 0] > 0
        return sums[used], counts[used]

    def per_ion(self) -> np.ndarray:
        """(n_ions, n_bins) binned function of each ion, in units of the mean at lag 0; NaN where it has no pair."""
        sums, counts = self._sums.sum(axis=(0, 2)), self._counts.sum(axis=(0, 2))
        curves = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
        return curves / np.nanmean(curves[:, 0])


def _of_length(products: np.ndarray, n_lags: int) -> np.ndarray:
    if products.shape[1] >= n_lags:
        return products[:, :n_lags]
    return np.pad(products, ((0, 0), (0, n_lags - products.shape[1])))
