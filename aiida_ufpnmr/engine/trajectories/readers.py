"""The formats of trajectories that are read, by name, and the checks that every frame has to pass."""

from __future__ import annotations

import lzma
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from ase.geometry import cell_to_cellpar

from aiida_ufpnmr.engine.errors import InputError, one_line
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.trajectories.array_files import read_netcdf, read_npy, read_pymatgen
from aiida_ufpnmr.engine.trajectories.ase_files import read_traj, read_xyz
from aiida_ufpnmr.engine.trajectories.elements import topology
from aiida_ufpnmr.engine.trajectories.frames import Frame, Reader, ReadingSettings, cell_of
from aiida_ufpnmr.engine.trajectories.h5md_of_others import is_of_others, read_h5md
from aiida_ufpnmr.engine.trajectories.lammps_dump import read_lammps_dump
from aiida_ufpnmr.engine.trajectories.mdanalysis import read_dcd, read_gromacs
from aiida_ufpnmr.engine.trajectories.xdatcar import read_xdatcar

_COMPRESSED = r'(\.(gz|bz2|xz))?'
#: Patterns of file names, without regard to case, and the readers of the formats.
_READERS: tuple[tuple[str, Reader], ...] = (
    (r'.*xdatcar.*', read_xdatcar),
    (rf'(.*\.(lammpstrj|lammpsdump|dump)|dump\..*){_COMPRESSED}', read_lammps_dump),
    (rf'.*\.(ext)?xyz{_COMPRESSED}', read_xyz),
    (r'.*\.traj', read_traj),
    (r'.*\.dcd', read_dcd),
    (r'.*\.(xtc|trr)', read_gromacs),
    (r'.*\.(nc|ncdf)', read_netcdf),
    (r'.*\.npy', read_npy),
    (r'.*\.json', read_pymatgen),
)
#: What is read, for messages.
FORMATS = 'LAMMPS dump, DCD, XDATCAR, XYZ, .traj, XTC, TRR, NetCDF, NumPy, H5MD'
#: A cell that is turned by more, rad, may have been turned by the program that ran.
_TURNED = 0.01
#: How readers of other packages fail.
_FAILURES = (ArithmeticError, AssertionError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
             lzma.LZMAError, zlib.error)  # fmt: skip


def reader_of(path: str | os.PathLike) -> Reader | None:
    """The reader for a file of another program; ``None`` where there is none, as for trajectories of this package."""
    name = Path(path).name.lower()
    for pattern, reader in _READERS:
        if re.fullmatch(pattern, name):
            return reader
    return read_h5md if is_of_others(path) else None


def read_frames(
    path: str | os.PathLike, settings: ReadingSettings = ReadingSettings(), first: Frame | None = None
) -> Iterator[Frame]:
    """Frames of a file of another program, one after the other, each checked, with the cell of the settings if needed.

    Args:
        first: the first frame of the run, where that lies in another file.

    Raises:
        InputError: no format that is read, or a frame that cannot be used; the message names it.
    """
    path = check_input(path, 'trajectory')
    reader = reader_of(path)
    if reader is None:
        raise InputError(f'{path}: no trajectory of another program that is read by its name: {FORMATS}')
    frames, number = reader(path, settings), 0
    while settings.frames is None or number < settings.frames:
        try:
            frame = next(frames, None)
            if frame is None:
                break
            frame = _with_cell(frame, settings)
            _check(frame, first or frame)
        except InputError as error:
            raise error if str(path) in str(error) else InputError(f'{path}, frame {number}: {error}') from error
        except _FAILURES as error:
            remedy = f'give --frames {number} to read those before it' if number else 'write the file again'
            raise InputError(f'{path}, frame {number}: cannot be read ({one_line(error)}); {remedy}') from error
        first = first or frame
        yield frame
        number += 1
    if not number:
        raise InputError(f'{path}: holds no frame; write the file again')


def _with_cell(frame: Frame, settings: ReadingSettings) -> Frame:
    """The frame with the cell of the settings where it has none, or turned as that where it has no orientation."""
    if frame.cell is not None and frame.oriented:
        return frame
    known = settings.fixed_cell
    if known is None and settings.topology and not settings.topology.endswith('.cell'):
        known = topology(settings.topology).cell
    if frame.cell is None:
        if known is None:
            raise InputError('holds no cell; give --cell a,b,c in Å, or a --topology with one')
        return replace(frame, cell=known, pbc=(True, True, True))
    if known is None:
        return frame
    rotation = np.linalg.solve(cell_of(cell_to_cellpar(known)), known)
    if settings.fixed_cell is None and np.abs(rotation - np.eye(3)).max() > _TURNED:
        raise InputError(
            f'holds lengths and angles of the cell only, which in {settings.topology} does not lie along x; give its '
            'nine components as they were in the run by --cell'
        )
    return replace(frame, cell=frame.cell @ rotation)


def _check(frame: Frame, first: Frame) -> None:
    """Refuse a frame that is not finite, or not of the same atoms as the first."""
    if len(frame.positions) != len(first.positions):
        raise InputError(
            f'has {len(frame.positions)} atoms, the first frame has {len(first.positions)}; give frames of one run'
        )
    if not len(frame.positions):
        raise InputError('has no atoms; write the file again')
    if not np.isfinite(frame.positions).all():
        raise InputError('a position is NaN or infinite; leave the frame out')
    cell = np.asarray(frame.cell)
    if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-6:
        raise InputError('its cell is flat, NaN or infinite; give --cell, or write the file again')
    if frame.labels is not first.labels and not np.array_equal(np.asarray(frame.labels), np.asarray(first.labels)):
        raise InputError(
            'its atoms are other elements than in the first frame, or in another order; give frames of one run'
        )
    if frame.unwrapped != first.unwrapped:
        raise InputError(
            'its positions are unwrapped and those of the first frame are not, or the reverse; give one kind'
        )
