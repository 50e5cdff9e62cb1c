"""Claims about rearrangements: strains are none, one ion that moves is seen with its square, hops stand out."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from click.testing import CliRunner
from frames import shaken, write_frames

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.commands.analyse import analyse
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.softness.hop_indicator import HopIndicator
from aiida_ufpnmr.engine.softness.nonaffine import nonaffine_displacement
from aiida_ufpnmr.engine.softness.rearrangements import LabelSettings, Rearrangements

SKEW = np.array([[9.0, 0.0, 0.0], [4.0, 8.5, 0.0], [-3.0, 3.0, 9.5]])
#: One frame a lag, one lag a window.
SHORT = {'lag_ps': 0.1, 'window_ps': 0.1}


def slow_nonaffine(before, cell_before, after, cell_after, ions, counts, cutoff):
    """D²_min by least squares over all images, one neighbour after the other."""
    found = []
    for i in ions:
        first, second = [], []
        for shift in np.ndindex(11, 11, 11):
            shift = np.array(shift) - 5
            for j in np.flatnonzero(counts):
                d = before[j] + shift @ cell_before - before[i]
                if 1e-9 < np.linalg.norm(d) < cutoff:
                    first.append(d)
                    second.append(after[j] + shift @ cell_after - after[i])
        first, second = np.array(first), np.array(second)
        matrix = np.linalg.lstsq(first, second, rcond=None)[0]
        found.append(((second - first @ matrix) ** 2).sum() / len(first))
    return np.array(found)


@pytest.mark.parametrize('cutoff', [4.5, 5.0, 9.0])
def test_the_kernel_equals_plain_least_squares_in_a_skew_cell_also_beyond_half_of_it(cutoff):
    rng = np.random.default_rng(0)
    before = rng.uniform(-1, 2, (16, 3)) @ SKEW
    after, cell_after = before + 0.5 * rng.standard_normal(before.shape), SKEW + 0.1 * rng.standard_normal((3, 3))
    counts, ions = rng.random(16) < 0.8, np.array([3, 0, 11])
    arguments = before, SKEW, after, cell_after
    found, number = nonaffine_displacement(*arguments, np.ones(3, bool), ions, counts, cutoff)
    assert (number >= 4).all()
    np.testing.assert_allclose(found, slow_nonaffine(*arguments, ions, counts, cutoff), rtol=1e-10)


def test_a_strain_and_a_shift_of_everything_are_no_rearrangement(tmp_path):
    atoms = Atoms('Li8S12', np.random.default_rng(1).uniform(0, 1, (20, 3)) @ SKEW, cell=SKEW, pbc=True)
    strained = [atoms]
    for n in range(1, 6):
        one, strain = atoms.copy(), np.eye(3) + 0.02 * n * np.array([[1, 2, 0], [0, -1, 1], [1, 0, 2]])
        one.set_cell(SKEW @ strain)
        one.positions = atoms.positions @ strain + 0.7 * n
        strained.append(one)
    found = un.rearrangements(write_frames(tmp_path / 'run.h5', strained), **SHORT)
    # vectors of 5 Å with 16 digits
    assert found.d2_min_angstrom2.shape == (5, 8) and np.abs(found.d2_min_angstrom2).max() < 1e-26


def test_one_ion_that_moves_among_symmetric_neighbours_has_the_square_of_its_way(tmp_path):
    """For its k neighbours it is one of many: what the strain of theirs leaves of it is a little less than u²/k."""
    crystal = bulk('NaCl', 'rocksalt', a=5.6, cubic=True).repeat(2)
    moved, way = crystal.copy(), np.array([0.3, -0.4, 0.5])
    (ions,) = np.nonzero(crystal.numbers == 11)
    moved.positions[ions[5]] += way
    path = write_frames(tmp_path / 'run.h5', [crystal, moved])
    found = un.rearrangements(path, species='Na', cutoff_angstrom=3.5, **SHORT)
    squares = found.d2_min_angstrom2[0]
    assert found.neighbours_mean == 6 and squares[5] == pytest.approx(way @ way, rel=1e-12)
    assert np.abs(np.delete(squares, 5)).max() == 0  # sodium has chlorine alone around
    found = un.rearrangements(path, species='Na', neighbourhood='Na', cutoff_angstrom=4.5, **SHORT)
    squares = found.d2_min_angstrom2[0]
    assert found.neighbours_mean == 12 and squares[5] == pytest.approx(way @ way, rel=1e-12)
    others = np.delete(squares, 5)
    assert (others > 0).sum() == 12 and 0.5 * (way @ way) / 12 < others.max() < (way @ way) / 12


def slow_hop_indicator(path, half):
    """p_hop by its definition, NaN where there is no whole window."""
    found = np.full(path.shape[:2], np.nan)
    for f in range(half, len(path) - half + 1):
        before, after = path[f - half : f], path[f : f + half]
        first = ((before - after.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)
        second = ((after - before.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)
        if f < len(path):
            found[f] = np.sqrt(first * second)
    return found


@pytest.mark.parametrize('blocks', [1, 3, 40])
def test_the_hop_indicator_is_its_definition_however_frames_come(blocks):
    rng = np.random.default_rng(2)
    path, span = np.cumsum(rng.standard_normal((83, 4, 3)), axis=0), 8
    hops = HopIndicator(4, 5, span, 10)
    for part in np.array_split(path, blocks):
        hops.add(part)
    expected = slow_hop_indicator(path, 5)[:80].reshape(10, span, 4)
    np.testing.assert_allclose(hops.largest, np.fmax.reduce(expected, axis=1), rtol=1e-10)


def test_an_ion_that_hops_is_mobile_by_either_rule_and_drift_and_rattling_are_not(tmp_path):
    crystal = bulk('NaCl', 'rocksalt', a=5.6, cubic=True).repeat(2)
    frames = shaken(crystal, 120, amplitude_angstrom=0.1, seed=3)
    (ions,) = np.nonzero(crystal.numbers == 11)
    for number, one in enumerate(frames):
        one.positions += 0.05 * number
        if number >= 47:
            one.positions[ions[9], 0] += 3.0
    path = write_frames(tmp_path / 'run.h5', frames)
    settings = {'species': 'Na', 'window_ps': 4.0, 'mobile_share': 0.01, 'immobile_share': 0.5}
    found = un.rearrangements(path, rule='hop', **settings)
    assert found.label.shape == (2, 32)
    # the hop comes in the second window, with p_hop of 9 Å² and the variance of 0.03 Å² twice
    assert found.label[1, 9] == 1 and (found.label == 1).sum() == 1 and (found.label == -1).sum() == 63
    assert found.hop_indicator_angstrom2[4, 9] == pytest.approx(9.0, rel=0.05)
    by_share = un.rearrangements(path, **settings)
    assert by_share.label[1, 9] == 1 and (by_share.label == 1).sum() == 1 and (by_share.label == -1).sum() == 32
    assert by_share.undecided == pytest.approx(31 / 64) and by_share.rearranging_share == 1 / 64
    np.testing.assert_allclose(by_share.window_d2_min_angstrom2[0], by_share.d2_min_sum_angstrom2[3], rtol=1e-12)


def test_labels_follow_the_stated_rules():
    squares = np.arange(20.0).reshape(4, 5)
    made = {'ions': np.arange(5), 'step_ps': 1.0, 'lag': 1, 'window': 2, 'd2_min': squares, 'mean_neighbours': 9.0}
    hops = np.where(squares == 19, 3.0, np.where(squares > 13, 2.0, 0.5))
    hops[0] = np.nan
    found = Rearrangements(**made, hop_indicator=hops, settings=LabelSettings(mobile_share=0.3, immobile_share=0.3))
    assert found.labels().tolist() == [[-1, -1, -1, 0, 0], [0, 0, 1, 1, 1]]
    found = Rearrangements(**made, hop_indicator=hops, settings=LabelSettings(rule='hop'))
    assert found.labels().tolist() == [[-1] * 5, [0, 0, 0, 0, 1]] and found.rearranged().sum() == 1


def test_what_cannot_be_computed_is_one_clear_line(tmp_path):
    path = write_frames(tmp_path / 'run.h5', shaken(bulk('NaCl', 'rocksalt', a=5.6, cubic=True), 30))
    for settings, words in (
        ({'species': 'Na', 'cutoff_angstrom': 1.0}, 'has 0 neighbours within 1 Å, which tell no strain; raise'),
        ({'species': 'Na'}, 'less than a window of 10 ps; shorten --window-ps'),
        ({'species': 'K'}, 'holds no K, only Cl, Na; choose one with --species'),
        ({'neighbourhood': 'Q'}, "neighbourhood: 'Q' is no element"),
        ({'mobile_share': 0.7, 'immobile_share': 0.7}, 'more than 1 together'),
        ({'rest_angstrom2': 5.0}, 'cannot rest and rearrange'),
    ):
        settings = {'window_ps': 1.0} | settings if 'cutoff_angstrom' in settings else settings
        with pytest.raises(InputError, match=words):
            un.rearrangements(path, **settings)


def test_the_command_writes_json_with_units_and_a_figure(tmp_path):
    path = write_frames(tmp_path / 'run.h5', shaken(bulk('NaCl', 'rocksalt', a=5.6, cubic=True), 30))
    arguments = ['rearrangements', str(path), '--species', 'Na', '--window-ps', '1', '--lag-ps', '0.2']
    outputs = ['--json', str(tmp_path / 'r.json'), '--plot', str(tmp_path / 'r.png'), '-o', str(tmp_path / 'r.h5')]
    result = CliRunner().invoke(analyse, [*arguments, *outputs])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / 'r.json').read_text())
    assert found['mobile'] + found['immobile'] + found['undecided'] == pytest.approx(1)
    assert found['lag_used_ps'] == pytest.approx(0.2)
    assert (tmp_path / 'r.png').stat().st_size > 1000
