"""Collective displacement of charge, and the conductivity that it makes."""

from __future__ import annotations

import numpy as np
from scipy.constants import elementary_charge, k

from aiida_ufpnmr.engine.building.charges import charges_of
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.paths import position_blocks
from aiida_ufpnmr.engine.trajectories.series import LOG
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, regular_frames

#: (e²/Å³)(Å²/ps)/(k_B · 1 K) in S/cm.
S_PER_CM = elementary_charge**2 * 1e-20 / 1e-12 / 1e-30 / k / 100


def ion_charges(trajectory: Trajectory, given: dict[str, float]) -> np.ndarray:
    """Formal charges of the atoms in e, (n_atoms,): as given by element, or the common ones.

    Raises:
        InputError: a charge that is not known, one of an element that is not there, or a cell that is not neutral, in
            which the current depends on what is held still.
    """
    symbols = trajectory.symbols
    by_element = charges_of(dict.fromkeys(symbols), given)
    charges = np.array([by_element[symbol] for symbol in symbols])
    if abs(charges.sum()) > 1e-6:
        words = ','.join(f'{element}={charge:g}' for element, charge in by_element.items())
        raise InputError(f'the charges {words} leave {charges.sum():+g} e in the cell; give others with --charges')
    return charges


def charge_displacement(trajectory: Trajectory, charges: np.ndarray, skip_fs: float) -> tuple[np.ndarray, float]:
    """Sum of charge times unwrapped position, (n_frames, 3) in e·Å, and the mean volume of the cell in Å³."""
    frames = regular_frames(trajectory.time_fs, skip_fs, trajectory.path)
    moments = [np.einsum('fax,a->fx', part, charges) for part in position_blocks(trajectory, frames)]
    volumes = np.abs(np.linalg.det(trajectory.cells(frames.start, frames.stop)))
    return np.concatenate(moments), float(volumes.mean())


def mean_temperature_K(trajectory: Trajectory, skip_fs: float) -> float:
    """Mean temperature that the run wrote.

    Raises:
        InputError: the file has no temperatures, as that of another program.
    """
    name = f'{LOG}/temperature_K'
    if name not in trajectory:
        raise InputError(f'{trajectory.path}: holds no temperatures; give one with --temperature-k')
    series = trajectory.series(name)
    time_fs = series['time'][...]
    return float(series['value'][...][time_fs >= time_fs[0] + skip_fs].mean())
