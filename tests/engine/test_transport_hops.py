"""Claims about hops: their number, place and rate are those of a process that is known."""

import numpy as np
import pytest
from processes import caged, hopping, random_walk
from two_site import two_site_paths

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.transport import HopSettings, find_hops, hop_rate
from aiida_ufpnmr.engine.transport.hops import HOPS, NO_HOPS, RATTLING, HopFinder, _find_hops

STEP_PS = 0.1


def plain_hops(path, window, threshold, residence, memory):
    """The definition in plain numpy."""
    frames, places = [], []
    anchor, weight, t = path[:residence].mean(axis=0), residence, 0
    while t + window + residence <= len(path):
        mean = path[t : t + window].mean(axis=0)
        step = 1
        if np.linalg.norm(mean - anchor) > threshold:
            middle = t + window // 2
            place = path[middle : middle + residence].mean(axis=0)
            if np.linalg.norm(place - anchor) > threshold:
                frames.append(middle)
                places.append((anchor, place))
                anchor, weight, step = place, residence, residence
        else:
            weight = min(weight + 1, memory * residence)
            anchor = anchor + (mean - anchor) / weight
        t += step
    return np.array(frames), np.array(places)


@pytest.mark.parametrize('window, residence', [(5, 10), (3, 3), (10, 4)])
def test_kernel_equals_its_plain_twin(window, residence):
    _, positions = two_site_paths(n_ions=2, n_frames=1500, rate_per_frame=0.02)
    for ion in range(2):
        path = np.ascontiguousarray(positions[:, ion])
        frames, places, _, _ = _find_hops(path, window, 1.5, residence, 20, np.zeros(3), 0, 0, np.zeros(2))
        expected_frames, expected_places = plain_hops(path, window, 1.5, residence, 20)
        assert len(frames) > 5
        np.testing.assert_array_equal(frames, expected_frames)
        np.testing.assert_allclose(places, expected_places, atol=1e-9)


@pytest.mark.parametrize('size', [7, 100, 1499])
def test_frames_that_come_in_parts_give_the_same_hops(size):
    _, positions = two_site_paths(n_ions=5, n_frames=1500, rate_per_frame=0.02)
    at_once = find_hops(positions, STEP_PS)
    finder = HopFinder(5, STEP_PS)
    for start in range(0, 1500, size):
        finder.add(positions[start : start + size])
        assert len(finder._kept) <= finder.window + finder.residence
    parts = finder.hops()
    np.testing.assert_array_equal(parts.ion, at_once.ion)
    np.testing.assert_array_equal(parts.frame, at_once.frame)
    np.testing.assert_allclose(parts.target, at_once.target, atol=1e-9)  # running means begin anew with each part


@pytest.mark.parametrize('distance', [2.5, 3.5])
@pytest.mark.parametrize('rate_per_frame', [0.0005, 0.005, 0.015])
def test_rate_of_a_two_site_process_lies_within_the_interval(rate_per_frame, distance):
    held = 0
    for seed in range(5):
        _, positions = two_site_paths(seed, 20, 8000, rate_per_frame, distance)
        rate = hop_rate(find_hops(positions, STEP_PS))
        k = rate_per_frame / (STEP_PS * 1e-12)
        assert rate.hop_rate_corrected and rate.verdict == HOPS
        assert rate.hop_rate_per_s == pytest.approx(k, rel=0.08 + 4 / np.sqrt(20 * 8000 * rate_per_frame))
        held += rate.hop_rate_per_s_ci95[0] <= k <= rate.hop_rate_per_s_ci95[1]
    assert held >= 4  # of five intervals of 95 %


@pytest.mark.parametrize('returns', [True, False])
@pytest.mark.parametrize('rate_per_frame', [0.002, 0.02])
def test_a_poisson_process_under_thermal_noise_gives_its_rate(rate_per_frame, returns):
    # 0.3 Å of noise; 0.02 a frame is 2e11 a second, a fifth of the inverse residence time: the stated limit
    rng = np.random.default_rng(1)
    n_frames, n_ions = 30000, 40
    hops = rng.random((n_frames, n_ions)) < (
        0.5 * (1 - np.exp(-2 * rate_per_frame)) if returns else 1 - np.exp(-rate_per_frame)
    )
    place = np.cumsum(hops, axis=0)
    place = 3.0 * (place % 2 if returns else place)[..., None] * np.array([0.6, 0.0, 0.8])
    rate = hop_rate(find_hops(place + 0.3 * rng.standard_normal((n_frames, n_ions, 3)), STEP_PS))
    k = rate_per_frame / (STEP_PS * 1e-12)
    assert rate.hop_rate_per_s == pytest.approx(k, rel=0.05)
    assert rate.hop_rate_per_s_ci95[0] < k < rate.hop_rate_per_s_ci95[1]
    assert rate.successive_hop_cosine == pytest.approx(-1.0 if returns else 1.0, abs=0.1)


def test_ions_that_slide_together_in_bursts_widen_the_interval_until_it_holds_the_rate():
    # ten ions hop all at once: what counts is the number of slides, not of hops
    held, widths = 0, []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        slides = rng.random(4000) < 0.015
        place = 3.0 * np.cumsum(slides)[:, None, None] * np.array([1.0, 0.0, 0.0])
        rate = hop_rate(find_hops(place + 0.2 * rng.standard_normal((4000, 10, 3)), STEP_PS))
        held += rate.hop_rate_per_s_ci95[0] < 0.015 / (STEP_PS * 1e-12) < rate.hop_rate_per_s_ci95[1]
        widths.append(rate.hop_dispersion)
    assert held >= 17  # 19 on average; a Poisson interval, √10 times narrower, holds 9 of them
    assert 3.0 < np.median(widths) < 6.0  # √10, with Student's factor and the largest of several


def test_independent_hops_keep_the_interval_of_a_poisson_count():
    widened = 0
    for seed in range(10):
        _, positions = two_site_paths(seed, 10, 3000, 0.01)
        widened += hop_rate(find_hops(positions, STEP_PS)).hop_dispersion > 1
    assert widened <= 4  # four looks at 2.5 % each: one in ten on average


def test_hops_know_their_ion_time_and_length():
    site, positions = two_site_paths(n_ions=5, rate_per_frame=0.002)
    hops = find_hops(positions, STEP_PS)
    ion = hops.ion == 2
    true = np.flatnonzero(np.diff(site[:, 2])) + 1
    assert len(true) and all(np.abs(true - frame).min() <= hops.window for frame in hops.frame[ion])
    np.testing.assert_allclose(hops.distance, 3.0, atol=0.5)


def test_ions_that_only_rattle_do_not_hop_and_the_upper_limit_says_how_rarely():
    _, positions = two_site_paths(rate_per_frame=0.0)
    rate = hop_rate(find_hops(positions, STEP_PS))
    assert rate.verdict == NO_HOPS and rate.hop_rate_per_s == 0 and rate.hop_rate_per_s_ci95[0] == 0
    # Garwood: no event in the exposure allows 3.69 of them
    assert rate.hop_rate_per_s_ci95[1] == pytest.approx(3.689 / (30 * 3000 * STEP_PS * 1e-12), rel=0.05)


@pytest.mark.parametrize('amplitude, tau', [(0.5, 5), (0.5, 20), (0.5, 100), (0.5, 300), (0.7, 20)])
def test_excursions_of_caged_ions_are_no_hops(amplitude, tau):
    for seed in range(10):
        rate = hop_rate(find_hops(caged(np.random.default_rng(seed), 400, 24, tau, amplitude), STEP_PS))
        assert rate.verdict in (RATTLING, NO_HOPS) and rate.hop_rate_per_s_ci95[0] == 0


def test_ions_that_walk_without_a_place_to_rest_do_not_hop():
    assert hop_rate(find_hops(random_walk(np.random.default_rng(0), 400, 24), STEP_PS)).verdict == RATTLING


@pytest.mark.parametrize('amplitude, tau', [(0.0, 1), (0.3, 1), (0.3, 5), (0.3, 20), (0.4, 5)])
def test_hops_of_ions_that_rattle_are_hops(amplitude, tau):
    rng = np.random.default_rng(0)
    paths = hopping(rng, 4000, 20, 0.01) + caged(rng, 4000, 20, tau, amplitude)
    assert hop_rate(find_hops(paths, STEP_PS)).verdict == HOPS


def test_a_short_trajectory_and_senseless_settings_are_refused():
    with pytest.raises(InputError):
        find_hops(np.zeros((20, 2, 3)), STEP_PS)
    with pytest.raises(InputError):
        HopSettings(window_ps=-1.0)
