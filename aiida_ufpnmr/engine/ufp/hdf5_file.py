"""Potentials as HDF5 files, which carry everything that is known of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.settings import settings_from_mapping, settings_to_json
from aiida_ufpnmr.engine.ufp.content import PotentialContent
from aiida_ufpnmr.engine.ufp.posterior import Posterior
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.terms import read_terms, write_terms

KIND, FORMAT_VERSION = 'potential', 2


def write_hdf5_file(potential: PotentialContent, path: str | os.PathLike) -> list[str]:
    """Write a potential as HDF5, whole or not at all; nothing of it is lost."""
    with write_hdf5(path, KIND, FORMAT_VERSION) as file:
        file.attrs['units'] = 'eV, Angstrom'
        file.attrs['species'] = list(potential.species)
        file.attrs['settings'] = '{}' if potential.settings is None else settings_to_json(potential.settings)
        file.attrs['training_sha256'] = potential.training_sha256
        file['one_body'] = potential.one_body
        file['closest_distance'] = potential.closest_distance
        write_terms(file, potential.pairs, potential.trios)
        if potential.posterior is not None:
            potential.posterior.write(file.create_group('posterior'))
    return []


def read_hdf5_file(path: Path) -> PotentialContent:
    """Read what :func:`write_hdf5_file` wrote.

    Raises:
        InputError: the file is damaged, foreign, or newer or older than this program knows.
    """
    with read_hdf5(path, KIND, FORMAT_VERSION, oldest=FORMAT_VERSION) as file:
        species = tuple(str(name) for name in file.attrs['species'])
        pairs, trios = read_terms(file, species)
        settings = json.loads(file.attrs['settings'])
        content = PotentialContent(
            species=species,
            one_body=file['one_body'][...],
            pairs=pairs,
            trios=trios,
            closest_distance=file['closest_distance'][...],
            settings=settings_from_mapping(PotentialSettings, settings, str(path)) if settings else None,
            training_sha256=str(file.attrs['training_sha256']),
            posterior=Posterior.read(file['posterior']) if 'posterior' in file else None,
        )
        if content.posterior is not None:
            content.posterior.check(len(species), content.basis.n_columns)
        return content
