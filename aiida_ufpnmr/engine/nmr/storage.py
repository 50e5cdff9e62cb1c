"""Correlation functions in HDF5."""

from __future__ import annotations

import dataclasses
import os

from aiida_ufpnmr.engine.hdf5 import write_hdf5
from aiida_ufpnmr.engine.nmr.decay import DecayFit
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, Curve
from aiida_ufpnmr.engine.settings import settings_to_json

KIND, VERSION = 'acf', 1


def write_curves(
    path: str | os.PathLike, curves: dict[str, Curve], settings: AcfSettings, *, species: str, ion_index
) -> None:
    """Write correlation functions::

        observables/<name>/lag_ps, c, fit            (lags,)
        observables/<name>/band_lag_ps, band         (bins,), (bins, 2): 2.5 and 97.5 % of the bootstrap
        observables/<name>/per_ion                   (ions, bins), in units of the mean at lag 0
        observables/<name> attributes                label and the fit: verdict, tau_ps, tau_ps_ci95, …
        ion_index                                    (ions,) atom indices
    """
    with write_hdf5(path, KIND, VERSION) as file:
        file.attrs['settings'] = settings_to_json(settings)
        file.attrs['species'] = species
        file['ion_index'] = ion_index
        for name, curve in curves.items():
            group = file.create_group(f'observables/{name}')
            group['lag_ps'] = curve.lag
            group['c'] = curve.c
            group['fit'] = curve.fit.curve(curve.lag)
            if len(curve.band_lag):
                group['band_lag_ps'] = curve.band_lag
                group['band'] = curve.band
                group['per_ion'] = curve.per_ion
            group.attrs['label'] = curve.label
            for speed, part in zip(('fast', 'slow'), curve.fit.components):
                group.attrs[f'{speed}_tau_ps'], group.attrs[f'{speed}_tau_ps_ci95'] = part.tau, part.tau_ci95
                group.attrs[f'{speed}_weight'], group.attrs[f'{speed}_weight_ci95'] = part.weight, part.weight_ci95
            for key, value in _plain(curve.fit).items():
                in_ps = key in ('tau', 'tau_lower_bound', 'first_lag', 'last_lag')
                group.attrs[f'{key}_ps' if in_ps else {'tau_ci95': 'tau_ps_ci95'}.get(key, key)] = value


def _plain(fit: DecayFit) -> dict:
    """The fit as numbers and words, without its components."""
    values = dataclasses.asdict(fit)
    del values['components']
    return values
