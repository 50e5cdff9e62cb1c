"""Molecular dynamics."""

from __future__ import annotations

from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import SinglefileData, StructureData
from ase.io import write

from aiida_ufpnmr.calculations.base import UfpnmrCalculation
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData


class MdCalculation(UfpnmrCalculation):
    """Molecular dynamics with an ultra-fast potential, with EFG tensors on the fly (`ufpnmr md`)."""

    ENTRY_POINT = 'ufpnmr.md'
    COMMAND = 'md'
    OPTIONS = (
        'steps',
        'equilibrate',
        'timestep',
        'temperature',
        'final_temperature',
        'ensemble',
        'thermostat',
        'relaxation',
        'pressure',
        'barostat',
        'pressure_relaxation',
        'bulk_modulus',
        'mass',
        'seed',
        'supercell',
        'every',
        'log_every',
        'efg_every',
        'velocities',
        'velocities_every',
        'forces_every',
        'energies_every',
        'stored_precision',
        'position_rounding',
        'compression',
        'grade_every',
        'grade_limit',
        'closest_approach',
        'precision',
        'threads',
    )
    PARAMETERS_REQUIRED = True
    OUTPUT_FILE = 'trajectory.h5'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('structure', valid_type=StructureData, help='Where the run starts.')
        spec.input('potential', valid_type=PotentialData, help='The potential that moves the atoms.')
        spec.input(
            'efg_model',
            valid_type=EfgModelData,
            required=False,
            help='Predicts EFG tensors along the run, where given.',
        )
        spec.output(
            'trajectory', valid_type=TrajectoryData, required=False, help='Positions, and EFG tensors where asked.'
        )
        spec.output(
            'stopped_trajectory',
            valid_type=TrajectoryData,
            required=False,
            help='What had been simulated when a guard stopped the run: frames to label, no result.',
        )
        spec.exit_code(
            410,
            'ERROR_ATOMS_TOO_CLOSE',
            invalidates_cache=True,
            message='Two atoms came closer than the potential has seen: {message}',
        )
        spec.exit_code(
            411, 'ERROR_TEMPERATURE_RAN_AWAY', invalidates_cache=True, message='The temperature ran away: {message}'
        )

    @classmethod
    def example_arguments(cls) -> list[str]:
        return ['md', 'POTENTIAL', 'STRUCTURE', '-o', cls.OUTPUT_FILE]

    def file_arguments(self) -> list[str]:
        efg = ['--efg-model', 'efg-model.h5'] if 'efg_model' in self.inputs else []
        return ['potential.h5', 'structure.extxyz', '-o', self.OUTPUT_FILE, *efg]

    def input_files(self) -> dict[str, SinglefileData]:
        files = {'potential.h5': self.inputs.potential}
        if 'efg_model' in self.inputs:
            files['efg-model.h5'] = self.inputs.efg_model
        return files

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        write(folder.get_abs_path('structure.extxyz'), self.inputs.structure.get_ase(), format='extxyz')
        return super().prepare_for_submission(folder)
