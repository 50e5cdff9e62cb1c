"""Decay time of a correlation function, with an interval and a verdict that the data can carry.

Model (Harper 2024, eqn (5), with an amplitude for what is lost before the first lag)::

    c(t) = A [b² + (1 − b²) exp(−(t/τ)^γ)],   0 < A ≤ 1,  0 ≤ b² ≤ 1,  0 < γ ≤ 1
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri
from scipy.stats import t as student

from aiida_ufpnmr.engine.nmr.curve_noise import FastPart, binned_covariance, noise_scale
from aiida_ufpnmr.engine.nmr.lag_bins import LagBins, bin_nodes
from aiida_ufpnmr.engine.nmr.stretched import Decay, DecaySearch, fit_curve

DECAY = 'decay'
NO_DECAY = 'no decay within the trajectory'

CONSTANT = 'the curve is as well described by a constant'

#: Exponents that are tried where γ is free; below the lowest, a curve is a logarithm rather than a decay.
GAMMAS = np.round(np.arange(0.2, 1.01, 0.1), 2)
#: A first lag is good if what follows departs from the fit by less than this share of the decaying part.
TOLERANCE = 0.02
#: Curves drawn for an interval and for the verdict.
DRAWS = 400
#: The weights rise from zero over this share of τ after the first lag: a hard edge would cut a lasting vibration in the
#: middle of a period, which shifts τ by several per cent where it is as large as the slow part.
RAMP = 0.3
CONFIDENCE = 0.95
#: From this number of ions on, a bootstrap over them tells the noise better than the departures from the fit do.
ENOUGH_IONS = 16
#: A decay must reduce the squares this many times as much as pure noise ever did in as many draws.
MARGIN = 1.5


@dataclass(frozen=True)
class DecayFit:
    """Result of :func:`fit_decay`; times in the unit of the lags.

    Attributes:
        verdict: ``decay``, or ``no decay within the trajectory`` where the curve does not fall, or falls and yet pins no
            decay time down; ``reason`` tells these apart. Then τ, its interval, γ and the plateau are NaN.
        tau: decay time.
        tau_ci95: its 95 % interval.
        tau_lower_bound: where there is no decay, the shortest time (95 % one-sided) with which all of the slow part
            could decay; NaN where the curve sets none, and where there is a decay.
        plateau: b², the share of the slow part that stays.
        gamma: stretching exponent.
        amplitude: A, the share of the correlation that is left for the slow part.
        first_lag: first lag that was fitted.
        last_lag: last lag that was fitted.
        signals: effective number of independent signals behind the curve (ions, if they move independently).
        reason: in words, why there is no decay time, or that γ had to be fixed; empty otherwise.
    """

    verdict: str
    tau: float
    tau_ci95: tuple[float, float]
    tau_lower_bound: float
    plateau: float
    gamma: float
    amplitude: float
    first_lag: float
    last_lag: float
    signals: float
    reason: str

    def curve(self, lag: np.ndarray) -> np.ndarray:
        """The fitted law at ``lag``; the constant part where there is no decay."""
        if self.verdict != DECAY:
            return np.full(np.shape(lag), self.amplitude)
        falling = np.exp(-((np.asarray(lag) / self.tau) ** self.gamma))
        return self.amplitude * (self.plateau + (1 - self.plateau) * falling)


def fit_decay(
    lag: np.ndarray,
    c: np.ndarray,
    *,
    gamma: float | None = None,
    first_lag: float | None = None,
    samples: np.ndarray | None = None,
    ions: int | None = None,
    length: float | None = None,
    fit_fraction: float = 0.5,
    tau_fraction: float = 1 / 3,
    seed: int = 0,
) -> DecayFit:
    """Fit a stretched decay to a correlation function and say how well, or that, it is known.

    Least squares over lags from ``first_lag`` to ``fit_fraction`` of the trajectory, each lag weighted by its number of
    origins. The interval holds every τ under which a fit as low, or as high, as the observed one has a chance of at
    least 2.5 %; the chance comes from curves drawn with the correlated errors of :mod:`curve_noise`. With ``samples``
    the interval is widened, where needed, to the 2.5 and 97.5 % points of their fits.

    Where ``gamma`` is free and the curve shows a decay but does not tell γ and τ apart, γ is fixed to 1, which ``reason``
    says: the plain exponential asks less of the data.

    Without ``first_lag``, it is the first lag after which the curve departs from its own fit, averaged over the lags
    from m to 2m for every doubling of m, by no more than its noise, its lasting vibrations and 2 % of the decaying
    part. It passes over the white noise at lag 0 and over vibrations that fade.

    Args:
        lag: (n_lags,) equally spaced, from 0.
        c: (n_lags,) the correlation function, best over all lags of the trajectory.
        gamma: stretching exponent; fitted where not given.
        first_lag: first lag of the fit, in the unit of ``lag``.
        samples: (n_samples, n_lags) curves of a bootstrap over ions and times, or (n_samples, n_bins) averaged over
            :func:`lag_bins.bin_nodes` of the fitted lags.
        ions: number of ions, where known: no more independent signals than these are assumed.
        length: length of the trajectory, where ``lag`` ends before it.
        fit_fraction: lags beyond this share of the length are noise and are left out.
        tau_fraction: a τ above this share of the length is refused.
        seed: of the drawn curves.

    Raises:
        ValueError: lags or curve of wrong shape, not equally spaced, not finite, or options out of range.
    """
    lag, c, step = _checked(lag, c, gamma, first_lag, fit_fraction, tau_fraction)
    scale = c[0]
    c = c / scale
    n_frames = len(c) if length is None else max(len(c), int(round(length / step)))
    nodes = fit_bin_nodes(len(c), n_frames, fit_fraction)
    options = (first_lag, samples, ions, tau_fraction, seed)
    if gamma is not None:
        return _fit(lag, c, step, scale, n_frames, nodes, np.array([float(gamma)]), *options)
    free = _fit(lag, c, step, scale, n_frames, nodes, GAMMAS, *options)
    if free.verdict == DECAY or free.reason == CONSTANT:
        return free
    plain = _fit(lag, c, step, scale, n_frames, nodes, np.array([1.0]), *options)
    return replace(plain, reason='γ cannot be told from τ; it is fixed to 1') if plain.verdict == DECAY else free


def _fit(
    lag, c, step, scale, n_frames, nodes, gammas, first_lag, samples, ions, tau_fraction, seed
) -> DecayFit:
    """The fit for one choice of exponents; ``c`` is one at lag 0, ``scale`` what it was."""
    problem = _Problem(c, LagBins.of(nodes, n_frames), gammas)
    chosen = _first_bin(problem, first_lag, step)
    if chosen is None:
        return _without_tau('too few lags to fit', np.nan, scale * np.nan, np.nan, lag[-1], np.nan)
    fit = problem.fit(chosen)
    per_signal, freedom = fit.per_signal, fit.freedom
    if samples is not None and ions is not None and ions >= ENOUGH_IONS:
        per_signal, freedom = _sampled_noise(fit, problem, samples), ions - 1
    per_signal = max(per_signal, 1.0 / ions if ions else 0.0)
    first, last = fit.bins.first * step, fit.bins.last * step
    signals = 1 / per_signal if per_signal > 0 else np.inf
    rng = np.random.default_rng(seed)
    # the number of signals is itself measured, on few points: Student's factor for that
    drawn_scale = per_signal * (student.ppf(0.975, max(freedom, 1)) / 1.96) ** 2
    draws = rng.standard_normal((DRAWS, len(fit.bins.centre)))

    def refuse(reason: str, bound: float | None = None) -> DecayFit:
        level = float(np.average(fit.curve, weights=fit.weight))
        bound = _lower_bound(fit, drawn_scale) if bound is None else bound
        return _without_tau(reason, scale * level, first, bound * step if bound > 0 else np.nan, last, signals)

    decay = fit.decay
    if not _beats_a_constant(fit, drawn_scale, draws):
        return refuse(CONSTANT)
    low, high = _interval(fit, drawn_scale, draws)
    if samples is not None:
        low, high = _widened(low, high, fit, problem, samples)
    if decay.tau > tau_fraction * n_frames:
        return refuse(f'the decay time is above {tau_fraction:.2g} of the trajectory', low)
    if decay.tau < 3 or decay.tau < 0.5 * fit.bins.first:
        return refuse('the curve falls, but within a few frames of the first lag', np.nan)
    if not np.isfinite(high) or high > n_frames:
        return refuse('the curve falls, but its decay time has no upper limit within the trajectory', low)
    if not low > 0:
        return refuse('the curve falls, but its decay time has no lower limit', np.nan)
    amplitude = decay.decaying + decay.constant
    return DecayFit(
        DECAY,
        decay.tau * step,
        (low * step, high * step),
        np.nan,
        decay.constant / amplitude,
        decay.gamma,
        scale * amplitude,
        first,
        last,
        signals,
        '',
    )


def fit_bin_nodes(n_lags: int, n_frames: int, fit_fraction: float = 0.5) -> np.ndarray:
    """Bins of the lags that :func:`fit_decay` looks at, in frames."""
    return bin_nodes(min(n_lags, max(2, int(fit_fraction * n_frames))))


def _checked(lag, c, gamma, first_lag, fit_fraction, tau_fraction):
    lag, c = np.asarray(lag, float), np.asarray(c, float)
    if lag.ndim != 1 or lag.shape != c.shape or len(lag) < 2:
        raise ValueError(f'lag and c must be two arrays of one length, not {lag.shape} and {c.shape}')
    if not (np.isfinite(lag).all() and np.isfinite(c).all()):
        raise ValueError('lag or c holds values that are not finite')
    step = (lag[-1] - lag[0]) / (len(lag) - 1)
    if not step > 0 or abs(lag[0]) > 1e-6 * step or not np.allclose(np.diff(lag), step, rtol=1e-4):
        raise ValueError('lags must rise from 0 in equal steps')
    if not c[0] > 0:
        raise ValueError('c must be above zero at lag 0')
    if gamma is not None and not 0 < gamma <= 1:
        raise ValueError(f'gamma must be above 0 and at most 1, not {gamma}')
    if first_lag is not None and not first_lag >= 0:
        raise ValueError(f'first_lag must not be negative, not {first_lag}')
    if not (0 < fit_fraction <= 1 and 0 < tau_fraction <= 1):
        raise ValueError('fit_fraction and tau_fraction must lie between 0 and 1')
    return lag, c, step


@dataclass(frozen=True)
class _Fit:
    """A fit from one first bin on, and the noise around it."""

    bins: LagBins
    weight: np.ndarray
    curve: np.ndarray
    gammas: np.ndarray
    decay: Decay
    fast: FastPart
    per_signal: float
    freedom: int

    def log_taus(self, points: int = 60) -> np.ndarray:
        return _log_taus(self.bins, points)


@dataclass(frozen=True)
class _Problem:
    """A curve, its bins and the exponents allowed."""

    c: np.ndarray
    bins: LagBins
    gammas: np.ndarray

    def fit(self, first: int) -> _Fit:
        bins = self.bins.from_bin(first)
        curve = self.bins.average(self.c)[first:]
        decay = fit_curve(bins.centre, bins.weight, curve, _log_taus(bins, 100), self.gammas)
        ramp = min(RAMP * decay.tau, 0.1 * (bins.last - bins.first))
        rise = np.clip((bins.centre - bins.first + 0.5) / max(ramp, 0.5), 0.0, 1.0)
        weight = bins.weight * np.sin(0.5 * np.pi * rise) ** 2
        decay = fit_curve(bins.centre, weight, curve, _log_taus(bins, 100), self.gammas)
        fast = FastPart.of(self.c, decay, bins.first)
        per_signal, freedom = noise_scale(self.c, bins.n_frames, decay, fast, bins.first)
        if freedom == 0:
            per_signal = 1.0  # nothing to measure it on: as noisy as one ion
        return _Fit(bins, weight, curve, self.gammas, decay, fast, per_signal, freedom)


def _log_taus(bins: LagBins, points: int) -> np.ndarray:
    return np.linspace(np.log(0.5), np.log(10.0 * bins.n_frames), points)


def _first_bin(problem: _Problem, first_lag: float | None, step: float) -> int | None:
    """Index of the first bin to fit; ``None`` where fewer than six bins would be left."""
    first_lags = np.concatenate([[0], problem.bins.nodes[:-1] + 1])
    last = len(first_lags) - 6
    if first_lag is not None:
        first = max(1, int(np.searchsorted(first_lags * step, first_lag * (1 - 1e-9))))
        return first if first <= last else None
    last = min(last, int(np.searchsorted(first_lags, problem.bins.last / 5)))
    if last < 1:
        return None
    best, least = 1, np.inf
    for first in _candidates(last):
        misfit = _misfit(problem, problem.fit(first))
        if misfit <= 1:
            return first
        if misfit < least:
            best, least = first, misfit
    return best


def _candidates(last: int) -> list[int]:
    return [first for first in (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, *range(24, last + 1)) if first <= last]


def _misfit(problem: _Problem, fit: _Fit) -> float:
    """Largest departure of the curve from the fit over a doubling of the lag, in units of what is allowed."""
    first, end = fit.bins.first, fit.bins.last + 1
    deviation = problem.c[first:end] - fit.decay(np.arange(first, end))
    lasting = np.sqrt(0.5 * np.mean(np.diff(deviation[len(deviation) // 2 :], 2) ** 2)) if len(deviation) > 8 else 0.0
    covariance = binned_covariance(fit.bins, fit.decay, fit.fast) * fit.per_signal
    binned = fit.curve - fit.decay(fit.bins.centre)
    worst, lower = 0.0, first
    while lower < end:
        upper = max(2 * lower, lower + 2)
        inside = (fit.bins.centre >= lower) & (fit.bins.centre < upper)
        if inside.any():
            weight = np.where(inside, fit.bins.weight, 0.0)
            weight /= weight.sum()
            allowed = TOLERANCE * fit.decay.decaying + 2.5 * np.sqrt(weight @ covariance @ weight) + 1.5 * lasting
            worst = max(worst, abs(weight @ binned) / max(allowed, 1e-12))
        lower = upper
    return worst


def _drawn(fit: _Fit, decay: Decay, per_signal: float, draws: np.ndarray) -> np.ndarray:
    """Curves of the law ``decay`` with the errors that such a curve has."""
    covariance = binned_covariance(fit.bins, decay, fit.fast) * per_signal
    values, vectors = np.linalg.eigh(covariance)
    # the symmetric root changes smoothly with τ, so that one set of draws serves all
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    return decay(fit.bins.centre) + draws @ root


def _beats_a_constant(fit: _Fit, per_signal: float, draws: np.ndarray) -> bool:
    """Whether the decay describes the curve better than a constant by more than noise around a constant ever does."""
    weight = fit.weight / fit.weight.sum()
    level = float(weight @ fit.curve)
    # a plain exponential finds any decay; a free exponent would only find more of them in noise
    search = DecaySearch(fit.bins.centre, weight, fit.log_taus(), np.array([1.0]))

    def gain(curves):
        return (((curves - (curves @ weight)[:, None]) ** 2) @ weight) - search(curves).squares

    constant = Decay(fit.decay.tau, 1.0, 0.0, max(level, 0.0))
    noise = _drawn(fit, constant, per_signal, draws)
    if not gain(fit.curve[None])[0] > MARGIN * max(gain(noise).max(), 1e-12 * fit.curve[0] ** 2):
        return False
    # the decaying part must stand out of its own noise, too
    own = search(_drawn(fit, fit.decay, per_signal, draws))
    return bool(own.decaying.mean() > 2.0 * own.decaying.std())


def _interval(fit: _Fit, per_signal: float, draws: np.ndarray) -> tuple[float, float]:
    """95 % interval of τ by inversion: the values under which the observed fit would not be out of the ordinary."""
    weight = fit.weight
    search = DecaySearch(fit.bins.centre, weight, fit.log_taus(), fit.gammas)
    observed = float(search(fit.curve[None]).log_tau[0])
    tail = (1 - CONFIDENCE) / 2

    def probit_below(log_tau: float) -> float:
        """Chance, as a normal quantile, that a fit comes out below the observed one if τ is this."""
        held = DecaySearch(fit.bins.centre, weight, np.array([log_tau]), fit.gammas)(fit.curve[None])
        decay = Decay(float(np.exp(log_tau)), float(held.gamma[0]), float(held.decaying[0]), float(held.constant[0]))
        found = search(_drawn(fit, decay, per_signal, draws)).log_tau
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


def _sampled_noise(fit: _Fit, problem: _Problem, samples: np.ndarray) -> float:
    """Scale of the noise as the spread of a bootstrap shows it, which a law that fits badly cannot inflate."""
    binned = _binned(problem, samples)[:, len(problem.bins.centre) - len(fit.bins.centre) :]
    expected = np.diag(binned_covariance(fit.bins, fit.decay, fit.fast))
    weight = fit.weight / fit.weight.sum()
    return float((weight @ binned.var(axis=0, ddof=1)) / (weight @ expected))


def _binned(problem: _Problem, samples: np.ndarray) -> np.ndarray:
    samples = np.asarray(samples, float)
    n_bins = len(problem.bins.centre)
    if samples.ndim != 2 or samples.shape[1] not in (n_bins, len(problem.c)):
        raise ValueError(f'samples must be (n_samples, {len(problem.c)}), not {samples.shape}')
    return samples if samples.shape[1] == n_bins else problem.bins.average(samples)


def _widened(low: float, high: float, fit: _Fit, problem: _Problem, samples: np.ndarray) -> tuple[float, float]:
    """The interval, widened to that of refits of a bootstrap."""
    binned = _binned(problem, samples)
    search = DecaySearch(fit.bins.centre, fit.weight, fit.log_taus(100), fit.gammas, limit=np.inf)
    found = search(binned[:, len(problem.bins.centre) - len(fit.bins.centre) :]).log_tau
    tail = (1 - CONFIDENCE) / 2
    lower, upper = np.quantile(found, [tail, 1 - tail])
    return min(low, float(np.exp(lower))), max(high, float(np.exp(upper)))


def _lower_bound(fit: _Fit, per_signal: float) -> float:
    """Shortest τ (one-sided 95 %) of a single exponential to zero that falls no faster than the curve may."""
    weight = fit.weight / fit.weight.sum()
    level = float(weight @ fit.curve)
    if not level > 0:
        return np.nan
    t = fit.bins.centre - weight @ fit.bins.centre
    score = weight * t / (weight @ t**2)
    covariance = binned_covariance(fit.bins, Decay(fit.decay.tau, 1.0, 0.0, level), fit.fast)
    error = np.sqrt(max(score @ covariance @ score, 0.0) * per_signal)
    slope = max(0.0, -float(score @ fit.curve)) + 1.645 * error
    return level / slope if slope > 0 else np.inf


def _without_tau(reason, amplitude, first_lag, bound, last_lag, signals) -> DecayFit:
    nothing = (np.nan, np.nan)
    return DecayFit(
        NO_DECAY, np.nan, nothing, bound, np.nan, np.nan, amplitude, first_lag, last_lag, signals, reason
    )
