"""Averages of a correlation function over overlapping bins of lags: few numbers that hold all a slow decay can tell.

Bins are hats between nodes that lie one lag apart at first and ever wider later. Hats, rather than boxes, since a fit
over boxes weighs lags in steps, and steps let a lasting vibration through.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

#: Lags up to this one stay single; beyond, nodes lie apart by GROWTH, so that a decay is resolved wherever it lies.
SINGLE_LAGS = 24
GROWTH = 1.15


def bin_nodes(n_lags: int) -> np.ndarray:
    """Lags (in frames) at which the hats peak, for lags 0 … n_lags − 1."""
    nodes = list(range(min(SINGLE_LAGS, n_lags - 1) + 1))
    while nodes[-1] < n_lags - 1:
        nodes.append(min(n_lags - 1, int(np.ceil(nodes[-1] * GROWTH))))
    return np.array(nodes)


def hat_sums(values: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Sums of ``values`` (..., n_lags) over the hats, (..., n_nodes); two hats share a lag with total weight 1."""
    last = int(nodes[-1])
    lags = np.arange(last)
    interval = np.searchsorted(nodes, lags, side='right') - 1
    upper = (lags - nodes[interval]) / np.diff(nodes)[interval]
    sums = np.zeros((*values.shape[:-1], len(nodes)))
    sums[..., :-1] = np.add.reduceat(values[..., :last] * (1 - upper), nodes[:-1], axis=-1)
    sums[..., 1:] += np.add.reduceat(values[..., :last] * upper, nodes[:-1], axis=-1)
    sums[..., -1] += values[..., last]
    return sums


@dataclass(frozen=True)
class LagBins:
    """A correlation function averaged over hats, each lag weighted by its number of origins.

    Attributes:
        nodes: (n_bins,) lags at which the hats peak, in frames.
        centre: (n_bins,) mean lag, in frames.
        weight: (n_bins,) number of origins, summed over the lags.
        shared: (n_bins, n_bins) correlation that the averages get from lags that two hats share: the sum over lags of
            both weights, squared weights on the diagonal, for weights that add up to one.
        first: first lag that counts.
        n_frames: frames of the trajectory.
    """

    nodes: np.ndarray
    centre: np.ndarray
    weight: np.ndarray
    shared: np.ndarray
    first: int
    n_frames: int

    @classmethod
    def of(cls, nodes: np.ndarray, n_frames: int) -> LagBins:
        """Bins at ``nodes``, the first of which is 0."""
        lags = np.arange(nodes[-1] + 1)
        origins = (n_frames - lags).astype(float)
        weight = hat_sums(origins, nodes)
        centre = hat_sums(origins * lags, nodes) / weight
        gaps = np.diff(nodes).astype(float)
        # sums over the integers of one interval: of (1 − f)², f² and f(1 − f), with f = 0, 1/gap, …
        rising = (gaps - 1) * (2 * gaps - 1) / (6 * gaps)
        falling = (gaps + 1) * (2 * gaps + 1) / (6 * gaps)
        crossed = (gaps - 1 / gaps) / 6
        width = np.zeros(len(nodes))
        squares = np.zeros(len(nodes))
        width[:-1] += (gaps + 1) / 2
        width[1:] += (gaps - 1) / 2
        squares[:-1] += falling
        squares[1:] += rising
        width[-1] += 1
        squares[-1] += 1
        shared = np.diag(squares / width**2)
        between = crossed / (width[:-1] * width[1:])
        shared += np.diag(between, 1) + np.diag(between, -1)
        return cls(nodes=nodes, centre=centre, weight=weight, shared=shared, first=0, n_frames=n_frames)

    @property
    def last(self) -> int:
        """Last lag that counts."""
        return int(self.nodes[-1])

    def average(self, curves: np.ndarray) -> np.ndarray:
        """Bin averages of curves (..., n_lags), (..., n_bins); for bins that start at 0."""
        lags = np.arange(self.last + 1)
        return hat_sums(curves[..., : self.last + 1] * (self.n_frames - lags), self.nodes) / self.weight

    def from_bin(self, start: int) -> LagBins:
        """Without the first ``start`` bins."""
        first = int(self.nodes[start - 1]) + 1 if start else 0
        later = {name: getattr(self, name)[start:] for name in ('nodes', 'centre', 'weight')}
        return replace(self, shared=self.shared[start:, start:], first=first, **later)
