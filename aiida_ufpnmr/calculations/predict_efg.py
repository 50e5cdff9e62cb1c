"""EFG tensors of structures or along a trajectory."""

from __future__ import annotations

from collections.abc import Mapping

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Data, SinglefileData, StructureData

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, optional
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.commands.options import option_names
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings

SOURCES = ('structure', 'dataset', 'trajectory')


def validate_source(inputs: Mapping, _) -> str | None:
    """One thing to predict for, no more and no less."""
    given = [name for name in SOURCES if name in inputs]
    return None if len(given) == 1 else f'give exactly one of {", ".join(SOURCES)}, not {len(given)}'


class PredictEfgCalculation(UfpnmrCalculation):
    """Predicts EFG tensors for structures or along a trajectory (`ufpnmr predict-efg`)."""

    ENTRY_POINT = 'ufpnmr.predict_efg'
    COMMAND = 'predict-efg'
    #: What files of other programs do not say: trajectories in the database do.
    NO_PARAMETERS = (*option_names(ReadingSettings), 'cores', 'restart')
    OUTPUT_FILE = 'prediction.extxyz'
    #: A trajectory of tensors is written instead where a trajectory was given.
    TRAJECTORY_FILE = 'prediction.h5'
    MORE_OUTPUT = (TRAJECTORY_FILE,)

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('efg_model', valid_type=EfgModelData, help='The EFG model.')
        optional(
            spec.input,
            ('structure', StructureData, 'Predict for this structure.'),
            ('dataset', DatasetData, 'Predict for all structures of this set.'),
            ('trajectory', TrajectoryData, 'Predict for all frames of this trajectory.'),
        )
        spec.inputs.validator = validate_source
        optional(
            spec.output,
            ('predictions', SinglefileData, 'The structures with tensors, as extended XYZ.'),
            ('trajectory', TrajectoryData, 'The tensors along the trajectory.'),
        )

    @classmethod
    def example_arguments(cls) -> list[str]:
        return ['predict-efg', 'MODEL', 'STRUCTURES', '-o', cls.OUTPUT_FILE]

    def file_arguments(self) -> list[str]:
        if 'trajectory' in self.inputs:
            return ['efg-model.h5', 'trajectory.h5', '-o', self.TRAJECTORY_FILE]
        return ['efg-model.h5', 'structures.extxyz', '-o', self.OUTPUT_FILE]

    def input_files(self) -> Mapping[str, Data]:
        source = next(name for name in SOURCES if name in self.inputs)
        name = 'trajectory.h5' if source == 'trajectory' else 'structures.extxyz'
        return {'efg-model.h5': self.inputs.efg_model, name: self.inputs[source]}
