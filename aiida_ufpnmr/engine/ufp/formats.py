"""The file formats of a potential, by suffix."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.ufp.content import PotentialContent
from aiida_ufpnmr.engine.ufp.hdf5_file import read_hdf5_file, write_hdf5_file
from aiida_ufpnmr.engine.ufp.lammps_file import read_uf3, write_uf3
from aiida_ufpnmr.engine.ufp.uf3_json import read_json, write_json


class Format(NamedTuple):
    """A file format: its reader, and its writer, which returns what the format cannot carry, a line each."""

    read: Callable[[Path], PotentialContent]
    write: Callable[[PotentialContent, str | os.PathLike], list[str]]


FORMATS = {
    '.h5': Format(read_hdf5_file, write_hdf5_file),
    '.uf3': Format(read_uf3, write_uf3),
    '.json': Format(read_json, write_json),
}


def reader_of(path: Path) -> Callable[[Path], PotentialContent]:
    """The reader of a file; one of an unknown suffix is taken for HDF5."""
    return FORMATS.get(path.suffix, FORMATS['.h5']).read


def writer_of(path: str | os.PathLike) -> Callable[[PotentialContent, str | os.PathLike], list[str]]:
    """The writer of the format that a suffix names; :class:`InputError` where it names none."""
    try:
        return FORMATS[Path(path).suffix].write
    except KeyError:
        raise InputError(
            f'{path}: unknown suffix; a potential is written as .h5, .uf3 (LAMMPS) or .json (UF3 package)'
        ) from None
