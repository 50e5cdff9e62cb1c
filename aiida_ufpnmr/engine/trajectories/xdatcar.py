"""Trajectories of VASP: XDATCAR."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, open_text, take

_CONFIGURATION = 'configuration='


def read_xdatcar(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of an XDATCAR file, of constant volume or not, or of several that were joined.

    Where no time step is given, the INCAR beside it tells the time between two frames.

    Raises:
        ValueError: no such file, or a frame that is cut off.
    """
    is_asked = settings.timestep_fs is None and settings.every is None
    spacing_fs, notes = _spacing(path.with_name('INCAR')) if is_asked else (None, ())
    with open_text(path) as file:
        cell, labels = np.zeros((3, 3)), np.zeros(0, str)
        while line := file.readline():
            if _CONFIGURATION not in line:
                header = [line, *_until_configuration(file)]
                if not ''.join(header).strip():  # empty lines at the end
                    return
                (cell, labels), line = _header(header), header[-1]
            rows = take(file, len(labels))
            if len(rows[-1].split()) < 3:
                raise EOFError('ends within a frame')
            positions = np.loadtxt(rows, usecols=(0, 1, 2), ndmin=2)
            number = line.partition(_CONFIGURATION)[2].strip()
            yield Frame(
                positions if line.lstrip().startswith('Cart') else positions @ cell,
                cell,
                labels=labels,
                number=int(number) if number.isdigit() else None,
                spacing_fs=spacing_fs,
                notes=notes,
            )


def _spacing(incar: Path) -> tuple[float | None, tuple[str, ...]]:
    """Time in fs between two frames that an INCAR of dynamics asks for, and a line about it."""
    if not incar.is_file():
        return None, ()
    with open_text(incar) as file:
        entries = ' ; '.join(re.split('[#!]', line)[0] for line in file)
    found = {name.upper(): value for name, value in re.findall(r'(\w+)\s*=\s*([-+.\w]+)', entries)}
    try:
        timestep_fs, every = float(found['POTIM']), max(int(found.get(n, 1)) for n in ('NBLOCK', 'ML_OUTBLOCK'))
    except (KeyError, ValueError):
        return None, ()
    if found.get('IBRION') != '0' or timestep_fs <= 0 or every < 1:
        return None, ()
    return timestep_fs * every, (f'times of the INCAR beside it (POTIM {timestep_fs:g} fs, a frame in {every} steps)',)


def _until_configuration(file: Iterator[str]) -> Iterator[str]:
    """The lines of a header below its title, down to that above the positions."""
    for line in islice(file, 7):
        yield line
        if _CONFIGURATION in line:
            return


def _header(lines: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cell, and symbols or numbers of types, of the lines from the title to that above the positions."""
    if re.fullmatch(r'\s*\d+\s+\d+\s+\d+\s*', lines[0]) and len(lines) > 3 and lines[3].strip() == 'CAR':
        raise ValueError('is of VASP 4, which writes no cell and no elements; convert it to extended XYZ')
    if len(lines) < 7 or (len(lines) == 7 and _CONFIGURATION not in lines[-1]):
        raise EOFError('ends within a frame')
    if _CONFIGURATION not in lines[-1]:
        raise ValueError(f'{lines[-1].strip()[:40]!r} stands where "Direct configuration=" should')
    _, scale, *vectors = lines[:5]
    cell, factor = np.loadtxt(vectors, ndmin=2), float(scale)
    # a negative number stands for the volume
    cell *= factor if factor > 0 else (-factor / abs(np.linalg.det(cell))) ** (1 / 3)
    numbers = [int(count) for count in lines[-2].split()]
    if len(lines) == 7:  # written without elements
        names = [str(number) for number in range(1, len(numbers) + 1)]
    else:  # PAW data sets are named such as Li_sv, or P/1a2b
        names = [symbol.split('/')[0].split('_')[0] for symbol in lines[5].split()]
    if len(names) != len(numbers):
        raise ValueError('names other elements than it numbers')
    return cell, np.repeat(names, numbers)
