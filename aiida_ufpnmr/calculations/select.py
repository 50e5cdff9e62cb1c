"""Structures of trajectories to label."""

from __future__ import annotations

from collections.abc import Mapping

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Data

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, optional
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData


class SelectCalculation(UfpnmrCalculation):
    """Chooses the structures whose labels would tell the models most (`ufpnmr select`)."""

    ENTRY_POINT = 'ufpnmr.select'
    COMMAND = 'select'
    OUTPUT_FILE = 'picked.extxyz'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('potential', valid_type=PotentialData, help='The potential, with its posterior.')
        optional(spec.input, ('efg_model', EfgModelData, 'The EFG model, to choose what tells it most, too.'))
        text = 'Potentials fitted to resamples of the labels, for the method committee.'
        spec.input_namespace('committee', valid_type=PotentialData, dynamic=True, required=False, help=text)
        text = 'Trajectories to choose from; the names become groups of the structures.'
        spec.input_namespace('trajectories', valid_type=TrajectoryData, dynamic=True, help=text)
        optional(spec.output, ('dataset', DatasetData, 'The structures that were chosen, without labels.'))

    @classmethod
    def example_arguments(cls) -> list[str]:
        return [cls.COMMAND, 'POTENTIAL', 'TRAJECTORY', '-o', cls.OUTPUT_FILE]

    def file_arguments(self) -> list[str]:
        trajectories = [f'{name}.h5' for name in sorted(self.inputs.trajectories)]
        efg = ['--efg-model', 'efg-model.h5'] if 'efg_model' in self.inputs else []
        committee = [word for name in self._committee() for word in ('--committee', name)]
        return ['potential.h5', *trajectories, '-o', self.OUTPUT_FILE, *efg, *committee]

    def input_files(self) -> Mapping[str, Data]:
        trajectories = {f'{name}.h5': node for name, node in self.inputs.trajectories.items()}
        efg = {'efg-model.h5': self.inputs.efg_model} if 'efg_model' in self.inputs else {}
        return {'potential.h5': self.inputs.potential, **efg, **self._committee(), **trajectories}

    def _committee(self) -> dict[str, PotentialData]:
        return {f'committee-{name}.h5': node for name, node in sorted(self.inputs.get('committee', {}).items())}
