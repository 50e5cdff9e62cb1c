"""Softness over several runs: what it goes with, and the barriers and the onset temperature that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from aiida.engine import CalcJobProcessSpec
from aiida.orm import Dict, SinglefileData

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, optional, plain_input
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.softness_model import SoftnessModelData
from aiida_ufpnmr.data.trajectory import TrajectoryData


def validate_temperatures(value: Dict, _: object) -> str | None:
    """Refuse what is no temperature of a run."""
    wrong = [
        f'{label}: {one!r}'
        for label, one in value.get_dict().items()
        if type(one) not in (int, float) or not 0 < one < math.inf
    ]
    return f'temperatures must be numbers above zero, in K, not {"; ".join(wrong)}' if wrong else None


class SoftnessOnsetCalculation(UfpnmrCalculation):
    """Finds barriers by softness and the onset temperature from several temperatures (`ufpnmr softness-onset`)."""

    ENTRY_POINT = 'ufpnmr.softness_onset'
    COMMAND = 'softness-onset'
    INPUT_FILES = {'softness': ('', 'softness-{}.h5')}
    OUTPUT_FILE = 'onset.h5'
    OUTPUT = ('functions', SinglefileData, 'The law with P_R(S) of each run, as HDF5.')
    HAS_FIGURE = True

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        text = 'The output `functions` of the analysis `softness` of each run, all with one model.'
        spec.input_namespace('softness', valid_type=SinglefileData, dynamic=True, help=text)
        text = 'Temperature of each run in K, by its name in `softness`.'
        plain_input(spec, 'temperatures_K', Dict, text, validator=validate_temperatures)

    @classmethod
    def validate_inputs(cls, inputs: Mapping, context: object) -> str | None:
        """Refuse results without a temperature."""
        if 'temperatures_K' not in inputs:
            return None  # exposed by a workflow, which has checked them
        without = sorted(set(inputs.get('softness', {})) - set(inputs['temperatures_K'].get_dict()))
        return f'temperatures_K: no temperature of {", ".join(without)}' if without else None

    def file_arguments(self) -> list[str]:
        kelvin, (_, file) = self.inputs.temperatures_K.get_dict(), self.INPUT_FILES['softness']
        runs = [f'{kelvin[label]}={file.format(label)}' for label in sorted(self.inputs.softness)]
        return [*runs, '-o', self.output_file]


class SoftnessCorrelationsCalculation(UfpnmrCalculation):
    """Finds what soft ions have around them, in one run or several (`ufpnmr softness-correlations`)."""

    ENTRY_POINT = 'ufpnmr.softness_correlations'
    COMMAND = 'softness-correlations'
    NO_PARAMETERS = ('model', 'potential')
    INPUT_FILES = {
        'trajectories': ('', 'run-{}.h5'),
        'model': ('--model', 'softness-model.h5'),
        'potential': ('--potential', 'potential.h5'),
    }
    OUTPUT_FILE = 'correlations.h5'
    OUTPUT = ('functions', SinglefileData, 'Each property by softness, as HDF5.')
    HAS_FIGURE = True

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input_namespace('trajectories', valid_type=TrajectoryData, dynamic=True, help='The runs.')
        spec.input('model', valid_type=SoftnessModelData, help='The softness model.')
        text = 'A potential whose energy of each ion is a property, too.'
        optional(spec.input, ('potential', PotentialData, text))
