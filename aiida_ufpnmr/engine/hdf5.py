"""HDF5 files of this package: a checked format version, a record of versions, and a hash of the content.

The hash is stored in the record, so that a file that was damaged on its way is told from a whole one.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import h5py
import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import NO_LOCKS, check_input, is_without_locks, whole_file
from aiida_ufpnmr.version import __version__

#: Groups that say with what a file was made; they are not part of its content.
RECORD = 'record'
#: Where the record holds the hash of the content.
_CHECKSUM = 'content_sha256'
#: How much of an array is hashed at a time, bytes.
_CHUNK = 2**24


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    import numba  # takes a while to import
    import scipy

    return {
        'aiida_ufpnmr': __version__,
        'python': platform.python_version(),
        'numpy': np.__version__,
        'scipy': scipy.__version__,
        'numba': numba.__version__,
        'h5py': h5py.__version__,
    }


@contextmanager
def write_hdf5(path: str | os.PathLike, kind: str, version: int) -> Iterator[h5py.File]:
    """Open a new file of ``kind`` (say ``potential``) and format ``version``; it appears whole or not at all."""
    with whole_file(path) as partial:
        with h5py.File(partial, 'w') as file:
            file.attrs['format'] = f'ufpnmr-{kind}'
            file.attrs['format_version'] = version
            file.create_group(RECORD).attrs.update(versions())
            yield file
            seal(file)


def seal(file: h5py.File) -> None:
    """Store the hash of a file's content in its record."""
    file[RECORD].attrs[_CHECKSUM] = _hash_of(file)


def open_hdf5(path: str | os.PathLike | BinaryIO) -> h5py.File:
    """Open an HDF5 file, or a binary handle of one, for reading; :class:`InputError` if it is none or is damaged."""
    if not hasattr(path, 'read'):
        path = check_input(path)
    try:
        return h5py.File(path, 'r')
    except BlockingIOError as error:
        raise InputError(f'{path}: another program has it open for writing; try again when that has ended') from error
    except OSError as error:
        if is_without_locks(error):
            raise InputError(f'{path}: {NO_LOCKS}') from error
        raise InputError(f'{path}: not a readable HDF5 file (damaged, or of another format)') from error


@contextmanager
def read_hdf5(path: str | os.PathLike, kind: str, version: int, oldest: int = 1) -> Iterator[h5py.File]:
    """Open a file of ``kind`` for reading and check its format and its content.

    What goes wrong while its parts are read and put together counts as damage to the file, so the block should do no
    more.

    Raises:
        InputError: the file is no HDF5 file, is of another kind, is of a newer format than ``version`` or an older one
            than ``oldest``, holds other content than was written, or lacks a part.
    """
    with open_hdf5(path) as file:
        named = str(file.attrs.get('format', None))
        if named != f'ufpnmr-{kind}':
            raise InputError(f'{path}: not a ufpnmr {kind} file (its format attribute is {named!r})')
        try:
            found = int(file.attrs['format_version'])
            if found > version:
                raise InputError(
                    f'{path}: format version {found} is newer than this program knows ({version}); update aiida-ufpnmr'
                )
            if found < oldest:
                raise InputError(
                    f'{path}: format version {found} is older than this program reads; make the file again'
                )
            if not _is_whole(file):
                raise ValueError('its content is not what was written')
            yield file
        except InputError:
            raise
        except (KeyError, IndexError, TypeError, ValueError, OSError, RuntimeError) as error:
            raise InputError(f'{path}: incomplete or damaged {kind} file ({error}); make it again') from error


@contextmanager
def open_whole(path: str | os.PathLike) -> Iterator[h5py.File]:
    """Open an HDF5 file of any kind for reading.

    Raises:
        InputError: no HDF5 file, or one of this package that holds other content than was written.
    """
    with open_hdf5(path) as file:
        if not _is_whole(file):
            raise InputError(f'{path}: damaged, its content is not what was written; make it again')
        yield file


def _is_whole(file: h5py.File) -> bool:
    """Whether the content has the checksum that was written with it, if any was."""
    return RECORD not in file or file[RECORD].attrs.get(_CHECKSUM, None) in (None, _hash_of(file))


def format_of(path: str | os.PathLike) -> str:
    """Name of the format of an HDF5 file of this package, such as ``ufpnmr-softness``; empty for any other."""
    with open_hdf5(path) as file:
        return str(file.attrs.get('format', ''))


def recorded_versions(path: str | os.PathLike) -> dict[str, str]:
    """The :func:`versions` with which an HDF5 file of this package was made."""
    with open_hdf5(path) as file:
        record = sorted(file[RECORD].attrs.items()) if RECORD in file else []
        return {name: str(value) for name, value in record if name != _CHECKSUM}


def content_hash(path: str | os.PathLike) -> str:
    """SHA-256 over names, arrays and attributes of an HDF5 file, without its record of versions.

    Two files made of the same numbers have the same hash, however the bytes lie on disk.
    """
    with open_hdf5(path) as file:
        return _hash_of(file)


def _hash_of(file: h5py.File) -> str:
    digest = hashlib.sha256()

    def add_attributes(item):
        for name in sorted(item.attrs):
            value = np.asarray(item.attrs[name])
            digest.update(f'@{name}={value.shape}'.encode())
            if value.dtype.kind in 'OSU':  # text: the array itself may hold addresses only
                digest.update('\0'.join(map(str, value.ravel())).encode())
            else:
                digest.update(f'{value.dtype}'.encode() + value.tobytes())

    def add(group):
        add_attributes(group)
        for name in sorted(group):
            if group.name == '/' and name == RECORD:
                continue
            item = group[name]
            digest.update(f'/{name}'.encode())
            if isinstance(item, h5py.Group):
                add(item)
                continue
            add_attributes(item)
            digest.update(f'{item.shape}{item.dtype.kind}{item.dtype.itemsize}'.encode())
            if h5py.check_string_dtype(item.dtype) is not None:
                digest.update('\0'.join(item.asstr()[...].ravel()).encode())
            elif item.ndim == 0:
                digest.update(item[...].tobytes())
            else:
                step = max(1, _CHUNK // (item.dtype.itemsize * max(1, int(np.prod(item.shape[1:])))))
                for start in range(0, len(item), step):
                    digest.update(np.ascontiguousarray(item[start : start + step]).tobytes())

    add(file)
    return digest.hexdigest()
