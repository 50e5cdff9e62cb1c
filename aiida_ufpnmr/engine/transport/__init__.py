"""Motion of ions along a trajectory: diffusion and hops."""

from aiida_ufpnmr.engine.trajectories.paths import IonPaths, ion_paths
from aiida_ufpnmr.engine.transport.hops import Hops, HopSettings, find_hops, hop_rate
from aiida_ufpnmr.engine.transport.msd import Diffusion, diffusion, mean_square_displacement

__all__ = [
    'Diffusion',
    'HopSettings',
    'Hops',
    'IonPaths',
    'diffusion',
    'find_hops',
    'hop_rate',
    'ion_paths',
    'mean_square_displacement',
]
