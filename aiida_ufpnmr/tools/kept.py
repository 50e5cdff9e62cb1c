"""Trajectories that stay on a computer: which there are, a copy of one, and whether one is still what it was."""

from __future__ import annotations

import tempfile
from pathlib import Path, PurePosixPath

from aiida.engine import calcfunction, run_get_node
from aiida.orm import AbstractCode, QueryBuilder

from aiida_ufpnmr.calculations.trajectories import DescribeTrajectoryCalculation
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.piece_folder import pieces_folder
from aiida_ufpnmr.tools.connections import connected


def kept_trajectories() -> list[TrajectoryData]:
    """All trajectories that stay on a computer, oldest first."""
    query = QueryBuilder().append(TrajectoryData, filters={'attributes': {'has_key': 'kept'}}, tag='node')
    return query.order_by({'node': 'id'}).all(flat=True)


def fetched(trajectory: TrajectoryData) -> TrajectoryData:
    """A copy of a trajectory in the repository, on record.

    Raises:
        InputError: the file is not there any more, or holds something else.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = _get(trajectory, Path(folder))
        copy = TrajectoryData(path)
    if copy.sha256 != trajectory.sha256:
        raise InputError(
            f'{trajectory.kept["path"]}: has changed since it was made; its hash is {copy.sha256}, not '
            f'{trajectory.sha256}'
        )
    return _on_record(trajectory, copy)


def difference(trajectory: TrajectoryData, code: AbstractCode) -> str:
    """What is wrong with a trajectory where it stays, found by a job there; empty where all is well."""
    found, node = run_get_node(DescribeTrajectoryCalculation, code=code, trajectory=trajectory)
    if not node.is_finished_ok:
        return f'{node.exit_message}; see "verdi process report {node.pk}"'
    sha256 = found['results']['sha256']
    return '' if sha256 == trajectory.sha256 else f'its hash is {sha256}, not {trajectory.sha256} as when it was made'


def _get(trajectory: TrajectoryData, folder: Path) -> Path:
    """Copy the files of a trajectory from the computer where it stays."""
    source = PurePosixPath(trajectory.kept['path'])
    path = folder / source.name
    try:
        with connected(trajectory.keeper.get_transport()) as transport:
            transport.getfile(str(source), str(path))
            if trajectory.kept['pieces']:
                transport.gettree(str(pieces_folder(source)), str(pieces_folder(path)))
    except OSError as error:
        raise InputError(f'{source}: cannot be fetched from {trajectory.keeper.label} ({error})') from error
    return path


def _on_record(trajectory: TrajectoryData, copy: TrajectoryData) -> TrajectoryData:
    """Link a copy to what it is a copy of."""

    @calcfunction
    def fetch_trajectory(kept: TrajectoryData) -> TrajectoryData:
        return copy

    return fetch_trajectory(trajectory)
