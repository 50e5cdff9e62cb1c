"""EFG models as HDF5 files."""

from __future__ import annotations

import dataclasses
import json
import os

import h5py
import numpy as np

from aiida_ufpnmr.engine.efg.content import EfgContent
from aiida_ufpnmr.engine.efg.design import Design
from aiida_ufpnmr.engine.efg.domain import Domain
from aiida_ufpnmr.engine.efg.messages import RANKS, message_count
from aiida_ufpnmr.engine.efg.posterior import EfgPosterior
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.sparse import SparseKernel
from aiida_ufpnmr.engine.efg.terms import KernelTerms, LinearTerms
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.regression.calibration import Noise
from aiida_ufpnmr.engine.regression.posterior import pack, unpack
from aiida_ufpnmr.engine.settings import settings_from_mapping, settings_to_json

KIND, FORMAT_VERSION = 'efg-model', 3
CONVENTION = 'V_ij = d2V/dx_i dx_j, atomic units, Cartesian frame of the cell'
#: Of predicted tensors and expected errors, and the order of the five components inside.
UNIT = 'a.u.'
IRREPS = 'orthonormal real l = 2 components xy, yz, 3z2-r2, xz, x2-y2'
#: Settings of models that were fitted before neighbours were asked.
BEFORE_MESSAGES = {'message_channels': 0}
#: Weights of a linear model; the first versions had no messages.
_LINEAR = ('linear_weights', 'pair_weights', 'message_weights')
_NOISE = ('floor', 'scale', 'power')
_DOMAIN = ('mean', 'directions', 'stretch')


def write_hdf5_file(model: EfgContent, path: str | os.PathLike) -> None:
    """Write a model, whole or not at all; its posterior takes 2 n² bytes for n columns."""
    with write_hdf5(path, KIND, FORMAT_VERSION) as file:
        file.attrs.update(
            species=model.species,
            isotope=model.isotope,
            known_species=json.dumps(model.known_species),
            settings=settings_to_json(model.settings),
            penalty=model.penalty,
            training_sha256=model.training_sha256,
            convention=CONVENTION,
            unit=UNIT,
            irreps=IRREPS,
        )
        file['mixing'], file['message_mixing'] = model.mixing, model.message_mixing
        if isinstance(model.terms, KernelTerms):
            kernel = file.create_group('kernel')
            kernel.attrs['zeta'] = model.terms.zeta
            kernel['directions'], kernel['points'] = model.terms.directions, model.terms.points
            kernel['directions'].attrs['unit'] = UNIT
        else:
            for name in _LINEAR:
                file[name] = getattr(model.terms, name)
                file[name].attrs['unit'] = UNIT
        if model.posterior is not None:
            _write_posterior(model.posterior, file.create_group('posterior'))


def _write_posterior(posterior: EfgPosterior, group: h5py.Group) -> None:
    design, domain = posterior.design, posterior.domain
    group.attrs['scale'] = design.scale
    group.attrs.update({f'noise_{name}': getattr(posterior.noise, name) for name in _NOISE})
    if design.kernel is not None:
        group['equivariant'], group['projection'] = design.kernel.equivariant, design.kernel.projection
    group['whitening'] = pack(posterior.whitening)
    training = group.create_group('domain')
    for name in _DOMAIN:
        training[name] = getattr(domain, name)
    training.attrs.update(other=domain.other, limit=domain.limit)


def read_hdf5_file(path: str | os.PathLike) -> EfgContent:
    """Read what :func:`write_hdf5_file` wrote, also with earlier versions of the format.

    Raises:
        InputError: no such file, no EFG model, damaged, or of a newer format.
    """
    with read_hdf5(path, KIND, FORMAT_VERSION) as file:
        stored = {**BEFORE_MESSAGES, **json.loads(file.attrs['settings'])}
        settings = settings_from_mapping(EfgSettings, stored, str(path))
        known_species = tuple(json.loads(file.attrs['known_species']))
        mixing = file['mixing'][...]
        if 'message_mixing' in file:
            message_mixing = file['message_mixing'][...]
        else:
            message_mixing = np.zeros((len(RANKS), len(known_species), mixing.shape[1], 0))
        terms = _read_terms(file)
        if not all(np.isfinite(array).all() for array in (mixing, message_mixing, *terms.arrays)):
            raise ValueError('weights are NaN or infinite')
        content = EfgContent(
            species=str(file.attrs['species']),
            isotope=str(file.attrs['isotope']),
            known_species=known_species,
            settings=settings,
            penalty=float(file.attrs['penalty']),
            mixing=mixing,
            message_mixing=message_mixing,
            terms=terms,
            training_sha256=str(file.attrs['training_sha256']),
        )
        if 'posterior' not in file:
            return content
        return dataclasses.replace(content, posterior=_read_posterior(file['posterior'], content))


def _read_terms(file: h5py.File) -> LinearTerms | KernelTerms:
    if 'kernel' in file:
        kernel = file['kernel']
        return KernelTerms(int(kernel.attrs['zeta']), kernel['directions'][...], kernel['points'][...])
    return LinearTerms(*(file[name][...] if name in file else np.zeros(0) for name in _LINEAR))


def _read_posterior(group: h5py.Group, model: EfgContent) -> EfgPosterior:
    terms, settings, told = model.terms, model.settings, model.message_mixing.shape[-1]
    kernel = None
    if isinstance(terms, KernelTerms):
        kernel = SparseKernel(group['equivariant'][...], terms.points, terms.zeta, group['projection'][...])
    design = Design(
        l_max=settings.l_max,
        channels=model.mixing.shape[-1],
        messages=message_count(settings.l_max, len(model.known_species), settings.n_max, told),
        scale=float(group.attrs['scale']),
        kernel=kernel,
    )
    whitening = unpack(group['whitening'][...])
    if len(whitening) != design.n_columns:
        raise ValueError('the posterior does not fit the weights')
    training = group['domain']
    return EfgPosterior(
        design=design,
        whitening=whitening,
        penalty=model.penalty,
        noise=Noise(*(float(group.attrs[f'noise_{name}']) for name in _NOISE)),
        domain=Domain(
            **{name: training[name][...] for name in _DOMAIN},
            other=float(training.attrs['other']),
            limit=float(training.attrs['limit']),
        ),
    )
