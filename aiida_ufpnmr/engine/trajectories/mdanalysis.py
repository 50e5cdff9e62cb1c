"""Trajectories and topologies that MDAnalysis reads: DCD, XTC, TRR, and what names their atoms."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, cell_of, shortest

_ANGSTROM_PER_NM = 10.0


def read_dcd(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of a DCD file.

    Its times are in a unit that depends on the program that wrote them, so only the numbers of its steps are used.
    """
    with _module('MDAnalysis.lib.formats.libdcd', path).DCDFile(str(path)) as file:
        first, every = file.header['istart'], file.header['nsavc']
        left_over = (path.stat().st_size - file._header_size - file._firstframesize) % file._framesize
    with _opened('MDAnalysis.coordinates.DCD', 'DCDReader', path) as reader:
        for number, frame in enumerate(reader):
            cell = cell_of(frame.dimensions) if frame.dimensions is not None else None
            step = first + number * every if every > 1 else None
            yield Frame(frame.positions.astype(float), cell, oriented=False, step=step)
    if left_over:  # which the reader passes over
        raise EOFError('ends within a frame')


def read_gromacs(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of an XTC or TRR file; frames of a TRR file without positions are passed over."""
    formats = _module('MDAnalysis.lib.formats.libmdaxdr', path)
    with (formats.TRRFile if path.suffix.lower() == '.trr' else formats.XTCFile)(str(path)) as file:
        for frame in file:
            if getattr(frame, 'hasx', True):
                box = frame.box.astype(float) * _ANGSTROM_PER_NM
                yield Frame(
                    frame.x.astype(float) * _ANGSTROM_PER_NM,
                    box if box.any() else None,
                    step=int(frame.step),
                    time_fs=1000 * shortest(np.float32(frame.time)),
                )


def read_topology(path: Path) -> Frame:
    """Atoms of a topology with the names of the file; positions NaN where it holds none."""
    universe = _opened('MDAnalysis', 'Universe', path, to_guess=())
    atoms = universe.atoms
    positions, cell = np.full((len(atoms), 3), np.nan), None
    if getattr(universe, '_trajectory', None) is not None:
        positions = atoms.positions.astype(float)
        cell = cell_of(universe.dimensions) if universe.dimensions is not None else None
    masses = np.asarray(atoms.masses, float) if hasattr(atoms, 'masses') else None
    return Frame(positions, cell, labels=atoms.names.astype(str), masses=masses)


def _module(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{path}: this format is read by MDAnalysis, which is not here; pip install 'aiida-ufpnmr[trajectories]'"
        ) from error


def _opened(module: str, name: str, path: Path, **keywords: Any) -> Any:
    """A reader of MDAnalysis, without its warnings about what it guesses, which nothing here uses, or will change."""
    reader = getattr(_module(module, path), name)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return reader(str(path), **keywords)
