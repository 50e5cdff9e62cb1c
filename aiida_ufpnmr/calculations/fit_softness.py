"""Fit a softness model."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec

from aiida_ufpnmr.calculations.base import UfpnmrCalculation
from aiida_ufpnmr.data.softness_model import SoftnessModelData
from aiida_ufpnmr.data.trajectory import TrajectoryData


class FitSoftnessCalculation(UfpnmrCalculation):
    """Fits what tells mobile from immobile ions by their surroundings (`ufpnmr fit-softness`)."""

    ENTRY_POINT = 'ufpnmr.fit_softness'
    COMMAND = 'fit-softness'
    INPUT_FILES = {'trajectories': ('', 'run-{}.h5'), 'withhold': ('--withhold', 'withheld-{}.h5')}
    OUTPUT_FILE = 'softness-model.h5'
    OUTPUT = ('softness_model', SoftnessModelData, 'The softness model.')
    HAS_FIGURE = True

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        text = 'Trajectories to fit to; without `withhold` each, or parts of the ions of a single one, judges in turn.'
        spec.input_namespace('trajectories', valid_type=TrajectoryData, dynamic=True, help=text)
        text = 'Trajectories to judge on, which nothing is fitted to.'
        spec.input_namespace('withhold', valid_type=TrajectoryData, dynamic=True, required=False, help=text)
