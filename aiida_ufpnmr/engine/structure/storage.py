"""Sites in HDF5."""

from __future__ import annotations

import os

from aiida_ufpnmr.engine.analyses.by_site import SiteDistributions
from aiida_ufpnmr.engine.hdf5 import write_hdf5
from aiida_ufpnmr.engine.settings import settings_to_json
from aiida_ufpnmr.engine.structure.sites import Sites

VERSION = 1


def write_sites(path: str | os.PathLike, sites: Sites, found: SiteDistributions | None) -> None:
    """Write sites and, where there are EFG tensors, distributions::

    atom, time_ps                     (ions,), (frames,)
    site, coordination                (frames, ions): 0 for the fourfold and 1 for the sixfold site; soft neighbours
    distributions/<quantity>/edges    (bins + 1,) for c_q_khz, eta, omega_q_khz
    distributions/<quantity>/<site>   (bins,) probability density
    """
    with write_hdf5(path, 'sites', VERSION) as file:
        file['atom'], file['time_ps'] = sites.index, sites.time_fs * 1e-3
        file['site'], file['coordination'] = sites.site, sites.coordination
        file.attrs['species'], file.attrs['sites'] = sites.species, list(sites.names)
        file.attrs['settings'] = settings_to_json(sites.settings)
        if found is None:
            return
        for name, edges in found.edges.items():
            group = file.create_group(f'distributions/{name}')
            group['edges'] = edges
            for site, distribution in zip(found.names, found.values[name]):
                group[site] = distribution.density
                group[site].attrs['mean'], group[site].attrs['std'] = distribution.mean, distribution.std
