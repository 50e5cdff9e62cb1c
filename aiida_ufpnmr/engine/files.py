"""Output files that appear whole or not at all, and results as JSON."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import json
import lzma
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.errors import InputError

#: What opens compressed files, by suffix.
OPENERS: Mapping[str, Callable[..., Any]] = {'.gz': gzip.open, '.bz2': bz2.open, '.xz': lzma.open}
#: What the kernel answers where a file system has no locks.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
NO_LOCKS = 'the file system has no locks; set HDF5_USE_FILE_LOCKING=FALSE in the environment and run it again'


def is_without_locks(error: OSError) -> bool:
    """Whether HDF5 failed since the file system has no locks."""
    return error.errno in _WITHOUT_LOCKS and 'lock' in str(error)


def check_input(path: str | os.PathLike, what: str = 'file') -> Path:
    """Return ``path`` if it is a readable file that is not empty, otherwise raise :class:`InputError`."""
    path = Path(path)
    if not path.exists():
        raise InputError(f'{path}: no such {what}')
    if not path.is_file():
        raise InputError(f'{path}: not a regular file; give the {what} itself')
    if not os.access(path, os.R_OK):
        raise InputError(f'{path}: cannot be read; check its permissions')
    if path.stat().st_size == 0:
        raise InputError(f'{path}: the {what} is empty')
    return path


def file_sha256(path: Path) -> str:
    """SHA-256 of the bytes of a file, which may be larger than memory."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def check_output(path: str | os.PathLike) -> Path:
    """Return ``path``, or where it leads as a symbolic link, if a file can be written there.

    Called before any work is done, so that hours of computing do not end at a closed door.

    Raises:
        InputError: it cannot; the message says why.
    """
    path = _behind_links(Path(path))
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f'{path}: the folder {folder} does not exist; make it first')
    if not os.access(folder, os.W_OK):
        raise InputError(f'{path}: the folder {folder} cannot be written to; choose another or change its permissions')
    # root passes os.access on read-only file systems: try for real
    probe = _partial(path)
    try:
        if path.is_dir():
            raise InputError(f'{path}: is a folder; give a file name')
        if path.exists() and not path.is_file():
            raise InputError(f'{path}: is a device or a pipe, which a whole file cannot replace; give a file name')
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f'{path}: cannot be written ({error.strerror}); choose another name or folder') from error
    return path


def _behind_links(path: Path) -> Path:
    return Path(os.path.realpath(path)) if os.path.islink(path) else path


def _partial(path: Path) -> Path:
    return path.with_name(f'.{path.name}.{os.getpid()}.part')


@contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it into place if the block succeeds, remove it if not.

    A symbolic link stays, and the file that it leads to is replaced. The temporary name keeps the suffix of ``path``,
    since some writers choose their format by it.
    """
    path = _behind_links(Path(path))
    partial = _partial(path)
    partial = partial.with_name(partial.name + path.suffix)
    try:
        yield partial
        with open(partial, 'rb') as handle:
            os.fsync(handle.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """Turn numpy scalars and arrays into what JSON knows; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.bool_, bool)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def write_json(path: str | os.PathLike, results: Mapping[str, Any]) -> None:
    """Write ``results`` as JSON, whole or not at all. Keys carry their units and hold no dots."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(plain(results), indent=2, sort_keys=True, allow_nan=False) + '\n')
