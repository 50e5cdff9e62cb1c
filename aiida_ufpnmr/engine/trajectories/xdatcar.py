"""Trajectories of VASP: XDATCAR."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, open_text, take


def read_xdatcar(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of an XDATCAR file, of constant volume or not, or of several that were joined.

    Raises:
        ValueError: no such file, or a frame that is cut off.
    """
    with open_text(path) as file:
        cell, labels = np.zeros((3, 3)), np.zeros(0, str)
        while line := file.readline():
            if 'configuration=' not in line:
                header = [line, *islice(file, 7)]
                if not ''.join(header).strip():  # empty lines at the end
                    return
                (cell, labels), line = _header(header), header[-1]
            if 'configuration=' not in line:
                raise ValueError(f'{line.strip()[:40]!r} stands where "Direct configuration=" should')
            rows = take(file, len(labels))
            if len(rows[-1].split()) < 3:
                raise EOFError('ends within a frame')
            positions = np.loadtxt(rows, usecols=(0, 1, 2), ndmin=2)
            yield Frame(positions if line.lstrip().startswith('Cart') else positions @ cell, cell, labels=labels)


def _header(lines: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Cell and symbols of the lines from the title to that above the positions."""
    if len(lines) < 8:
        raise EOFError('ends within a frame')
    _, scale, *vectors, symbols, counts, _ = lines
    cell, factor = np.loadtxt(vectors, ndmin=2), float(scale)
    # a negative number stands for the volume
    cell *= factor if factor > 0 else (-factor / abs(np.linalg.det(cell))) ** (1 / 3)
    # PAW data sets are named such as Li_sv, or P/1a2b
    names = [symbol.split('/')[0].split('_')[0] for symbol in symbols.split()]
    numbers = [int(count) for count in counts.split()]
    if len(names) != len(numbers):
        raise ValueError('names other elements than it numbers')
    return cell, np.repeat(names, numbers)
