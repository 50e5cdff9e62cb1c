"""The choice of structures of trajectories for labelling."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, optional
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData


class SelectCalculation(UfpnmrCalculation):
    """Chooses the structures whose labels would tell the models most (`ufpnmr select`)."""

    ENTRY_POINT = 'ufpnmr.select'
    COMMAND = 'select'
    INPUT_FILES = {
        'potential': ('', 'potential.h5'),
        'trajectories': ('', '{}.h5'),
        'efg_model': ('--efg-model', 'efg-model.h5'),
        'committee': ('--committee', 'committee-{}.h5'),
    }
    OUTPUT_FILE = 'picked.extxyz'
    OUTPUT = ('dataset', DatasetData, 'The structures that were chosen, without labels.')

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('potential', valid_type=PotentialData, help='The potential, with its posterior.')
        optional(spec.input, ('efg_model', EfgModelData, 'The EFG model, to choose what tells it most, too.'))
        text = 'Potentials fitted to resamples of the labels, for the method committee.'
        spec.input_namespace('committee', valid_type=PotentialData, dynamic=True, required=False, help=text)
        text = 'Trajectories to choose from; the names become groups of the structures.'
        spec.input_namespace('trajectories', valid_type=TrajectoryData, dynamic=True, help=text)
