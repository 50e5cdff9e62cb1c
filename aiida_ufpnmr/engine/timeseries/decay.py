"""Decay time of a correlation function, with an interval and a verdict that the data can carry.

Model (Harper 2024, eqn (5), with an amplitude for what is lost before the first lag)::

    c(t) = A [b² + (1 − b²) exp(−(t/τ)^γ)],   0 < A ≤ 1,  0 ≤ b² ≤ 1,  0 < γ ≤ 1
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from aiida_ufpnmr.engine.timeseries.binned_fit import BinnedCurve, BinnedFit
from aiida_ufpnmr.engine.timeseries.decay_interval import DRAWS, Judgement, widened
from aiida_ufpnmr.engine.timeseries.distributions import student_factor
from aiida_ufpnmr.engine.timeseries.first_lag import first_bin
from aiida_ufpnmr.engine.timeseries.form_free import form_free_times
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins, bin_nodes
from aiida_ufpnmr.engine.timeseries.two_decays import Component, against_one, components, fit_two_decays

DECAY = 'decay'
NO_DECAY = 'no decay within the trajectory'
NO_FORM = 'a decay of no form that fits'
CONSTANT = 'the curve is as well described by a constant'
TWO = 'two decays; tau is the slow one'
OVERLAP = 'there may be two decays, which cannot be told apart; the interval holds both descriptions'
#: Above this chance that one decay shows what is seen, two are no longer thought of.
DOUBT = 0.05
#: A fit that departs from the curve by more than this, in units of what noise and vibrations allow, is none.
WORST_MISFIT = 1.2
#: Two laws whose sums of squares (in units of the noise) differ by less than this describe a curve alike.
ALIKE = 4.0
#: Where there is such doubt, both decays must have this share at least: a faint one could be as slow as it likes.
LEAST_SHARE = 0.25

#: Longest lower bound of a decay time, in lengths of the trajectory: more says only that nothing changes.
LONGEST_BOUND = 1000

#: Exponents that are tried where γ is free; below the lowest, a curve is a logarithm rather than a decay.
GAMMAS = np.round(np.arange(0.2, 1.01, 0.1), 2)


@dataclass(frozen=True)
class DecayFit:
    """Result of :func:`fit_decay`; times in the unit of the lags.

    Attributes:
        verdict: ``decay``; ``no decay within the trajectory`` where the curve does not fall, or falls and yet pins no
            decay time down, which ``reason`` tells apart; or ``a decay of no form that fits`` where the fit misses the
            curve by more than its noise. But for the first, τ, its interval and γ are NaN.
        tau: decay time.
        tau_ci95: its 95 % interval.
        tau_lower_bound: where there is no decay, the shortest time (95 % one-sided) with which all of the slow part
            could decay, at most 1000 lengths of the trajectory; what only some of the ions do can be far faster. NaN
            where the curve sets none, and where there is a decay.
        plateau: b², the share of the slow part that stays; NaN where there is no decay.
        plateau_error: its standard error where there is one decay; NaN elsewhere.
        gamma: stretching exponent.
        amplitude: A, the share of the correlation that is left for the slow part.
        first_lag: first lag that was fitted.
        follows_from: first lag that counts fully, after the soft beginning of the fit; from there on the law follows
            the curve.
        last_lag: last lag that was fitted.
        signals: effective number of independent signals behind the curve (ions, if they move independently).
        reason: in words, why there is no decay time, that γ had to be fixed, or that there are two decays; empty
            otherwise.
        components: the fast and the slow decay where there are two; then ``tau`` is the slow one and ``gamma`` is 1.
        misfit: largest departure of the curve from the fit, over eight lags from ``follows_from`` on or over a doubling
            of the lag, in units of what is allowed.
        integral_time, integral_time_ci95: integral of what decays after the first lag over its height there, with its
            95 % interval; needs no form, and is τ for a plain exponential. NaN where the lags end before it does.
        time_to_1_e, time_to_1_e_ci95: time after the first lag in which that falls to 1/e, likewise.
    """

    verdict: str
    tau: float = np.nan
    tau_ci95: tuple[float, float] = (np.nan, np.nan)
    tau_lower_bound: float = np.nan
    plateau: float = np.nan
    plateau_error: float = np.nan
    gamma: float = np.nan
    amplitude: float = np.nan
    first_lag: float = np.nan
    follows_from: float = np.nan
    last_lag: float = np.nan
    signals: float = np.nan
    reason: str = ''
    components: tuple[Component, ...] = ()
    misfit: float = np.nan
    integral_time: float = np.nan
    integral_time_ci95: tuple[float, float] = (np.nan, np.nan)
    time_to_1_e: float = np.nan
    time_to_1_e_ci95: tuple[float, float] = (np.nan, np.nan)

    def curve(self, lag: np.ndarray) -> np.ndarray:
        """The fitted law at ``lag``; the constant part where there is no decay, or none of a form."""
        if self.verdict != DECAY:
            return np.full(np.shape(lag), self.amplitude * (1.0 if np.isnan(self.plateau) else self.plateau))
        lag = np.asarray(lag)
        falling = np.exp(-((lag / self.tau) ** self.gamma))
        if self.components:
            falling = np.sum([part.weight * np.exp(-lag / part.tau) for part in self.components], axis=0)
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
    decays: Literal[1, 2, 'auto'] = 1,
) -> DecayFit:
    """Fit a stretched decay to a correlation function and say how well, or that, it is known.

    Least squares over lags from ``first_lag`` to ``fit_fraction`` of the trajectory, each lag weighted by its number of
    origins. The interval holds every τ under which a fit as low, or as high, as the observed one has a chance of at
    least 2.5 %; the chance comes from curves drawn with the correlated errors of :mod:`curve_noise`. With ``samples``
    the interval is widened, where needed, to the 2.5 and 97.5 % points of their fits.

    Where ``gamma`` is free and the curve shows a decay but does not tell γ and τ apart, γ is fixed to 1, which
    ``reason`` says: the plain exponential asks less of the data.

    Without ``first_lag``, it is the first lag after which the curve departs from its own fit, averaged over the lags
    from m to 2m for every doubling of m, by no more than its noise, its lasting vibrations and 2 % of what has not yet
    decayed there. So must averages over eight lags from ``follows_from`` on, where the soft beginning of the fit is
    over. It passes over the white noise at lag 0 and over vibrations that fade. Where more is left from every first lag
    on, no form fits, which the verdict says.

    With ``decays=2`` two plain exponentials are fitted, from the first lag from which these describe the curve.
    ``'auto'`` does so where they describe the curve better than one plain exponential from that lag on, by more than
    noise around one ever shows in 400 drawn curves, and clearly better than a stretched one, where γ is free. Where
    this is in doubt, the one decay is given with an interval that holds the slow time of the other description, too;
    and where one decay, from its own first lag on, fits as well, the interval of two holds that of the one. Where the
    one would be stretched and a plain one describes the curve from a later lag on, the plain one is given.

    Times that need no form come with every curve that is no constant: see :mod:`form_free`.

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
        decays: number of decays, 1 or 2, or ``'auto'``.

    Raises:
        ValueError: lags or curve of wrong shape, not equally spaced, not finite, or options out of range.
    """
    if decays not in (1, 2, 'auto'):
        raise ValueError(f"decays must be 1, 2 or 'auto', not {decays!r}")
    lag, c, step = _checked(lag, c, gamma, first_lag, fit_fraction, tau_fraction)
    n_frames = len(c) if length is None else max(len(c), int(round(length / step)))
    bins = LagBins.of(fit_bin_nodes(len(c), n_frames, fit_fraction), n_frames)

    gammas = GAMMAS if gamma is None else np.array([float(gamma)])
    binned = _averaged(samples, bins, len(c))
    curve = BinnedCurve(c=c / c[0], bins=bins, gammas=gammas, samples=binned, ions=ions)
    options = (step, first_lag, tau_fraction, seed)
    if decays == 2:
        found = _two(curve, *options, None)
    else:
        found = _fit(curve, *options)
        if gamma is None and found.verdict == NO_DECAY and found.reason != CONSTANT:
            plain = _fit(replace(curve, gammas=np.ones(1)), *options)
            if plain.verdict == DECAY:
                found = replace(plain, reason='γ cannot be told from τ; it is fixed to 1')
        if decays == 'auto' and found.reason != CONSTANT:
            found = _two(curve, *options, found)
            if found.reason == OVERLAP and found.gamma < 1:
                plain = _fit(replace(curve, gammas=np.ones(1)), *options)
                found = _plain_of(plain, found) if plain.verdict == DECAY and plain.misfit <= 1 else found
    if found.misfit > WORST_MISFIT:
        reason = f'the best fit misses the curve by {found.misfit:.1f} times what its noise allows'
        found = replace(found, verdict=NO_FORM, reason=reason, tau=np.nan, tau_ci95=(np.nan, np.nan), gamma=np.nan)
        found = replace(found, tau_lower_bound=np.nan, components=())
    bound = float(np.minimum(found.tau_lower_bound, LONGEST_BOUND * n_frames * step))
    found = replace(found, amplitude=c[0] * found.amplitude, tau_lower_bound=bound)
    return _with_form_free_times(found, curve, step, seed)


def _with_form_free_times(found: DecayFit, curve: BinnedCurve, step: float, seed: int) -> DecayFit:
    """Add the times that need no form, from the first lag on, with intervals from resampled or drawn curves."""
    first = int(np.searchsorted(curve.bins.centre, found.first_lag / step - 0.5)) if found.first_lag > 0 else 1
    if found.reason == CONSTANT or len(curve.bins.centre) - first < 8:
        return found
    fit = curve.fit(first)
    (per_signal, freedom), others, ions = curve.noise(fit), curve.samples_in(fit), curve.ions
    factor = student_factor(max(freedom, 1)) / 1.96
    if others is None:
        others = fit.curve + Judgement.of(fit, per_signal, seed).drawn(fit.decay) - fit.decay(fit.bins.centre)
    elif ions is not None and ions > 1:
        # the spread of resamples of n ions is short by (n − 1)/n; Student's factor for their small number
        factor = student_factor(ions - 1) / 1.96 * np.sqrt(ions / (ions - 1))
    times = step * form_free_times(fit.bins.centre, fit.bins.weight, np.vstack([fit.curve, others]))
    intervals = []
    for own, drawn in zip(times[0], times[1:].T):
        known = np.isfinite(own) and np.isfinite(drawn).mean() > 0.9
        low, high = np.nanquantile(drawn, [0.025, 0.975]) if known else (np.nan, np.nan)
        intervals.append((float(max(own + factor * min(low - own, 0), 0.0)), float(own + factor * max(high - own, 0))))
    return replace(
        found,
        integral_time=float(times[0, 0]),
        integral_time_ci95=intervals[0],
        time_to_1_e=float(times[0, 1]),
        time_to_1_e_ci95=intervals[1],
    )


def _two(
    curve: BinnedCurve, step: float, first_lag: float | None, tau_fraction: float, seed: int, one: DecayFit | None
) -> DecayFit:
    """Two decays, unless ``one`` is given and describes the curve as well."""
    found = first_bin(curve, first_lag, step, fit_two_decays)
    if found is None:
        return one or _too_short(curve, step)
    fit, misfit = found
    per_signal, freedom = curve.noise(fit)
    doubt = False
    if one is not None:
        draws = np.random.default_rng(seed).standard_normal((DRAWS, len(fit.bins.centre)))
        chance, better = against_one(curve, fit, per_signal, draws)
        if chance > DOUBT or misfit > max(one.misfit, 1) or (better < -ALIKE and misfit > 1):
            return one
        doubt = chance > 0 or better < ALIKE
    least = LEAST_SHARE if doubt else 0.0
    law, parts = components(curve, fit, per_signal, freedom, curve.samples_in(fit), least)
    fast, slow = (part.times(step) for part in parts)
    length = fit.bins.n_frames * step
    undecided = _without_tau(fit, per_signal, step)

    def refuse(reason: str) -> DecayFit:
        bound = slow.tau_ci95[0]
        if one is None or one.verdict != DECAY:
            return one or replace(undecided, reason=reason, tau_lower_bound=bound if bound > 0 else np.nan)
        low, high = one.tau_ci95
        high = max(high, slow.tau_ci95[1])
        if high > length:
            if doubt:
                return one
            reason = 'two decays overlap, and the slow one has no upper limit within the trajectory'
            return replace(undecided, reason=reason, amplitude=one.amplitude, tau_lower_bound=low)
        return replace(one, tau_ci95=(min(low, bound) if bound > 0 else low, high), reason=OVERLAP)

    if doubt:
        return refuse(OVERLAP)
    if slow.weight_ci95[0] <= 0 or fast.weight_ci95[0] <= 0 or not slow.tau_ci95[0] > 0:
        return refuse('two decays cannot be told apart')
    if slow.tau > tau_fraction * length:
        return refuse(f'the slow decay time is above {tau_fraction:.2g} of the trajectory')
    if not slow.tau_ci95[1] <= length:
        return refuse('the slow decay time has no upper limit within the trajectory')
    amplitude = law.decaying + law.constant
    low, high = slow.tau_ci95
    if one is not None and one.verdict == DECAY and one.misfit <= 1 and one.tau_ci95[1] <= length:
        low, high = min(low, one.tau_ci95[0]), max(high, one.tau_ci95[1])  # one decay, from its first lag on, fits too
    return replace(
        undecided,
        verdict=DECAY,
        tau=slow.tau,
        tau_ci95=(low, high),
        plateau=law.constant / amplitude,
        gamma=law.gamma,
        amplitude=amplitude,
        reason=TWO,
        components=(fast, slow),
        misfit=misfit,
    )


def _plain_of(plain: DecayFit, stretched: DecayFit) -> DecayFit:
    """One plain decay, from its own first lag on, in place of a stretched one that may be two decays.

    The time of a stretched law that reaches down into fast motion is far below any time of the ions. The interval
    holds both.
    """
    bounds = [*plain.tau_ci95, *stretched.tau_ci95]
    return replace(plain, tau_ci95=(min(bounds), max(bounds)), reason=stretched.reason)


def _fit(curve: BinnedCurve, step: float, first_lag: float | None, tau_fraction: float, seed: int) -> DecayFit:
    """The fit of a curve that is one at lag 0, for one choice of exponents."""
    found = first_bin(curve, first_lag, step)
    if found is None:
        return _too_short(curve, step)
    fit, misfit = found
    per_signal, freedom = curve.noise(fit)
    undecided = _without_tau(fit, per_signal, step)
    # the number of signals is itself measured, on few points: Student's factor for that
    judgement = Judgement.of(fit, per_signal * (student_factor(max(freedom, 1)) / 1.96) ** 2, seed)

    def refuse(reason: str, bound: float, misfit: float = np.nan) -> DecayFit:
        return replace(undecided, reason=reason, tau_lower_bound=bound * step if bound > 0 else np.nan, misfit=misfit)

    decay, n_frames = fit.decay, fit.bins.n_frames
    if not judgement.beats_a_constant():
        return refuse(CONSTANT, judgement.lower_bound())
    low, high = judgement.interval()
    samples = curve.samples_in(fit)
    if samples is not None:
        low, high = widened(low, high, fit, samples)
    if decay.tau > tau_fraction * n_frames:
        return refuse(f'the decay time is above {tau_fraction:.2g} of the trajectory', low)
    if decay.tau < 3 or decay.tau < 0.5 * fit.bins.first:
        return refuse('the curve falls, but within a few frames of the first lag', np.nan)
    if not np.isfinite(high) or high > n_frames:
        return refuse('the curve falls, but its decay time has no upper limit within the trajectory', low, misfit)
    if not low > 0:
        return refuse('the curve falls, but its decay time has no lower limit', np.nan, misfit)
    amplitude = decay.decaying + decay.constant
    return replace(
        undecided,
        verdict=DECAY,
        tau=decay.tau * step,
        tau_ci95=(low * step, high * step),
        plateau=decay.constant / amplitude,
        plateau_error=judgement.plateau_error(),
        gamma=decay.gamma,
        amplitude=amplitude,
        misfit=misfit,
    )


def fit_bin_nodes(n_lags: int, n_frames: int, fit_fraction: float = 0.5) -> np.ndarray:
    """Bins of the lags that :func:`fit_decay` looks at, in frames."""
    return bin_nodes(min(n_lags, max(2, int(fit_fraction * n_frames))))


def _averaged(samples: np.ndarray | None, bins: LagBins, n_lags: int) -> np.ndarray | None:
    """Curves of a bootstrap, (n_samples, n_lags) or in bins already, as averages over the bins."""
    if samples is None:
        return None
    samples, n_bins = np.asarray(samples, float), len(bins.centre)
    if samples.ndim != 2 or samples.shape[1] not in (n_bins, n_lags):
        raise ValueError(f'samples must be (n_samples, {n_lags}), not {samples.shape}')
    return samples if samples.shape[1] == n_bins else bins.average(samples)


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


def _too_short(curve: BinnedCurve, step: float) -> DecayFit:
    return DecayFit(verdict=NO_DECAY, last_lag=(len(curve.c) - 1) * step, reason='too few lags to fit')


def _without_tau(fit: BinnedFit, per_signal: float, step: float) -> DecayFit:
    """Level of the curve, range of lags and number of signals of a fit, before its decay time is judged."""
    return DecayFit(
        verdict=NO_DECAY,
        amplitude=float(np.average(fit.curve, weights=fit.weight)),
        first_lag=fit.bins.first * step,
        follows_from=float(fit.bins.centre[fit.first_full_bin] * step),
        last_lag=fit.bins.last * step,
        signals=1 / per_signal if per_signal > 0 else np.inf,
    )
