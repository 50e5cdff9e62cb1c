"""Claims about models that are uploaded once a computer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiida import orm
from aiida.engine import run_get_node
from aiida.plugins import CalculationFactory
from aiida.transports.plugins.local import LocalTransport

from aiida_ufpnmr.calculations.model_cache import FOLDER, _placed
from aiida_ufpnmr.data import PotentialData


def run(code, potential, structure, parameters=None):
    parameters = {'steps': 1, 'timestep': 1.0, 'temperature': 100.0, **(parameters or {})}
    _, node = run_get_node(
        CalculationFactory('ufpnmr.md'), code=code, potential=potential, structure=structure, parameters=parameters
    )
    assert node.is_finished_ok, node.exit_message
    return Path(node.get_remote_workdir()) / 'potential.h5'


def test_a_potential_is_uploaded_once_and_again_where_it_was_removed(code, potential, structure, tmp_path):
    where = orm.Computer(
        label=tmp_path.name, hostname='localhost', transport_type='core.local', scheduler_type='core.direct',
        workdir=str(tmp_path),
    ).store()  # fmt: skip
    where.configure(safe_interval=0)
    where.set_minimum_job_poll_interval(0.1)
    there = orm.InstalledCode(label='ufpnmr', computer=where, filepath_executable=str(code.filepath_executable))
    there.store()
    with potential.open(mode='rb') as source:
        content = source.read()
    first = run(there, potential, structure)
    kept = first.resolve(strict=True)
    assert first.is_symlink() and kept.parent == tmp_path / FOLDER and kept.read_bytes() == content
    written = kept.stat().st_mtime_ns
    same = PotentialData.__new__(PotentialData)  # another node of the same bytes
    with potential.as_path() as path:
        PotentialData.__init__(same, path)
    second = run(there, same, structure, {'seed': 1})
    assert second.resolve() == kept and kept.stat().st_mtime_ns == written
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    kept.unlink()
    assert run(there, potential, structure, {'seed': 2}).resolve(strict=True).read_bytes() == content


class Late(LocalTransport):
    """Does not see at first what another job has placed meanwhile."""

    looks = 0

    async def path_exists_async(self, path):
        self.looks += 1
        return self.looks > 1 and Path(path).exists()


def test_jobs_that_begin_at_the_same_time_leave_one_whole_file(aiida_profile, potential, tmp_path):
    potential.store()
    name = potential.filename
    places = []
    for _ in range(2):
        with Late() as transport:
            places.append(asyncio.run(_placed(potential, name, tmp_path / FOLDER, transport)))
    assert places[0] == places[1] and Path(places[0]).read_bytes() == potential.get_content(mode='rb')
    assert list((tmp_path / FOLDER).iterdir()) == [Path(places[0])]
