"""Trajectories as arrays: NumPy and NetCDF files, and the displacements that pymatgen keeps as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import netcdf_file

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.elements import topology
from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings, cell_of, shortest
from aiida_ufpnmr.engine.trajectories.units import ANGSTROM, FEMTOSECONDS


def read_npy(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of an array (frames, atoms, 3), in Å or fractional, whose cell comes from the settings."""
    array = np.load(path, mmap_mode='r', allow_pickle=False)
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype.kind not in 'fiu':
        raise InputError(
            f'{path}: holds an array {array.shape} of {array.dtype}; needed are numbers (frames, atoms, 3)'
        )
    cell = settings.fixed_cell
    if cell is None and settings.topology:
        cell = topology(settings.topology).cell
    if settings.fractional and cell is None:
        raise InputError(f'{path}: fractional positions need a cell; give --topology with one, or --cell')
    if not settings.fractional and array.size and array.min() >= 0 and array.max() <= 1:
        raise InputError(f'{path}: all positions lie between 0 and 1; give --fractional')
    for positions in array:
        yield Frame(positions @ cell if settings.fractional else positions.astype(float), cell)


def read_netcdf(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of a NetCDF file in the convention of AMBER, as LAMMPS writes it, too."""
    with netcdf_file(path, 'r', maskandscale=True) as file:
        variables = file.variables
        if 'coordinates' not in variables:
            raise InputError(f'{path}: holds no coordinates as in the convention of AMBER')
        coordinates, time = variables['coordinates'], variables.get('time')
        to_angstrom = _factor(coordinates, ANGSTROM, 'angstrom', path)
        to_fs = _factor(time, FEMTOSECONDS, '', path) if time is not None else None
        for number in range(len(coordinates.data)):
            cell = None
            if 'cell_lengths' in variables:
                lengths = np.array(variables['cell_lengths'][number], float) * to_angstrom
                angles = variables['cell_angles'][number] if 'cell_angles' in variables else [90.0] * 3
                cell = cell_of([*lengths, *angles]) if lengths.all() else None
            yield Frame(
                np.array(coordinates[number], float) * to_angstrom,
                cell,
                oriented=False,
                time_fs=shortest(time[number]) * to_fs if to_fs and time is not None else None,
            )


def _factor(variable: Any, factors: Mapping[str, float], default: str, path: Path) -> float | None:
    """What turns the numbers of a variable into Å or fs; ``None`` where no unit is stated nor has a default."""
    unit = getattr(variable, 'units', default.encode()).decode().strip().lower() or default
    if unit and unit not in factors:
        raise InputError(f'{path}: states a unit {unit!r}, which is not known; write Å and ps')
    return factors.get(unit)


def read_pymatgen(path: Path, settings: ReadingSettings) -> Iterator[Frame]:
    """Frames of a DiffusionAnalyzer of pymatgen: a structure, and displacements (atoms, frames, 3) from it in Å."""
    content = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(content, dict) or content.get('@class') != 'DiffusionAnalyzer':
        raise InputError(f'{path}: is no DiffusionAnalyzer of pymatgen, the one kind of JSON that is read')
    sites = content['structure']['sites']
    if any(len(site['species']) != 1 or site['species'][0]['occu'] != 1 for site in sites):
        raise InputError(f'{path}: has sites with several elements, or partly filled; give an ordered structure')
    cell = np.array(content['structure']['lattice']['matrix'], float)
    labels = np.array([site['species'][0]['element'] for site in sites])
    start, displacements = np.array([site['abc'] for site in sites]) @ cell, np.array(content['displacements'], float)
    for number in range(displacements.shape[1]):
        step = number * int(content['step_skip'])
        yield Frame(
            start + displacements[:, number],
            cell,
            labels=labels,
            step=step,
            time_fs=step * float(content['time_step']),
            unwrapped=True,
        )
