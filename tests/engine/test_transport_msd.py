"""Claims about mean square displacements and diffusion coefficients."""

import numpy as np
import pytest

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.transport import diffusion, mean_square_displacement
from aiida_ufpnmr.engine.transport.msd import CM2_PER_S, DIFFUSION, NO_DIFFUSION


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
    with pytest.raises(InputError, match='window'):
        diffusion(random_walk(0, 200, 3), 0.1, window=window)


def test_a_handful_of_frames_is_refused():
    with pytest.raises(InputError, match='at least 16'):
        diffusion(random_walk(0, 5, 3), 0.1)
