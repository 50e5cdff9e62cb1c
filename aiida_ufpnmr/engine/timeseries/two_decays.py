"""Two exponential decays on one constant: fast local jumps and slow motion in one correlation function.

c(t) = D₁ exp(−t/τ₁) + D₂ exp(−t/τ₂) + P with τ₁ < τ₂ and D₁, D₂, P ≥ 0. For given τ₁, τ₂ the law is linear, so a search
over a grid of pairs finds the global minimum. The errors of neighbouring lags go together, and the fast decay sits on
few of them, so the squares are those of deviations made independent (generalised least squares).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from aiida_ufpnmr.engine.timeseries.binned_fit import BinnedCurve, BinnedFit, lasting_vibration
from aiida_ufpnmr.engine.timeseries.curve_noise import FastPart, binned_covariance, drawn_curves
from aiida_ufpnmr.engine.timeseries.distributions import student_factor
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins
from aiida_ufpnmr.engine.timeseries.stretched import Decay, Law, TwoDecays

#: Decay times that a search looks at; the pairs of them are nearly two thousand.
GRID = 60
#: Points of the finer search around the best pair, for each of both.
FINE = 17
#: Two decays closer than this ratio of times are one.
CLOSEST = 2.0
#: Rounds of fit, errors under the fit, and fit under these errors.
ROUNDS = 3


@dataclass(frozen=True)
class PairSearch:
    """Generalised least squares over pairs of decay times.

    Args:
        t: (n,) lags in frames.
        covariance: (n, n) of the curve.
        log_fast, log_slow: (n_pairs,) logarithms of the decay times.
    """

    t: np.ndarray
    covariance: np.ndarray
    log_fast: np.ndarray
    log_slow: np.ndarray

    @classmethod
    def all_pairs(cls, t: np.ndarray, covariance: np.ndarray, log_fast: np.ndarray, log_slow: np.ndarray) -> PairSearch:
        """Over all pairs of two sets of times that are far enough apart."""
        fast, slow = (grid.ravel() for grid in np.meshgrid(log_fast, log_slow, indexing='ij'))
        apart = slow - fast > np.log(CLOSEST)
        return cls(t, covariance, fast[apart], slow[apart])

    @classmethod
    def around(cls, t: np.ndarray, covariance: np.ndarray, log_tau: np.ndarray, curve: np.ndarray) -> PairSearch:
        """Over all pairs of a set of times, and finer ones around the best of these for a curve."""
        coarse = cls.all_pairs(t, covariance, log_tau, log_tau)
        near = np.linspace(-1.2, 1.2, FINE) * (log_tau[1] - log_tau[0])
        fine = cls.all_pairs(t, covariance, *(np.log(part.tau) + near for part in coarse.law(curve).parts))
        log_fast, log_slow = (np.append(getattr(coarse, n), getattr(fine, n)) for n in ('log_fast', 'log_slow'))
        return cls(t, covariance, log_fast, log_slow)

    @cached_property
    def whitening(self) -> np.ndarray:
        """(n, n) matrix that makes the errors independent and of variance one."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors / np.sqrt(np.maximum(values, 1e-10 * values[-1]))).T

    def __call__(self, curves: np.ndarray) -> np.ndarray:
        """Smallest sum of squares (n_curves, n_pairs) with D₁, D₂, P ≥ 0."""
        y = curves @ self.whitening.T
        best = np.zeros((len(curves), len(self.log_fast)))
        for _, parts, right in self._solutions(y):
            loss = -(parts * right).sum(axis=0)
            best = np.where((parts >= 0).all(axis=0) & (loss < best), loss, best)
        return best + (y**2).sum(axis=1)[:, None]

    def parts(self, curve: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> np.ndarray:
        """D₁, D₂ and P of one curve for some of the pairs, (n_chosen, 3)."""
        search = replace(self, log_fast=self.log_fast[chosen], log_slow=self.log_slow[chosen])
        search.__dict__['whitening'] = self.whitening
        best, found = np.zeros(len(search.log_fast)), np.zeros((len(search.log_fast), 3))
        for used, parts, right in search._solutions(curve[None] @ self.whitening.T):
            loss = -(parts * right).sum(axis=0)[0]
            better = (parts[:, 0] >= 0).all(axis=0) & (loss < best)
            best = np.where(better, loss, best)
            found[better] = 0.0
            found[np.ix_(better, used)] = parts[:, 0, better].T
        return found

    def _solutions(self, y: np.ndarray) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """For each choice of parts that are not zero: which, their heights and moments, (n_used, n_curves, n_pairs)."""
        times, where = np.unique(np.concatenate([self.log_fast, self.log_slow]), return_inverse=True)
        shapes = np.exp(-self.t[:, None] / np.exp(times))
        design = self.whitening @ np.column_stack([shapes, np.ones(len(self.t))])
        gram, moment = design.T @ design, y @ design
        n_pairs = len(self.log_fast)
        columns = np.array([where[:n_pairs], where[n_pairs:], np.full(n_pairs, len(times))])
        for used in ([0, 1, 2], [0, 1], [0, 2], [1, 2], [0], [1], [2]):
            chosen = columns[used]
            # a sliver on the diagonal, for decays that are over before the first lag
            matrix = gram[chosen[:, None], chosen] + (1e-12 * gram.max()) * np.eye(len(used))[..., None]
            inverse = np.moveaxis(np.linalg.inv(np.moveaxis(matrix, 2, 0)), 0, 2)
            right = np.moveaxis(moment[:, chosen], 1, 0)
            yield used, sum(inverse[:, j, None] * right[j] for j in range(len(used))), right

    def law(self, curve: np.ndarray) -> TwoDecays:
        """The best law for one curve."""
        best = int(self(curve[None])[0].argmin())
        heights = self.parts(curve, np.array([best]))[0]
        times = np.exp(self.log_fast[best]), np.exp(self.log_slow[best])
        fast, slow = (Decay(float(tau), 1.0, float(height), 0.0) for tau, height in zip(times, heights))
        return TwoDecays((fast, slow), float(heights[2]))


def fit_two_decays(curve: BinnedCurve, first: int) -> BinnedFit:
    """The best two decays over the bins from ``first`` on, with the errors under that law."""
    bins = curve.bins.from_bin(first)
    one = curve.fit(first)
    log_tau, (per_signal, _) = log_taus(one), curve.noise(one)
    decay: Law = one.decay
    fast = one.fast
    for _ in range(ROUNDS):
        covariance = binned_covariance(bins, decay, fast) * per_signal + _vibration(curve, bins, decay)
        decay = PairSearch.around(bins.centre, covariance, log_tau, one.curve).law(one.curve)
        fast = FastPart.of(curve.c, decay, bins.first)
    return curve.around(decay, bins, bins.weight, np.array([1.0]))


def errors(curve: BinnedCurve, fit: BinnedFit, per_signal: float) -> np.ndarray:
    """Covariance of the bins: that of the sampling, and what vibrations that last leave in each bin."""
    return fit.covariance() * per_signal + _vibration(curve, fit.bins, fit.decay)


def _vibration(curve: BinnedCurve, bins: LagBins, decay: Law) -> np.ndarray:
    deviation = curve.c[bins.first : bins.last + 1] - decay(np.arange(bins.first, bins.last + 1))
    # thrice its square: a vibration keeps its phase over many bins, unlike the noise that this stands for
    return 3.0 * np.diag(np.diag(bins.shared)) * lasting_vibration(deviation) ** 2


def log_taus(fit: BinnedFit) -> np.ndarray:
    """Logarithms of the decay times of pairs: from half the first lag to the length of the trajectory."""
    return np.linspace(np.log(max(0.5, 0.5 * fit.bins.first)), np.log(2.0 * fit.bins.n_frames), GRID)


@dataclass(frozen=True)
class Component:
    """One of two decays, with 95 % intervals; that of τ is infinite where it has no end.

    Attributes:
        tau: decay time.
        weight: its share of what decays.
    """

    tau: float
    tau_ci95: tuple[float, float]
    weight: float
    weight_ci95: tuple[float, float]

    def times(self, step: float) -> Component:
        """With times in another unit."""
        low, high = self.tau_ci95
        return replace(self, tau=self.tau * step, tau_ci95=(low * step, high * step))


def components(
    curve: BinnedCurve,
    fit: BinnedFit,
    per_signal: float,
    freedom: int,
    samples: np.ndarray | None,
    least_share: float = 0.0,
) -> tuple[TwoDecays, tuple[Component, Component]]:
    """Best law, and its fast and slow decay with intervals from the profile of the likelihood.

    Times are in frames. Law and intervals come from one search under one covariance. An interval holds the values for
    which the best fit of all others is not worse by more than chance (Student's factor stands for the error of the
    noise itself); refits of a bootstrap (n_samples, n_bins) widen it. Pairs of which one has less than ``least_share``
    of the decay are left out.
    """
    grid = log_taus(fit)
    search = PairSearch.around(fit.bins.centre, errors(curve, fit, per_signal), grid, fit.curve)
    squares, parts = search(fit.curve[None])[0], search.parts(fit.curve)
    allowed = squares - squares.min() <= student_factor(max(freedom, 1)) ** 2
    half_step = 0.5 * (grid[1] - grid[0])
    total = parts[:, :2].sum(axis=1)
    shares = parts[:, :2] / np.where(total > 0, total, np.inf)[:, None]
    if least_share:
        allowed &= shares.min(axis=1) >= least_share
        allowed[squares.argmin()] = True
    law = search.law(fit.curve)
    if samples is not None:
        refits = search(samples).argmin(axis=1)
        refit_shares = np.array([search.parts(s, np.array([best]))[0, :2] for s, best in zip(samples, refits)])
        refit_shares = refit_shares / np.maximum(refit_shares.sum(axis=1), 1e-300)[:, None]
    found = []
    for i, log_tau in enumerate((search.log_fast, search.log_slow)):
        limits = log_tau[allowed].min() - half_step, log_tau[allowed].max() + half_step
        share = shares[allowed, i].min(), shares[allowed, i].max()
        if samples is not None:
            limits, share = _widened(*limits, log_tau[refits]), _widened(*share, refit_shares[:, i])
        low = 0.0 if limits[0] <= grid[0] else float(np.exp(limits[0]))
        high = np.inf if limits[1] >= grid[-1] else float(np.exp(limits[1]))
        found.append(
            Component(
                tau=law.parts[i].tau,
                tau_ci95=(low, high),
                weight=float(shares[squares.argmin(), i]),
                weight_ci95=(float(share[0]), float(share[1])),
            )
        )
    return law, (found[0], found[1])


def _widened(low: float, high: float, refits: np.ndarray) -> tuple[float, float]:
    lower, upper = np.quantile(refits, [0.025, 0.975])
    return min(low, lower), max(high, upper)


def against_one(curve: BinnedCurve, fit: BinnedFit, per_signal: float, draws: np.ndarray) -> tuple[float, float]:
    """Comparison of two decays with one.

    Returns:
        The chance that two decays beat one plain exponential by as much as they do if there is but that one; and by how
        much the sum of squares of one stretched exponential is above that of two decays (infinite where γ is fixed).

    Args:
        curve: the curve.
        fit: its fit by two decays.
        per_signal: inverse number of independent signals.
        draws: (n_draws, n_bins) standard normal numbers, for curves of the single decay with its errors.
    """
    t = fit.bins.centre
    covariance = errors(curve, fit, per_signal)
    grid = log_taus(fit)
    pairs = PairSearch.all_pairs(t, covariance, grid, grid)
    fixed = curve.gammas if len(curve.gammas) == 1 else np.ones(1)
    single = SingleSearch(t, pairs.whitening, grid, fixed)
    squares, law = single(fit.curve[None])
    noise = binned_covariance(fit.bins, law, fit.fast) * per_signal + _vibration(curve, fit.bins, fit.decay)
    drawn = drawn_curves(law(t), noise, draws)

    def gain(curves):
        return single(curves)[0] - pairs(curves).min(axis=1)

    two = pairs(fit.curve[None]).min()
    chance = float(np.mean(gain(drawn) >= max(squares[0] - two, 1e-9)))
    if len(curve.gammas) == 1:
        return chance, np.inf
    stretched = SingleSearch(t, pairs.whitening, grid, np.append(np.arange(0.2, 0.96, 0.05), 1.0))
    return chance, float(stretched(fit.curve[None])[0][0] - two)


@dataclass(frozen=True)
class SingleSearch:
    """Generalised least squares of one stretched decay on a constant."""

    t: np.ndarray
    whitening: np.ndarray
    log_tau: np.ndarray
    gammas: np.ndarray

    def __call__(self, curves: np.ndarray) -> tuple[np.ndarray, Decay]:
        """Smallest sum of squares of each curve (n_curves,), and the law of the first."""
        y = curves @ self.whitening.T
        ratio = self.t / np.exp(self.log_tau)[:, None, None]
        shapes = np.exp(-(ratio ** self.gammas[None, :, None])).reshape(-1, len(self.t))
        f, one = shapes @ self.whitening.T, self.whitening.sum(axis=1)
        ff, f1, oo = (f**2).sum(axis=1), f @ one, one @ one
        yf, y1 = y @ f.T, (y @ one)[:, None]
        determinant = np.maximum(ff * oo - f1**2, 1e-12 * ff * oo)
        height, constant = (yf * oo - y1 * f1) / determinant, (y1 * ff - yf * f1) / determinant
        inside = (height >= 0) & (constant >= 0)
        alone, level = np.maximum(yf / ff, 0.0), np.maximum(y1 / oo, 0.0)
        gains = np.stack(
            [np.where(inside, height * yf + constant * y1, -np.inf), alone * yf, np.broadcast_to(level * y1, yf.shape)]
        )
        best = gains.max(axis=0)
        chosen = int(best[0].argmax())
        kind = int(gains[:, 0, chosen].argmax())
        parts = ((height, constant), (alone, np.zeros_like(alone)), (np.zeros_like(alone), level + 0 * alone))[kind]
        i_tau, i_gamma = divmod(chosen, len(self.gammas))
        law = Decay(
            float(np.exp(self.log_tau[i_tau])),
            float(self.gammas[i_gamma]),
            float(parts[0][0, chosen]),
            float(parts[1][0, chosen]),
        )
        return (y**2).sum(axis=1) - best.max(axis=1), law
