"""Trajectories of VASP: XDATCAR."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, open_text


def read_xdatcar(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of an XDATCAR file, of constant volume or not, or of several that were joined.

    Raises:
        ValueError: no such file, or a frame that is cut off.
    """
    with open_text(path) as file:
        cell, labels = np.zeros((3, 3)), np.zeros(0, str)
        while (line := file.readline()).strip():
            if 'configuration=' not in line:
                cell, labels = _header(file)
                line = file.readline()
            if 'configuration=' not in line:
                raise ValueError(f'{line.strip()[:40]!r} stands where "Direct configuration=" should')
            rows = list(islice(file, len(labels)))
            if len(rows) < len(labels) or len(rows[-1].split()) < 3:
                raise EOFError('ends within a frame')
            positions = np.loadtxt(rows, usecols=(0, 1, 2), ndmin=2)
            if not line.lstrip().startswith('Cart'):
                positions = positions @ cell
            yield Frame(positions, cell, labels=labels)


def _header(file: Any) -> tuple[np.ndarray, np.ndarray]:
    """Cell and symbols that stand behind the line with the title."""
    scale = float(file.readline())
    cell = np.loadtxt(islice(file, 3), ndmin=2)
    # a negative number stands for the volume
    cell *= scale if scale > 0 else (-scale / abs(np.linalg.det(cell))) ** (1 / 3)
    symbols, counts = file.readline().split(), np.array(file.readline().split(), int)
    if len(symbols) != len(counts):
        raise ValueError('names other than one number of atoms for each element')
    # PAW data sets are named such as Li_sv, or P/1a2b
    return cell, np.repeat([symbol.split('/')[0].split('_')[0] for symbol in symbols], counts)
