"""Claims about mean square displacements and diffusion coefficients."""

import numpy as np
import pytest
from processes import one_decay

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.transport import diffusion, mean_square_displacement
from aiida_ufpnmr.engine.transport.msd import CM2_PER_S, DIFFUSION, NO_DIFFUSION, walk_covariance


def random_walk(seed, n_frames, n_ions, step=0.1):
    return np.cumsum(step * np.random.default_rng(seed).standard_normal((n_frames, n_ions, 3)), axis=0)


def test_fft_equals_the_double_sum():
    positions = 50 + random_walk(0, 60, 4)
    plain = [0.0] + [np.mean(np.sum((positions[m:] - positions[:-m]) ** 2, axis=2)) for m in range(1, 60)]
    lag, msd = mean_square_displacement(positions, 0.5)
    np.testing.assert_allclose(msd, plain, atol=1e-10)
    np.testing.assert_allclose(lag, 0.5 * np.arange(60))


def test_a_random_walk_gives_its_diffusion_coefficient_within_the_interval():
    true = 0.1**2 * 3 / 0.1 / 6 * CM2_PER_S  # 6 D = variance of a step over its time
    held = 0
    for seed in range(20):
        found = diffusion(random_walk(seed, 1500, 30), 0.1)
        assert found.verdict == DIFFUSION
        assert found.exponent == pytest.approx(1.0, abs=0.25)
        held += found.ci95_cm2_per_s[0] <= true <= found.ci95_cm2_per_s[1]
    assert held >= 16  # of twenty intervals of 95 %, less three standard deviations


def in_cages(seed, relaxation_ps, length_ps, n_ions=24, step_ps=0.1, width=0.5):
    """Ornstein–Uhlenbeck processes: ions that rattle in harmonic cages."""
    return width * np.stack(
        [
            one_decay(np.random.default_rng([seed, x]), int(length_ps / step_ps), n_ions, relaxation_ps / step_ps)
            for x in range(3)
        ],
        axis=2,
    )


def fractional_walk(seed, n_frames, n_ions, hurst, step=0.5):
    """Fractional Brownian motion: the displacement grows as t^2H. By circulant embedding, which is exact."""
    rng = np.random.default_rng(seed)
    k = np.arange(n_frames + 1.0)
    powers = k ** (2 * hurst)
    covariance = np.append(1.0, 0.5 * (powers[2:] - 2 * powers[1:-1] + powers[:-2]))
    spectrum = np.fft.fft(np.concatenate([covariance, covariance[-2:0:-1]])).real
    noise = rng.standard_normal((2, n_ions, 3, len(spectrum)))
    steps = np.fft.fft((noise[0] + 1j * noise[1]) * np.sqrt(np.maximum(spectrum, 0) / len(spectrum)))[
        ..., :n_frames
    ].real
    return step * np.moveaxis(np.cumsum(steps, axis=-1), -1, 0)


def hopping(seed, n_frames, n_ions, hops_per_frame, distance=3.0, vibration=0.3):
    """Hops in random directions under a vibration."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((n_frames, n_ions, 3))
    direction *= distance / np.linalg.norm(direction, axis=2, keepdims=True)
    hops = (rng.random((n_frames, n_ions, 1)) < hops_per_frame) * direction
    return np.cumsum(hops, axis=0) + vibration * rng.standard_normal((n_frames, n_ions, 3))


def share_of_diffusion(paths, runs=40):
    return np.mean([diffusion(paths(seed), 0.1, bootstrap=20).verdict == DIFFUSION for seed in range(runs)])


@pytest.mark.parametrize('length_ps', [20, 40, 120])
@pytest.mark.parametrize('relaxation_ps', [2, 30])
def test_ions_in_cages_never_diffuse(relaxation_ps, length_ps):
    assert share_of_diffusion(lambda seed: in_cages(seed, relaxation_ps, length_ps)) == 0


def test_a_wide_cage_is_told_by_how_its_curve_bends():
    # 1.5 Å wide: ions move farther than any threshold, within half of the trajectory
    found = [diffusion(in_cages(seed, 20, 40, width=1.5), 0.1, bootstrap=20) for seed in range(40)]
    assert np.mean([one.verdict == DIFFUSION for one in found]) <= 0.05
    assert np.median([one.exponent for one in found]) < 0.95


def test_sub_diffusion_is_no_diffusion_and_its_exponent_lies_within_the_interval():
    found = [diffusion(fractional_walk(seed, 800, 24, 0.25), 0.1, bootstrap=20) for seed in range(40)]
    assert not any(one.verdict == DIFFUSION for one in found)
    held = [one.exponent_ci95[0] <= 0.5 <= one.exponent_ci95[1] for one in found]
    assert np.mean(held) >= 0.85  # 95 % of 40, less three standard deviations


def test_random_walks_diffuse_and_the_exponent_is_one_within_its_interval():
    found = [diffusion(random_walk(seed, 1500, 30), 0.1, bootstrap=20) for seed in range(40)]
    assert np.mean([one.verdict == DIFFUSION for one in found]) >= 0.95
    assert np.mean([one.exponent_ci95[0] <= 1 <= one.exponent_ci95[1] for one in found]) >= 0.85
    assert all(one.reason == '' for one in found if one.verdict == DIFFUSION)


def test_many_hops_under_a_vibration_diffuse_and_few_are_not_claimed():
    assert share_of_diffusion(lambda seed: hopping(seed, 2000, 24, 0.01)) >= 0.9
    assert share_of_diffusion(lambda seed: hopping(seed, 1000, 24, 5 / 24000)) == 0  # five hops in all


@pytest.mark.parametrize('n_ions', [1, 24])
def test_a_common_drift_is_no_diffusion_and_the_verdict_says_so(n_ions):
    drift = 0.05 * np.arange(400)[:, None, None]
    found = diffusion(random_walk(0, 400, n_ions) + drift, 0.1)
    assert found.verdict == NO_DIFFUSION and 'drift' in found.reason
    assert found.exponent_ci95[0] > 1.1


def test_a_walk_that_slows_down_has_no_diffusion_coefficient():
    slowing = np.cumsum(np.diff(random_walk(0, 2001, 30), axis=0) * np.linspace(1.5, 0.5, 2000)[:, None, None], axis=0)
    found = diffusion(slowing, 0.1)
    assert found.verdict == NO_DIFFUSION and 'later half' in found.reason


def test_the_covariance_of_displacements_is_that_of_many_walks():
    lags = np.array([5, 20, 60])
    sampled = []
    for seed in range(800):
        walk = random_walk(seed, 100, 1, step=1 / np.sqrt(3))  # one Å² a frame
        sampled.append(mean_square_displacement(walk, 1.0)[1][lags])
    expected = walk_covariance(lags.astype(float), 100)
    # 800 samples tell a variance to 5 % for normal ones, some more for these
    np.testing.assert_allclose(np.cov(np.array(sampled).T), expected, rtol=0.25)


def test_few_ions_have_an_interval_too():
    found = diffusion(random_walk(0, 4000, 2), 0.1)
    low, high = found.ci95_cm2_per_s
    assert low < found.coefficient_cm2_per_s < high


@pytest.mark.parametrize('seed', range(5))
def test_rattling_is_no_diffusion(seed):
    rattling = 0.3 * np.random.default_rng(seed).standard_normal((2000, 20, 3))
    found = diffusion(rattling, 0.1)
    assert found.verdict == NO_DIFFUSION
    assert abs(found.exponent) < 0.05


@pytest.mark.parametrize('window', [(0.3, 0.1), (0.0, 0.2), (0.1, 1.5), (np.nan, np.nan), (0.1, 0.1001)])
def test_a_senseless_window_is_refused(window):
    with pytest.raises(InputError):
        diffusion(random_walk(0, 200, 3), 0.1, window=window)


def test_a_handful_of_frames_is_refused():
    with pytest.raises(InputError):
        diffusion(random_walk(0, 5, 3), 0.1)
