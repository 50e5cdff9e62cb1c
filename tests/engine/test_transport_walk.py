"""Claims about the diffusion coefficient of walks: its width, its interval, and what spoils neither."""

import numpy as np
import pytest
from processes import caged, fractional_walk, random_walk, vibrating
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.transport.walk import cosine_modes, fit_walk

#: Half the variance of a step along an axis.
TRUE = 0.1**2 / 2


def fits(process, runs, first=0):
    """(runs, 2) diffusion coefficients and half intervals over the true value."""
    walks = [fit_walk(process(np.random.default_rng(first + run)), 1.0, 0.05) for run in range(runs)]
    return np.array([[walk.diffusion, walk.error] for walk in walks]) / TRUE


def test_scaled_cosine_modes_of_a_walk_are_alike_and_independent():
    modes = np.concatenate([cosine_modes(random_walk(np.random.default_rng(seed), 200, 40), 8) for seed in range(50)])
    np.testing.assert_allclose(modes.mean(axis=0), 3 * 0.1**2, rtol=0.08)  # 4 standard errors of 2000 sums of 3 squares
    assert np.abs(np.corrcoef(modes.T) - np.eye(8)).max() < 0.1


@pytest.mark.parametrize(('frames', 'ions', 'width'), [(400, 24, 0.075), (200, 10, 0.18)])
def test_the_interval_of_a_walk_is_narrow_and_holds(frames, ions, width):
    found = fits(lambda rng: random_walk(rng, frames, ions), 200)
    assert found[:, 1].mean() < width
    assert 0.9 <= np.mean(np.abs(found[:, 0] - 1) < found[:, 1]) <= 0.99


def test_no_fit_is_off_by_a_factor_of_three():
    found = fits(lambda rng: random_walk(rng, 200, 10), 1000)
    assert 1 / 3 < found[:, 0].min() and found[:, 0].max() < 3


@pytest.mark.slow
def test_none_of_20_000_fits_is_off_by_a_factor_of_three():
    found = fits(lambda rng: random_walk(rng, 200, 10), 20_000)
    assert 1 / 3 < found[:, 0].min() and found[:, 0].max() < 3


@pytest.mark.parametrize(('relaxation', 'amplitude'), [(5, 0.3), (20, 0.5)])
def test_cages_do_not_spoil_the_diffusion_of_what_walks_beside(relaxation, amplitude):
    found = fits(lambda rng: random_walk(rng, 400, 24) + caged(rng, 400, 24, relaxation, amplitude), 60)
    assert found[:, 0].mean() == pytest.approx(1, abs=0.06)
    assert np.mean(np.abs(found[:, 0] - 1) < found[:, 1]) >= 0.87  # 95 %, less two standard deviations


def test_ions_that_move_together_have_the_interval_of_one():
    together = fits(lambda rng: vibrating(rng, np.repeat(random_walk(rng, 400, 1), 24, axis=1)), 60)
    apart = fits(lambda rng: vibrating(rng, random_walk(rng, 400, 24)), 60)
    assert np.mean(np.abs(together[:, 0] - 1) < together[:, 1]) >= 0.87
    assert together[:, 1].mean() > 3 * apart[:, 1].mean()


def test_one_shift_of_all_ions_is_no_certain_diffusion():
    step = 4.0 * (np.arange(400) >= 200)[:, None, None] * np.ones((1, 24, 3))
    found = fits(lambda rng: vibrating(rng, step), 10)
    assert (found[:, 0] < found[:, 1]).all()


def test_ions_that_do_not_move_have_no_diffusion():
    assert fit_walk(np.zeros((100, 4, 3)), 1.0, 0.05).diffusion == 0


def test_diffusion_along_each_axis_is_that_of_the_axis(tmp_path):
    rng = np.random.default_rng(0)
    paths = random_walk(rng, 2000, 20) * [1, 2, 0]
    found = [fit_walk(paths[..., [axis]], 1.0, 0.05) for axis in range(3)]
    assert found[1].diffusion == pytest.approx(4 * TRUE, rel=0.15) and found[2].diffusion == 0
    assert fit_walk(paths, 1.0, 0.05).diffusion == pytest.approx(5 / 3 * TRUE, rel=0.15)
    assert fit_walk(fractional_walk(rng, 400, 24, 0.5), 1.0, 0.05).diffusion < TRUE / 5


@needs('analysis')
def test_an_argyrodite_run_has_the_displacement_and_the_diffusion_of_kinisi():
    path = FOLDER / 'analysis' / 'Li6PS5Cl_0p_XDATCAR.gz'
    with own_files([path], ReadingSettings(timestep_fs=2, every=50)) as (files, _):
        found = get_analysis('msd')(files, window=(2 / 14, 0.75))
    np.testing.assert_allclose(found.lag_ps[[21, 41, 81]], [2.1, 4.1, 8.1], atol=1e-6)
    np.testing.assert_allclose(found.msd_angstrom2[[21, 41, 81]], [2.91, 4.32, 6.03], atol=0.01)
    low, high = found.diffusion_coefficient_cm2_per_s_ci95
    assert 6.7e-6 < found.diffusion_coefficient_cm2_per_s < 9.5e-6  # kinisi 2.1: 8.1e-6
    assert low < 8.1e-6 < high
