"""AiiDA data types: labelled structures, the models, trajectories."""

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.softness_model import SoftnessModelData
from aiida_ufpnmr.data.trajectory import TrajectoryData

__all__ = ('KINDS', 'DatasetData', 'EfgModelData', 'PotentialData', 'SoftnessModelData', 'TrajectoryData')

#: All of them.
KINDS = (DatasetData, PotentialData, EfgModelData, SoftnessModelData, TrajectoryData)
