"""Claims about trajectories that stay on the computer where they are made."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest
from aiida import orm
from aiida.engine import run_get_node
from test_md_workflow import attempts, fragile, inputs, whole  # noqa: F401

from aiida_ufpnmr.calculations.analyse import AnalyseCalculation
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.tools.archives import archive_result
from aiida_ufpnmr.tools.reruns import rerun_archive
from aiida_ufpnmr.tools.verification import verify_archive
from aiida_ufpnmr.workflows.md import MdWorkChain

pytestmark = pytest.mark.slow

STAY = {'metadata': {'options': {'keep_trajectory': True}}}


@pytest.fixture
def kept(code, inputs):  # noqa: F811
    outputs, node = run_get_node(MdCalculation, code=code, **inputs, **STAY)
    assert node.is_finished_ok, node.exit_message
    return outputs['trajectory']


def kept_folder(code) -> Path:
    return Path(code.computer.get_workdir()) / 'kept-trajectories'


def displacement(code, trajectory) -> dict:
    parameters = {'skip_ps': 0.0, 'bootstrap': 10}
    found, node = run_get_node(
        AnalyseCalculation, code=code, trajectory=trajectory, analysis='msd', parameters=parameters
    )
    assert node.is_finished_ok, node.exit_message
    return found['results'].get_dict()


def test_a_trajectory_that_stays_is_described_like_one_that_came(code, kept, whole):  # noqa: F811
    came = whole['trajectory']
    assert kept.base.repository.list_object_names() == []
    assert kept.sha256 == came.sha256 == content_hash(Path(kept.kept['path']))
    assert (kept.n_frames, kept.time_ps, kept.species) == (came.n_frames, came.time_ps, came.species)
    assert kept.base.caching.compute_hash() == came.base.caching.compute_hash()
    node = kept.creator
    assert node.outputs.results.get_dict() == whole['results'].get_dict()
    assert kept_folder(code) in Path(kept.kept['path']).parents
    work = Path(node.outputs.remote_folder.get_remote_path())
    assert not (work / 'trajectory.h5').exists()
    assert 'trajectory.h5' not in node.outputs.retrieved.base.repository.list_object_names()


def test_analyses_run_where_it_stays(code, kept, whole):  # noqa: F811
    assert displacement(code, kept) == displacement(code, whole['trajectory'])


def test_the_same_content_stays_once(code, kept, inputs):  # noqa: F811
    outputs, _ = run_get_node(MdCalculation, code=code, **inputs, **STAY)
    assert outputs['trajectory'].kept == kept.kept
    assert len(list(Path(kept.kept['path']).parent.iterdir())) == 1


def test_a_run_in_three_jobs_stays_as_the_run_in_one(fragile, inputs, whole, code):  # noqa: F811
    shutil.rmtree(kept_folder(code), ignore_errors=True)  # the same in one go
    outputs, node = run_get_node(MdWorkChain, md={'code': fragile('cut', 'cut'), **inputs, **STAY})
    assert node.is_finished_ok, node.exit_message
    assert attempts(node) == [401, 401, 0, 0]
    joined = outputs['trajectory']
    assert joined.kept['pieces'] and joined.sha256 == whole['trajectory'].sha256
    assert outputs['results'].get_dict() == whole['results'].get_dict()
    assert displacement(code, joined) == displacement(code, whole['trajectory'])
    # the rows are those of the parts, under second names
    parts = [
        part
        for part in node.called_descendants[0].base.links.get_outgoing().all_nodes()
        if isinstance(part, TrajectoryData)
    ]
    folder = Path(joined.kept['path'] + '.pieces')
    theirs = {file.stat().st_ino for part in parts for file in Path(part.kept['path']).parent.rglob('*.h5')}
    assert parts and theirs & {file.stat().st_ino for file in folder.iterdir()}


def test_a_killed_job_whose_part_came_joins_those_that_stay(fragile, inputs, whole):  # noqa: F811
    outputs, node = run_get_node(MdWorkChain, md={'code': fragile('cut', 'kill'), **inputs, **STAY})
    assert node.is_finished_ok, node.exit_message
    assert attempts(node) == [401, 400, 0, 0]
    assert outputs['trajectory'].sha256 == whole['trajectory'].sha256


def test_it_is_fetched_whole_and_on_record(command, kept, whole):  # noqa: F811
    listed = command('trajectory', 'list')
    assert str(kept.pk) in listed.output and kept.kept['path'] in listed.output
    done = command('trajectory', 'fetch', kept.pk)
    assert done.exit_code == 0, done.output
    copy = orm.load_node(int(done.output))
    assert copy.sha256 == kept.sha256 and copy.creator.inputs.kept.uuid == kept.uuid
    with copy.open_trajectory() as trajectory:
        assert trajectory.n_frames == kept.n_frames
    assert 'nothing to fetch' in str(command('trajectory', 'fetch', copy.pk).exception)


def test_damage_and_loss_are_found(code, command, kept, inputs):  # noqa: F811
    agrees = command('trajectory', 'verify', kept.pk)
    assert agrees.exit_code == 0 and 'agrees' in agrees.output, agrees.output
    path = Path(kept.kept['path'])
    with h5py.File(path, 'r+') as file:
        file['particles/all/position/value'][3, 0, 0] += 1.0
    differs = command('trajectory', 'verify', kept.pk)
    assert differs.exit_code == 1 and 'its hash is' in differs.output
    with pytest.raises(InputError, match='has changed since'):
        raise command('trajectory', 'fetch', kept.pk).exception
    outputs, _ = run_get_node(MdCalculation, code=code, **inputs, **STAY)  # gives way to the same, whole
    assert outputs['trajectory'].kept['path'] == kept.kept['path']
    assert command('trajectory', 'verify', kept.pk).exit_code == 0
    path.unlink()
    with pytest.raises(InputError, match='cannot be fetched'):
        raise command('trajectory', 'fetch', kept.pk).exception
    assert command('trajectory', 'verify', kept.pk).exit_code == 1


def test_who_opens_it_here_is_told_where_it_is(kept):
    with pytest.raises(InputError, match='stays on .* trajectory fetch'), kept.open_trajectory():
        pass


def test_a_code_elsewhere_is_told_to_fetch_it(kept, code, tmp_path):
    other = orm.Computer(
        label='elsewhere', hostname='localhost', transport_type='core.local', scheduler_type='core.direct',
        workdir=str(tmp_path),
    ).store()  # fmt: skip
    other.configure()
    away = orm.InstalledCode(label='away', computer=other, filepath_executable=str(code.filepath_executable)).store()
    with pytest.raises(ValueError, match='choose a code there'):
        run_get_node(AnalyseCalculation, code=away, trajectory=kept, analysis='msd', parameters={})


def test_an_archive_holds_its_hash_and_how_to_make_it_again(kept, tmp_path):
    path = archive_result(kept, path=tmp_path / 'kept.aiida')
    checks, faults = verify_archive(path)
    (check,) = (check for check in checks if check.kind == 'TrajectoryData')
    assert faults == [] and check.left_out_bytes == kept.kept['size_bytes']
    (found,) = (one for one in rerun_archive(path, ['md'], 1e-6) if one.output == 'trajectory')
    assert found.verdict == 'identical'
