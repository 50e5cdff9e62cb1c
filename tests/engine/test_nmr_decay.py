"""Claims about decay times: they are given back within their interval, and not where the data cannot carry them."""

import numpy as np
import pytest
from scipy.integrate import quad

from aiida_ufpnmr.engine.nmr import DECAY, NO_DECAY, NO_FORM, autocorrelation, fit_decay
from aiida_ufpnmr.engine.timeseries.curve_noise import FastPart, curve_covariance
from aiida_ufpnmr.engine.timeseries.decay import fit_bin_nodes
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins
from aiida_ufpnmr.engine.timeseries.stretched import Decay


def jumps(seed, n_ions, n_frames, tau, offset=0.0, vibration=1.0, period=7.7, noise=5.0):
    """Jumps between offset ± 1 with τ = 1/(2k), a lasting vibration, and white noise of five times the variance."""
    rng = np.random.default_rng(seed)
    flips = rng.random((n_frames, n_ions)) < 0.5 * (1 - np.exp(-1 / tau))
    site = 1 - 2 * ((np.cumsum(flips, axis=0) + rng.integers(0, 2, n_ions)) % 2)
    phase = 2 * np.pi * np.arange(n_frames)[:, None] / period + rng.uniform(0, 2 * np.pi, n_ions)
    white = np.sqrt(noise) * rng.standard_normal((n_frames, n_ions))
    return offset + site + np.sqrt(2 * vibration) * np.cos(phase) + white


@pytest.mark.parametrize(
    'tau, b2, stretch, gamma',
    [
        (20.0, 0.0, 1.0, 1.0),
        (50.0, 0.4, 1.0, 1.0),
        (50.0, 0.4, 1.0, None),
        (35.0, 0.3, 0.7, None),
        (35.0, 0.3, 0.7, 0.7),
    ],
)
def test_a_curve_without_noise_gives_its_parameters(tau, b2, stretch, gamma):
    lag = np.arange(2000.0)
    c = 0.6 * (b2 + (1 - b2) * np.exp(-((lag / tau) ** stretch)))
    c[0] = 1
    fit = fit_decay(lag, c, gamma=gamma)
    assert fit.verdict == DECAY
    # hats average a curved law over their width, which costs up to a per cent
    assert fit.tau == pytest.approx(tau, rel=0.02)
    assert fit.plateau == pytest.approx(b2, abs=0.01)
    assert fit.gamma == pytest.approx(stretch, abs=0.02)
    assert fit.amplitude == pytest.approx(0.6, rel=0.02)


@pytest.mark.parametrize('first_lag', [None, 2.0])
@pytest.mark.parametrize('gamma', [1.0, None])
def test_jumps_under_vibration_and_noise_are_given_back_within_the_interval(gamma, first_lag):
    x = jumps(1, 60, 4000, 60.0)
    lag, c = autocorrelation(x, 0.1)
    fit = fit_decay(lag, c, gamma=gamma, first_lag=None if first_lag is None else 0.1 * first_lag)
    assert fit.verdict == DECAY
    assert fit.tau_ci95[0] < 6.0 < fit.tau_ci95[1]
    assert fit.tau_ci95[0] < fit.tau < fit.tau_ci95[1]
    assert 0 < fit.amplitude < 0.25  # one seventh of the variance jumps


@pytest.mark.parametrize('seed', range(4))
def test_noise_on_static_ions_is_no_decay(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=40) + 2 * rng.standard_normal((3000, 40))
    fit = fit_decay(*autocorrelation(x, 0.1))
    assert fit.verdict == NO_DECAY
    assert np.isnan(fit.tau) and np.isnan(fit.tau_ci95).all()
    assert fit.tau_lower_bound > 100


@pytest.mark.parametrize('seed', range(4))
def test_a_trajectory_shorter_than_the_decay_gives_none_but_a_true_lower_bound(seed):
    fit = fit_decay(*autocorrelation(jumps(seed, 48, 1500, 1500.0), 1.0), gamma=1.0)
    assert fit.verdict == NO_DECAY
    assert fit.reason
    # a bound there must be, unless the curve falls by no more than its noise; and it must not exceed the truth
    assert 100 < fit.tau_lower_bound < 1500


@pytest.mark.parametrize('noise', [0.0, 1e-5])
def test_a_curve_that_does_not_change_bounds_its_decay_by_no_more_than_a_thousand_lengths(noise):
    rng = np.random.default_rng(0)
    fit = fit_decay(*autocorrelation(rng.normal(size=40) + noise * rng.standard_normal((3000, 40)), 0.1))
    assert fit.verdict == NO_DECAY and fit.tau_lower_bound == pytest.approx(1000 * 300)


def test_pure_noise_is_no_decay():
    fit = fit_decay(*autocorrelation(np.random.default_rng(0).normal(size=(2000, 30)), 1.0))
    assert fit.verdict == NO_DECAY


def test_the_interval_grows_where_fewer_ions_are_followed():
    width = []
    for n_ions in (100, 10):
        fit = fit_decay(*autocorrelation(jumps(3, n_ions, 4000, 40.0), 1.0), gamma=1.0)
        width.append(np.log(fit.tau_ci95[1] / fit.tau_ci95[0]))
    assert 1.5 < width[1] / width[0] < 8  # about the square root of ten


def test_bootstrap_samples_can_only_widen_the_interval():
    x = jumps(1, 30, 3000, 50.0)
    lag, c = autocorrelation(x, 1.0)
    rng = np.random.default_rng(0)
    samples = np.array([autocorrelation(x[:, rng.integers(0, 30, 30)], 1.0)[1] for _ in range(30)])
    alone, both = fit_decay(lag, c, gamma=1.0), fit_decay(lag, c, gamma=1.0, samples=samples)
    assert both.tau == alone.tau
    assert both.tau_ci95[0] <= alone.tau_ci95[0] and both.tau_ci95[1] >= alone.tau_ci95[1]


def test_a_plain_exponential_has_its_time_without_any_form():
    lag = np.arange(4000.0)
    for rest in (0.0, 0.3):
        c = 0.6 * (rest + (1 - rest) * np.exp(-lag / 40))
        c[0] = 1
        fit = fit_decay(lag, c, gamma=1.0)
        # the trapezoidal rule over bins that grow by 15 %
        assert (fit.integral_time, fit.time_to_1_e) == pytest.approx((40, 40), rel=0.02)
    stretched = fit_decay(lag, np.exp(-((lag / 40) ** 0.8)), first_lag=1.0)
    # from the first lag on, at which some has decayed already; beyond six times the integral two per cent are left
    start = np.exp(-((1 / 40) ** 0.8))
    tail = quad(lambda t: np.exp(-((t / 40) ** 0.8)), 1, 4000, limit=200)[0] / start
    assert stretched.integral_time == pytest.approx(tail, rel=0.04)
    assert stretched.time_to_1_e == pytest.approx(40 * (1 - np.log(start)) ** (1 / 0.8) - 1, rel=0.02)


@pytest.mark.parametrize('few', [8, 48])
def test_intervals_of_the_times_without_form_hold_them(few):
    held = []
    for seed in range(20):
        x = jumps(seed, few, 3000, 40.0, vibration=0.0, noise=0.5)
        lag, c = autocorrelation(x, 1.0)
        rng = np.random.default_rng(seed)
        samples = np.array([autocorrelation(x[:, rng.integers(0, few, few)], 1.0)[1] for _ in range(60)])
        fit = fit_decay(lag, c, gamma=1.0, samples=samples, ions=few)
        held.append(
            (
                fit.integral_time_ci95[0] <= 40 <= fit.integral_time_ci95[1],
                fit.time_to_1_e_ci95[0] <= 40 <= fit.time_to_1_e_ci95[1],
            )
        )
        assert fit.time_to_1_e_ci95[0] <= fit.time_to_1_e <= fit.time_to_1_e_ci95[1]
    assert (np.mean(held, axis=0) >= 0.8).all()  # 95 % of twenty, less three standard deviations


def test_a_curve_that_no_form_fits_gets_no_decay_time_but_those_without_form():
    # half decays, the other half waits and then goes all at once: so late that no first lag passes over it, or from a
    # first lag that is given
    lag = np.arange(4000.0)
    rng = np.random.default_rng(0)
    waves = np.array([autocorrelation(rng.standard_normal((4000, 24)), 1.0)[1] for _ in range(61)])
    waves[:, 0] = 0.0
    for wait, first_lag, decays in ((600, None, 'auto'), (600, None, 1), (300, 2.0, 2), (300, 2.0, 1)):
        c = 0.5 * np.exp(-lag / 20) + 0.5 / (1 + np.exp((lag - wait) / 20))
        fit = fit_decay(lag, c + waves[0], samples=c + waves[1:], ions=24, decays=decays, first_lag=first_lag)
        assert fit.verdict == NO_FORM and 'misses the curve' in fit.reason
        assert np.isnan(fit.tau) and np.isnan(fit.tau_ci95).all() and fit.misfit > 2
        if first_lag:
            assert fit.integral_time == pytest.approx(c[2:].sum() / c[2], rel=0.01)
            assert fit.integral_time_ci95[0] < fit.integral_time < fit.integral_time_ci95[1]


def test_the_fit_follows_the_curve_from_where_it_says():
    # the slow decay comes after two larger and faster ones: a fit that starts early is far off in its first bins
    lag = np.arange(4000.0)
    law = 0.3 * np.exp(-lag / 3) + 0.1 * np.exp(-lag / 12) + 0.05 * np.exp(-lag / 60) + 0.005
    bins = LagBins.of(fit_bin_nodes(4000, 4000), 4000)
    for seed in range(2):
        x = jumps(seed, 24, 4000, 60.0, vibration=0.0, noise=0.5)
        rng = np.random.default_rng(seed)
        waves = np.array([autocorrelation(x[:, rng.integers(0, 24, 24)], 1.0)[1] for _ in range(60)])
        # what is in the samples beyond the mean of infinitely many ions
        c, samples = (law + 0.05 * (w - np.exp(-lag / 60) / 1.5) for w in (autocorrelation(x, 1.0)[1], waves))
        c[0] = samples[:, 0] = 1.0
        for decays in (1, 2):
            fit = fit_decay(lag, c, samples=samples, ions=24, decays=decays)
            assert fit.first_lag <= fit.follows_from < 40
            if fit.verdict == DECAY:
                off = np.abs(bins.average(c) - fit.curve(bins.centre))
                error = np.sqrt(24 / 23) * bins.average(samples).std(axis=0, ddof=1)
                within = off <= 3.1 * error + 0.02 * fit.curve(bins.centre) + 1e-4
                assert within[bins.centre >= fit.follows_from].all()
        assert fit.verdict == DECAY  # of two


def test_the_first_lag_passes_over_a_vibration_that_fades():
    lag = np.arange(4000.0)
    c = 0.3 * np.exp(-lag / 200) + 0.7 * np.exp(-lag / 6) * np.cos(lag)
    fit = fit_decay(lag, c + 1e-5 * np.random.default_rng(0).normal(size=4000), gamma=1.0)
    assert 6 < fit.first_lag < 100
    assert fit.tau == pytest.approx(200, rel=0.1)


def test_unit_of_lag_and_height_of_curve_carry_through():
    lag, c = autocorrelation(jumps(1, 40, 3000, 40.0), 1.0)
    one, other = fit_decay(lag, c, gamma=1.0), fit_decay(lag * 1e-4, c * 7.0, gamma=1.0)
    assert other.tau == pytest.approx(one.tau * 1e-4)
    assert other.amplitude == pytest.approx(one.amplitude * 7.0)


def test_covariance_of_a_curve_is_that_of_many_trajectories():
    n_frames, tau = 400, 20.0
    rng = np.random.default_rng(0)
    lags = np.array([3, 10, 30, 80])
    curves = []
    for _ in range(1500):
        flips = rng.random((n_frames, 1)) < 0.5 * (1 - np.exp(-1 / tau))
        x = 1 - 2.0 * (np.cumsum(flips, axis=0) % 2) + rng.standard_normal((n_frames, 1))
        curves.append([np.mean(x[:-m] * x[m:]) for m in lags])
    sampled = np.cov(np.array(curves).T)
    decay = Decay(tau, 1.0, 1.0, 0.0)
    stated = curve_covariance(lags.astype(float), n_frames, decay, FastPart(1.0, 1.0), np.eye(4))
    # jumps between two sites lack the common fluctuation of the whole curve, which the free amplitude takes up anyway
    shape = decay(lags.astype(float))
    project = np.eye(4) - np.outer(shape, shape) / (shape @ shape)
    ratio = np.trace(project @ stated @ project) / np.trace(project @ sampled @ project)
    assert 0.75 < ratio < 1.35


@pytest.mark.parametrize(
    'lag, c, options',
    [
        ([0, 1, 3], [1, 0.5, 0.2], {}),
        ([1, 2, 3], [1, 0.5, 0.2], {}),
        ([0, 1, 2], [1, np.nan, 0.2], {}),
        ([0, 1, 2], [1, 0.5], {}),
        ([0, 1, 2], [0, 0.5, 0.2], {}),
        ([0, 1, 2], [1, 0.5, 0.2], {'gamma': 1.5}),
        ([0, 1, 2], [1, 0.5, 0.2], {'first_lag': -1}),
    ],
)
def test_bad_input_is_refused(lag, c, options):
    with pytest.raises(ValueError, match='equal steps|not finite|of one length|above zero|at most 1|not be negative'):
        fit_decay(np.array(lag, float), np.array(c, float), **options)


@pytest.mark.parametrize('n', [2, 5, 12])
def test_a_handful_of_frames_is_no_decay(n):
    assert fit_decay(*autocorrelation(np.random.default_rng(0).normal(size=(n, 3)), 1.0)).verdict == NO_DECAY
