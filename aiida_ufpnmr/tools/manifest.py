"""The list of what an archive holds, kept within it: its nodes with a hash of each, and one hash of all links.

AiiDA names a file in an archive by the hash of its content, so a changed file is found by its name; a changed, added or
removed node or link by the list.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

#: The list, and the database of AiiDA, within the file.
MANIFEST, DATABASE, REPOSITORY = 'ufpnmr-manifest.json', 'db.sqlite3', 'repo/'


@contextmanager
def database_of(archive: zipfile.ZipFile) -> Iterator[sqlite3.Connection]:
    """The database of an archive, in a copy that may be changed."""
    with tempfile.TemporaryDirectory() as folder:
        with closing(sqlite3.connect(archive.extract(DATABASE, folder))) as database:
            yield database


def content_of(database: sqlite3.Connection) -> bytes:
    """The database as the content of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / DATABASE
        with closing(sqlite3.connect(path)) as copy:
            database.backup(copy)
        return path.read_bytes()


def manifest_of(database: sqlite3.Connection) -> dict:
    """Hashes of all nodes by UUID, and of all links."""
    nodes = {
        uuid: _digest([kind, json.loads(attributes or '{}'), json.loads(repository or '{}')])
        for uuid, kind, attributes, repository in database.execute(
            'SELECT uuid, node_type, attributes, repository_metadata FROM db_dbnode'
        )
    }
    links = database.execute(
        'SELECT a.uuid, b.uuid, l.label, l.type FROM db_dblink l '
        'JOIN db_dbnode a ON a.id = l.input_id JOIN db_dbnode b ON b.id = l.output_id'
    )
    return {'format_version': 1, 'nodes': nodes, 'links': _digest(sorted(map(list, links)))}


def faults_of(path: Path) -> list[str]:
    """Differences from the archive as it was made; a line for each node, file or set of links."""
    with zipfile.ZipFile(path) as archive:
        faults = [
            f'file {name.removeprefix(REPOSITORY)[:12]}: its content has changed'
            for name in archive.namelist()
            if name.startswith(REPOSITORY) and name != REPOSITORY and _content_hash(archive, name) != Path(name).name
        ]
        if MANIFEST not in archive.namelist():
            return [
                *faults,
                'the list of what should be here is missing, so that nobody can tell what was removed or added',
            ]
        expected = json.loads(archive.read(MANIFEST))
        with database_of(archive) as database:
            found = manifest_of(database)
    before, now = expected['nodes'], found['nodes']
    faults += [f'node {uuid}: was removed' for uuid in sorted(set(before) - set(now))]
    faults += [f'node {uuid}: was added' for uuid in sorted(set(now) - set(before))]
    faults += [f'node {uuid}: was changed' for uuid in sorted(set(now) & set(before)) if now[uuid] != before[uuid]]
    if expected['links'] != found['links']:
        faults.append('links between nodes were changed')
    return faults


def _content_hash(archive: zipfile.ZipFile, name: str) -> str | None:
    """SHA-256 of a file; ``None`` where it cannot be read."""
    digest = hashlib.sha256()
    try:
        with archive.open(name) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    return digest.hexdigest()


def _digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
