"""A result with all that it rests on, as one AiiDA archive."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiida.common.log import override_log_level
from aiida.orm import Node
from aiida.tools.archive import create_archive
from aiida.tools.archive.exceptions import ExportValidationError

from aiida_ufpnmr.data import EfgModelData, PotentialData, TrajectoryData
from aiida_ufpnmr.data.checked_file import LEFT_OUT
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file
from aiida_ufpnmr.tools.manifest import DATABASE, MANIFEST, REPOSITORY, content_of, database_of, manifest_of


def archive_result(*nodes: Node, path: str | Path, slim: bool = False, most_mb: float | None = None) -> Path:
    """Write ``nodes`` and everything behind them, and for a workflow everything it called and returned, to an archive.

    The file appears whole or not at all; one that is there already is replaced. It holds a list of what is in it, by
    which a reader can tell whether it is still whole.

    Args:
        slim: leave out what calculations of the archive make again: the files of trajectories, and of models that are
            no output of a node of ``nodes``. Their nodes stay, with the hash and size of what was left out.
        most_mb: where that leaves more than so many megabytes, leave out models that are outputs of ``nodes``, too, the
            largest first; and where that is not enough, workflows that called what is behind ``nodes`` but are no part
            of these, such as earlier ones whose labels were taken up.

    Raises:
        InputError: the file cannot be written there, or something behind a node has not ended.
    """
    path = check_output(path)
    with whole_file(path) as finished, override_log_level(logging.WARNING):
        everything = finished.with_name(f'{finished.name}.all')
        try:
            for with_callers in (True, False):
                rules: dict[str, Any] = dict.fromkeys(
                    ('call_calc_backward', 'call_work_backward', 'return_backward'), with_callers
                )
                create_archive(list(nodes), filename=everything, overwrite=True, **rules)
                _with_manifest(everything, finished, [node.uuid for node in nodes] if slim or most_mb else [], most_mb)
                if most_mb is None or finished.stat().st_size <= 1e6 * most_mb:
                    break
        except ExportValidationError as error:
            reason = ' '.join(str(error).split())
            raise InputError(f'{path}: not written. {reason} Wait for them, or run "aiida-ufpnmr doctor"') from error
        finally:
            everything.unlink(missing_ok=True)
    return path


def _with_manifest(source: Path, target: Path, slim_for: Sequence[str], most_mb: float | None) -> None:
    """Copy an archive with the list of what is in it, and without what lies behind ``slim_for`` if there is any."""
    # a quarter smaller, at 2 MB/s: for what is to be small, not for trajectories
    compression = zipfile.ZIP_LZMA if slim_for else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w', compression) as new:
        with database_of(old) as database:
            dropped = _leave_out(database, old, slim_for, most_mb) if slim_for else set()
            manifest = manifest_of(database)
            for entry in old.infolist():  # in the order in which AiiDA wants to find them
                if entry.filename == DATABASE and slim_for:
                    new.writestr(entry.filename, content_of(database))
                elif entry.filename.removeprefix(REPOSITORY) not in dropped:
                    _copy(old, entry, new)
        new.writestr(MANIFEST, json.dumps(manifest, sort_keys=True))


def _copy(old: zipfile.ZipFile, entry: zipfile.ZipInfo, new: zipfile.ZipFile) -> None:
    if entry.is_dir():
        new.writestr(entry, b'')
        return
    with old.open(entry) as source, new.open(entry.filename, 'w', force_zip64=True) as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _remade(database: sqlite3.Connection, uuids: Sequence[str]) -> tuple[set[int], set[int]]:
    """Ids of data that calculations of an archive make again: those to leave out, and those to keep if there is room.

    To keep are models that are the nodes that it is about, or their outputs. Trajectories, most of it, are left out.
    """
    made = {pk for (pk,) in database.execute("SELECT output_id FROM db_dblink WHERE type = 'create'")}
    kinds = dict(database.execute('SELECT id, node_type FROM db_dbnode'))
    about = {pk for pk, uuid in database.execute('SELECT id, uuid FROM db_dbnode') if uuid in set(uuids)}
    links = database.execute("SELECT input_id, output_id FROM db_dblink WHERE type IN ('create', 'return')")
    shown = about | {output for source, output in links if source in about}
    of_models = {kind.class_node_type for kind in (PotentialData, EfgModelData)}
    models = {pk for pk in made if kinds[pk] in of_models}
    trajectories = {pk for pk in made if kinds[pk] == TrajectoryData.class_node_type}
    return trajectories | models - shown, models & shown


def _leave_out(
    database: sqlite3.Connection, archive: zipfile.ZipFile, uuids: Sequence[str], most_mb: float | None
) -> set[str]:
    """Take files that can be made again out of the database; the keys of those that nothing else needs."""
    sizes = {entry.filename.removeprefix(REPOSITORY): entry.file_size for entry in archive.infolist()}
    rows = database.execute('SELECT id, extras, repository_metadata FROM db_dbnode').fetchall()
    files = {pk: _keys(json.loads(repository or '{}')) for pk, _, repository in rows}
    left_out, if_room = _remade(database, uuids)
    size = {pk: sum(sizes.get(key, 0) for key in keys) for pk, keys in files.items()}
    packed = {entry.filename.removeprefix(REPOSITORY): entry.compress_size for entry in archive.infolist()}
    for pk in sorted(if_room, key=lambda made: size[made], reverse=True):
        kept = set().union(*(keys for other, keys in files.items() if other not in left_out))
        gone = set().union(*(files[other] for other in left_out)) - kept  # equal models share a file
        if most_mb is not None and sum(packed[key] for key in packed if key not in gone) > 1e6 * most_mb:
            left_out.add(pk)
    dropped, needed = set(), set()
    for pk, extras, _ in rows:
        keys = files[pk]
        if pk not in left_out:
            needed |= keys
            continue
        dropped |= keys
        noted = {**json.loads(extras or '{}'), LEFT_OUT: {'size_bytes': size[pk]}}
        database.execute(
            'UPDATE db_dbnode SET extras = ?, repository_metadata = ? WHERE id = ?', (json.dumps(noted), '{}', pk)
        )
    database.commit()
    return dropped - needed


def _keys(repository: dict) -> set[str]:
    """Keys of all files of a node."""
    below = [_keys(entry) for entry in repository.get('o', {}).values()]
    return set().union(*below) | ({repository['k']} if 'k' in repository else set())
