"""H5MD files of other programs: MDAnalysis, LAMMPS, GROMACS, pyh5md.

What the format leaves open is read: any group of particles, units, images of wrapped positions, a box that is fixed or
a vector, times that are a fixed increment. What is neither stated nor given is refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import RECORD, open_hdf5
from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings
from aiida_ufpnmr.engine.trajectories.units import ANGSTROM, FEMTOSECONDS


def is_of_others(path: str | os.PathLike) -> bool:
    """Whether a file is H5MD that this package did not write."""
    try:
        if not h5py.is_hdf5(path):
            return False
    except (OSError, TypeError):
        return False
    with open_hdf5(path) as file:
        return 'h5md' in file and 'particles' in file and not _is_own(file)


def check_own(file: h5py.File, path: Any) -> None:
    """Refuse an H5MD file of another program, whose units and positions may be others."""
    if not _is_own(file):
        raise InputError(
            f'{path}: H5MD of another program; convert it with "ufpnmr convert-trajectory {path} -o own.h5"'
        )


def _is_own(file: h5py.File) -> bool:
    creator = file.get('h5md/creator')
    return RECORD in file or (creator is not None and _text(creator.attrs.get('name', '')) == 'aiida-ufpnmr')


def read_h5md(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of an H5MD file of another program.

    Raises:
        InputError: several groups of particles, units that are not known, or no positions.
    """
    with open_hdf5(path) as file:
        group = _particles(file, path)
        position = group['position']
        unit = _unit(position['value']) or settings.length_unit
        to_angstrom = _length_unit(position['value'], path, unit)
        image = _image(group, path)
        steps, times_fs = _clock(position, path)
        boxes, pbc, notes = _box(group, unit, path)
        labels, masses = _labels(group), _array(group, 'mass')
        for number in range(len(position['value'])):
            positions = position['value'][number].astype(float) * to_angstrom
            cell = None if boxes is None else boxes(number)
            if image is not None and cell is not None:
                positions = positions + image[min(number, len(image) - 1)] @ cell
            yield Frame(
                positions,
                cell,
                pbc=pbc,
                labels=labels,
                masses=masses,
                atomic_numbers=True,
                step=None if steps is None else int(steps[number]),
                time_fs=None if times_fs is None else float(times_fs[number]),
                unwrapped=image is not None and cell is not None,
                notes=notes,
            )


def _particles(file: h5py.File, path: Path) -> h5py.Group:
    groups = [group for group in file['particles'].values() if isinstance(group, h5py.Group) and 'position' in group]
    if not groups:
        raise InputError(f'{path}: holds no positions')
    if len(groups) > 1:
        names = ', '.join(group.name.rpartition('/')[2] for group in groups)
        raise InputError(f'{path}: holds several groups of particles ({names}); keep the one with all atoms')
    if not isinstance(groups[0]['position'], h5py.Group):
        raise InputError(f'{path}: holds one set of positions, no trajectory')
    return groups[0]


def _text(value: Any) -> str:
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)


def _unit(item: Any) -> str:
    return _text(item.attrs.get('unit', '')).strip().lower()


def _length_unit(value: h5py.Dataset, path: Path, default: str) -> float:
    """Å in the unit of a dataset, or in the default where it states none."""
    unit = _unit(value) or default.lower()
    if not unit:
        raise InputError(f'{path}: states no unit of positions; give --length-unit')
    if unit not in ANGSTROM:
        raise InputError(f'{path}: states lengths in {unit!r}, which is no known unit; write them in Angstrom')
    return ANGSTROM[unit]


def _clock(position: h5py.Group, path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Steps and times in fs of all frames; ``None`` where the file holds none, or times without unit."""
    steps, times = (_increasing(position, name, path) for name in ('step', 'time'))
    if times is None or not (unit := _unit(position['time'])):
        return steps, None
    if unit not in FEMTOSECONDS:
        raise InputError(f'{path}: states times in {unit!r}, which is no known time; write them in fs')
    if times.dtype == np.float32:  # the shortest decimal numbers that these stand for
        times = times.astype(str)
    return steps, times.astype(float) * FEMTOSECONDS[unit]


def _increasing(position: h5py.Group, name: str, path: Path) -> np.ndarray | None:
    """Steps or times of all frames, where a single number is the increment."""
    if name not in position:
        return None
    item, n_frames = position[name], len(position['value'])
    series = item[...] if item.ndim else item.attrs.get('offset', 0) + np.arange(n_frames) * item[()]
    if len(series) != n_frames:
        raise InputError(f'{path}: has {n_frames} frames and {len(series)} {name}s; make it again')
    return np.asarray(series)


def _box(
    group: h5py.Group, unit: str, path: Path
) -> tuple[Callable[[int], np.ndarray] | None, np.ndarray, tuple[str, ...]]:
    """Cell vectors in Å by frame, where there are any, which directions are periodic, and what was assumed."""
    box = group.get('box')
    if box is None or 'edges' not in box:
        return None, np.ones(3, bool), ()
    edges = box['edges']
    value, n_frames = edges['value'] if isinstance(edges, h5py.Group) else edges, len(group['position/value'])
    fixed = not isinstance(edges, h5py.Group)
    if not fixed and len(value) not in (1, n_frames):
        raise InputError(f'{path}: has {len(value)} boxes and {n_frames} frames; make it again')
    factor = _length_unit(value, path, unit)
    notes = () if _unit(value) else (f'its box states no unit, read in that of positions ({unit})',)
    boundary = np.array([_text(word) == 'periodic' for word in np.ravel(box.attrs.get('boundary', 'periodic'))])

    def cell(number: int) -> np.ndarray:
        row = np.asarray(value[...] if fixed else value[min(number, len(value) - 1)], float) * factor
        return np.diag(np.broadcast_to(row, 3)) if row.ndim < 2 else row

    return cell, np.broadcast_to(boundary, 3), notes


def _image(group: h5py.Group, path: Path) -> h5py.Dataset | np.ndarray | None:
    """Images (frames, n_atoms, 3) of wrapped positions; one row where they do not change."""
    image = group.get('image')
    if image is None:
        return None
    if isinstance(image, h5py.Dataset):
        return image[...][None]
    if len(image['value']) != len(group['position/value']):
        raise InputError(f'{path}: has images at other frames than positions; write both at the same')
    return image['value']


def _array(group: h5py.Group, name: str) -> np.ndarray | None:
    """What does not change, or its first row."""
    item = group.get(name)
    if item is None:
        return None
    return item['value'][0] if isinstance(item, h5py.Group) else item[...]


def _labels(group: h5py.Group) -> np.ndarray | None:
    species = _array(group, 'species')
    if species is None:
        return None
    item = group['species'] if isinstance(group['species'], h5py.Dataset) else group['species/value']
    names = h5py.check_enum_dtype(item.dtype)
    if names:
        by_number = {number: name for name, number in names.items()}
        return np.array([by_number[number] for number in species])
    return np.array([_text(label) for label in species]) if species.dtype.kind in 'OS' else species.astype(str)
