"""Trajectories that ASE reads: XYZ with its extensions, also of CP2K, and .traj."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import Trajectory, iread

from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, open_text

#: Entries of the comment line that hold the number of the step.
_STEPS = ('step', 'Step', 'timestep', 'Timestep', 'i')
#: Entries, in lower case, that hold a time in a unit of the program that wrote them.
_TIMES = ('time', 'time_ps', 'simulation_time')


def read_xyz(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of an XYZ file, extended or of CP2K, whose cell comes from its .cell file.

    That file is the one of the settings, or ``PROJECT-1.cell`` beside ``PROJECT-pos-1.xyz``.
    """
    cells = _cp2k_cells(path, settings)
    with open_text(path) as file:
        yield from _xyz_frames(file, cells)


def _xyz_frames(file: Any, cells: Mapping[int, np.ndarray] | None) -> Iterator[Frame]:
    """Frames of an open XYZ file, with the cells (3, 3) in Å of their steps where they have none."""
    for atoms in iread(file, format='extxyz'):
        of_cp2k = {'i', 'time', 'E'} <= atoms.info.keys()
        frame = _frame(atoms, float(atoms.info['time']) if of_cp2k else None)
        if frame.cell is None and cells is not None:
            if frame.step is None or frame.step not in cells:
                raise ValueError(f'its step {frame.step} is not in the .cell file')
            frame = replace(frame, cell=cells[frame.step], pbc=(True, True, True))
        yield frame


def read_traj(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of a .traj file of ASE."""
    with Trajectory(path) as trajectory:
        for number in range(len(trajectory)):
            yield _frame(trajectory[number], None)


def _frame(atoms: Atoms, time_fs: float | None) -> Frame:
    info: dict[str, Any] = atoms.info
    step = next((int(info[name]) for name in _STEPS if name in info), None)
    efg = atoms.arrays.get('efg')
    time_fs = info.get('time_fs', time_fs)
    unread = [name for name in info if time_fs is None and name.lower() in _TIMES]
    return Frame(
        atoms.positions,
        atoms.cell.array if atoms.cell.rank == 3 else None,
        pbc=atoms.pbc,
        labels=np.array(atoms.get_chemical_symbols()),
        step=step,
        time_fs=time_fs,
        efg=None if efg is None else np.reshape(efg, (len(atoms), 3, 3)),
        notes=tuple(f'{name} of its comment lines is not read, as its unit is not known' for name in unread),
    )


def _cp2k_cells(path: Path, settings: ReadingSettings) -> dict[int, np.ndarray] | None:
    """Cells (3, 3) in Å by step, of a .cell file of CP2K: step, time, nine components, volume."""
    file = path.with_name(path.name.replace('-pos-', '-').removesuffix('.xyz') + '.cell')
    if settings.topology.endswith('.cell'):
        file = check_input(settings.topology, '.cell file')
    elif '-pos-' not in path.name or not file.is_file():
        return None
    rows = np.loadtxt(file, usecols=(0, *range(2, 11)), ndmin=2)
    return {int(row[0]): row[1:].reshape(3, 3) for row in rows}
