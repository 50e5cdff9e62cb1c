"""Correlation functions and what is made of them, in HDF5."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from aiida_ufpnmr.engine.hdf5 import write_hdf5
from aiida_ufpnmr.engine.nmr.microstructure import GrainSettings, Polycrystal
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, Curve
from aiida_ufpnmr.engine.nmr.orientations import Orientations
from aiida_ufpnmr.engine.nmr.relaxation_times import RelaxationTimes
from aiida_ufpnmr.engine.nmr.residual import ResidualCoupling
from aiida_ufpnmr.engine.nmr.spectra import Spectrum
from aiida_ufpnmr.engine.settings import settings_to_json
from aiida_ufpnmr.engine.timeseries.decay import DecayFit

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
                name = key.removesuffix('_ci95')
                in_ps = name in ('tau', 'tau_lower_bound', 'first_lag', 'last_lag', 'integral_time', 'time_to_1_e')
                group.attrs[f'{name}_ps{key.removeprefix(name)}' if in_ps else key] = value


def _plain(fit: DecayFit) -> dict:
    """The fit as numbers and words, without its components."""
    values = dataclasses.asdict(fit)
    del values['components']
    return values


def write_orientations(
    path: str | os.PathLike, found: Sequence[Orientations], field: tuple[float, float, float], convention: str
) -> None:
    """Write maps of orientations::

    <ions>/field_in_axes, axis_in_cell           (bins in cos θ, bins in φ) density, 1 where isotropic
    <ions>/… attributes                          tensors, well_defined_share, cos_theta_edges, phi_edges_rad
    """
    with write_hdf5(path, 'orientations', VERSION) as file:
        file.attrs['field_direction'], file.attrs['convention'] = field, convention
        for maps in found:
            group = file.create_group(maps.name or 'all')
            for key, one in (('field_in_axes', maps.field_in_axes), ('axis_in_cell', maps.axis_in_cell)):
                group[key] = one.density
                group[key].attrs['cos_theta_edges'], group[key].attrs['phi_edges_rad'] = one.cos_edges, one.phi_edges
                group[key].attrs['tensors'] = one.tensors
                group[key].attrs['well_defined_share'] = one.well_defined_share


def write_polycrystals(
    path: str | os.PathLike, found: Sequence[Polycrystal], residual: ResidualCoupling, settings: GrainSettings
) -> None:
    """Write the correlation functions of polycrystals::

    lag_ns                                       (lags,)
    c                                            (polycrystals, lags), one at the first lag
    grain_nm, diffusion_coefficient_cm2_per_s, temperature_K, tau_ms, residual_share    (polycrystals,)
    mean_tensor_khz                              (3, 3) of the first run
    """
    with write_hdf5(path, 'microstructure', VERSION) as file:
        file['lag_ns'], file['c'] = found[0].lag_ns, [one.c for one in found]
        for key, name in (
            ('grain_nm', 'grain_nm'),
            ('diffusion_coefficient_cm2_per_s', 'diffusion_cm2_per_s'),
            ('temperature_K', 'temperature_k'),
            ('tau_ms', 'tau_ms'),
            ('residual_share', 'residual_share'),
        ):
            file[key] = [getattr(one, name) for one in found]
        file['mean_tensor_khz'] = residual.mean_tensor
        file.attrs['settings'] = settings_to_json(settings)
        file.attrs['verdict'] = residual.verdict


def write_relaxation_times(
    path: str | os.PathLike, found: RelaxationTimes, c: np.ndarray, error: np.ndarray, verdict: str
) -> None:
    """Write a distribution of relaxation times::

    tau_ps, density, band                        (n,), (n,), (n, 2): per unit of ln τ
    lag_ps, c, error, fitted                     (points,)
    """
    with write_hdf5(path, 'relaxation-times', VERSION) as file:
        file['tau_ps'], file['density'], file['band'] = found.tau, found.density, found.band
        file['lag_ps'], file['c'], file['error'], file['fitted'] = found.lag, c, error, found.fitted
        file.attrs['plateau'], file.attrs['misfit'] = found.plateau, found.misfit
        file.attrs['rule'], file.attrs['strength'], file.attrs['verdict'] = found.rule, found.strength, verdict


def write_spectra(path: str | os.PathLike, found: Sequence[Spectrum]) -> None:
    """Write spectra: frequency_khz (points,), intensity_per_khz (spectra, points), mas_khz (spectra,)."""
    with write_hdf5(path, 'spectra', VERSION) as file:
        file['frequency_khz'] = found[0].frequency_khz
        file['intensity_per_khz'], file['mas_khz'] = [one.intensity for one in found], [one.mas_khz for one in found]
