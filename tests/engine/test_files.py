"""Claims about where files are written, and about file systems that lack something."""

import errno
import os
from pathlib import Path

import h5py
import pytest
from ase import Atoms

from aiida_ufpnmr.engine.commands.shared import check_outputs
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file
from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, TrajectoryWriter


@pytest.mark.parametrize('before', ['', 'old'])
def test_an_output_is_written_where_a_symbolic_link_leads(before, tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    target, link = tmp_path / 'elsewhere' / 'a.txt', tmp_path / 'link.txt'
    if before:
        target.write_text(before)
    link.symlink_to('elsewhere/a.txt')
    assert check_output(link) == target
    with whole_file(link) as partial:
        assert partial.parent == target.parent
        partial.write_text('new')
    assert link.is_symlink() and target.read_text() == 'new'
    assert os.listdir(target.parent) == ['a.txt']


def test_a_link_to_nowhere_is_refused_before_any_work(tmp_path):
    (tmp_path / 'link.txt').symlink_to('missing/a.txt')
    with pytest.raises(InputError, match='missing does not exist; make it first'):
        check_output(tmp_path / 'link.txt')


def test_a_trajectory_that_a_link_leads_to_can_be_read_while_it_is_written(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    link = tmp_path / 'run.h5'
    link.symlink_to(tmp_path / 'elsewhere' / 'run.h5')
    with TrajectoryWriter(link, Atoms('Li', cell=[5] * 3, pbc=True)) as writer:
        writer.append('particles/all/position', 0, 0.0, [[1.0, 2.0, 3.0]])
        writer.write()
        with Trajectory(link) as going:
            assert going.positions().tolist() == [[[1.0, 2.0, 3.0]]]
        writer.close()
    assert link.is_symlink() and os.listdir(tmp_path / 'elsewhere') == ['run.h5']


def test_a_file_system_without_locks_is_named_with_the_remedy(tmp_path, monkeypatch):
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file['x'] = 1

    def refused(path: Path, mode: str):
        raise OSError(errno.ENOLCK, "Unable to open file (unable to lock file, error message = 'No locks available')")

    monkeypatch.setattr('h5py.File', refused)
    with pytest.raises(InputError, match=r'a\.h5: the file system has no locks; set HDF5_USE_FILE_LOCKING=FALSE'):
        open_hdf5(tmp_path / 'a.h5')


def test_a_link_that_leads_to_itself_gives_way_to_the_output(tmp_path):
    loop = tmp_path / 'loop.txt'
    loop.symlink_to(loop)
    check_outputs(loop, tmp_path / 'other.txt')
    with whole_file(loop) as partial:
        partial.write_text('whole')
    assert loop.read_text() == 'whole' and not loop.is_symlink()
