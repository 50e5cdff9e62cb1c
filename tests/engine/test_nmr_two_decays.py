"""Claims about two decays in one curve: found where they are, with honest intervals, and only there."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import nnls

from aiida_ufpnmr.engine.nmr import DECAY, autocorrelation, fit_decay
from aiida_ufpnmr.engine.timeseries.curve_noise import crossed_overlap
from aiida_ufpnmr.engine.timeseries.decay import OVERLAP
from aiida_ufpnmr.engine.timeseries.stretched import Decay
from aiida_ufpnmr.engine.timeseries.two_decays import PairSearch


def two_rates(seed, fast, slow, n_ions=48, n_frames=3000, share=0.5, noise=5.0):
    """The sum of two independent two-site processes and white noise of five times their variance."""
    rng = np.random.default_rng(seed)

    def sites(tau):
        flips = rng.random((n_frames, n_ions)) < 0.5 * (1 - np.exp(-1 / tau))
        return 1 - 2 * ((np.cumsum(flips, axis=0) + rng.integers(0, 2, n_ions)) % 2)

    white = np.sqrt(noise) * rng.standard_normal((n_frames, n_ions))
    return np.sqrt(share) * sites(fast) + np.sqrt(1 - share) * sites(slow) + white


def test_overlap_of_two_exponentials_equals_the_integral():
    one, other = Decay(7.0, 1.0, 1.0, 0.0), Decay(20.0, 1.0, 1.0, 0.0)
    for h in (0.0, 3.0, 50.0):
        expected = quad(lambda v, h=h: np.exp(-abs(v) / 7 - abs(v + h) / 20), -600, 600, points=[-h, 0.0], limit=200)[0]
        assert crossed_overlap(np.array([h]), one, other)[0] == pytest.approx(expected, rel=1e-6)


def test_a_curve_without_noise_gives_both_times_and_weights():
    lag = np.arange(3000.0)
    c = 0.6 * (0.2 + 0.8 * (0.7 * np.exp(-lag / 6) + 0.3 * np.exp(-lag / 90)))
    c[0] = 1.0
    fit = fit_decay(lag, c, decays=2)
    assert fit.verdict == DECAY and len(fit.components) == 2
    # hats average a curved law over their width
    assert [part.tau for part in fit.components] == pytest.approx([6.0, 90.0], rel=0.03)
    assert [part.weight for part in fit.components] == pytest.approx([0.7, 0.3], abs=0.02)
    assert fit.tau == fit.components[1].tau
    assert fit.plateau == pytest.approx(0.2, abs=0.01)
    np.testing.assert_allclose(fit.curve(lag[1:]), c[1:], atol=0.01)


@pytest.mark.parametrize('gamma', [1.0, None])
def test_independent_runs_of_two_rates_agree_on_the_slow_one(gamma):
    fits = [fit_decay(*autocorrelation(two_rates(s, 5.0, 100.0), 1.0), gamma=gamma, decays='auto') for s in range(5)]
    assert all(fit.verdict == DECAY for fit in fits)
    assert sum(fit.tau_ci95[0] < 100.0 < fit.tau_ci95[1] for fit in fits) >= 4  # 95 %
    low, high = np.array([fit.tau_ci95 for fit in fits]).T
    assert low.max() < high.min()  # every interval overlaps every other
    assert np.median(high / low) < 4


@pytest.mark.parametrize('noise', [0.0, 5.0])
def test_an_interval_holds_its_estimate(noise):
    found = []
    for seed in range(15):
        x = two_rates(seed, 5.0, 40.0, n_ions=12, n_frames=1500, noise=noise)
        rng = np.random.default_rng(seed)
        samples = np.array([autocorrelation(x[:, rng.integers(0, 12, 12)], 1.0)[1] for _ in range(20)])
        for decays in (2, 'auto'):
            found.append(fit_decay(*autocorrelation(x, 1.0), decays=decays, samples=samples, ions=12))
    decays = [fit for fit in found if fit.verdict == DECAY]
    assert len(decays) > 15
    for fit in decays:
        assert fit.tau_ci95[0] <= fit.tau <= fit.tau_ci95[1]
        for part in fit.components:
            assert part.tau_ci95[0] <= part.tau <= part.tau_ci95[1]
            assert part.weight_ci95[0] <= part.weight <= part.weight_ci95[1]


def test_where_there_may_be_two_decays_the_time_is_that_of_a_plain_one():
    """A stretched law that reaches down into the fast decay has a time that neither process has."""
    found = []
    for seed in (18, 21, 39):  # of 40, those where the stretched law is as good
        x = two_rates(seed, 3.0, 20.0, n_ions=12, n_frames=1200, share=0.7, noise=0.5)
        found.append(fit_decay(*autocorrelation(x, 1.0), decays='auto'))
        assert found[-1].reason == OVERLAP and found[-1].gamma == 1
        assert found[-1].tau_ci95[0] <= 3.0 * 1.2 and 20.0 / 1.2 <= found[-1].tau_ci95[1]  # holds both, or nearly
    assert 9 < np.median([fit.tau for fit in found]) < 20  # a stretched law gave 3.6 to 6.3


def test_a_third_decay_is_not_passed_over():
    """Most is lost within two frames, as in a liquid: a fit of two that starts there misses what comes later."""
    lag = np.arange(4000.0)
    c = 0.36 * np.exp(-lag / 2) + 0.07 * np.exp(-lag / 10) + 0.07 * np.exp(-lag / 53) + 0.005
    c += 1e-3 * autocorrelation(two_rates(0, 50.0, 50.0, n_frames=4000), 1.0)[1]  # waves of noise
    c[0] = 1.0
    fit = fit_decay(lag, c, decays='auto', gamma=1.0)
    assert fit.verdict == DECAY
    assert fit.tau_ci95[0] < 53 < fit.tau_ci95[1]
    np.testing.assert_allclose(fit.curve(lag[100:300:20]), c[100:300:20], atol=2e-3)


def test_the_search_over_pairs_is_that_of_least_squares_with_bounds():
    rng = np.random.default_rng(0)
    t = np.arange(1.0, 40.0)
    root = rng.standard_normal((39, 39)) * 0.1 + np.eye(39)
    search = PairSearch.all_pairs(t, root @ root.T, np.log([1.0, 3.0, 9.0]), np.log([3.0, 9.0, 30.0]))
    curves = np.array([np.exp(-t / 5), 0.3 + 0.0 * t, rng.standard_normal(39)])
    squares = search(curves)
    for curve, row in zip(curves, squares):
        for pair, (fast, slow) in enumerate(zip(search.log_fast, search.log_slow)):
            design = np.column_stack([np.exp(-t / np.exp(fast)), np.exp(-t / np.exp(slow)), np.ones(39)])
            parts, distance = nnls(search.whitening @ design, search.whitening @ curve)
            assert row[pair] == pytest.approx(distance**2, rel=1e-6, abs=1e-8)
            np.testing.assert_allclose(search.parts(curve, np.array([pair]))[0], parts, atol=1e-5)


def test_one_rate_stays_one_decay():
    for seed in range(5):
        curve = autocorrelation(two_rates(seed, 60.0, 60.0), 1.0)
        assert not fit_decay(*curve, gamma=1.0, decays='auto').components


@pytest.mark.slow
@pytest.mark.parametrize('fast, slow, gamma', [(60.0, 60.0, 1.0), (8.0, 80.0, 1.0)])
def test_the_interval_of_the_slow_time_holds_as_often_as_it_says(fast, slow, gamma):
    held = []
    for seed in range(200):
        fit = fit_decay(*autocorrelation(two_rates(seed, fast, slow), 1.0), gamma=gamma, decays='auto')
        if fit.verdict == DECAY:
            held.append(fit.tau_ci95[0] <= slow <= fit.tau_ci95[1])
    assert len(held) > 180
    assert 0.90 <= np.mean(held) <= 0.995


def test_decays_must_be_one_two_or_auto():
    with pytest.raises(ValueError, match='decays'):
        fit_decay(np.arange(10.0), np.exp(-np.arange(10.0)), decays=3)
