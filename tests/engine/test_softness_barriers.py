"""Claims about the way from runs to barriers of soft and hard ions: a hop finds the softness of its frame."""

import json

import h5py
import numpy as np
import pytest
from analytic import solid, solid_potential
from frames import write_frames

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.analyses.softness import SoftnessResult
from aiida_ufpnmr.engine.barriers.barrier import CONVERGED
from aiida_ufpnmr.engine.barriers.result import Barriers, HopBarrier
from aiida_ufpnmr.engine.barriers.softness import Softness, by_softness
from aiida_ufpnmr.engine.commands.barriers import softness_along
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash, seal
from aiida_ufpnmr.engine.main import ufpnmr

#: Frames between hops.
DWELL = 20


def write_hopping(path, seed):
    """A solid with a vacancy, into which the first atom hops and comes back, again and again."""
    start, rng, frames = solid((2, 2, 2)), np.random.default_rng(seed), []
    step = np.zeros_like(start.positions)
    step[0] = start.positions[1] - start.positions[0]
    del start[1]
    step = np.delete(step, 1, axis=0)
    for number in range(9 * DWELL):
        frame = start.copy()
        frame.positions += step * (number // DWELL % 2) + 0.05 * rng.standard_normal(step.shape)
        frames.append(frame)
    return write_frames(path, frames)


def run(*words):
    ufpnmr([*map(str, words)], standalone_mode=False)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """Two runs, their potential, a model, and the softness along the second, from 1 ps on, in every second frame."""
    folder = tmp_path_factory.mktemp('softness-barriers')
    runs = [write_hopping(folder / f'run-{seed}.h5', seed) for seed in range(2)]
    solid_potential().save(folder / 'potential.h5')
    rule = ('--species', 'Ar', '--rule', 'hop', '--window-ps', 2, '--hop-window-ps', 1, '--lag-ps', 0.5)
    fit = ('--cutoff-angstrom', 4.6, '--average-ps', 0.2, '--bootstrap', 10)
    run('fit-softness', runs[0], '--withhold', runs[1], '-o', folder / 'model.h5', *rule, *fit)
    chosen = ('--model', folder / 'model.h5', '--skip-ps', 1, '--stride', 2)
    run('analyse', 'softness', runs[1], *chosen, '-o', folder / 'softness.h5')
    return folder


def command(files, softness, output, *options):
    inputs = (files / 'run-1.h5', files / 'potential.h5', '-o', output, '--softness', softness)
    run('barriers', *inputs, '--species', 'Ar', '--reference', 'none', '--quench-force', 0.05, *options)


def test_runs_become_a_model_softness_and_barriers_that_know_it(files, tmp_path, capsys):
    command(files, files / 'softness.h5', tmp_path / 'barriers.json', '--plot', tmp_path / 'barriers.png')
    found = Barriers.load(tmp_path / 'barriers.json')
    assert len(found.counted) == len(found.hops) == 8
    everything = un.softness(files / 'run-1.h5', model=files / 'model.h5')
    # frames from the tenth on, every second: an odd one has the softness of the frame before
    rows = [hop.frame_before - hop.frame_before % 2 for hop in found.counted]
    assert rows[0] >= 10 and any(row != hop.frame_before for row, hop in zip(rows, found.counted))
    expected = [everything.softness[row, hop.ion] for row, hop in zip(rows, found.counted)]
    assert found.by_softness.split == pytest.approx(np.median(expected), rel=1e-6)
    assert found.by_softness.soft_hops == found.by_softness.hard_hops == 4
    assert [hop.softness for hop in found.counted] == pytest.approx(expected, rel=1e-6)
    assert found.by_plane is None  # one ion that hops all the time is soft all the time
    assert 'soft less hard (eV)' in capsys.readouterr().out


def test_rows_of_the_result_are_frames_of_the_trajectory(files):
    found = SoftnessResult.load(files / 'softness.h5')
    np.testing.assert_array_equal(found.frame, np.arange(10, 9 * DWELL, 2))
    assert found.trajectory_sha256 == content_hash(files / 'run-1.h5') and 'frame' not in found.to_dict()


def older(files, path):
    """The result as it was written before it named its frames."""
    path.write_bytes((files / 'softness.h5').read_bytes())
    with h5py.File(path, 'r+') as file:
        del file['frame'], file.attrs['trajectory_sha256']
        seal(file)
    return path


def of_the_other_run(files, path):
    un.softness(files / 'run-0.h5', model=files / 'model.h5').save(path)
    return path


def foreign(files, path):
    with h5py.File(path, 'w') as file:
        file['something'] = 1.0
    return path


def longer_table(files, path):
    np.savez(path, softness=np.zeros((2, 3)), ions=np.arange(3), frames=[0, 9 * DWELL])
    return path.with_suffix('.h5.npz')


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (older, 'does not say its frames yet; run "ufpnmr analyse softness'),
        (of_the_other_run, 'softness of another trajectory than .*run-1.h5; analyse that one'),
        (foreign, 'no table of softness with softness, ions, frames'),
        (lambda files, path: files / 'model.h5', 'not a ufpnmr softness file'),
        (longer_table, 'has frames or ions that .*run-1.h5 has not'),
    ],
)
def test_softness_that_is_not_that_of_the_run_is_refused_in_one_line(files, tmp_path, make, words):
    softness = make(files, tmp_path / 'made.h5')
    with pytest.raises(InputError, match=words) as refused:
        command(files, softness, tmp_path / 'barriers.json')
    assert str(softness) in str(refused.value) and '\n' not in str(refused.value)
    assert not (tmp_path / 'barriers.json').exists()


def test_softness_of_other_ions_than_those_that_hop_is_refused(files):
    run_1 = files / 'run-1.h5'
    with pytest.raises(InputError, match='knows the softness of no Kr'):
        softness_along(files / 'softness.h5', run_1, content_hash(run_1), 'Kr')


def test_an_older_result_is_read_without_its_frames(files, tmp_path):
    found = SoftnessResult.load(older(files, tmp_path / 'older.h5'))
    assert found.frame is None and found.softness.shape == (85, 31)


def test_softness_is_shown_on_its_own_trajectory_alone_and_only_whole(files, tmp_path):
    page, table = tmp_path / 'view.html', tmp_path / 'softness.h5'
    table.write_bytes((files / 'softness.h5').read_bytes())
    view = ('--frame', 40, '--colour-by', f'{table}:softness', '-o')
    run('view', files / 'run-1.h5', *view, page)
    assert page.stat().st_size > 1000
    with pytest.raises(InputError, match='softness of another trajectory than .*run-0.h5'):
        run('view', files / 'run-0.h5', *view, page)
    with h5py.File(table, 'a') as file:
        file['frame'][...] += 2
    with pytest.raises(InputError, match='damaged, its content is not what was written'):
        run('view', files / 'run-1.h5', *view, page)


def test_inputs_that_options_name_are_not_written_over(files, tmp_path):
    softness, model = tmp_path / 'softness.h5', tmp_path / 'model.h5'
    for path in (softness, model):
        path.write_bytes((files / path.name).read_bytes())
    for words in (
        ('softness-onset', f'600={softness}', f'700={files / "softness.h5"}', '--json', softness),
        ('analyse', 'softness', files / 'run-1.h5', '--model', model, '-o', model),
        ('softness-correlations', files / 'run-1.h5', '--model', model, '-o', model),
        ('view', files / 'run-1.h5', '--colour-by', f'{softness}:softness', '-o', softness),
    ):
        with pytest.raises(InputError, match='is an input, too, and would be written over'):
            run(*words)
    for path in (softness, model):
        assert path.read_bytes() == (files / path.name).read_bytes()


def test_a_temperature_that_no_run_has_is_refused(files):
    with pytest.raises(InputError, match='1e-300=.*softness.h5: give a temperature from 1 to 100000 K'):
        run('softness-onset', f'1e-300={files / "softness.h5"}', f'600={files / "softness.h5"}')


def hops_at(softness, forward_eV):
    """Hops that count, of an ion each, and the table of their softness."""
    hops = [
        HopBarrier(
            status=CONVERGED,
            collective=False,
            forward_eV=float(barrier),
            backward_eV=float(barrier),
            ion=number,
            frame_before=10,
            frame_after=11,
            time_ps=1.0,
            length_angstrom=2.0,
        )
        for number, barrier in enumerate(forward_eV)
    ]
    return hops, Softness(softness[None], np.arange(len(hops)), np.array([0]))


def test_the_plane_parts_ions_by_the_sign_of_their_softness_where_both_sides_have_hops():
    rng = np.random.default_rng(0)
    softness = np.concatenate([rng.uniform(0.1, 1.0, 30), rng.uniform(-1.0, -0.1, 10)])
    forward_eV = np.where(softness > 0, 0.2, 0.4) + 0.02 * rng.standard_normal(40)
    hops, table = hops_at(softness, forward_eV)
    found = by_softness(hops, table, split=0.0)
    assert (found.split, found.soft_hops, found.hard_hops) == (0.0, 30, 10)
    low, high = found.difference_eV_ci95
    assert low < -0.2 < high < -0.15 and found.mann_whitney_p < 1e-5
    # halves put ten hops of low barriers among the hard ones
    assert by_softness(hops, table).difference_eV > found.difference_eV
    assert by_softness(hops[:32], table, split=0.0) is None  # two hops on the hard side


def test_both_ways_of_parting_are_printed_and_come_back_from_their_file(tmp_path):
    hops, table = hops_at(np.linspace(-1, 2, 12), np.linspace(0.5, 0.2, 12))
    found = Barriers(
        tuple(hops), 12, by_softness=by_softness(hops, table), by_plane=by_softness(hops, table, split=0.0)
    )
    words = [row[0] for row in found.table()]
    assert words[-8:] == [
        'median of soft ions (eV)', 'median of hard ions (eV)', 'soft less hard (eV)', 'Mann–Whitney p',
        'median of ions with S > 0 (eV)', 'median of ions with S ≤ 0 (eV)', 'S > 0 less S ≤ 0 (eV)', 'Mann–Whitney p',
    ]  # fmt: skip
    path = tmp_path / 'barriers.json'
    path.write_text(json.dumps(found.to_dict()))
    again = Barriers.load(path)
    assert again.by_plane == found.by_plane and again.by_softness == found.by_softness
