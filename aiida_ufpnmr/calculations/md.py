"""Molecular dynamics."""

from __future__ import annotations

from pathlib import Path

from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import SinglefileData, StructureData
from ase.io import write

from aiida_ufpnmr.calculations.base import UfpnmrCalculation
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.trajectories.pieces import pieces_folder

#: Share of the time limit of a job, or seconds of a long one, that are left for its beginning and its end.
TIME_LEFT, LONGEST_TIME_LEFT = 0.1, 600.0


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
        'efg_uncertainty_every',
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
    CHECKPOINT_FILE = 'trajectory.checkpoint.h5'
    ORIGIN_FILE = 'origin.h5'

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
        spec.input(
            'checkpoint',
            valid_type=SinglefileData,
            required=False,
            help='Go on from here: the checkpoint that an earlier part of the same run left.',
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
        spec.output(
            'trajectory_part',
            valid_type=TrajectoryData,
            required=False,
            help='What had been simulated when the run was cut off, for the rest to be joined to.',
        )
        spec.output(
            'checkpoint',
            valid_type=SinglefileData,
            required=False,
            help='From where to go on; its attribute `step` says at which step that is.',
        )
        spec.exit_code(
            401,
            'ERROR_OUT_OF_TIME',
            invalidates_cache=True,
            message='Ended {message}; the checkpoint goes on from there.',
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
        spec.exit_code(412, 'ERROR_FORCE_RAN_AWAY', invalidates_cache=True, message='A force ran away: {message}')
        spec.exit_code(
            413,
            'ERROR_ATOM_MOVED_TOO_FAR',
            invalidates_cache=True,
            message='An atom moved too far in one step: {message}',
        )
        spec.exit_code(
            414,
            'ERROR_EXTRAPOLATION',
            invalidates_cache=True,
            message='Surroundings unlike any that the potential has seen: {message}',
        )

    @classmethod
    def example_arguments(cls) -> list[str]:
        return ['md', 'POTENTIAL', 'STRUCTURE', '-o', cls.OUTPUT_FILE]

    def file_arguments(self) -> list[str]:
        efg = ['--efg-model', 'efg-model.h5'] if 'efg_model' in self.inputs else []
        origin = ['--from-checkpoint', self.ORIGIN_FILE] if 'checkpoint' in self.inputs else []
        return ['potential.h5', 'structure.extxyz', '-o', self.OUTPUT_FILE, *efg, *origin, *self._wall_time()]

    def _wall_time(self) -> list[str]:
        """The end that leaves a checkpoint should come before the scheduler's, which does not."""
        limit = self.options.get('max_wallclock_seconds')
        if limit is None:
            return []
        return ['--max-wall-time', f'{limit - min(TIME_LEFT * limit, LONGEST_TIME_LEFT):g}']

    def input_files(self) -> dict[str, SinglefileData]:
        files = {'potential.h5': self.inputs.potential}
        if 'efg_model' in self.inputs:
            files['efg-model.h5'] = self.inputs.efg_model
        if 'checkpoint' in self.inputs:
            files[self.ORIGIN_FILE] = self.inputs.checkpoint
        return files

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        write(folder.get_abs_path('structure.extxyz'), self.inputs.structure.get_ase(), format='extxyz')
        calcinfo = super().prepare_for_submission(folder)
        pieces = pieces_folder(Path(self.OUTPUT_FILE))
        calcinfo.retrieve_temporary_list += [self.CHECKPOINT_FILE, (f'{pieces}/*.h5', '.', 2)]
        return calcinfo
