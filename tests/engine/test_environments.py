"""Claims about NMR by surroundings: each group has its own decay time, |C_Q| and η, where its data carry one."""

import json

import numpy as np
import pytest
from ase import Atoms
from processes import components, isotropic_jumps, one_decay, two_sites
from test_sites import OCTAHEDRON, TETRAHEDRON
from two_site import two_site_paths, write_run, write_two_site_trajectory

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.analyses.environments import CHANCE, TOO_FEW
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.tensors import from_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.group_means import group_means
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.structure.environments import OTHER, find_shells, largest, whole_numbers
from aiida_ufpnmr.engine.timeseries.decay import DECAY
from aiida_ufpnmr.engine.timeseries.sums import Group, mean_with_interval
from aiida_ufpnmr.engine.trajectories import paths
from aiida_ufpnmr.engine.trajectories.run_frames import RunFrames
from aiida_ufpnmr.engine.trajectories.trajectory import EfgSeries
from aiida_ufpnmr.engine.transport.mobility import chance_of_equal_mobility

PS4 = 2.05 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
#: Two centres bound to each other along x, each with three anions.
P2S6 = np.concatenate([side * np.array([[1.1, 0, 0]]) for side in (1, -1)])
P2S6_ANIONS = np.array(
    [[side * 1.8, 1.93 * np.cos(a), 1.93 * np.sin(a)] for side in (1, -1) for a in 2 * np.pi * np.arange(3) / 3]
)


@pytest.fixture(scope='module')
def glass(tmp_path_factory):
    """Twelve ions at PS4 that forget in 1 ps, and twelve at P2S6 in 8 ps; one moves from PS4 to P2S6 half-way."""
    rng = np.random.default_rng(0)
    n_frames, n_ions, box = 3000, 24, 12.0
    corners = box * np.array([[a, b, c] for a in range(4) for b in range(3) for c in range(2)])
    is_pair = np.arange(n_ions) >= 12
    symbols, atoms, places = [], [], []
    for corner, pair in zip(corners, is_pair):
        centres, anions = (P2S6, P2S6_ANIONS) if pair else (np.zeros((1, 3)), PS4)
        symbols += ['P'] * len(centres) + ['S'] * len(anions)
        atoms += [*(corner + centres), *(corner + anions)]
        # an ion 2.4 Å from an anion, straight out
        places.append(corner + anions[0] * (1 + 2.4 / np.linalg.norm(anions[0])))
    framework = np.array(atoms)
    place = np.broadcast_to(np.array(places), (n_frames, n_ions, 3)).copy()
    place[n_frames // 2 :, 0] = places[-1] + [0.0, 0.0, 0.5]
    x = np.concatenate([isotropic_jumps(rng, n_frames, 12, tau) for tau in (10.0, 80.0)], axis=1)
    x = x + 0.1 * rng.standard_normal(x.shape)
    height = np.where(is_pair, 2.0, 1.0)[:, None]
    place = place + 0.05 * rng.standard_normal(place.shape)
    everything = np.concatenate([place, np.broadcast_to(framework, (n_frames, *framework.shape))], axis=1)
    cell = [4 * box, 3 * box, 2 * box]
    atoms = Atoms(['Li'] * n_ions + symbols, positions=np.vstack([places, framework]), cell=cell, pbc=True)
    path = tmp_path_factory.mktemp('glass') / 'run.h5'
    return write_run(path, atoms, everything, 1e-3 * from_irreps(height * x))


@pytest.fixture(scope='module')
def by_cluster(glass):
    return un.environments(glass, by='cluster', decays=1, gamma=1.0)


def test_ions_at_each_kind_of_anion_have_the_decay_time_that_is_theirs(by_cluster):
    slow, fast = by_cluster.environments['P2S6'], by_cluster.environments['PS4']
    assert (fast.share, slow.share) == pytest.approx((11.5 / 24, 12.5 / 24), abs=1e-3)
    for one, tau_ns in ((fast, 1e-3), (slow, 8e-3)):
        assert one.verdict == DECAY
        low, high = one.observables['omega_q_powder'].tau_ns_ci95
        assert low < tau_ns < high < 4 * low
    # all ions together hide the fast ones behind the larger coupling of the slow ones
    assert not by_cluster.environments['all ions'].observables['omega_q_powder'].tau_ns_ci95[0] < 1.5e-3


def test_couplings_by_anion_hold_the_truth(by_cluster):
    per_au = abs(get_isotope('7Li').moment_mb) * 234.9647
    size = 1e-3 * np.sqrt(2 / 3) * np.linalg.norm(components([0.0, 0, 1]))  # V_zz of the axial tensor
    fast, slow = (by_cluster.environments[name] for name in ('PS4', 'P2S6'))
    assert fast.c_q_mean_khz == pytest.approx(per_au * size, rel=0.02)  # noise adds a little
    # of the slow group a 25th of the time is the ion that came, with half the coupling
    assert slow.c_q_mean_khz == pytest.approx(per_au * size * (2 * 12 + 0.5) / 12.5, rel=0.02)
    assert slow.c_q_mean_khz_ci95[0] < slow.c_q_mean_khz < slow.c_q_mean_khz_ci95[1]
    assert 0 < fast.eta_mean < 0.2
    assert fast.omega_q_rms_khz == pytest.approx(per_au * size / np.sqrt(5), rel=0.03)  # <P₂²> = 1/5


def test_the_units_are_those_of_the_frames_however_the_frames_are_read(glass, monkeypatch):
    frames = RunFrames.open([glass], 0.0)
    ions = frames.atoms_of('Li')
    whole = find_shells(frames, 'Li', ions)
    monkeypatch.setattr(paths, 'CHUNK_FRAMES', 70)
    pieces = find_shells(frames, 'Li', ions)
    assert whole.units == pieces.units == ('PS4', 'P2S6')
    np.testing.assert_array_equal(whole.counts, pieces.counts)
    found = whole.clusters()
    moved = found.kind[:, 0]
    assert (moved[:1490] == 0).all() and (moved[1510:] == 1).all()
    assert (found.kind[:, 1:] == (np.arange(1, 24) >= 12)).all()
    assert whole.coordination().names == ('LiS1', 'LiS2') or len(whole.coordination().names) >= 1


def test_units_that_are_no_tetrahedra_are_one_kind(tmp_path):
    positions = np.array([[5.0, 5, 7.4], [5, 5, 5], [5, 5, 3]])  # P–S with one bond, and an ion
    atoms = Atoms('LiSP', positions=positions, cell=[10.0] * 3, pbc=True)
    path = write_run(tmp_path / 'run.h5', atoms, np.array([positions] * 40), np.zeros((40, 1, 3, 3)))
    frames = RunFrames.open([path], 0.0)
    assert find_shells(frames, 'Li', frames.atoms_of('Li')).units == (OTHER,)


def test_whole_numbers_and_largest_counts_change_only_beyond_the_margin():
    x = np.array([4.1, 4.6, 4.74, 4.76, 4.4, 4.26, 4.24, 5.9, 6.2])[:, None]
    assert whole_numbers(x, 0.25)[:, 0].tolist() == [4, 4, 4, 5, 5, 5, 4, 6, 6]
    counts = np.array([[2.0, 1.0], [1.4, 1.6], [1.3, 1.7], [1.6, 1.4], [1.7, 1.3]])[:, None]
    assert largest(counts, 0.25)[:, 0].tolist() == [0, 0, 1, 1, 0]


def test_ions_of_two_mobilities_are_told_apart_each_with_its_decay_time(tmp_path):
    parts = [two_site_paths(seed, n_ions=12, n_frames=3000, rate_per_frame=k) for seed, k in ((1, 0.004), (2, 0.02))]
    site, positions = (np.concatenate([part[n] for part in parts], axis=1) for n in (0, 1))
    rng = np.random.default_rng(0)
    x = 1e-3 * (1 - 2.0 * site)[..., None] * components([0.0, 0, 1])
    tensors = from_irreps(x + 2e-4 * rng.standard_normal(x.shape))
    path = tmp_path / 'run.h5'
    write_two_site_trajectory(path, site, positions, tensors=tensors)
    result = un.environments(path, by='mobility', decays=1, gamma=1.0)
    assert result.chance_of_equal_mobility < CHANCE
    for name, rate in (('hopping rarely', 0.004), ('hopping often', 0.02)):
        one = result.environments[name]
        assert one.share == pytest.approx(0.5, abs=0.05) and one.by == 'mobility'
        low, high = one.observables['omega_q_powder'].tau_ns_ci95
        assert low < 1e-4 / (2 * rate) < high < 5 * low  # 1/τ = 2k, frames of 0.1 ps
    assert result.hops_per_ion[0, 12:].min() > result.hops_per_ion[0, :12].max()


def test_ions_of_one_mobility_are_not_parted_by_chance(tmp_path):
    site, positions = two_site_paths(seed=3, n_ions=16, n_frames=1500, rate_per_frame=0.004)
    path = tmp_path / 'run.h5'
    write_two_site_trajectory(path, site, positions)
    result = un.environments(path, by='mobility', decays=1, gamma=1.0)
    assert result.chance_of_equal_mobility > CHANCE
    assert set(result.environments) <= {'all ions', 'resting', 'hopping'}
    assert any('do not differ in mobility' in line for line in result.remarks)
    rng = np.random.default_rng(0)
    chances = [chance_of_equal_mobility(*rng.poisson(4, (2, 24))) for _ in range(400)]
    assert np.mean(np.array(chances) < CHANCE) < 0.03  # 0.01 ± 0.005
    assert chance_of_equal_mobility(np.zeros(5), np.arange(5)) == 1


def test_a_group_with_less_time_than_one_ion_has_no_decay_time(tmp_path):
    """One ion is at an octahedron for a twentieth of the time."""
    rng = np.random.default_rng(1)
    n_frames = 600
    centres = np.array([[5.0, 5, 5], [15.0, 5, 5], [5.0, 15, 5]])
    anions = np.vstack([centres[0] + TETRAHEDRON, centres[1] + OCTAHEDRON, centres[2] + TETRAHEDRON])
    place = np.array([centres[[0, 2]]] * n_frames)
    place[300:330, 1] = centres[1]
    everything = np.concatenate([place, np.broadcast_to(anions, (n_frames, *anions.shape))], axis=1)
    atoms = Atoms('Li2S14', positions=everything[0], cell=[20.0] * 3, pbc=True)
    x = np.stack([one_decay(rng, n_frames, 2, 5.0) for _ in range(5)], axis=-1)
    path = write_run(tmp_path / 'run.h5', atoms, everything, 1e-3 * from_irreps(x))
    result = un.environments(path, by='coordination', bootstrap=20)
    six = result.environments['LiS6']
    assert six.verdict == TOO_FEW and not six.observables and six.share == pytest.approx(0.025, abs=0.005)
    assert dict(zip(result.table()[0], result.table()[-1]))['τ (ns)'] == '-'
    out = tmp_path / 'out.h5'
    result.save(out)
    again = type(result).load(out)
    assert json.dumps(again.to_dict(), sort_keys=True) == json.dumps(result.to_dict(), sort_keys=True)


def test_an_element_that_is_not_there_is_refused_with_what_is(glass):
    with pytest.raises(InputError, match='holds no Cl, only Li, P, S; choose one with --anion'):
        un.environments(glass, anion='Cl')


def test_intervals_of_group_means_hold_in_about_95_of_100_cases():
    """Ions with couplings of their own, seen through fluctuations that last; by parts of time where ions are few."""
    lithium, covered = get_isotope('7Li'), []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = two_sites(rng, 200, 20, 5.0) + 0.3 * rng.standard_normal((200, 20, 5))
        runs = EfgRuns.of(EfgSeries('Li', np.arange(20), 100.0 * np.arange(200), 1e-3 * from_irreps(x)))
        (means,) = group_means(runs, [Group('all', 'all', (np.ones(20, bool),))], lithium)
        covered.append((means.c_q_mean_khz, means.c_q_mean_khz_ci95))
    truth = np.mean([mean for mean, _ in covered])
    share = np.mean([low <= truth <= high for _, (low, high) in covered])
    assert 0.90 <= share <= 0.99
    assert mean_with_interval(np.zeros(3), np.zeros(3))[0] != 0  # NaN, no mean of nothing
