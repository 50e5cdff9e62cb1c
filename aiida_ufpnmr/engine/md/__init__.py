"""Molecular dynamics: simulation, trajectory, checkpoint."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.md.run import run_md
    from aiida_ufpnmr.engine.md.simulation import Simulation
    from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, TrajectoryWriter

__all__ = ['Simulation', 'Trajectory', 'TrajectoryWriter', 'run_md']

#: Where each name is; kernels take a while to import, and the settings beside them are checked without.
_MODULES = {'Simulation': 'md.simulation', 'run_md': 'md.run'}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = _MODULES.get(name, 'trajectories.trajectory')
    return getattr(importlib.import_module(f'aiida_ufpnmr.engine.{module}'), name)
