"""Molecular dynamics: simulation, trajectory, checkpoint."""

from aiida_ufpnmr.engine.md.run import run_md
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, TrajectoryWriter

__all__ = ['Simulation', 'Trajectory', 'TrajectoryWriter', 'run_md']
