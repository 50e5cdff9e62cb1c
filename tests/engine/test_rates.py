"""Claims about rates side by side: the factors between hops, diffusion and decay are those of known processes."""

import numpy as np
import pytest
from processes import components
from two_site import write_two_site_trajectory

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.hop_changes import SILENT
from aiida_ufpnmr.engine.timeseries.decay import CONSTANT
from aiida_ufpnmr.engine.transport.msd import DIFFUSION

FRAMES, IONS = 4000, 24
#: Chance of a hop in a frame of 0.1 ps.
RATE = 0.005


def write_hops(path, axes, steps, seed=0, n_frames=FRAMES):
    """Ions that hop 3 Å at a time, with tensors along the axes of the sites; ``steps(rng, hopped)`` says which follows.

    Where sites are two, ions go to and fro; otherwise each hop leads into any direction.
    """
    rng = np.random.default_rng(seed)
    hopped = rng.random((n_frames, IONS)) < RATE
    hopped[0] = False
    site = (np.cumsum(steps(rng, hopped), axis=0) + rng.integers(0, len(axes), IONS)) % len(axes)
    direction = rng.standard_normal((n_frames, IONS, 3))
    direction *= 3.0 / np.linalg.norm(direction, axis=-1, keepdims=True)
    place = np.cumsum(hopped[..., None] * direction, axis=0)
    if len(axes) == 2:
        place = direction[0] * (site - site[0])[..., None]
    place = rng.uniform(0, 20, (IONS, 3)) + place + 0.2 * rng.standard_normal(place.shape)
    x = components(axes)[site] + 0.3 * rng.standard_normal((*site.shape, 5))
    write_two_site_trajectory(path, site, place, tensors=1e-3 * from_irreps(x))
    return path


def any_other(n):
    return lambda rng, hopped: rng.integers(1, n, hopped.shape) * hopped


def test_three_sites_without_memory_have_a_geometry_factor_of_three_halves_and_diffuse_as_a_walk(tmp_path):
    result = un.rates(write_hops(tmp_path / 'run.h5', np.eye(3), any_other(3)), gamma=1.0, decays=1)
    assert result.msd_verdict == DIFFUSION
    for value, limits, truth in (
        (result.hop_rate_per_s, result.hop_rate_per_s_ci95, RATE * 1e13),
        (result.geometry_factor, result.geometry_factor_ci95, 1.5),  # N/(N − 1)
        (result.geometry_factor_of_hops, result.geometry_factor_of_hops_ci95, 1.5),
        (result.memory_factor, result.memory_factor_ci95, 1.0),
        (result.correlation_factor, result.correlation_factor_ci95, 1.0),
    ):
        assert limits[0] < truth < limits[1], (value, limits, truth)
        assert value == pytest.approx(truth, rel=0.25)
    assert result.loss_per_hop == pytest.approx(1.5, abs=0.05)
    assert not result.remarks


def test_two_sites_have_twice_the_hop_rate_and_no_diffusion(tmp_path):
    axes = np.array([[0.0, 0, 1], [np.sin(1.0), 0, np.cos(1.0)]])
    result = un.rates(write_hops(tmp_path / 'run.h5', axes, any_other(2)), gamma=1.0, decays=1)
    assert result.geometry_factor_ci95[0] < 2.0 < result.geometry_factor_ci95[1]
    a, b = components(axes)
    assert result.loss_per_hop == pytest.approx(1 - a @ b / (a @ a), abs=0.05)
    assert result.plateau == pytest.approx((1 + a @ b / (a @ a)) / 2, abs=0.1)
    assert result.memory_factor_ci95[0] < 1.0 < result.memory_factor_ci95[1]
    assert np.isnan(result.correlation_factor) and any(line.startswith('No factor with D:') for line in result.remarks)


def test_hops_from_a_home_and_back_have_the_factors_of_their_two_rates(tmp_path):
    """Each second hop leads back to the site of the start, the others to one of two others.

    C(t) = 1/16 + 9/16 exp(−2Γt) + 6/16 exp(−Γt): it falls with 3Γ/2 first, 1/16 is left, and the area below what decays
    is 7/10Γ of its height.
    """

    def home_and_away(rng, hopped):
        number = np.cumsum(hopped, axis=0)
        way = rng.integers(1, 3, (number.max() // 2 + 2, IONS))
        return hopped * np.where(number % 2 == 1, 1, -1) * np.take_along_axis(way, (number + 1) // 2, axis=0)

    result = un.rates(write_hops(tmp_path / 'run.h5', np.eye(3), home_and_away), gamma=1.0, decays=1)
    assert result.loss_per_hop_ci95[0] < 1.5 < result.loss_per_hop_ci95[1]
    assert result.plateau == pytest.approx(1 / 16, abs=0.06)
    assert result.geometry_factor_of_hops == pytest.approx(1.5 * 16 / 15, rel=0.1)
    assert result.geometry_factor_ci95[0] < 10 / 7 < result.geometry_factor_ci95[1]
    assert result.memory_factor_ci95[0] < 25 / 28 < result.memory_factor_ci95[1]


def test_silent_hops_have_a_rate_and_no_geometry_factor(tmp_path):
    path = write_hops(tmp_path / 'run.h5', np.array([[0.0, 0, 1], [0, 0, -1]]), any_other(2))
    result = un.rates(path)
    assert result.change_verdict == SILENT and result.hop_rate_corrected
    assert np.isnan(result.geometry_factor) and np.isnan(result.memory_factor)
    assert any(line.startswith('No factor with τ: no decay') for line in result.remarks)
    assert dict(row[:2] for row in result.table())['geometry factor 1/τΓ'] == '-'


def test_the_figure_shows_the_fit_where_it_holds_alone(tmp_path):
    path = write_hops(tmp_path / 'run.h5', np.eye(3), any_other(3))
    result = un.rates(path, gamma=1.0, decays=1, first_lag_ps=0.5)
    low, high = result.fit_range_ps
    held = (result.band_lag_ps >= low) & (result.band_lag_ps <= high)
    assert 0.5 <= low < high and not held[1]
    (drawn,) = (line for line in result.plot().axes[1].get_lines() if line.get_label() == 'fit')
    np.testing.assert_array_equal(drawn.get_ydata(), result.correlation_fit[held])
    silent = un.rates(write_hops(tmp_path / 'silent.h5', np.array([[0.0, 0, 1], [0, 0, -1]]), any_other(2)))
    shown = any(line.get_label() == 'fit' for line in silent.plot().axes[1].get_lines())
    assert shown == (silent.decay_reason == CONSTANT)


def test_several_runs_are_refused(tmp_path):
    files = [write_hops(tmp_path / f'{n}.h5', np.eye(3), any_other(3), seed=n, n_frames=100) for n in range(2)]
    with pytest.raises(InputError, match='rates takes one run, not 2'):
        un.rates(files)
