"""Claims about truth: known processes come back, and 95 % intervals hold the known time in 90 to 99 % of 200 runs."""

import numpy as np
import processes
import pytest
from scipy.integrate import lebedev_rule
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.efg.tensors import from_irreps, quadrupolar_frequency
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr import DECAY, NO_DECAY, autocorrelation, fit_decay, powder_directions
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries

FRAMES, IONS, TAU = 2000, 48, 40.0

#: Processes, and white noise on top in units of their variance.
KNOWN = {
    'one_decay': 2.0,
    'two_sites': 2.0,
    'n_sites': 2.0,
    'isotropic_jumps': 2.0,
    'rotational_diffusion': 2.0,
    'vibrating_jumps': 0.0,  # has five times its variance already, and a vibration of once
    'equivalent_sites': 2.0,
}


def signal(name, seed):
    rng = np.random.default_rng(seed)
    x = getattr(processes, name)(rng, FRAMES, IONS, TAU)
    return processes.noise(rng, x, KNOWN[name]) if KNOWN[name] else x


@pytest.mark.parametrize('name', KNOWN)
def test_a_known_process_has_its_correlation_function(name):
    rng = np.random.default_rng(0)
    x = getattr(processes, name)(rng, FRAMES, 400, TAU)
    if name == 'vibrating_jumps':
        lags = np.array([77, 154])  # ten periods of the vibration, and twenty
        expected = (np.exp(-lags / TAU) + 1) / 7  # jumps and vibration have a seventh of the variance each
        np.testing.assert_allclose(autocorrelation(x, 1.0)[1][lags], expected, atol=0.01)
        return
    c = autocorrelation(x - x.mean(axis=(0, 1)), 1.0)[1]
    # 400 ions of 50 decay times each: 0.7 % of the variance, three times over
    np.testing.assert_allclose(c[:80:8], np.exp(-np.arange(0, 80, 8) / TAU), atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize('name', KNOWN)
def test_the_interval_holds_the_truth_in_90_to_99_percent_of_200_repetitions(name):
    held, width = [], []
    for seed in range(200):
        fit = fit_decay(*autocorrelation(signal(name, seed), 1.0), gamma=1.0)
        assert fit.verdict == DECAY
        held.append(fit.tau_ci95[0] <= TAU <= fit.tau_ci95[1])
        width.append(fit.tau_ci95[1] / fit.tau_ci95[0])
    assert 0.90 <= np.mean(held) <= 0.99
    assert np.median(width) < 1.6  # honest is not the same as useless


@pytest.mark.slow
def test_equivalent_sites_show_no_decay_along_the_field_but_one_of_the_tensor():
    verdicts, held = [], []
    for seed in range(20):
        v = 1e-3 * from_irreps(signal('equivalent_sites', seed))
        series = EfgSeries('Li', np.arange(IONS), 1000.0 * np.arange(FRAMES), v)
        settings = AcfSettings(field='z', gamma=1.0, decays=1, bootstrap=50)
        curves, _ = correlation_functions(series, settings)
        verdicts.append(curves['omega_q_z'].fit.verdict)
        tensor = curves['omega_q_powder'].fit
        assert curves['c_q'].fit.verdict == NO_DECAY
        assert tensor.verdict == DECAY
        held.append(tensor.tau_ci95[0] <= TAU <= tensor.tau_ci95[1])  # frames of 1 ps
    assert np.mean([verdict == NO_DECAY for verdict in verdicts]) >= 0.9
    assert np.mean(held) >= 0.8  # 95 % of twenty, less three standard deviations


@pytest.mark.parametrize('seed', range(3))
def test_a_decay_of_the_coupling_shows_beside_its_large_mean_once_that_is_subtracted(seed):
    # equal frequency along z at both sites, couplings as 1 to 1.4
    sites = 1e-2 * np.array([np.diag([-0.3, -0.7, 1.0]), np.diag([0.4, -1.4, 1.0])])
    rng = np.random.default_rng(seed)
    jumps = processes.jumping(rng, 4000, IONS, 0.5 * (1 - np.exp(-1 / TAU)))
    v = sites[(jumps + rng.integers(0, 2, IONS)) % 2] + 1e-3 * from_irreps(rng.standard_normal((4000, IONS, 5)))
    run = EfgSeries('Li', np.arange(IONS), 1000.0 * np.arange(4000), v)
    settings = AcfSettings(field='z', gamma=1.0, decays=1, bootstrap=50, subtract_mean=True)
    curves, _ = correlation_functions(run, settings)
    assert curves['omega_q_z'].fit.verdict == NO_DECAY
    coupling = curves['c_q'].fit
    assert coupling.verdict == DECAY
    assert coupling.tau_ci95[0] < TAU < coupling.tau_ci95[1]
    assert coupling.tau == pytest.approx(TAU, rel=0.25)


def random_tensors(n_frames=60, n_ions=3, seed=0):
    return 3e-3 * from_irreps(np.random.default_rng(seed).normal(0.3, 1.0, (n_frames, n_ions, 5)))


def series(v):
    return EfgSeries('Li', np.arange(v.shape[1]), 100.0 * np.arange(len(v)), v)


def test_the_powder_function_equals_a_lebedev_average():
    v = random_tensors()
    curve = correlation_functions(series(v), AcfSettings(bootstrap=2))[0]['omega_q_powder'].c
    points, weight = lebedev_rule(5)  # exact for the fourth degree
    omega = np.array([quadrupolar_frequency(v, b) for b in points.T])
    n = len(v)
    average = [np.einsum('k,kfi,kfi->', weight, omega[:, : n - m], omega[:, m:]) / (n - m) for m in range(n)]
    np.testing.assert_allclose(curve, np.array(average) / average[0], atol=1e-12)


def test_the_powder_echo_equals_a_lebedev_average():
    v = random_tensors()
    settings = AcfSettings(bootstrap=2, pulse_us=4.0, decay_us=7.0)
    curve = correlation_functions(series(v), settings)[0]['sae'].c
    points, weight = lebedev_rule(71)
    rate = 2 * np.pi * 1e-3 * 0.5
    omega = np.array([quadrupolar_frequency(v, b) for b in points.T])
    p, d = np.sin(rate * 4.0 * omega), np.sin(rate * 7.0 * omega)
    n = len(v)
    average = [
        np.einsum('k,kfi->', weight, p[:, : n - m] * d[:, m:] + d[:, : n - m] * p[:, m:]) / (n - m) for m in range(n)
    ]
    np.testing.assert_allclose(curve, np.array(average) / average[0], rtol=0, atol=1e-7)  # order of the quadrature


@pytest.mark.parametrize('field', ['powder', (0.3, -0.5, 0.8)])
def test_a_short_echo_becomes_the_correlation_function(field):
    settings = AcfSettings(field=field, bootstrap=2, pulse_us=1e-6, decay_us=1e-6)
    curves, _ = correlation_functions(series(random_tensors()), settings)
    name = 'omega_q_powder' if field == 'powder' else 'omega_q_vector'
    np.testing.assert_allclose(curves['sae'].c, curves[name].c, atol=1e-9)  # phases of 1e-6 rad


@pytest.mark.parametrize('options', [{}, {'subtract_mean': True}, {'pulse_us': 4.0, 'decay_us': 7.0}])
def test_everything_is_the_same_for_a_turned_crystal_in_a_turned_field(options):
    v, b = random_tensors(200, 20), np.array([0.3, -0.5, 0.8])
    turn = Rotation.random(random_state=1).as_matrix()
    (one, numbers), (other, others) = (
        correlation_functions(series(x), AcfSettings(field=tuple(f), bootstrap=20, gamma=1.0, decays=1, **options))
        for x, f in ((v, b), (turn @ v @ turn.T, turn @ b))
    )
    for name in one:
        np.testing.assert_allclose(one[name].c, other[name].c, atol=1e-9)
        np.testing.assert_allclose(one[name].band, other[name].band, atol=1e-9)
    for key in ('c_q_mean_khz', 'c_q_std_khz', 'eta_mean', 'omega_q_std_khz', 'omega_q_mean_khz'):
        assert numbers[key] == pytest.approx(others[key], rel=1e-7)
    assert numbers['verdict'] == others['verdict']


@pytest.mark.parametrize('kind', ['nan', 'uneven', 'short', 'zero'])
def test_a_series_that_cannot_be_correlated_is_refused(kind):
    v, times = random_tensors().copy(), 100.0 * np.arange(60)
    if kind == 'nan':
        v[7, 1, 0, 0] = np.nan
    if kind == 'uneven':
        times[30:] += 40.0
    if kind == 'short':
        v, times = v[:8], times[:8]
    if kind == 'zero':
        v[:] = 0.0
    with pytest.raises(InputError, match='frame 7.*NaN|frame 30.*equally spaced|at least 16|zero throughout'):
        correlation_functions(EfgSeries('Li', np.arange(3), times, v), AcfSettings(bootstrap=2))


def test_directions_are_those_of_the_same_sphere_as_lebedev_points():
    # both integrate x⁴ y² over the sphere: 1/35
    points, weight = lebedev_rule(11)
    assert weight @ (points[0] ** 4 * points[1] ** 2) / weight.sum() == pytest.approx(1 / 35)
    directions, share = powder_directions(6)
    assert share @ (directions[:, 0] ** 4 * directions[:, 1] ** 2) == pytest.approx(1 / 35)
