"""A result with all that it rests on, as one AiiDA archive."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from aiida.common.exceptions import CorruptStorage, IncompatibleStorageSchema, UnreachableStorage
from aiida.common.log import override_log_level
from aiida.orm import Node, QueryBuilder
from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from aiida.tools.archive import create_archive

from aiida_ufpnmr.data import DatasetData, EfgModelData, PotentialData, TrajectoryData
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input, check_output, whole_file


def archive_result(node: Node, path: str | Path) -> Path:
    """Write ``node`` and everything behind it, and for a workflow everything it called and returned, to an archive.

    The file appears whole or not at all; one that is there already is replaced.

    Raises:
        InputError: the file cannot be written there.
    """
    path = check_output(path)
    with whole_file(path) as partial, override_log_level(logging.WARNING):
        create_archive([node], filename=partial, call_calc_backward=True, call_work_backward=True, return_backward=True)
    return path


@dataclass(frozen=True)
class Check:
    """What was found about one node of an archive: ``fault`` says what is wrong, and is empty where nothing is."""

    kind: str
    uuid: str
    sha256: str
    fault: str


def verify_archive(path: str | Path) -> list[Check]:
    """Read every data set, model and trajectory of an archive, and compare its content with what its node claims.

    Each file must be readable as what it is and have the hash that was taken when it was made, and a model must name
    a training set that the archive holds. Nothing is imported.

    Raises:
        InputError: no such file, or not an archive.
    """
    path = check_input(path, 'archive')
    try:
        storage = SqliteZipBackend(SqliteZipBackend.create_profile(path))  # beside the loaded profile, if there is one
    except (CorruptStorage, IncompatibleStorageSchema, UnreachableStorage) as error:
        raise InputError(f'{path}: not a readable AiiDA archive ({" ".join(str(error).split())})') from error
    with contextlib.closing(storage):
        kinds = (DatasetData, PotentialData, EfgModelData, TrajectoryData)
        nodes = QueryBuilder(backend=storage).append(kinds, tag='node').order_by({'node': 'id'}).all(flat=True)
        datasets = {node.sha256 for node in nodes if isinstance(node, DatasetData)}
        return [Check(type(node).__name__, node.uuid, node.sha256, _fault(node, datasets)) for node in nodes]


def _fault(node: DatasetData | PotentialData | EfgModelData | TrajectoryData, datasets: set[str]) -> str:
    try:
        with node.as_path() as file:
            found = node.describe(file)
    except InputError as error:
        return str(error)
    if found['sha256'] != node.sha256:
        return f'the content has changed: its hash is {found["sha256"]}'
    if found.get('training_sha256', node.sha256) not in {*datasets, node.sha256}:
        return f'the training set {found["training_sha256"]} is not in the archive'
    return ''
