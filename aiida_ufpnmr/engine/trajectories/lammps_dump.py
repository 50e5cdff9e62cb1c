"""Trajectories of LAMMPS: text dumps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, open_text, take

#: Columns of positions, the first that is there, whether they are fractional, and whether they are unwrapped.
_COLUMNS = ((('xu', 'yu', 'zu'), False, True), (('xsu', 'ysu', 'zsu'), True, True),
            (('x', 'y', 'z'), False, False), (('xs', 'ys', 'zs'), True, False))  # fmt: skip
#: Wrapped fractions are 0 to 1; atoms that left the cell since the last list of neighbours are little beyond.
_FARTHEST_FRACTION = 2.0
_IMAGE = ('ix', 'iy', 'iz')
_TYPES: dict[str, Any] = {'id': np.int64, 'type': 'U16', 'element': 'U16', **dict.fromkeys(_IMAGE, np.int64)}
_LENGTHS_IN_ANGSTROM = ('metal', 'real')


@dataclass(frozen=True)
class _Header:
    """What stands above the atoms of a frame; ``origin`` is the corner of the cell, Å."""

    step: int
    n_atoms: int
    cell: np.ndarray
    origin: np.ndarray
    pbc: np.ndarray
    columns: list[str]


def read_lammps_dump(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of a text dump of style atom or custom, atoms in the order of their id, in units metal or real.

    Raises:
        ValueError: no such file, or columns that are missing.
        EOFError: a frame that is cut off.
    """
    elements = settings.elements.replace(' ', '')
    given = elements.split(',') if elements and '=' not in elements else []
    with open_text(path) as file:
        while line := file.readline():
            if line.strip():
                yield _frame(_header(line, file), file, given)


def _header(line: str, file: Any) -> _Header:
    found: dict[str, Any] = {}
    while not line.startswith('ITEM: ATOMS'):
        words = line.split()
        if words[:1] != ['ITEM:']:
            raise ValueError(f'{line.strip()[:40]!r} stands where "ITEM:" should')
        if words[1] == 'BOX':
            found['cell'], found['origin'] = _box(np.loadtxt(take(file, 3), ndmin=2), words)
            found['pbc'] = np.array([word == 'pp' for word in words if set(word) <= set('pfsm')] or [True] * 3)
        else:
            (value,) = take(file, 1)
            if words[1] == 'UNITS' and value.strip() not in _LENGTHS_IN_ANGSTROM:
                raise ValueError(f'is in units {value.strip()}; only metal and real, whose lengths are in Å, are read')
            if words[1] in ('TIMESTEP', 'NUMBER'):
                found['step' if words[1] == 'TIMESTEP' else 'n_atoms'] = int(value)
        (line,) = take(file, 1)
    return _Header(columns=line.split()[2:], **found)


def _box(rows: np.ndarray, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cell vectors and corner of the box of LAMMPS: orthogonal, with tilts, or general triclinic."""
    if 'abc' in words:
        return rows[:, :3], rows[:, 3]
    xy, xz, yz = rows[:, 2] if rows.shape[1] > 2 else np.zeros(3)
    low = rows[:, 0] - [min(0, xy, xz, xy + xz), min(0, yz), 0]
    x, y, z = rows[:, 1] - [max(0, xy, xz, xy + xz), max(0, yz), 0] - low
    return np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]), low


def _frame(header: _Header, file: Any, given: list[str]) -> Frame:
    """A frame whose atoms are named by their types where elements were given for these, else by their elements."""
    table, unwrapped = _table(header.columns, take(file, header.n_atoms))
    there = table.dtype.names or ()
    names, fractional, _ = _positions_in(there)
    positions = np.stack([table[name] for name in names], axis=1)
    if fractional and not unwrapped and np.abs(positions).max(initial=0.0) > _FARTHEST_FRACTION:
        raise ValueError(
            f'has {" ".join(names)} up to {np.abs(positions).max():.3g}, which are fractions of the cell; name columns '
            'of Å x y z'
        )
    positions = positions @ header.cell if fractional else positions - header.origin
    if 'ix' in there:
        positions = positions + np.stack([table[name] for name in _IMAGE], axis=1) @ header.cell
    kinds = [name for name in ('element', 'type') if name in there]
    notes: tuple[str, ...] = ()
    if len(kinds) == 2 and (given or _is_default(table)):
        kinds.reverse()
        notes = () if _is_default(table) else _contradictions(table, given)
    return Frame(
        positions,
        header.cell,
        pbc=header.pbc,
        labels=table[kinds[0]] if kinds else None,
        masses=table['mass'] if 'mass' in there else None,
        step=header.step,
        unwrapped=unwrapped,
        notes=notes,
    )


def _positions_in(columns: Sequence[str]) -> tuple[tuple[str, str, str], bool, bool]:
    for kind in _COLUMNS:
        if set(kind[0]) <= set(columns):
            return kind
    raise ValueError(f'has columns {" ".join(columns)}; needed are x y z, xs ys zs, xu yu zu, or xsu ysu zsu')


def _table(columns: list[str], lines: list[str]) -> tuple[np.ndarray, bool]:
    """Rows in the order of ``id`` with the columns that are of use, and whether these hold unwrapped positions."""
    names, _, unwrapped = _positions_in(columns)
    with_image = not unwrapped and set(_IMAGE) <= set(columns)
    wanted = [name for name in (*names, *_TYPES, 'mass') if name in columns and (with_image or name not in _IMAGE)]
    if 'id' not in columns:
        raise ValueError('has no column id, without which atoms cannot be told from frame to frame')
    if len(lines[-1].split()) < len(columns) and not lines[-1].endswith('\n'):
        raise EOFError('ends within a frame')
    if len(' '.join(lines).split()) != len(lines) * len(columns):  # numpy would read on in the wrong columns
        raise ValueError(f'has rows that do not hold the {len(columns)} columns that it names')
    dtype = [(name, _TYPES.get(name, np.float64)) for name in wanted]
    table = np.loadtxt(lines, dtype, usecols=[columns.index(name) for name in wanted], comments=None, ndmin=1)
    table = table[np.argsort(table['id'], kind='stable')]
    if (np.diff(table['id']) == 0).any():
        raise ValueError('holds an atom twice')
    return table, unwrapped or with_image


def _contradictions(table: np.ndarray, given: list[str]) -> tuple[str, ...]:
    """A line where the column of elements has others than were given for the types."""
    elements = {str(number): element for number, element in enumerate(given, 1)}
    others = [f'{element} for {kind}' for kind, element in np.unique(table[['type', 'element']])
              if elements.get(str(kind)) != element]  # fmt: skip
    return (f'types have the elements of --elements, not those of its column ({", ".join(others)})',) if others else ()


def _is_default(table: np.ndarray) -> bool:
    """Whether elements are what LAMMPS writes where nobody named them: carbon for all types."""
    return bool((table['element'] == 'C').all()) and len(set(table['type'])) > 1
