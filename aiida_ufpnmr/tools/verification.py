"""The check that an archive still says what it said when it was made."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from aiida.common.exceptions import CorruptStorage, IncompatibleStorageSchema, UnreachableStorage
from aiida.orm import QueryBuilder
from aiida.storage.sqlite_zip.backend import SqliteZipBackend
from aiida.storage.sqlite_zip.migrator import list_versions
from aiida.storage.sqlite_zip.utils import read_version

from aiida_ufpnmr.data import KINDS, DatasetData, SoftnessModelData, TrajectoryData
from aiida_ufpnmr.data.checked_file import CheckedFileData
from aiida_ufpnmr.engine.errors import InputError, one_line
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.softness.model import hash_of_runs
from aiida_ufpnmr.tools.manifest import faults_of

#: What reading a file of an archive with a changed byte raises.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError)


@dataclass(frozen=True)
class Check:
    """The check of one node of an archive: ``fault`` says what is wrong, and is empty where nothing is.

    What a slim archive leaves out has ``left_out_bytes``.
    """

    kind: str
    uuid: str
    sha256: str
    fault: str
    left_out_bytes: int | None = None


def verify_archive(path: str | Path) -> tuple[list[Check], list[str]]:
    """Read every data set, model and trajectory of an archive, and compare its content with what its node claims.

    Each file must be readable as what it is and have the hash that was taken when it was made, and a model that a fit
    made must name a training set that the archive holds. Nothing is imported.

    Returns:
        What was found about each of them; and what else is not as it was when the archive was made, a line each.

    Raises:
        InputError: no such file, or not an archive.
    """
    with contextlib.closing(open_archive(path)) as storage:
        nodes = QueryBuilder(backend=storage).append(KINDS, tag='node').order_by({'node': 'id'}).all(flat=True)
        training_sets = {node.sha256 for node in nodes if isinstance(node, DatasetData)}
        training_sets |= {_runs_behind(node) for node in nodes if isinstance(node, SoftnessModelData)}
        checks = [_check(node, training_sets) for node in nodes]
    return checks, faults_of(Path(path))


def open_archive(path: str | Path) -> SqliteZipBackend:
    """The nodes of an archive, beside the loaded profile, if there is one; to be closed.

    Raises:
        InputError: no such file, or not an archive.
    """
    path = check_input(path, 'archive')
    try:
        return SqliteZipBackend(SqliteZipBackend.create_profile(path))
    except IncompatibleStorageSchema as error:
        found = read_version(path)
        remedy = f'run "verdi archive migrate {path}"' if found in list_versions() else 'update AiiDA'
        raise InputError(f'{path}: its archive format {found} is not the one of this AiiDA; {remedy}') from error
    except (CorruptStorage, UnreachableStorage, *DAMAGED) as error:
        raise InputError(f'{path}: not a readable AiiDA archive ({one_line(error)})') from error


def _runs_behind(model: SoftnessModelData) -> str:
    """Hash of the runs that a softness model was fitted to, where a fit of the archive made it."""
    if model.creator is None:
        return ''
    links = model.creator.base.links.get_incoming(node_class=TrajectoryData, link_label_filter='trajectories%').all()
    return hash_of_runs(link.node.sha256 for link in sorted(links, key=lambda link: link.link_label))


def _check(node: CheckedFileData, training_sets: set[str]) -> Check:
    left_out = node.left_out_bytes
    fault = _fault(node, training_sets) if left_out is None else ''
    return Check(type(node).__name__, uuid=node.uuid, sha256=node.sha256, fault=fault, left_out_bytes=left_out)


def _fault(node: CheckedFileData, training_sets: set[str]) -> str:
    try:
        with node.as_path() as file:
            found = node.describe(file)
    except InputError as error:
        return str(error)
    except DAMAGED as error:
        return f'its file is damaged ({one_line(error)})'
    if found['sha256'] != node.sha256:
        return f'the content has changed: its hash is {found["sha256"]}'
    made_here = node.creator is not None  # what came from a file has its training set elsewhere
    if made_here and found.get('training_sha256', node.sha256) not in {*training_sets, node.sha256}:
        return f'the training set {found["training_sha256"]} is not in the archive'
    return ''
