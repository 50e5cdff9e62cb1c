"""Layout of trajectory files: H5MD 1.1 (de Buyl, Colberg & Höfling, Comput. Phys. Commun. 185, 1546 (2014)).

One file holds any number of series, each with its own cadence::

    particles/all/position        unwrapped, Å          (frames, atoms, 3)
    particles/all/velocity        Å/fs, where asked     (frames, atoms, 3)
    particles/all/box/edges       cell vectors, Å       (frames, 3, 3)      float64
    particles/all/species         atomic numbers        (atoms,)
    particles/all/mass            amu                   (atoms,)
    particles/efg_Li/efg          EFG tensors, a.u.     (frames, ions, 3, 3)
    particles/efg_Li/id           which atoms           (ions,)
    particles/efg_Li/efg_error    expected error, a.u.  (frames, ions)
    per_ion/efg_grade_Li          extrapolation grade   (frames, ions)
    per_atom/velocity             Å/fs                  (frames, atoms, 3)
    per_atom/force                eV/Å                  (frames, atoms, 3)
    per_atom/energy               eV                    (frames, atoms)
    log/<quantity>                one number a row, the unit in the name    float64

Each series is a group with ``step``, ``time`` (fs) and ``value``; values are float32 where nothing else is said or
asked for. Readers of the wider world (MDAnalysis) take the first group under ``particles`` and count its frames by its
positions, so whatever has another cadence or unit sorts after it or lies outside.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import h5py
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import RECORD, versions
from aiida_ufpnmr.engine.trajectories.series import UNITS, efg_group
from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.version import __version__

#: Version of the layout; it stands in the record, which no content hash covers.
FORMAT_VERSION = 1
_COPY_BYTES = 1 << 24


@contextmanager
def in_memory() -> Iterator[h5py.File]:
    """A new HDF5 file in memory, so that a disk that fills up is met by a plain write and nothing is left half done."""
    name = f'memory of thread {threading.get_ident()}'  # HDF5 opens none twice
    with h5py.File(name, 'w', driver='core', backing_store=False) as file:
        yield file


def image(file: h5py.File) -> bytes:
    """The bytes of a file in memory."""
    file.flush()
    return file.id.get_file_image()


def write_header(file: h5py.File) -> None:
    """The groups that every H5MD file has."""
    header = file.create_group('h5md')
    header.attrs['version'] = np.array([1, 1], np.int32)
    header.create_group('author').attrs['name'] = 'unknown'
    creator = header.create_group('creator')
    creator.attrs['name'] = 'aiida-ufpnmr'
    creator.attrs['version'] = __version__
    record = file.create_group(RECORD)
    record.attrs.update({**versions(), 'format': 'ufpnmr-trajectory', 'format_version': FORMAT_VERSION})


def check_version(file: h5py.File, path: str | os.PathLike | BinaryIO) -> None:
    """Refuse a file of a newer format than this program knows; files of before 0.2 and of other programs name none."""
    version = int(file[RECORD].attrs.get('format_version', 1)) if RECORD in file else 1
    if version > FORMAT_VERSION:
        raise InputError(
            f'{path}: format version {version} is newer than this program knows ({FORMAT_VERSION}); update aiida-ufpnmr'
        )


def write_particles(file: h5py.File, atoms: Atoms) -> None:
    """Write what does not change: species, masses and boundary conditions."""
    particles = file.create_group('particles/all')
    particles['species'] = atoms.numbers.astype(np.int32)
    particles['mass'] = atoms.get_masses()
    particles['mass'].attrs['unit'] = 'u'
    box = particles.create_group('box')
    box.attrs['dimension'] = 3
    box.attrs['boundary'] = ['periodic' if periodic else 'none' for periodic in atoms.pbc]


def write_efg_header(file: h5py.File, species: str, index: np.ndarray) -> None:
    """Write the atoms of a species that have EFG tensors, and the convention of these."""
    group = file.create_group(efg_group(species))
    group['id'] = np.asarray(index, np.int64)
    group['species'] = np.full(len(index), atomic_numbers[species], np.int32)
    group.attrs['convention'] = 'V_ij = d2V/dx_i dx_j, atomic units, Cartesian frame of the cell'


def create_series(file: h5py.File, name: str, step, time_fs, shape, dtype, storage: Storage) -> h5py.Dataset:
    """A series with its steps and times; returns its values, to be filled."""
    group = file.create_group(name)
    for part, numbers in (('step', np.asarray(step, np.int64)), ('time', np.asarray(time_fs, np.float64))):
        group.create_dataset(part, data=numbers, **storage.filters(numbers.shape, numbers.dtype))
    group['time'].attrs['unit'] = 'fs'
    value = group.create_dataset('value', shape, dtype, **storage.filters(shape, dtype))
    unit = 'a.u.' if name.startswith('particles/efg_') else UNITS.get(name)
    if unit:
        value.attrs['unit'] = unit
    return value


def join_series(sources: Iterable[tuple[h5py.File, int]], target: h5py.File, name: str, storage: Storage) -> None:
    """Write the rows of a series, so many from each source, into one; memory does not grow with its length."""
    parts = [(source[name], rows) for source, rows in sources if rows]
    first = parts[0][0]['value']
    step, time_fs = (np.concatenate([group[part][:rows] for group, rows in parts]) for part in ('step', 'time'))
    value = create_series(target, name, step, time_fs, (len(step), *first.shape[1:]), first.dtype, storage)
    some = max(1, _COPY_BYTES // (first.dtype.itemsize * int(np.prod(first.shape[1:]))))
    row = 0
    for group, rows in parts:
        for start in range(0, rows, some):
            stop = min(start + some, rows)
            value[row : row + stop - start] = group['value'][start:stop]
            row += stop - start


def series_names(file: h5py.File) -> list[str]:
    """Names of all series in a file."""
    names = []

    def visit(name, item):
        if isinstance(item, h5py.Group) and 'value' in item and 'step' in item:
            names.append(name)

    file.visititems(visit)
    return sorted(names)
