"""Claims about the function of van Hove."""

import json

import numpy as np
import pytest
from processes import random_walk
from reference_data import FOLDER, needs
from two_site import two_site_paths, write_two_site_trajectory

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.transport.van_hove import distinct_part, reach, self_part


def test_the_self_part_of_a_walk_is_maxwells_distribution():
    positions = random_walk(np.random.default_rng(0), 3000, 40)
    edges = np.linspace(0, 4, 41)
    found = self_part(positions, 50, edges)
    r, variance = (edges[1:] + edges[:-1]) / 2, 50 * 0.1**2
    expected = np.sqrt(2 / np.pi) * r**2 / variance**1.5 * np.exp(-(r**2) / (2 * variance))
    np.testing.assert_allclose(found, expected, atol=0.06 * expected.max())


def test_the_distinct_part_is_that_of_a_plain_sum_over_images_in_a_triclinic_cell():
    rng = np.random.default_rng(1)
    cell = np.array([[9.0, 0, 0], [2.0, 8.0, 0], [-1.5, 1.0, 10.0]])
    positions = rng.random((6, 7, 3)) @ cell * 3  # outside of the cell, too
    cells = np.tile(cell, (6, 1, 1))
    edges = np.linspace(0, reach(cells), 9)
    counts = np.zeros(8)
    images = np.array(np.meshgrid(*[range(-5, 6)] * 3)).reshape(3, -1).T @ cell
    for t in range(4):
        for i in range(7):
            for j in set(range(7)) - {i}:
                distance = np.linalg.norm(positions[t + 2, j] - positions[t, i] + images, axis=1)
                counts += np.histogram(distance, edges)[0]
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    expected = counts / (4 * 7 * 7 / np.linalg.det(cell) * shells)
    np.testing.assert_allclose(distinct_part(positions, cells, 2, edges), expected)


def test_ions_that_follow_one_another_refill_places(tmp_path):
    rng = np.random.default_rng(0)
    row = np.array([[4.0 * n, 0, 0] for n in range(5)])  # a row across the cell of 20 Å
    moved = 4.0 * (np.arange(400) // 100)[:, None, None] * [1, 0, 0]
    positions = row + moved + 0.1 * rng.standard_normal((400, 5, 3))
    path = tmp_path / 'run.h5'
    write_two_site_trajectory(path, np.zeros((400, 5), int), positions, drift=0.0)
    found = get_analysis('van-hove')(path, lags_ps=(0.1, 10.0))
    assert found.gone_share['0.1'] < 0.05 and found.gone_share['10'] > 0.9
    assert found.refilled['0.1'] < found.refilled['10'] / 10


def test_times_beyond_the_run_are_left_out_or_refused(tmp_path):
    path = tmp_path / 'run.h5'
    write_two_site_trajectory(path, *two_site_paths(n_ions=4, n_frames=100))
    assert get_analysis('van-hove')(path, lags_ps=(1.0, 50.0)).lag_ps == pytest.approx([1.0])
    with pytest.raises(InputError, match='beyond half of the run'):
        get_analysis('van-hove')(path, lags_ps=(50.0,))


@needs('analysis')
def test_sodium_thiophosphate_has_the_distances_of_its_displacements():
    path = FOLDER / 'analysis' / 'cNa3PS4_pda.json'
    with own_files([path], ReadingSettings()) as (files, _):
        found = get_analysis('van-hove')(files, species='Na', reference='none', lags_ps=(0.5,), bin_angstrom=0.5)
    stored = json.loads(path.read_text())
    sites, cell = stored['structure']['sites'], np.array(stored['structure']['lattice']['matrix'])
    sodium = [n for n, site in enumerate(sites) if site['species'][0]['element'] == 'Na']
    moved = np.array(stored['displacements']).swapaxes(0, 1)[:, sodium]
    edges = 0.5 * np.arange(len(found.distance_angstrom) + 1)
    # 0.5 ps are 25 frames
    alone = np.histogram(np.linalg.norm(moved[25:] - moved[:-25], axis=2), edges)[0] / moved[25:, :, 0].size / 0.5
    np.testing.assert_allclose(found.self_per_angstrom[0], alone, atol=2e-4)
    places = np.array([sites[n]['abc'] for n in sodium]) @ cell + moved
    counts = np.zeros(len(edges) - 1)
    for before, after in zip(places[:-25], places[25:]):
        apart = (after[None] - before[:, None])[~np.eye(len(sodium), dtype=bool)] @ np.linalg.inv(cell)
        counts += np.histogram(np.linalg.norm((apart - np.round(apart)) @ cell, axis=1), edges)[0]
    density = 48 / np.linalg.det(cell)
    expected = counts / (len(moved[25:]) * 48 * density * 4 / 3 * np.pi * np.diff(edges**3))
    np.testing.assert_allclose(found.distinct[0], expected, atol=0.005)
