"""Claims about runs that go on elsewhere, and about the one trajectory that their parts make."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from test_md_output import argon, frames_of

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.md.checkpoint import checkpoint_path
from aiida_ufpnmr.engine.md.guards import Stop
from aiida_ufpnmr.engine.md.output import Output
from aiida_ufpnmr.engine.md.run import _Loop, run_md
from aiida_ufpnmr.engine.trajectories.chain import chain, files_of
from aiida_ufpnmr.engine.trajectories.keeping import keep
from aiida_ufpnmr.engine.trajectories.writer import in_pieces

OUTPUT, STEPS = Output(10, log_every=3, velocities_every=7), 400


@pytest.fixture
def cut_run(tmp_path, monkeypatch):
    """A run whose wall time is used up at certain steps, each part of it in a folder of its own."""

    def run(stops):
        parts, origin = [], None
        for number, stop in enumerate([*stops, STEPS]):
            path = tmp_path / f'{number}' / 'run.h5'
            path.parent.mkdir()

            def end_of_time(loop, _, stop=stop):
                return Stop('wall_time', '') if loop.simulation.step >= stop else None

            monkeypatch.setattr(_Loop, '_end_of_time', end_of_time)
            run_md(argon(), path, STEPS, OUTPUT, origin=origin)
            parts.append(path)
            origin = checkpoint_path(path)
        return parts

    return run


@pytest.fixture
def whole(tmp_path):
    run_md(argon(), tmp_path / 'whole.h5', STEPS, OUTPUT)
    return tmp_path / 'whole.h5'


@pytest.mark.parametrize('stops', [[55], [60, 61, 333], [1, 2, 3, 4]])
def test_the_parts_of_a_run_read_like_the_run_in_one_go(tmp_path, cut_run, whole, stops):
    parts = cut_run(stops)
    chain(parts, tmp_path / 'run.h5')
    assert len(parts) == len(stops) + 1 and in_pieces(parts[0]) and not in_pieces(tmp_path / 'run.h5')
    assert content_hash(tmp_path / 'run.h5') == content_hash(whole)
    for found, expected in zip(frames_of(tmp_path / 'run.h5'), frames_of(whole)):
        assert np.array_equal(found, expected)


def test_frames_beyond_the_checkpoint_from_which_a_run_went_on_do_not_count_twice(tmp_path, cut_run, whole):
    """As after a kill: more was written than the checkpoint knows of."""
    _, second = cut_run([200])
    run_md(argon(), tmp_path / 'killed.h5', 300, OUTPUT)
    chain([tmp_path / 'killed.h5', second], tmp_path / 'run.h5')
    assert content_hash(tmp_path / 'run.h5') == content_hash(whole)


def test_no_frame_is_copied(tmp_path, cut_run):
    parts = cut_run([100, 200])
    chain(parts, tmp_path / 'run.h5')
    for file in files_of(tmp_path / 'run.h5'):
        assert file.stat().st_nlink == 2
    assert (tmp_path / 'run.h5').stat().st_size < sum(file.stat().st_size for part in parts for file in files_of(part))


def test_a_chain_can_be_chained(tmp_path, cut_run, whole):
    first, second, third = cut_run([100, 200])
    chain([first, second], tmp_path / 'begin.h5')
    chain([tmp_path / 'begin.h5', third], tmp_path / 'run.h5')
    assert content_hash(tmp_path / 'run.h5') == content_hash(whole)


def test_a_part_that_was_restarted_where_it_lies_is_still_a_part(tmp_path, cut_run, whole, monkeypatch):
    first, second, _ = cut_run([100, 200])
    monkeypatch.undo()
    run_md(argon(), second, STEPS, OUTPUT, restart=True)
    chain([first, second], tmp_path / 'run.h5')
    assert content_hash(tmp_path / 'run.h5') == content_hash(whole)


def test_parts_out_of_order_or_with_a_gap_are_refused(tmp_path, cut_run, whole):
    first, second, third = cut_run([100, 200])
    for parts in ([second, third], [first, third], [first, third, second], [first, whole]):
        with pytest.raises(InputError, match='in order'):
            chain(parts, tmp_path / 'run.h5')
    assert not (tmp_path / 'run.h5').exists() and not (tmp_path / 'run.h5.pieces').exists()


def test_the_checkpoint_of_another_run_or_of_a_finished_one_is_refused(tmp_path, whole):
    with pytest.raises(InputError, match='nothing left to do'):
        run_md(argon(), tmp_path / 'run.h5', STEPS, OUTPUT, origin=checkpoint_path(whole))
    with pytest.raises(InputError, match='another seed'):
        run_md(argon(seed=1), tmp_path / 'run.h5', 2 * STEPS, OUTPUT, origin=checkpoint_path(whole))
    assert not (tmp_path / 'run.h5').exists()


def test_parts_that_are_kept_join_to_what_is_kept_once(tmp_path, cut_run, whole, monkeypatch):
    kept, expected = [], content_hash(whole)
    for number, part in enumerate(cut_run([100, 200])):
        found = keep(part, tmp_path / 'store')
        assert not part.exists() and found['pieces'] == (number < 2)
        kept.append(found['path'])
    folder = tmp_path / 'links'
    for number, place in enumerate(kept):
        (folder / f'{number}').mkdir(parents=True)
        (folder / f'{number}' / 'part.h5').symlink_to(place)
        (folder / f'{number}' / 'run.h5.pieces').symlink_to(f'{place}.pieces')
    call = ['join-trajectory', *(str(folder / f'{number}' / 'part.h5') for number in range(3)), '-o', 'joined.h5']
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(ufpnmr, [*call, '--keep-in', 'store', '--json', 'joined.json'])
    assert done.exit_code == 0, done.output
    shutil.rmtree(folder)
    joined = json.loads(Path('joined.json').read_text())['kept']
    assert joined['sha256'] == expected == content_hash(joined['path'])
    described = CliRunner().invoke(ufpnmr, ['describe-trajectory', joined['path']])
    assert expected in described.output
    assert keep(whole, tmp_path / 'store')['path'] == joined['path']
    assert not whole.exists()


def test_a_store_that_cannot_be_written_to_leaves_the_trajectory(tmp_path, whole):
    (tmp_path / 'store').write_text('')
    with pytest.raises(InputError, match='keep the trajectory elsewhere'):
        keep(whole, tmp_path / 'store')
    assert whole.exists()
