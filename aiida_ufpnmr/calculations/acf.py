"""Correlation functions of the quadrupolar frequency."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec
from aiida.orm import SinglefileData

from aiida_ufpnmr.calculations.base import UfpnmrCalculation
from aiida_ufpnmr.data.trajectory import TrajectoryData


class AcfCalculation(UfpnmrCalculation):
    """Correlation functions along a trajectory with EFG tensors, and their decay time (`ufpnmr acf`)."""

    ENTRY_POINT = 'ufpnmr.acf'
    COMMAND = 'acf'
    OPTIONS = (
        'species',
        'isotope',
        'skip_ps',
        'field',
        'gamma',
        'decays',
        'first_lag_ps',
        'max_tau_fraction',
        'pulse_us',
        'decay_us',
        'full_frequency',
        'subtract_mean',
        'hopping',
        'by_site',
        'bootstrap',
        'seed',
    )
    OUTPUT_FILE = 'acf.h5'
    HAS_FIGURE = True

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('trajectory', valid_type=TrajectoryData, help='A trajectory with EFG tensors.')
        spec.output('functions', valid_type=SinglefileData, required=False, help='The correlation functions, as HDF5.')

    def file_arguments(self) -> list[str]:
        return ['trajectory.h5', '-o', self.OUTPUT_FILE]

    def input_files(self) -> dict[str, SinglefileData]:
        return {'trajectory.h5': self.inputs.trajectory}
