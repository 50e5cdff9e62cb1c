"""Claims about rings: known births and deaths, invariances, slow twins, and the pairs that S(q) is made of."""

import heapq
import itertools
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from click.testing import CliRunner
from frames import write_frames
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import Delaunay

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.commands.analyse import analyse
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.alpha_complex import alpha_complex
from aiida_ufpnmr.engine.structure.persistence import homology_classes
from aiida_ufpnmr.engine.structure.rings import pairs_within, shortest_rings

gudhi = pytest.importorskip('gudhi', reason='GUDHI is not installed')

SKEW = np.array([[20.0, 0.0, 0.0], [7.0, 19.0, 0.0], [-3.0, 4.0, 22.0]])
RADIUS, HALF_SIDE = 3.0, 3.0 * np.sin(np.pi / 8)


def octagon(centre):
    """Eight points on a circle of radius 3 Å in a tilted plane."""
    angle = np.pi / 4 * np.arange(8)
    return RADIUS * (np.cos(angle)[:, None] * [1, 0, 0] + np.sin(angle)[:, None] * [0, 0.6, 0.8]) + centre


def diagram(positions, weights, cell):
    """Births and deaths of each dimension in the order of deaths, without those that rounding makes."""
    ends = []
    for one in homology_classes(alpha_complex(positions, weights, cell)):
        kept = one.lasting(1e-4)
        ends.append(np.array(sorted(zip(kept.death, kept.birth))).reshape(-1, 2))
    return ends


@pytest.mark.parametrize('weight', [0.0, 0.5])
@pytest.mark.parametrize('cell', [20 * np.eye(3), SKEW], ids=['cube', 'skew'])
@pytest.mark.parametrize('centre', [(9.0, 8.0, 10.0), (0.5, 0.0, 21.5)], ids=['inside', 'through the boundary'])
def test_a_ring_of_eight_points_is_one_class_from_half_its_side_to_its_radius(weight, cell, centre):
    there = alpha_complex(octagon(np.array(centre)), np.full(8, weight), cell)
    rings = homology_classes(there)[1].lasting(0.1)
    mine = np.isclose(rings.death, np.sqrt(RADIUS**2 - weight), atol=1e-6)
    assert mine.sum() == np.prod(there.repeats)
    np.testing.assert_allclose(rings.birth[mine], np.sqrt(HALF_SIDE**2 - weight), rtol=1e-9)
    found = shortest_rings(there, rings.born[mine])
    assert set(found.size) == {8}
    for points in found.points:
        assert sorted(there.atom[points[:8]]) == list(range(8))
        assert set(np.diff(there.atom[points[:8]]) % 8) in ({1}, {7})
    pairs, distance, size = pairs_within(found, there)
    assert len(pairs) == 28 * mine.sum() and set(size) == {8}
    chords = [2 * RADIUS * np.sin(np.pi * (b - a) / 8) for a, b in itertools.combinations(range(8), 2)]
    np.testing.assert_allclose(np.sort(distance), np.sort(np.tile(chords, mine.sum())), atol=1e-9)


@pytest.mark.parametrize(
    ('crystal', 'cavities', 'window'),
    [
        # nearest distance 2√2; windows are equilateral triangles; two tetrahedral and one octahedral hole by atom
        (bulk('Cu', 'fcc', a=4.0), {np.sqrt(3.0): 2, 2.0: 1}, np.sqrt(8 / 3)),
        # six tetrahedral holes by atom; windows are triangles of sides a and twice √3a/2
        (bulk('Fe', 'bcc', a=4.0), {np.sqrt(5.0): 6}, 3 / np.sqrt(2.0)),
        # one cubic hole by atom, with square windows
        (bulk('Po', 'sc', a=4.0), {2 * np.sqrt(3.0): 1}, 2 * np.sqrt(2.0)),
    ],
    ids=['fcc', 'bcc', 'simple cubic'],
)
def test_cavities_of_crystals_are_their_holes_and_close_with_their_windows(crystal, cavities, window):
    cell = crystal.cell.array
    there = alpha_complex(crystal.positions, np.zeros(1), cell)
    found = homology_classes(there)[2].lasting(1e-6)
    copies = np.prod(there.repeats)
    for death, by_atom in cavities.items():
        # the last cavity is the space itself, which never dies
        assert abs(np.isclose(found.death, death, rtol=1e-9).sum() - by_atom * copies) <= 1
    assert abs(len(found.death) - sum(cavities.values()) * copies) <= 1
    np.testing.assert_allclose(found.birth, window, rtol=1e-9)


def test_diagrams_do_not_depend_on_the_origin_the_order_or_the_choice_of_the_cell():
    rng = np.random.default_rng(1)
    fractional, weights = rng.random((120, 3)), rng.uniform(0, 1.5, 120)
    before = diagram(fractional @ SKEW, weights, SKEW)
    order = rng.permutation(120)
    other_cell = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ SKEW
    after = diagram((fractional @ SKEW + [3.0, -50.0, 8.0])[order], weights[order], other_cell)
    for one, other in zip(before, after):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_components_die_where_the_minimum_spanning_tree_joins_them():
    rng = np.random.default_rng(2)
    points = 27.0 * rng.random((1000, 3))
    apart = points[:, None] - points
    distance = np.linalg.norm(apart - 27.0 * np.rint(apart / 27.0), axis=2)
    joined = np.sort(minimum_spanning_tree(distance).data) / 2
    components = homology_classes(alpha_complex(points, np.zeros(1000), 27.0 * np.eye(3)))[0]
    np.testing.assert_allclose(np.sort(components.death), joined, rtol=1e-9)


def slow_diagram(points, cell):
    """Births and deaths by Delaunay tetrahedra of all images and a boundary matrix in plain Python.

    A simplex is as old as the smallest empty sphere through its corners, found by testing every image.
    """
    n = len(points)
    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    places = (points + (shifts @ cell)[:, None]).reshape(-1, 3)
    simplices = {}
    for corners in Delaunay(places).simplices:
        if not any(shifts[corner // n].any() == 0 for corner in corners):
            continue
        for size in (4, 3, 2, 1):
            for part in itertools.combinations(corners, size):
                name = tuple(sorted(corner % n for corner in part))
                simplices.setdefault(name, part)
    age = {}
    for name in sorted(simplices, key=len, reverse=True):
        corner = places[list(simplices[name])]
        edge = corner[1:] - corner[0]
        centre = (
            corner[0] + np.linalg.lstsq(2 * edge, (edge**2).sum(axis=1), rcond=None)[0] if len(name) > 1 else corner[0]
        )
        radius = np.linalg.norm(corner[0] - centre)
        empty = np.linalg.norm(places - centre, axis=1).min() > radius - 1e-9
        above = [age[other] for other in age if len(other) == len(name) + 1 and set(name) < set(other)]
        age[name] = radius if empty else min(above)
    order = sorted(age, key=lambda name: (age[name], len(name), name))
    place = {name: i for i, name in enumerate(order)}
    columns, found = {}, [[], [], []]
    for name in order:
        column = {place[part] for part in itertools.combinations(name, len(name) - 1)} if len(name) > 1 else set()
        while column and max(column) in columns:
            column ^= columns[max(column)]
        if column:
            columns[max(column)] = column
            born = order[max(column)]
            if age[name] - age[born] > 1e-4:
                found[len(born) - 1].append((age[name], age[born]))
    return [np.array(sorted(one)).reshape(-1, 2) for one in found]


def test_diagrams_of_a_skew_cell_equal_those_of_plain_loops():
    points = np.random.default_rng(3).random((70, 3)) @ SKEW
    for fast, slow in zip(diagram(points, np.zeros(70), SKEW), slow_diagram(points, SKEW)):
        np.testing.assert_allclose(fast, slow, atol=1e-6)


@pytest.mark.parametrize('weighted', [False, True])
def test_diagrams_in_open_space_are_those_of_cgal(weighted):
    rng = np.random.default_rng(4)
    points, weights = 10.0 * rng.random((1000, 3)), rng.uniform(0, 0.4, 1000) * weighted
    tree = gudhi.AlphaComplex(points=points, weights=weights).create_simplex_tree()
    tree.compute_persistence(homology_coeff_field=2)
    mine = homology_classes(alpha_complex(points, weights))
    for dimension, one in enumerate(mine):
        theirs = tree.persistence_intervals_in_dimension(dimension)
        theirs = np.sign(theirs) * np.sqrt(np.abs(theirs))
        theirs = theirs[np.isfinite(theirs[:, 1]) & (theirs[:, 1] - theirs[:, 0] > 1e-4)]
        kept = one.lasting(1e-4)
        # ties are broken by 1e-5 Å², see TIE_BREAK_ANGSTROM2
        np.testing.assert_allclose(sorted(zip(kept.death, kept.birth)), sorted(map(tuple, theirs[:, ::-1])), atol=2e-5)


def slow_ring(there, row):
    """Edges and length of the shortest cycle through an edge, not closed through the boundary alone, in plain loops."""
    edges, alpha, shifts = there.simplices[1], there.alpha[1], there.shift
    steps = {}
    for edge, one, shift in zip(edges, alpha, shifts):
        vector = there.points[edge[1]] + shift @ there.cell - there.points[edge[0]]
        if one <= alpha[row] + 1e-9:
            steps.setdefault(edge[0], []).append((edge[1], shift, np.linalg.norm(vector)))
            steps.setdefault(edge[1], []).append((edge[0], -shift, np.linalg.norm(vector)))
    start, goal = (edges[row, 1], *shifts[row]), (edges[row, 0], 0, 0, 0)
    heap, done = [(1, 0.0, tuple(map(int, start)))], set()
    while heap:
        hops, length, here = heapq.heappop(heap)
        if here == tuple(map(int, goal)):
            return hops, length
        if here in done:
            continue
        done.add(here)
        for neighbour, shift, step in steps[here[0]]:
            next_ = (int(neighbour), *(int(x) for x in shift + here[1:]))
            if max(map(abs, next_[1:])) <= 1 and (here, next_) != (tuple(map(int, start)), tuple(map(int, goal))):
                heapq.heappush(heap, (hops + 1, length + step, next_))
    return 0, 0.0


def test_rings_are_the_shortest_cycles_of_plain_loops():
    points = np.random.default_rng(5).random((90, 3)) @ SKEW
    there = alpha_complex(points, np.zeros(90), SKEW)
    classes = homology_classes(there)[1].lasting(0.3)
    found = shortest_rings(there, classes.born)
    assert len(classes.born) > 20 and found.size.max() > 5
    for row, size, ring, shift in zip(classes.born, found.size, found.points, found.shift):
        place = there.points[ring[:size]] + shift[:size] @ SKEW
        slow_size, slow_length = slow_ring(there, row)
        assert size == slow_size
        along = np.linalg.norm(np.diff(place, axis=0), axis=1).sum()
        assert along == pytest.approx(slow_length)
        assert set(ring[[0, size - 1]]) == set(there.simplices[1][row])


def test_windows_of_a_close_packed_network_are_triangles_of_its_atoms_alone(tmp_path):
    crystal = bulk('NaCl', 'rocksalt', a=5.6, cubic=True).repeat(3)
    path = write_frames(tmp_path / 'run.h5', [crystal] * 3)
    found = un.rings(path, network='Cl', most_persistent=5)
    assert found.ring_size_mean == 3 and found.large_rings_mean == 0 and not found.large_rings_of_atom.any()
    for one in found.scattering.values():
        np.testing.assert_array_equal(one.large, 0.0)
    assert found.classes['H0'].number_mean == 108 - 1 and found.classes['H1'].number_std == 0
    assert found.classes['H1'].birth_mean_angstrom == pytest.approx(5.6 / np.sqrt(8))
    assert found.classes['H1'].death_mean_angstrom == pytest.approx(5.6 / np.sqrt(6))
    assert found.rings_of_atom.sum() == pytest.approx(3 * found.classes['H1'].number_mean)
    assert found.ring_atoms.shape == (15, 3) and set(crystal.symbols[found.ring_atoms.ravel()]) == {'Cl'}


def test_the_part_of_pairs_within_a_ring_is_the_whole_where_one_ring_holds_all_pairs(tmp_path):
    atoms = Atoms('S8', octagon(np.array([9.0, 8.0, 10.0])), cell=20 * np.eye(3), pbc=True)
    atoms.set_cell(1.003 * atoms.cell, scale_atoms=True)  # no distance at the edge of a bin
    path = write_frames(tmp_path / 'run.h5', [atoms])
    found = un.rings(path, network='S', r_max_angstrom=7.0)
    apart = 2 * 1.003 * RADIUS * np.sin(np.pi * np.arange(1, 8) / 8)
    edges = found.settings['r_bin_angstrom'] * np.arange(141)
    bin_ = (apart / found.settings['r_bin_angstrom']).astype(int)
    r, density = (edges[bin_] + edges[bin_ + 1]) / 2, 8 / 20.06**3
    lorch, wave = np.sinc(r / 7.0), np.sinc(np.outer(found.q_per_angstrom, r) / np.pi)
    ideal = 4 * np.pi * density * r**2 * found.settings['r_bin_angstrom']
    # seven neighbours less those of an ideal gas in the four bins that hold them; a shell is 4πr²dr up to 0.1 %
    expected = wave @ lorch - wave[:, :4] @ (lorch * ideal)[:4]
    held = found.scattering['xray'].small + found.scattering['xray'].large
    np.testing.assert_allclose(held, expected, atol=0.01)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--network', 'Se'], 'holds no Se, only Cl, Na; choose one with --network'),
        (['--network', 'Cl', '--radii-angstrom', 'Na=1'], 'radii-angstrom names Na, which the network does not hold'),
        (['--radii-angstrom', 'Cl=-1'], 'no list of radii up to 5 Å'),
        (['--network', 'Cl', '--peak-range-per-angstrom', '3', '1'], 'takes the lower end first'),
    ],
)
def test_a_mistake_is_one_line_and_status_2(tmp_path, arguments, words):
    path = write_frames(tmp_path / 'run.h5', [bulk('NaCl', 'rocksalt', a=5.6, cubic=True)])
    result = CliRunner().invoke(analyse, ['rings', str(path), *arguments])
    assert isinstance(result.exception, InputError) or result.exit_code == 2
    assert words in str(result.exception) + result.output


def test_radii_move_births_and_deaths_and_results_name_them(tmp_path):
    path = write_frames(tmp_path / 'run.h5', [bulk('NaCl', 'rocksalt', a=5.6, cubic=True).repeat(2)])
    out = tmp_path / 'rings.json'
    arguments = ['rings', str(path), '--network', 'Cl', '--radii-angstrom', 'Cl=1.8', '--json', str(out)]
    assert CliRunner().invoke(analyse, arguments, catch_exceptions=False).exit_code == 0
    found = json.loads(out.read_text())
    assert found['radii_angstrom'] == {'Cl': 1.8}
    assert found['classes']['H1']['birth_mean_angstrom'] == pytest.approx(np.sqrt(5.6**2 / 8 - 1.8**2))


def test_without_gudhi_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'gudhi.simplex_tree', None)
    with pytest.raises(InputError, match=r'aiida-ufpnmr\[rings\]'):
        homology_classes(alpha_complex(np.random.default_rng(0).random((20, 3)), np.zeros(20)))


def test_atoms_in_one_plane_are_refused():
    with pytest.raises(InputError, match='all in one plane'):
        alpha_complex(np.random.default_rng(0).random((9, 3)) * [1, 1, 0], np.zeros(9))
