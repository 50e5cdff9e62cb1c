"""Means over the log of a trajectory, however long it is and however many runs it took to make it."""

from __future__ import annotations

import os

import numpy as np

from aiida_ufpnmr.engine.md.recording import GRADE
from aiida_ufpnmr.engine.trajectories.series import LOG, grade_series
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

_ROWS = 1 << 18


class _Sums:
    """Mean and variance of a quantity, and its slope over time, from parts of a series."""

    def __init__(self):
        self.count, self.mean, self.square = 0, np.zeros(2), np.zeros((2, 2))

    def add(self, time: np.ndarray, value: np.ndarray) -> None:
        """Chan, Golub & LeVeque, Am. Stat. 37, 242 (1983): the sums of two parts from those of each."""
        part = np.stack([time, value])
        count, mean = part.shape[1], part.mean(axis=1)
        off = mean - self.mean
        self.square += (part - mean[:, None]) @ (part - mean[:, None]).T
        self.square += np.outer(off, off) * self.count * count / (self.count + count)
        self.mean += off * count / (self.count + count)
        self.count += count

    @property
    def value(self) -> float | None:
        return float(self.mean[1]) if self.count else None

    @property
    def spread(self) -> float | None:
        return float(np.sqrt(self.square[1, 1] / self.count)) if self.count else None

    @property
    def slope(self) -> float | None:
        return self.square[0, 1] / self.square[0, 0] if self.count > 2 else None


def _sums(trajectory: Trajectory, name: str) -> _Sums:
    series, sums = trajectory.series(name), _Sums()
    for start in range(0, len(series['value']), _ROWS):
        rows = slice(start, start + _ROWS)
        sums.add(series['time'][rows] / 1000, series['value'][rows])
    return sums


def log_statistics(path: str | os.PathLike, n_atoms: int) -> dict:
    """Means of a trajectory's log; null where it has no rows."""
    with Trajectory(path) as trajectory:

        def sums(name: str) -> _Sums:
            return _sums(trajectory, f'{LOG}/{name}') if f'{LOG}/{name}' in trajectory else _Sums()

        temperature, pressure, volume = sums('temperature_K'), sums('pressure_GPa'), sums('volume_angstrom3')
        drift = sums('conserved_energy_eV').slope
        return {
            'frames': trajectory.n_frames,
            'temperature_mean_K': temperature.value,
            'temperature_std_K': temperature.spread,
            'pressure_mean_GPa': pressure.value,
            'pressure_std_GPa': pressure.spread,
            'volume_mean_angstrom3': volume.value,
            'energy_drift_meV_per_atom_per_ps': None if drift is None else 1000 * drift / n_atoms,
            'extrapolation_grade_max': trajectory.series(GRADE)['value'][...].max() if GRADE in trajectory else None,
            **_efg_grades(trajectory),
        }


def _efg_grades(trajectory: Trajectory) -> dict:
    """Extrapolation grades of the EFG model for the surroundings of the ions; null where nobody looked."""
    names = [name for name in map(grade_series, trajectory.efg_species) if name in trajectory]
    count, beyond, largest = 0, 0, None
    for name in names:
        values = trajectory.series(name)['value']
        rows = max(1, _ROWS // values.shape[1])
        for start in range(0, len(values), rows):
            part = values[start : start + rows]
            count, beyond = count + part.size, beyond + int((part > 1).sum())
            largest = max(largest or 0.0, float(part.max()))
    return {'efg_extrapolation_grade_max': largest, 'efg_extrapolating_fraction': beyond / count if count else None}
