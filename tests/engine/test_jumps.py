"""Claims about jumps between sites: numbers, rates and residence times are those of a process that is known."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from frames import shaken, write_frames
from reference_data import FOLDER, needs

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.transport.hops import dispersion
from aiida_ufpnmr.engine.transport.jumps import Stays, mean_time, rate_of, shared_frames, visited_sites
from aiida_ufpnmr.engine.transport.lattice_sites import LatticeSites, sites_by_density, sites_of_file

#: Sites of two kinds take turns along each axis of a cube of 12 Å; an ion goes to the six neighbours.
SIDE, SPACING = 4, 3.0
LATTICE = np.array(list(np.ndindex(SIDE, SIDE, SIDE)))
CELL = SIDE * SPACING * np.eye(3)
SITES = LatticeSites(LATTICE / SIDE, LATTICE.sum(axis=1) % 2, ('even', 'odd'), CELL)
STEPS = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
ANGLES = 'alpha', 'beta', 'gamma'
#: Jumps in a ps from sites of the two kinds to all their neighbours, and time between frames.
RATES, STEP_PS = (0.1, 0.3), 0.05


def lattice_paths(seed, n_ions, n_frames):
    """Steps made so far along each axis (n_frames, n_ions, 3) by ions that start at random and leave at random."""
    rng = np.random.default_rng(seed)
    place = rng.integers(0, SIDE, (n_ions, 3))
    chance = 1 - np.exp(-np.array(RATES) * STEP_PS)
    paths = np.empty((n_frames, n_ions, 3), int)
    for frame in range(n_frames):
        paths[frame] = place
        leaves = rng.random(n_ions) < chance[place.sum(axis=1) % 2]
        place = place + leaves[:, None] * STEPS[rng.integers(0, 6, n_ions)]
    return paths


def site_numbers(paths):
    """Numbers of the sites (n_ions, n_frames)."""
    return np.ravel_multi_index(np.moveaxis(paths % SIDE, -1, 0), 3 * (SIDE,)).T


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Steps of 12 ions for 200 ps, and a file of them that also vibrate, beside a framework atom, all adrift."""
    rng, paths = np.random.default_rng(1), lattice_paths(0, 12, 4000)
    places = SPACING * paths + 0.3 * rng.standard_normal(paths.shape)
    frames = []
    for number, ions in enumerate(places):
        framework = [[1.5, 1.5, 1.5]] + 0.02 * rng.standard_normal((1, 3))
        frames.append(Atoms('Li12S', np.vstack([ions, framework]) + 1e-4 * number, cell=CELL, pbc=True))
    return paths, write_frames(tmp_path_factory.mktemp('run') / 'run.h5', frames, step_fs=1000 * STEP_PS)


def write_sites(path, origin=(0.0, 0.0, 0.0), symbol='Li', side=2 * SPACING):
    """A CIF file of an eighth of the cell, with Li on sites of which one kind is half filled."""
    rows = [
        f'{symbol} {" ".join(map(str, (n + origin) / 2))} {1 - sum(n) % 2 / 2}' for n in LATTICE[LATTICE.max(1) < 2]
    ]
    lengths = [f'_cell_length_{axis} {side}' for axis in 'abc'] + [f'_cell_angle_{angle} 90' for angle in ANGLES]
    columns = ['type_symbol', 'fract_x', 'fract_y', 'fract_z', 'occupancy']
    head = ['data_lattice', *lengths, "_symmetry_space_group_name_H-M 'P 1'", 'loop_']
    framework = 'S ' + ' '.join(map(str, (np.full(3, 0.5) + origin) / 2)) + ' 1.0'
    path.write_text('\n'.join([*head, *(f'_atom_site_{name}' for name in columns), *rows, framework, '']))
    return str(path)


def test_intervals_of_rates_and_residence_times_hold_the_truth_in_95_of_100_runs():
    held = np.zeros(2, int)
    mean_ps = STEP_PS / (1 - np.exp(-np.array(RATES) * STEP_PS))  # as it is seen from frame to frame
    for seed in range(200):
        stays = Stays.of(site_numbers(lattice_paths(seed, 10, 400)), STEP_PS)
        burst, even = dispersion(stays.jumps()), SITES.kind[stays.site] == 0
        _, (low, high) = rate_of(stays.time_ps[even].sum(), int((even & stays.left).sum()), burst)
        _, (shortest, longest) = mean_time(stays.time_ps[~even].sum(), int((~even & stays.left).sum()), burst)
        held += low <= 1e12 / mean_ps[0] <= high, shortest <= mean_ps[1] <= longest
    assert (0.90 * 200 <= held).all() and (held <= 0.99 * 200).all(), held


def test_sites_are_found_where_ions_are_and_every_jump_is_that_of_the_process(run):
    paths, path = run
    found = un.jumps(path, least_occupation=0.005)
    assert len(found.site_place) == SIDE**3
    number, distance = SITES.nearest(found.site_place)
    assert sorted(number) == list(range(SIDE**3)) and distance.max() < 0.2  # of some hundred places with 0.3 Å
    truth = Stays.of(site_numbers(paths), STEP_PS).jumps()
    # an ion comes within 1 Å of a new site in 97 % of frames: a jump is seen a frame later, and hardly one is lost
    assert found.number_of_jumps == pytest.approx(len(truth.ion), rel=0.01)
    matrix = np.zeros((SIDE**3, SIDE**3), int)
    np.add.at(matrix, (truth.origin, truth.target), 1)
    own = found.jumps[np.ix_(np.argsort(number), np.argsort(number))]
    assert np.abs(own - matrix).sum() < 0.02 * len(truth.ion)
    assert found.return_share == pytest.approx(1 / 6, abs=0.05)
    assert found.kinds['Li'].shared_share == pytest.approx(1 - (1 - 1 / SIDE**3) ** 11, abs=0.05)


def test_a_crystal_that_repeats_gives_sites_their_kinds_by_symmetry_and_rates_between_them(run, tmp_path):
    paths, path = run
    found = un.jumps(path, sites=write_sites(tmp_path / 'sites.cif'))
    assert {name: one.number_of_sites for name, one in found.kinds.items()} == {'Li1': 32, 'Li2': 32}
    # an ion at one of 32 sites leaves for the other 32 three times as often
    assert found.kinds['Li1'].ions_per_site * 32 == pytest.approx(9, abs=0.3)
    assert found.pairs.keys() == {'Li1_to_Li2', 'Li2_to_Li1'}
    for (name, one), rate in zip(found.pairs.items(), RATES):
        low, high = one.rate_per_s_ci95
        assert low <= rate * 1e12 <= high and high < 1.4 * low, name
        assert one.distance_angstrom == pytest.approx(SPACING)
        low, high = (getattr(found.kinds[name[:3]], f'residence_time_ps_{end}') for end in ('low', 'high'))
        assert low <= 1 / rate <= high
    # the survival of random stays is an exponential; 170 stays are off by up to 1.36/√170 in 95 of 100 cases
    kind = found.kinds['Li2']
    late = kind.survival_time_ps < 10
    np.testing.assert_allclose(kind.survival[late], np.exp(-RATES[1] * kind.survival_time_ps[late]), atol=0.105)


def test_another_origin_of_the_file_is_found_by_the_other_atoms(run, tmp_path):
    _, path = run
    straight = un.jumps(path, sites=write_sites(tmp_path / 'sites.cif'))
    shifted = un.jumps(path, sites=write_sites(tmp_path / 'shifted.cif', origin=(0.1, 0.2, -0.1)))
    assert shifted.jumps.sum() == straight.jumps.sum()
    np.testing.assert_array_equal(np.sort(shifted.jumps.sum(axis=1)), np.sort(straight.jumps.sum(axis=1)))


def test_stays_cut_off_by_the_ends_of_the_run_count_their_time_and_no_leaving():
    site = np.array([[0, 0, 1, 1, 1, 0], [2, 2, 2, 2, 2, 2]])
    stays = Stays.of(site, 0.5)
    assert stays.left.tolist() == [True, True, False, False]
    # until the jump is seen, or until the last frame: 2 + 3 + 0 frames, and 5
    assert stays.time_ps.tolist() == [1.0, 1.5, 0.0, 2.5]
    found = stays.jumps()
    assert (found.origin.tolist(), found.target.tolist(), found.frame.tolist()) == ([0, 1], [1, 0], [2, 5])
    assert mean_time(2.5, 0, 1.0) == (None, (pytest.approx(2.5 / 3.689, rel=1e-3), None))
    assert rate_of(2.5, 0, 1.0)[0] == 0 and rate_of(2.5, 0, 1.0)[1][0] == 0


def test_a_short_stay_does_not_count_and_an_ion_between_sites_is_still_at_the_one_before():
    sites = LatticeSites(np.array([[0.0, 0, 0], [0.5, 0, 0]]), np.zeros(2, int), ('Li',), np.diag([6.0, 6, 6]))
    along = np.array([0.0, 0.1, 0.2, 0.3, 0.2, 0.5, 0.4, 0.2, 0.0, 0.5, 0.0, 0.0])
    places = np.zeros((len(along), 1, 3))
    places[:, 0, 0] = along + 5  # images count

    def visited(core, residence, size=5):
        parts = (places[start : start + size] for start in range(0, len(places), size))
        return visited_sites(parts, len(places), sites, core, residence)[0].tolist()

    assert visited(99.0, 1) == [0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0]
    assert visited(1.0, 1) == visited(1.0, 1, size=12) == [0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 0]
    assert visited(1.0, 2) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0]


def test_the_nearest_site_in_a_skewed_cell_is_that_of_a_plain_search():
    rng = np.random.default_rng(0)
    cell = np.array([[9.0, 0, 0], [7.0, 5.0, 0], [-8.0, 4.0, 6.0]])
    sites = LatticeSites(rng.random((7, 3)), np.zeros(7, int), ('Li',), cell)
    places = 3 * rng.random((50, 2, 3)) - 1
    number, distance = sites.nearest(places)
    images = np.array(list(np.ndindex(11, 11, 11))) - 5
    for index in np.ndindex(50, 2):
        apart = np.linalg.norm((sites.place[:, None] + images - places[index]) @ cell, axis=-1).min(axis=1)
        assert (number[index], distance[index]) == (apart.argmin(), pytest.approx(apart.min()))


def test_ions_that_share_a_site_are_counted_frame_by_frame():
    visited = np.array([[0, 0, 1], [0, 1, 1], [2, 1, 1]])
    assert shared_frames(visited, 3).tolist() == [2, 5, 0]


def test_kinds_of_sites_found_by_density_are_those_of_the_anions_around_them(tmp_path):
    """Two Li in a row of S: one among four of them, the other among six."""
    tetrahedron = 2.4 / np.sqrt(3) * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    octahedron = 2.6 * np.vstack([np.eye(3), -np.eye(3)])
    ions = np.array([[4.0, 6, 6], [14.0, 6, 6]])
    atoms = Atoms('Li2S10', np.vstack([ions, ions[0] + tetrahedron, ions[1] + octahedron]), cell=[20, 12, 12], pbc=True)
    path = write_frames(tmp_path / 'run.h5', shaken(atoms, 60))
    found = un.jumps(path, by_site=True)
    assert {name: one.number_of_sites for name, one in found.kinds.items()} == {'LiS4': 1, 'LiS6': 1}
    assert found.number_of_jumps == 0 and found.kinds['LiS4'].residence_time_ps is None
    assert found.table()[1][4].startswith('> ')


@pytest.mark.parametrize(
    'options, words',
    [
        ({'symbol': 'Na'}, 'holds no Li, only S, Na|holds no Li, only Na, S'),
        ({'side': 5.0}, 'does not repeat to that of the run'),
        ({'side': 30.0}, 'does not repeat to that of the run'),
    ],
)
def test_a_file_of_another_crystal_is_refused(run, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        un.jumps(run[1], sites=write_sites(tmp_path / 'other.cif', **options))


def test_a_framework_elsewhere_is_refused(run, tmp_path):
    atoms = Atoms('LiS2', [[0, 0, 0], [1.5, 1.5, 1.5], [3, 3, 3]], cell=CELL, pbc=True)
    frame = Atoms('LiS2', [[0, 0, 0], [1.5, 1.5, 1.5], [7, 7, 7]], cell=CELL, pbc=True)
    write(tmp_path / 'sites.extxyz', atoms)
    with pytest.raises(InputError, match='give it with the same origin and order of axes'):
        sites_of_file(tmp_path / 'sites.extxyz', 'Li', frame)


def test_density_without_a_place_that_holds_enough_is_refused():
    with pytest.raises(InputError, match='no place holds 2.0 Li ions on average; lower --least-occupation'):
        sites_by_density([np.zeros((3, 1, 3))], 'Li', CELL, 1.0, 2.0)


@needs('analysis')
def test_site_events_of_an_argyrodite_are_those_of_site_analysis():
    """site-analysis 1.8, with Voronoi sites at the same places, has the same jumps between all pairs of them."""
    path, crystal = FOLDER / 'analysis' / 'Li6PS5Cl_0p_XDATCAR.gz', FOLDER / 'structures' / 'obelix_122.cif'
    with own_files([path], ReadingSettings(timestep_fs=100.0)) as (files, _):
        found = un.jumps(files, sites=str(crystal), core_angstrom=99.0, reference='none')
    assert len(found.site_place) == 384 and found.number_of_jumps == 4885
    away = found.jumps.sum(axis=1)
    assert ((found.jumps > 0).sum(), found.jumps.max(), away.max(), (away > 0).sum()) == (976, 17, 22, 384)
    assert np.minimum(found.jumps, found.jumps.T).sum() == 4526
    # 4693 stays begin and end within the run, of 5.1713 frames on average; with those cut off, they are longer
    assert found.kinds['Li'].leavings == 4885 and found.kinds['Li'].residence_time_ps > 0.51713
