"""Claims about mean square displacements and diffusion coefficients."""

import numpy as np
import pytest
from scipy.signal import lfilter

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.transport import diffusion, mean_square_displacement
from aiida_ufpnmr.engine.transport.msd import CM2_PER_S, DIFFUSION, DRIFT, NO_DIFFUSION, TOO_FEW, confinement


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


def caged(seed, n_frames, n_ions, memory, amplitude=0.5):
    """Ornstein–Uhlenbeck: ions in a harmonic cage, with the memory in frames."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / memory)
    drive = rng.standard_normal((n_frames, n_ions, 3))
    drive[1:] *= np.sqrt(1 - keep**2)
    return amplitude * lfilter([1.0], [1.0, -keep], drive, axis=0)


def subdiffusion(seed, n_frames, n_ions):
    """Fractional Brownian motion: the displacement rises with the square root of time."""
    t = np.arange(1.0, n_frames + 1)
    covariance = 0.5 * (np.sqrt(t)[:, None] + np.sqrt(t) - np.sqrt(np.abs(t[:, None] - t)))
    lower = np.linalg.cholesky(covariance + 1e-10 * np.eye(n_frames))
    return 0.6 * np.einsum('ab,bnx->anx', lower, np.random.default_rng(seed).standard_normal((n_frames, n_ions, 3)))


def hopping(seed, n_frames, n_ions, rate):
    """Hops of 2 Å at random, on top of vibrations of 0.3 Å."""
    rng = np.random.default_rng(seed)
    direction = rng.standard_normal((n_frames, n_ions, 3))
    direction *= 2.0 * (rng.random((n_frames, n_ions, 1)) < rate) / np.linalg.norm(direction, axis=2, keepdims=True)
    return np.cumsum(direction, axis=0) + 0.3 * rng.standard_normal(direction.shape)


def share_of_diffusion(process, runs):
    return np.mean([diffusion(process(seed), 0.1, bootstrap=50).verdict == DIFFUSION for seed in range(runs)])


#: Motion that is none, and the share of runs of 40 ps that may be taken for diffusion.
NO_DIFFUSIONS = {
    'cage with a memory of 2 ps': (lambda seed: caged(seed, 400, 24, 20), 0.0),
    # 40 ps are hardly longer than the memory: one in twenty, as for any test on this level
    'cage with a memory of 30 ps': (lambda seed: caged(seed, 400, 24, 300), 0.08),
    'cage with a memory of 30 ps, 100 ps': (lambda seed: caged(seed, 1000, 24, 300), 0.03),
    'sub-diffusion': (lambda seed: subdiffusion(seed, 400, 24), 0.08),
    'a drift of all ions': (lambda seed: random_walk(seed, 400, 24, 0.02) + drift(400), 0.0),
    'a drift of one ion': (lambda seed: random_walk(seed, 400, 1, 0.02) + drift(400), 0.0),
}
DIFFUSIONS = {
    'a walk': lambda seed: random_walk(seed, 400, 24),
    'a walk of ten ions': lambda seed: random_walk(seed, 200, 10),
    'hops with vibrations': lambda seed: hopping(seed, 400, 24, 0.02),
}


def drift(n_frames):
    return 0.05 * np.arange(n_frames)[:, None, None] * np.array([1.0, 0.0, 0.0])


@pytest.mark.parametrize('name', NO_DIFFUSIONS)
def test_what_is_no_diffusion_is_not_called_so(name):
    process, allowed = NO_DIFFUSIONS[name]
    # of thirty runs, with two standard deviations of so few
    assert share_of_diffusion(process, 30) <= allowed + 2 * np.sqrt(allowed / 30)


@pytest.mark.parametrize('name', DIFFUSIONS)
def test_true_walks_are_diffusion_in_nine_of_ten_runs(name):
    assert share_of_diffusion(DIFFUSIONS[name], 30) >= 0.9 - 2 * np.sqrt(0.09 / 30)


@pytest.mark.slow
@pytest.mark.parametrize('name', [*NO_DIFFUSIONS, *DIFFUSIONS])
def test_verdicts_over_two_hundred_runs(name):
    if name in DIFFUSIONS:
        assert share_of_diffusion(DIFFUSIONS[name], 200) >= 0.88
    else:
        process, allowed = NO_DIFFUSIONS[name]
        assert share_of_diffusion(process, 200) <= allowed


@pytest.mark.slow
def test_intervals_of_walks_hold_as_often_as_they_say():
    true = 0.1**2 * 3 / 0.1 / 6 * CM2_PER_S
    for n_frames, n_ions in ((400, 24), (200, 10)):
        limits = [diffusion(random_walk(s, n_frames, n_ions), 0.1, bootstrap=100).ci95_cm2_per_s for s in range(200)]
        # 95 % less or more three standard deviations of 200 runs
        assert 0.90 <= np.mean([low <= true <= high for low, high in limits]) <= 0.995


def test_the_reason_is_named():
    assert diffusion(NO_DIFFUSIONS['a drift of all ions'][0](0), 0.1).verdict == DRIFT
    assert diffusion(random_walk(0, 17, 1), 0.1).verdict in (TOO_FEW, NO_DIFFUSION)


def test_confinement_is_one_for_walks_and_that_of_noise_in_a_narrow_cage():
    # over 4000 paths the statistic is known to 1 %
    assert confinement(random_walk(0, 400, 4000))[0] == pytest.approx(1.0, abs=0.03)
    assert confinement(
        np.cumsum(np.random.default_rng(0).random((400, 4000, 3)) < 0.02, 0) - 0.02 * np.arange(400)[:, None, None]
    )[0] == pytest.approx(1.0, abs=0.03)
    # independent averages: Σ(x − x̄)·Δ = −(n − 1) σ², Σ|x − x̄|² = (n − 1) σ², and 0.25 for free motion
    assert confinement(np.random.default_rng(0).standard_normal((400, 4000, 3)))[0] == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize('window', [(0.3, 0.1), (0.0, 0.2), (0.1, 1.5), (np.nan, np.nan), (0.1, 0.1001)])
def test_a_senseless_window_is_refused(window):
    with pytest.raises(InputError, match='window'):
        diffusion(random_walk(0, 200, 3), 0.1, window=window)


def test_a_handful_of_frames_is_refused():
    with pytest.raises(InputError, match='at least 16'):
        diffusion(random_walk(0, 5, 3), 0.1)
