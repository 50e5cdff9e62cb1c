"""EFG tensors of structures or along a trajectory."""

from __future__ import annotations

from collections.abc import Mapping

from aiida.engine import CalcJobProcessSpec
from aiida.orm import SinglefileData, StructureData

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, optional, validate_ordered
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.settings import parameters_of
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings

SOURCES = ('structure', 'dataset', 'trajectory')


class PredictEfgCalculation(UfpnmrCalculation):
    """Predicts EFG tensors for structures or along a trajectory (`ufpnmr predict-efg`)."""

    ENTRY_POINT = 'ufpnmr.predict_efg'
    COMMAND = 'predict-efg'
    #: What files of other programs do not say: trajectories in the database do.
    NO_PARAMETERS = (*parameters_of(ReadingSettings), 'threads', 'restart')
    INPUT_FILES = {
        'efg_model': ('', 'efg-model.h5'),
        'structure': ('', 'structures.extxyz'),
        'dataset': ('', 'structures.extxyz'),
        'trajectory': ('', 'trajectory.h5'),
    }
    OUTPUT_FILE = 'prediction.extxyz'
    OUTPUT = ('predictions', SinglefileData, 'The structures with tensors, as extended XYZ.')
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
        spec.inputs['structure'].validator = validate_ordered
        optional(spec.output, ('trajectory', TrajectoryData, 'The tensors along the trajectory.'))

    @classmethod
    def validate_inputs(cls, inputs: Mapping, context: object) -> str | None:
        """Refuse inputs with nothing to predict for, or with several such things."""
        given = [name for name in SOURCES if name in inputs]
        if len(given) != 1:
            return f'give exactly one of {", ".join(SOURCES)}, not {len(given)}'
        return super().validate_inputs(inputs, context)

    @property
    def output_file(self) -> str:
        return self.TRAJECTORY_FILE if 'trajectory' in self.inputs else self.OUTPUT_FILE
