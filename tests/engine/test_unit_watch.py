"""Claims about runs in which units break: they stop, say what broke, and the frames around come first."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from click.testing import CliRunner

from aiida_ufpnmr.engine.active.selection import Candidate, select_structures
from aiida_ufpnmr.engine.building.glass import GlassSettings
from aiida_ufpnmr.engine.building.glass_packing import pack_glass
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.md.recording import BROKEN_UNITS
from aiida_ufpnmr.engine.structure.integrity import broken_units, describe_changes, new_foreign_bonds
from aiida_ufpnmr.engine.structure.units import find_units
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

GLASS = GlassSettings(units={'PS4': 4}, ions='Li', density_g_per_cm3=1.75, seed=1)


@pytest.fixture(scope='module')
def glass() -> Atoms:
    return pack_glass(GLASS).atoms


@pytest.fixture(scope='module')
def folder(tmp_path_factory, small_potential, glass):
    """A folder with a hot run of a packed glass under a potential of few labels, in which units break."""
    folder = tmp_path_factory.mktemp('broken')
    small_potential.save(folder / 'potential.h5')
    write(folder / 'glass.extxyz', glass)
    return folder


def call(*words):
    return CliRunner().invoke(ufpnmr, list(map(str, words))).exit_code


def run(folder, name, *options):
    words = [
        'md', folder / 'potential.h5', folder / 'glass.extxyz', '-o', folder / f'{name}.h5', '--temperature', 4000,
        '--thermostat', 'langevin', '--every', 5, '--guard-fraction', 0.5, '--grade-every', 0, '--steps', 400, '--json',
        folder / f'{name}.json', *options,
    ]  # fmt: skip
    return call(*words), json.loads((folder / f'{name}.json').read_text())


@pytest.fixture(scope='module')
def broken(folder):
    return run(folder, 'watched', '--guard-units', 10)


def test_a_unit_that_loses_an_atom_is_broken_and_the_others_are_not(glass):
    before, pulled = find_units(glass), glass.copy()
    pulled.positions[1] += 1.2 * (pulled.positions[1] - pulled.positions[0])
    after = find_units(pulled)
    (members,) = broken_units(before, after)
    assert members.tolist() == [0, 1, 2, 3, 4]
    assert describe_changes(pulled, before, after).startswith('the unit PS4 of P 0 became ')
    assert not broken_units(before, before) and describe_changes(glass, before, before) == ''
    # one that is broken from the beginning cannot break
    assert not any(members[0] == 0 for members in broken_units(after, before))


def test_two_ligands_that_come_as_close_as_a_bond_have_a_foreign_one(glass):
    before, moved = find_units(glass), glass.copy()
    distances = moved.get_distances(1, range(5, 20), mic=True)
    other = 5 + int(np.argmin(np.where(moved.numbers[5:20] == 16, distances, np.inf)))
    moved.positions[1] += (1 - 2.1 / distances[other - 5]) * moved.get_distance(1, other, mic=True, vector=True)
    after = find_units(moved)
    assert [1, other] in new_foreign_bonds(before, after).tolist()
    assert f'a foreign bond formed between S 1 and S {other}' in describe_changes(moved, before, after)
    assert not len(new_foreign_bonds(after, after))


def test_a_run_whose_units_break_stops_and_says_which_and_when(folder, broken):
    status, results = broken
    assert (status, results['stop_reason'], results['guard_units']) == (3, 'units', 10)
    assert f'at step {results["steps"]}: ' in results['stop_message']
    assert 'the unit PS4 of P ' in results['stop_message'] or 'a foreign bond' in results['stop_message']
    with Trajectory(folder / 'watched.h5') as trajectory:
        log = trajectory.series(BROKEN_UNITS)
        assert log['step'][...].tolist() == list(range(0, results['steps'] + 1, 10))
        assert (log['value'][:-1] == 0).all() and log['value'][-1] > 0
        first, last = find_units(trajectory.atoms(0)), find_units(trajectory.atoms(-1))
        assert log['value'][-1] == len(broken_units(first, last)) + len(new_foreign_bonds(first, last))


def test_without_the_guard_the_run_goes_on_and_is_the_same_to_the_bit_until_then(folder, broken):
    status, results = run(folder, 'unwatched')
    assert results['stop_reason'] != 'units' and 'guard_units' not in results
    assert results['steps'] > broken[1]['steps']
    with Trajectory(folder / 'watched.h5') as watched, Trajectory(folder / 'unwatched.h5') as unwatched:
        n = watched.n_frames
        np.testing.assert_array_equal(watched.positions(), unwatched.positions(0, n))
        assert BROKEN_UNITS not in unwatched


def test_a_run_that_goes_on_is_compared_with_its_first_structure(folder, broken):
    """A part that begins just before the units break does not take what it finds for whole."""
    stop = broken[1]['steps']
    status, _ = run(folder, 'cut', '--guard-units', 10, '--max-wall-time', 1e-6)
    assert status == 4
    status, results = run(folder, 'cut', '--guard-units', 10, '--restart')
    assert (status, results['steps'], results['stop_message']) == (3, stop, broken[1]['stop_message'])


def test_frames_around_the_break_are_chosen_first(folder, broken):
    chosen = folder / 'chosen.json'
    words = ['select', folder / 'potential.h5', folder / 'watched.h5', '-n', 4, '--looked-at', 5, '--json', chosen]
    assert call(*words, '-o', folder / 'chosen.extxyz') == 0
    found = json.loads(chosen.read_text())['chosen']
    last = broken[1]['steps'] // 5
    # the last look that found all whole was ten steps, two frames, before
    flagged = {one['row'] for one in found if one.get('units_broke')}
    assert flagged and flagged <= {last - 2, last - 1, last}
    assert [one.get('units_broke', False) for one in found] == [True] * len(flagged) + [False] * (4 - len(flagged))


@pytest.mark.parametrize('method', ['information', 'random'])
def test_a_candidate_that_comes_first_is_chosen_though_it_tells_least(example_data, small_potential, method):
    structures = read_dataset(example_data).structures
    rows = [30, 33, 0, 36]  # 0 was trained on, and is cold
    candidates = [Candidate(structures[row], row=row, comes_first=row == 0) for row in rows]
    found = select_structures(small_potential, candidates, 2, method=method)
    assert found.index[0] == 2 and len(found.index) == 2
