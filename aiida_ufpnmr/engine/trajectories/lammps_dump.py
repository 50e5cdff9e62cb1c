"""Trajectories of LAMMPS: text dumps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, open_text

#: Columns of positions, the first that is there, whether they are fractional, and whether they are unwrapped.
_COLUMNS = ((('xu', 'yu', 'zu'), False, True), (('xsu', 'ysu', 'zsu'), True, True),
            (('x', 'y', 'z'), False, False), (('xs', 'ys', 'zs'), True, False))  # fmt: skip
_IMAGE = ('ix', 'iy', 'iz')
_TYPES: dict[str, Any] = {'id': np.int64, 'type': np.int64, 'element': 'U8', **dict.fromkeys(_IMAGE, np.int64)}


def read_lammps_dump(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of a text dump of style atom or custom, atoms in the order of their id, in units metal or real.

    Raises:
        ValueError: no such file, a frame that is cut off, or columns that are missing.
    """
    with open_text(path) as file:
        while (line := file.readline()).strip():
            yield _frame(line, file)


def _frame(line: str, file: Any) -> Frame:
    step = n_atoms = None
    bounds, pbc, origin = np.zeros((3, 3)), np.ones(3, bool), np.zeros(3)
    while line and not line.startswith('ITEM: ATOMS'):
        item = line.removeprefix('ITEM: ').split()
        if not line.startswith('ITEM: '):
            raise ValueError(f'{line.strip()[:40]!r} stands where "ITEM:" should')
        if item[0] == 'TIMESTEP':
            step = int(file.readline())
        elif item[:3] == ['NUMBER', 'OF', 'ATOMS']:
            n_atoms = int(file.readline())
        elif item[:2] == ['BOX', 'BOUNDS']:
            bounds, origin = _box(np.loadtxt(islice(file, 3), ndmin=2), item[2:])
            pbc = np.array([word == 'pp' for word in item if set(word) <= set('pfsm')] or [True] * 3)
        else:  # UNITS, TIME, LABELS
            value = file.readline().split()
            if item[0] == 'UNITS' and value[0] not in ('metal', 'real'):
                raise ValueError(f'is in units {value[0]}; only metal and real, whose lengths are in Å, are read')
        line = file.readline()
    if not line or n_atoms is None:
        raise EOFError('ends within a frame')
    return _atoms(line.split()[2:], file, n_atoms, Frame(np.zeros((n_atoms, 3)), bounds, pbc, step=step), origin)


def _box(rows: np.ndarray, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cell vectors and origin of the box bounds of LAMMPS, orthogonal, with tilts, or general triclinic."""
    if 'abc' in words:
        return rows[:, :3], rows[:, 3]
    if rows.shape[1] == 2:
        return np.diag(rows[:, 1] - rows[:, 0]), rows[:, 0]
    xy, xz, yz = rows[:, 2]
    low = rows[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
    high = rows[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0]
    length = high - low
    return np.array([[length[0], 0, 0], [xy, length[1], 0], [xz, yz, length[2]]]), low


def _atoms(columns: list[str], file: Any, n_atoms: int, frame: Frame, origin: np.ndarray) -> Frame:
    there = next((kind for kind in _COLUMNS if set(kind[0]) <= set(columns)), None)
    if there is None or 'id' not in columns:
        raise ValueError(
            f'has columns {" ".join(columns)}; needed are id and x y z, xs ys zs, xu yu zu, or xsu ysu zsu'
        )
    names, fractional, unwrapped = there
    with_image = not unwrapped and set(_IMAGE) <= set(columns)
    wanted = [name for name in (*names, *_TYPES, 'mass') if name in columns and (with_image or name not in _IMAGE)]
    lines = list(islice(file, n_atoms))
    if len(lines) < n_atoms or not lines[-1].endswith('\n') and len(lines[-1].split()) < len(columns):
        raise EOFError('ends within a frame')
    if any(len(line.split()) != len(columns) for line in (lines[0], lines[-1])):
        raise ValueError(f'has rows that do not hold the {len(columns)} columns that it names')
    dtype = [(name, _TYPES.get(name, np.float64)) for name in wanted]
    table = np.loadtxt(lines, dtype, usecols=[columns.index(name) for name in wanted], comments=None, ndmin=1)
    table = table[np.argsort(table['id'], kind='stable')]
    if (np.diff(table['id']) == 0).any():
        raise ValueError('holds an atom twice')
    positions = np.stack([table[name] for name in names], axis=1)
    cell = np.asarray(frame.cell)
    positions = positions @ cell if fractional else positions - origin
    if with_image:
        positions = positions + np.stack([table[name] for name in _IMAGE], axis=1) @ cell
    label = next((name for name in ('element', 'type') if name in wanted), None)
    return Frame(
        positions,
        cell,
        frame.pbc,
        labels=table[label].astype(str) if label else None,
        masses=table['mass'] if 'mass' in wanted else None,
        step=frame.step,
        unwrapped=unwrapped or with_image,
    )
