"""Claims about correlation functions and echoes."""

import numpy as np
import pytest

from aiida_ufpnmr.engine.nmr import (
    autocorrelation,
    autocorrelation_per_ion,
    powder_directions,
    powder_echo,
    spin_alignment_echo,
)
from aiida_ufpnmr.engine.timeseries import correlation as module
from aiida_ufpnmr.engine.timeseries.lag_bins import LagBins, bin_nodes


def double_sum(x):
    """The definition, without FFT: every pair of frames."""
    x = x.reshape(len(x), x.shape[1], -1)
    n_frames, n_ions = x.shape[:2]
    return np.array(
        [[np.mean((x[: n_frames - m, i] * x[m:, i]).sum(-1)) for m in range(n_frames)] for i in range(n_ions)]
    )


@pytest.mark.parametrize('shape', [(37, 4), (64, 3, 5), (2, 1)])
def test_fft_equals_the_double_sum(shape):
    x = np.random.default_rng(0).normal(0.3, 1, shape)
    plain = double_sum(x)
    lag, c = autocorrelation(x, 0.1)
    mean = plain.mean(axis=0)
    np.testing.assert_allclose(c, mean / mean[0], atol=1e-12)  # rounding of the FFT
    np.testing.assert_allclose(lag, 0.1 * np.arange(shape[0]))
    assert c[0] == 1
    np.testing.assert_allclose(autocorrelation_per_ion(x, 0.1)[1], plain, atol=1e-12)


def test_batches_do_not_change_the_result(monkeypatch):
    x = np.random.default_rng(0).normal(size=(50, 7, 2))
    whole = autocorrelation(x, 1.0)[1]
    monkeypatch.setattr(module, 'BATCH_BYTES', 1.0)
    np.testing.assert_allclose(autocorrelation(x, 1.0)[1], whole, atol=1e-14)


def test_a_constant_keeps_its_plateau_unless_the_mean_is_subtracted():
    x = 3.0 + np.random.default_rng(0).normal(size=(2000, 5))
    assert autocorrelation(x, 1.0)[1][5] == pytest.approx(0.9, abs=0.02)  # 9/(9 + 1)
    assert abs(autocorrelation(x, 1.0, subtract_mean=True)[1][5]) < 0.05


@pytest.mark.parametrize('bad', [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros(5), np.zeros((0, 3))])
def test_signals_without_correlation_are_refused(bad):
    with pytest.raises(ValueError, match='zero throughout|not finite|must be .n_frames, n_ions'):
        autocorrelation(bad, 1.0)


def test_hats_share_every_lag_with_total_weight_one():
    nodes, n = bin_nodes(300), 1000
    bins = LagBins.of(nodes, n)
    lags = np.arange(300)
    hats = np.array([np.interp(lags, nodes, np.eye(len(nodes))[k]) for k in range(len(nodes))])
    np.testing.assert_allclose(hats.sum(axis=0), 1)
    np.testing.assert_allclose(bins.weight, hats @ (n - lags))
    width = hats.sum(axis=1)
    np.testing.assert_allclose(bins.shared, hats @ hats.T / np.outer(width, width), atol=1e-14)


def test_echo_becomes_the_autocorrelation_for_short_times():
    omega = np.random.default_rng(0).normal(10, 50, (300, 4))
    c = autocorrelation(omega, 0.1)[1]
    # sin x = x (1 − x²/6): a phase of 1e-3 rad leaves a relative difference of 1e-6
    s = spin_alignment_echo(omega, 0.1, 1e-6, 2e-6)[1]
    np.testing.assert_allclose(s, c, atol=1e-6)


@pytest.mark.parametrize('half', [True, False])
def test_echo_equals_equation_three(half):
    omega = np.random.default_rng(1).normal(10, 50, (30, 2))
    t_p, t_d = 7e-6, 12e-6
    rate = 2 * np.pi * 1e3 * (0.5 if half else 1.0)
    p, d = np.sin(rate * omega * t_p), np.sin(rate * omega * t_d)
    m = 4
    expected = 9 / 20 * 0.5 * (np.mean(p[:-m] * d[m:]) + np.mean(d[:-m] * p[m:]))
    s = spin_alignment_echo(omega, 0.1, 7.0, 12.0, half=half, normalise=False)[1]
    assert s[m] == pytest.approx(expected, abs=1e-12)


def test_quadrature_averages_tensors_exactly():
    directions, weight = powder_directions(4)
    assert weight.sum() == pytest.approx(1)
    rng = np.random.default_rng(0)
    a, b = (m + m.T - np.eye(3) * 2 * np.trace(m) / 3 for m in rng.normal(size=(2, 3, 3)))
    along = lambda v: np.einsum('ki,ij,kj->k', directions, v, directions)  # noqa: E731
    assert weight @ (along(a) * along(b)) == pytest.approx(2 / 15 * np.sum(a * b))


def test_powder_echo_does_not_change_when_the_crystal_is_turned():
    rng = np.random.default_rng(0)
    v = rng.normal(size=(40, 2, 3, 3)) * 30
    v = v + v.swapaxes(-1, -2)
    v -= np.eye(3) * np.trace(v, axis1=-2, axis2=-1)[..., None, None] / 3
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = q @ v @ q.T

    def echo(tensors):
        return powder_echo(lambda b: np.einsum('i,fnij,j->fn', b, tensors, b), *powder_directions(24), 0.1, 5.0, 8.0)[1]

    np.testing.assert_allclose(echo(v), echo(turned), atol=1e-5)  # error of the quadrature
