"""Displacements and hops in HDF5."""

from __future__ import annotations

import os

import numpy as np

from aiida_ufpnmr.engine.hdf5 import write_hdf5
from aiida_ufpnmr.engine.settings import settings_to_json
from aiida_ufpnmr.engine.trajectories.paths import IonPaths
from aiida_ufpnmr.engine.transport.hops import Hops
from aiida_ufpnmr.engine.transport.msd import Diffusion

VERSION = 1


def write_msd(path: str | os.PathLike, found: Diffusion, paths: IonPaths) -> None:
    """Write lag_ps, msd_angstrom2, band_lag_ps, band_angstrom2 and the fitted line."""
    with write_hdf5(path, 'msd', VERSION) as file:
        file['lag_ps'], file['msd_angstrom2'] = found.lag_ps, found.msd
        file['band_lag_ps'], file['band_angstrom2'] = found.band_lag_ps, found.band
        file['atom'] = paths.index
        file.attrs['species'], file.attrs['reference'] = paths.species, paths.reference
        file.attrs['slope_angstrom2_per_ps'], file.attrs['offset_angstrom2'] = found.slope, found.offset
        file.attrs['window_ps'] = found.window_ps
        file.attrs['diffusion_coefficient_cm2_per_s'] = found.coefficient_cm2_per_s
        file.attrs['diffusion_coefficient_cm2_per_s_ci95'] = found.ci95_cm2_per_s
        file.attrs['msd_exponent'], file.attrs['msd_exponent_ci95'] = found.exponent, found.exponent_ci95
        file.attrs['verdict'], file.attrs['reason'] = found.verdict, found.reason


def write_hops(path: str | os.PathLike, hops: Hops, paths: IonPaths) -> None:
    """Write one row a hop: atom, frame, time_ps, from_angstrom, to_angstrom, distance_angstrom."""
    with write_hdf5(path, 'hops', VERSION) as file:
        file['atom'] = paths.index[hops.ion] if len(hops.ion) else np.zeros(0, int)
        file['frame'], file['time_ps'] = hops.frame, hops.time_ps
        file['from_angstrom'], file['to_angstrom'] = hops.origin, hops.target
        file['distance_angstrom'] = hops.distance
        file.attrs['species'], file.attrs['reference'] = paths.species, paths.reference
        file.attrs['settings'] = settings_to_json(hops.settings)
        file.attrs['ions'], file.attrs['trajectory_ps'] = hops.n_ions, paths.length_ps
