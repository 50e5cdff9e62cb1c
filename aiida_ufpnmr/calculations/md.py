"""Molecular dynamics."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import CalcJobProcessSpec
from aiida.orm import SinglefileData, StructureData

from aiida_ufpnmr.calculations.base import KEPT_FOLDER, UfpnmrCalculation, failures, optional, validate_ordered
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.piece_folder import pieces_folder

#: Share of the time limit of a job, or seconds of a long one, that are left for its beginning and its end.
TIME_LEFT, LONGEST_TIME_LEFT = 0.1, 600.0


def time_to_end(limit_s: float) -> str:
    """The `--max-wall-time` of a job with a time limit: its own end, which leaves checkpoints, should come before the
    scheduler's, which does not."""
    return f'{limit_s - min(TIME_LEFT * limit_s, LONGEST_TIME_LEFT):g}'


class MdCalculation(UfpnmrCalculation):
    """Molecular dynamics with an ultra-fast potential, with EFG tensors on the fly (`ufpnmr md`)."""

    ENTRY_POINT = 'ufpnmr.md'
    COMMAND = 'md'
    NO_PARAMETERS = (
        'index', 'replicas', 'replica_temperatures', 'jobs',
        'checkpoint_every', 'max_wall_time', 'restart', 'overwrite', 'keep_in',
    )  # fmt: skip
    PARAMETERS_REQUIRED = True
    INPUT_FILES = {
        'potential': ('', 'potential.h5'),
        'structure': ('', 'structure.extxyz'),
        'efg_model': ('--efg-model', 'efg-model.h5'),
        'checkpoint': ('--from-checkpoint', 'origin.h5'),
    }
    OUTPUT_FILE = 'trajectory.h5'
    OUTPUT = ('trajectory', TrajectoryData, 'Positions, and EFG tensors where asked.')
    CHECKPOINT_FILE = 'trajectory.checkpoint.h5'
    MORE_OUTPUT = (CHECKPOINT_FILE, (f'{pieces_folder(Path(OUTPUT_FILE))}/*.h5', '.', 2))

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('structure', valid_type=StructureData, validator=validate_ordered, help='Where the run starts.')
        spec.input('potential', valid_type=PotentialData, help='The potential that moves the atoms.')
        optional(
            spec.input,
            ('efg_model', EfgModelData, 'Predicts EFG tensors along the run, where given.'),
            ('checkpoint', SinglefileData, 'Go on from here: the checkpoint of an earlier part of the same run.'),
        )
        optional(
            spec.output,
            ('stopped_trajectory', TrajectoryData, 'A run up to the stop by a guard: frames to label, no result.'),
            ('trajectory_part', TrajectoryData, 'A run up to where it was cut off, for the rest to be joined to.'),
            ('checkpoint', SinglefileData, 'The state to go on from, at the step of its attribute `step`.'),
        )
        # what it leaves is a whole part of the run, which a run that is launched again takes over
        spec.exit_code(401, 'ERROR_OUT_OF_TIME', message='Ended {message}; the checkpoint goes on from there.')
        failures(
            spec,
            (410, 'ERROR_ATOMS_TOO_CLOSE', 'Two atoms came closer than the potential has seen: {message}'),
            (411, 'ERROR_TEMPERATURE_RAN_AWAY', 'The temperature ran away: {message}'),
            (412, 'ERROR_FORCE_RAN_AWAY', 'A force ran away: {message}'),
            (413, 'ERROR_ATOM_MOVED_TOO_FAR', 'An atom moved too far in one step: {message}'),
            (414, 'ERROR_EXTRAPOLATION', 'Surroundings unlike any that the potential has seen: {message}'),
            (415, 'ERROR_UNITS_BROKEN', 'A unit broke, or a foreign bond formed: {message}'),
        )

    def file_arguments(self) -> list[str]:
        arguments = super().file_arguments()
        if self.options.keep_trajectory:
            arguments += ['--keep-in', KEPT_FOLDER]
        if self.threads > 1 and self.threads_given is None:
            arguments += ['--threads', str(self.threads)]
        limit = self.options.get('max_wallclock_seconds')
        if limit is not None:
            arguments += ['--max-wall-time', time_to_end(limit)]
        return arguments
