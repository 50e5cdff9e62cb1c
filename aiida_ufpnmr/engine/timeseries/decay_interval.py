"""Judgement of a fitted decay: its verdict against a constant, the interval of τ, or a lower bound.

Each answer weighs what was fitted against the errors that a curve of finite length has (:mod:`curve_noise`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from aiida_ufpnmr.engine.timeseries.binned_fit import BinnedFit
from aiida_ufpnmr.engine.timeseries.curve_noise import drawn_curves
from aiida_ufpnmr.engine.timeseries.stretched import Decay, DecaySearch, Law

#: Curves drawn for an interval and for the verdict.
DRAWS = 400
CONFIDENCE = 0.95
#: A decay must reduce the squares this many times as much as pure noise ever did in as many draws.
MARGIN = 1.5


@dataclass(frozen=True)
class Judgement:
    """A fit under noise of a stated size.

    Attributes:
        fit: the fit.
        per_signal: inverse number of independent signals.
        draws: (n_draws, n_bins) standard normal numbers behind all drawn curves.
    """

    fit: BinnedFit
    per_signal: float
    draws: np.ndarray

    @classmethod
    def of(cls, fit: BinnedFit, per_signal: float, seed: int) -> Judgement:
        """With draws from a seed."""
        draws = np.random.default_rng(seed).standard_normal((DRAWS, len(fit.bins.centre)))
        return cls(fit, per_signal, draws)

    def drawn(self, decay: Law) -> np.ndarray:
        """Curves of the law ``decay`` with the errors that such a curve has."""
        return drawn_curves(decay(self.fit.bins.centre), self.fit.covariance(decay) * self.per_signal, self.draws)

    def beats_a_constant(self) -> bool:
        """Test that the decay describes the curve better than a constant, by more than noise around one ever does."""
        fit = self.fit
        weight = fit.weight / fit.weight.sum()
        level = float(weight @ fit.curve)
        # a plain exponential finds any decay; a free exponent would only find more of them in noise
        search = DecaySearch(fit.bins.centre, weight, fit.log_taus(), np.array([1.0]))

        def gain(curves):
            return (((curves - (curves @ weight)[:, None]) ** 2) @ weight) - search(curves).squares

        constant = Decay(fit.decay.tau, 1.0, 0.0, max(level, 0.0))
        noise = self.drawn(constant)
        if not gain(fit.curve[None])[0] > MARGIN * max(gain(noise).max(), 1e-12 * fit.curve[0] ** 2):
            return False
        # the decaying part must stand out of its own noise, too
        own = search(self.drawn(fit.decay))
        return bool(own.decaying.mean() > 2.0 * own.decaying.std())

    def interval(self) -> tuple[float, float]:
        """95 % interval of τ by inversion: the values under which the observed fit is nothing out of the ordinary."""
        fit = self.fit
        weight = fit.weight
        search = DecaySearch(fit.bins.centre, weight, fit.log_taus(), fit.gammas)
        observed = float(search(fit.curve[None]).log_tau[0])
        tail = (1 - CONFIDENCE) / 2

        def probit_below(log_tau: float) -> float:
            """Chance, as a normal quantile, that a fit comes out below the observed one if τ is this."""
            held = DecaySearch(fit.bins.centre, weight, np.array([log_tau]), fit.gammas)(fit.curve[None])
            parts = float(held.gamma[0]), float(held.decaying[0]), float(held.constant[0])
            decay = Decay(float(np.exp(log_tau)), *parts)
            found = search(self.drawn(decay)).log_tau
            below = (found < observed).sum() + 0.5 * (found == observed).sum()
            return float(ndtri(np.clip(below / len(found), 0.5 / len(found), 1 - 0.5 / len(found))))

        def limit(sign: int) -> float:
            inside = 0.0
            for offset in (0.03, 0.06, 0.12, 0.25, 0.4, 0.6, 0.9, 1.3, 1.8, 2.4):
                value = -sign * probit_below(observed + sign * offset)
                if value > -ndtri(tail):
                    for _ in range(3):
                        middle = 0.5 * (inside + offset)
                        value = -sign * probit_below(observed + sign * middle)
                        inside, offset = (inside, middle) if value > -ndtri(tail) else (middle, offset)
                    return observed + sign * offset
                inside = offset
            return sign * np.inf

        # the grid's optimum differs from the exact one by a sliver; keep the fit inside its interval
        shift = np.log(fit.decay.tau) - observed
        return float(np.exp(limit(-1) + min(shift, 0.0))), float(np.exp(limit(1) + max(shift, 0.0)))

    def plateau_error(self) -> float:
        """Standard error of the plateau as a share of the slow part: its scatter over fits of drawn curves."""
        fit = self.fit
        found = DecaySearch(fit.bins.centre, fit.weight, fit.log_taus(), fit.gammas)(self.drawn(fit.decay))
        whole = found.constant + found.decaying
        return float((found.constant / np.where(whole > 0, whole, np.inf)).std())

    def lower_bound(self) -> float:
        """Shortest τ (one-sided 95 %) of a single exponential to zero that falls no faster than the curve may."""
        fit = self.fit
        weight = fit.weight / fit.weight.sum()
        level = float(weight @ fit.curve)
        if not level > 0:
            return np.nan
        t = fit.bins.centre - weight @ fit.bins.centre
        score = weight * t / (weight @ t**2)
        covariance = fit.covariance(Decay(fit.decay.tau, 1.0, 0.0, level))
        error = np.sqrt(max(score @ covariance @ score, 0.0) * self.per_signal)
        slope = max(0.0, -float(score @ fit.curve)) + 1.645 * error
        return level / slope if slope > 0 else np.inf


def widened(low: float, high: float, fit: BinnedFit, samples: np.ndarray) -> tuple[float, float]:
    """The interval, widened to that of refits of a bootstrap (n_samples, n_bins)."""
    search = DecaySearch(fit.bins.centre, fit.weight, fit.log_taus(100), fit.gammas, limit=np.inf)
    found = search(samples).log_tau
    tail = (1 - CONFIDENCE) / 2
    lower, upper = np.quantile(found, [tail, 1 - tail])
    return min(low, float(np.exp(lower))), max(high, float(np.exp(upper)))
