"""Trajectories and topologies that MDAnalysis reads: DCD, XTC, TRR, NetCDF, and what names their atoms."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, cell_of

_ANGSTROM_PER_NM = 10.0


def read_dcd(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of a DCD file.

    Its times are in a unit that depends on the program that wrote them, so only the numbers of its steps are used.
    """
    with _opened('MDAnalysis.coordinates.DCD', 'DCDReader', path) as reader:
        header, file = reader._file.header, reader._file
        first, every = header['istart'], header['nsavc']
        for number, frame in enumerate(reader):
            step = first + number * every if every > 1 else None
            yield Frame(frame.positions.astype(float), _cell(frame.dimensions), step=step)
        # the reader passes over a frame that is cut off
        if (path.stat().st_size - file._header_size - file._firstframesize) % file._framesize:
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
                    time_fs=_picoseconds(frame.time),
                )


def read_netcdf(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of a NetCDF file in the convention of AMBER."""
    with _opened('MDAnalysis.coordinates.TRJ', 'NCDFReader', path) as reader:
        for frame in reader:
            time_fs = _picoseconds(frame.time) if reader.has_time else None
            yield Frame(frame.positions.astype(float), _cell(frame.dimensions), time_fs=time_fs)


def read_topology(path: Path) -> Frame:
    """Atoms of a topology with the names of the file; positions NaN where it holds none."""
    universe = _opened('MDAnalysis', 'Universe', path, to_guess=())
    atoms = universe.atoms
    positions, cell = np.full((len(atoms), 3), np.nan), None
    if getattr(universe, '_trajectory', None) is not None:
        positions, cell = atoms.positions.astype(float), _cell(universe.dimensions)
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


def _cell(dimensions: np.ndarray | None) -> np.ndarray | None:
    return cell_of(dimensions) if dimensions is not None and np.prod(dimensions[:3]) > 0 else None


def _picoseconds(time_ps: float) -> float:
    """Time in fs of one in ps with 32 bits, as the shortest decimal number that it stands for."""
    return float(str(np.float32(time_ps))) * 1000
