"""Potentials as HDF5 files, which carry everything that is known of them."""

from __future__ import annotations

import os
from pathlib import Path

from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.ufp.content import PotentialContent
from aiida_ufpnmr.engine.ufp.moments import MomentTerms
from aiida_ufpnmr.engine.ufp.posterior import Posterior
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.terms import read_terms, write_terms

#: Versions without and with moments: programs that know none must not read a potential with them.
KIND, PLAIN_VERSION, FORMAT_VERSION = 'potential', 2, 3


def write_hdf5_file(potential: PotentialContent, path: str | os.PathLike) -> list[str]:
    """Write a potential as HDF5, whole or not at all; nothing of it is lost."""
    version = PLAIN_VERSION if potential.moments is None else FORMAT_VERSION
    with write_hdf5(path, KIND, version) as file:
        file.attrs['units'] = 'eV, Angstrom'
        file.attrs['species'] = list(potential.species)
        file.attrs['settings'] = '{}' if potential.settings is None else potential.settings.to_json()
        file.attrs['training_sha256'] = potential.training_sha256
        file['one_body'] = potential.one_body
        file['closest_distance'] = potential.closest_distance
        write_terms(file, potential.pairs, potential.triplets)
        if potential.moments is not None:
            potential.moments.write(file.create_group('moments'))
        if potential.posterior is not None:
            potential.posterior.write(file.create_group('posterior'))
    return []


def read_hdf5_file(path: Path) -> PotentialContent:
    """Read what :func:`write_hdf5_file` wrote.

    Raises:
        InputError: the file is damaged, foreign, or newer or older than this program knows.
    """
    with read_hdf5(path, KIND, FORMAT_VERSION, oldest=PLAIN_VERSION) as file:
        species = tuple(str(name) for name in file.attrs['species'])
        pairs, triplets = read_terms(file, species)
        settings = str(file.attrs['settings'])
        content = PotentialContent(
            species=species,
            one_body=file['one_body'][...],
            pairs=pairs,
            triplets=triplets,
            closest_distance=file['closest_distance'][...],
            settings=None if settings == '{}' else PotentialSettings.from_json(settings, str(path)),
            training_sha256=str(file.attrs['training_sha256']),
            moments=MomentTerms.read(file['moments'], len(species)) if 'moments' in file else None,
            posterior=Posterior.read(file['posterior']) if 'posterior' in file else None,
        )
        if content.posterior is not None:
            content.posterior.check(len(species), content.basis.n_columns)
        return content
