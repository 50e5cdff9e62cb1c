"""Dynamic solid-state NMR of ion conductors from first principles.

In a notebook, ``import aiida_ufpnmr as un`` has the way from labels to a decay time in a few calls; AiiDA is not
imported::

    labels = un.read_labels('labels.extxyz')
    potential = un.fit_potential(labels)
    efg_model = un.fit_efg(labels, species='Li')
    run = un.run_md(potential, labels[0], 'run.h5', steps=100_000, temperature_K=900, efg_model=efg_model)
    acf = un.acf(run)
    acf.plot()
"""

from __future__ import annotations

import importlib
from typing import Any

from aiida_ufpnmr.version import __version__ as __version__

#: Public names and the modules of the engine that hold them, imported when they are asked for.
_NAMES = {
    'read_labels': 'dft.label_files',
    'read_structure': 'dataset',
    'read_crystal': 'crystals',
    'order_crystal': 'building.ordering',
    'pack_glass': 'building.glass_packing',
    'GlassSettings': 'building.glass',
    'find_units': 'structure',
    'fit_potential': 'notebook',
    'fit_efg': 'notebook',
    'run_md': 'notebook',
    'UltraFastPotential': 'ufp',
    'UltraFastCalculator': 'ufp',
    'EfgModel': 'efg',
    'Trajectory': 'trajectories.trajectory',
    'fit_arrhenius': 'transport.arrhenius',
    'convert_trajectory': 'trajectories.convert',
    'ReadingSettings': 'trajectories.frames',
    'InputError': 'errors',
}


def _analyses() -> list[str]:
    """Names of the analyses in Python, with underscores for hyphens."""
    from aiida_ufpnmr.engine.analyses import ANALYSES

    return [name.replace('-', '_') for name in ANALYSES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f'{__name__}.engine.{_NAMES[name]}'), name)
    if name in _analyses():
        from aiida_ufpnmr.engine.analyses import get_analysis

        return get_analysis(name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES, *_analyses()])
