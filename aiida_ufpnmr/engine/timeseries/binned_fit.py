"""A correlation function in bins of lags, and its fit by the decay law from one first bin on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aiida_ufpnmr.engine.timeseries.curve_noise import FastPart, binned_covariance, noise_scale
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins
from aiida_ufpnmr.engine.timeseries.stretched import Law, fit_curve

#: The weights rise from zero over this share of τ after the first lag: a hard edge would cut a lasting vibration in the
#: middle of a period, which shifts τ by several per cent where it is as large as the slow part.
RAMP = 0.3
#: From this number of ions on, a bootstrap over them tells the noise better than the departures from the fit do.
ENOUGH_IONS = 16


@dataclass(frozen=True)
class BinnedFit:
    """A fit from one first bin on, and the noise around it; times in frames.

    Attributes:
        bins: the fitted bins.
        weight: (n_bins,) weights of the squared deviations.
        curve: (n_bins,) the curve in these bins.
        gammas: exponents that were allowed.
        decay: the fitted law.
        fast: what the curve loses before the first bin.
        per_signal: inverse number of independent signals, by how far the curve waves around the fit.
        freedom: degrees of freedom behind ``per_signal``.
    """

    bins: LagBins
    weight: np.ndarray
    curve: np.ndarray
    gammas: np.ndarray
    decay: Law
    fast: FastPart
    per_signal: float
    freedom: int

    @property
    def first_full_bin(self) -> int:
        """The first bin that counts with its full weight, after the soft beginning of the fit."""
        return int((self.weight >= self.bins.weight).argmax())

    def log_taus(self, points: int = 60) -> np.ndarray:
        """Logarithms of the decay times that a search looks at."""
        return _log_taus(self.bins, points)

    def covariance(self, decay: Law | None = None) -> np.ndarray:
        """Covariance of the bins for one independent signal that follows ``decay``, the fitted law where not given."""
        return binned_covariance(self.bins, self.decay if decay is None else decay, self.fast)


@dataclass(frozen=True)
class BinnedCurve:
    """A curve that is one at lag 0.

    Attributes:
        c: (n_lags,) the curve.
        bins: bins of its lags.
        gammas: exponents allowed.
        samples: (n_samples, n_bins) curves of a bootstrap over ions, where there are some.
        ions: number of ions, where known.
    """

    c: np.ndarray
    bins: LagBins
    gammas: np.ndarray
    samples: np.ndarray | None = None
    ions: int | None = None

    @cached_property
    def averages(self) -> np.ndarray:
        """(n_bins,) the curve in its bins."""
        return self.bins.average(self.c)

    @cached_property
    def error(self) -> np.ndarray | None:
        """(n_bins, n_bins) covariance of the bins over resampled ions, where there are enough of these."""
        if self.samples is None or self.ions is None or self.ions < ENOUGH_IONS:
            return None
        return np.cov(self.samples.T) * self.ions / (self.ions - 1)  # by which resamples of so few are short

    def samples_in(self, fit: BinnedFit) -> np.ndarray | None:
        """(n_samples, n_bins) curves of the bootstrap in the bins of a fit, where there are some."""
        return None if self.samples is None else self.samples[:, -len(fit.curve) :]

    def noise(self, fit: BinnedFit) -> tuple[float, int]:
        """Inverse number of independent signals behind a curve, and the degrees of freedom behind that."""
        per_signal, freedom = fit.per_signal, fit.freedom
        samples = self.samples_in(fit)
        # no law that fits badly can inflate what many ions tell
        if samples is not None and self.ions is not None and self.ions >= ENOUGH_IONS:
            variance = samples.var(axis=0, ddof=1)
            per_signal, freedom = float(fit.weight @ variance / (fit.weight @ np.diag(fit.covariance()))), self.ions - 1
        return max(per_signal, 1.0 / self.ions if self.ions else 0.0), freedom

    def around(self, decay: Law, bins: LagBins, weight: np.ndarray, gammas: np.ndarray) -> BinnedFit:
        """A law as the fit of the curve in some bins, with the noise around it."""
        fast = FastPart.of(self.c, decay, bins.first)
        per_signal, freedom = noise_scale(self.c, bins.n_frames, decay, fast, bins.first)
        return BinnedFit(
            bins=bins,
            weight=weight,
            curve=self.averages[-len(weight) :],
            gammas=gammas,
            decay=decay,
            fast=fast,
            per_signal=per_signal,
            freedom=freedom,
        )

    def fit(self, first: int) -> BinnedFit:
        """The best law over the bins from ``first`` on."""
        bins = self.bins.from_bin(first)
        curve = self.averages[first:]
        decay = fit_curve(bins.centre, bins.weight, curve, _log_taus(bins, 100), self.gammas)
        ramp = min(RAMP * decay.tau, 0.1 * (bins.last - bins.first))
        rise = np.clip((bins.centre - bins.first + 0.5) / max(ramp, 0.5), 0.0, 1.0)
        weight = bins.weight * np.sin(0.5 * np.pi * rise) ** 2
        decay = fit_curve(bins.centre, weight, curve, _log_taus(bins, 100), self.gammas)
        return self.around(decay, bins, weight, self.gammas)


def lasting_vibration(deviation: np.ndarray) -> float:
    """Height of what still vibrates from lag to lag in the later half of the deviations from a fit."""
    if len(deviation) <= 8:
        return 0.0
    return float(np.sqrt(0.5 * np.mean(np.diff(deviation[len(deviation) // 2 :], 2) ** 2)))


def _log_taus(bins: LagBins, points: int) -> np.ndarray:
    return np.linspace(np.log(0.5), np.log(10.0 * bins.n_frames), points)
