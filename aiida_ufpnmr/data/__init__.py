"""AiiDA data types: labelled structures, the models, trajectories."""

from aiida.orm import Data, StructureData

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.softness_model import SoftnessModelData
from aiida_ufpnmr.data.trajectory import TrajectoryData

__all__ = ('KINDS', 'NAMED', 'DatasetData', 'EfgModelData', 'PotentialData', 'SoftnessModelData', 'TrajectoryData')

#: Types of nodes by the names that commands have for what they hold.
NAMED: dict[str, type[Data]] = {
    'labels': DatasetData,
    'potential': PotentialData,
    'efg-model': EfgModelData,
    'softness-model': SoftnessModelData,
    'trajectory': TrajectoryData,
    'structure': StructureData,
}
#: All of them.
KINDS = (DatasetData, PotentialData, EfgModelData, SoftnessModelData, TrajectoryData)
