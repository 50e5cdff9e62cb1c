"""Claims about the frequency of single ions: it is what the field sees of mean tensors, and spreads tell what moves."""

import numpy as np
import pytest
from two_site import TENSOR, two_site_paths, write_two_site_trajectory

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.tensors import KHZ_PER_MB_AU
from aiida_ufpnmr.engine.errors import InputError

KHZ = KHZ_PER_MB_AU * get_isotope('7Li').moment_mb


@pytest.fixture(scope='module')
def process():
    return two_site_paths(n_ions=8, n_frames=2003)


def made(path, process, height):
    """A run whose tensors are ``height`` (frames, ions) times one tensor."""
    site, positions = process
    tensors = 1e-3 * height(site)[..., None, None] * TENSOR
    write_two_site_trajectory(path, site, positions, tensors=tensors)
    return tensors


def test_it_is_the_mean_along_the_field_over_whole_windows_and_hops_are_those_of_their_analysis(tmp_path, process):
    path, rng = tmp_path / 'run.h5', np.random.default_rng(0)
    tensors = made(path, process, lambda site: 1 - 2 * site + rng.standard_normal(site.shape))
    found = un.frequency(path, average_ps=1.0, field='1,2,2')
    b = np.array([1, 2, 2]) / 3
    assert found.averaged_ps == pytest.approx(1.0) and found.omega_q_khz.shape == (4, 200)
    np.testing.assert_allclose(found.time_ps, 0.5 + np.arange(200))
    for atom, omega in zip(found.atom, found.omega_q_khz):
        plain = [np.mean([KHZ * b @ v @ b for v in tensors[start : start + 10, atom]]) for start in range(0, 2000, 10)]
        np.testing.assert_allclose(omega, plain, rtol=1e-5, atol=1e-4)
    hops = un.hops(path)
    counts = np.bincount(hops.atom, minlength=8)
    assert sorted(counts[found.atom]) == sorted(np.sort(counts)[-4:])
    for atom in found.atom:
        np.testing.assert_allclose(found.hop_time_ps[found.hop_atom == atom], hops.time_ps[hops.atom == atom])


def test_ions_that_jump_between_opposite_tensors_move_and_nothing_lasts(tmp_path, process):
    made(tmp_path / 'run.h5', process, lambda site: 1.0 - 2.0 * site)
    found = un.frequency(tmp_path / 'run.h5', average_ps=0.1)
    largest = abs(KHZ) * 1e-3 * 0.5  # b·V·b along z
    assert found.moving_khz**2 + found.lasting_khz**2 == pytest.approx(largest**2, rel=0.01)
    assert found.lasting_khz < 0.35 * largest  # 200 ps hold some twenty hops of each ion


def test_ions_that_stay_as_they_are_do_not_move_and_all_of_their_spread_lasts(tmp_path, process):
    made(tmp_path / 'run.h5', process, lambda site: np.ones(len(site))[:, None] * np.arange(8))
    found = un.frequency(tmp_path / 'run.h5')
    assert found.moving_khz == pytest.approx(0.0, abs=1e-4)
    assert found.lasting_khz == pytest.approx(abs(KHZ) * 1e-3 * 0.5 * np.arange(8).std(), rel=1e-5)


def test_a_powder_has_no_frequency_of_an_ion_and_a_run_must_hold_two_averages(tmp_path, process):
    made(tmp_path / 'run.h5', process, lambda site: 1.0 - 2.0 * site)
    with pytest.raises(InputError, match='direction of the field'):
        un.frequency(tmp_path / 'run.h5', field='powder')
    with pytest.raises(InputError, match='too short for two averages over 150 ps'):
        un.frequency(tmp_path / 'run.h5', average_ps=150)


def test_its_figure_has_a_panel_for_each_ion(tmp_path, process):
    made(tmp_path / 'run.h5', process, lambda site: 1.0 - 2.0 * site)
    found = un.frequency(tmp_path / 'run.h5')
    assert len(found.plot().axes) == len(found.atom) == 4
    assert found.table()[1][0] == f'atom {found.atom[0]}'
