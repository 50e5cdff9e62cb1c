"""Barriers of single hops along a trajectory."""

from __future__ import annotations

from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import RemoteData, SinglefileData

from aiida_ufpnmr.calculations.base import RESULTS_FILE, UfpnmrCalculation, optional
from aiida_ufpnmr.calculations.resources import processes_on_one_machine
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData


class BarriersCalculation(UfpnmrCalculation):
    """Finds the barriers of single hops along a trajectory by nudged elastic bands (`ufpnmr barriers`).

    As many hops are worked on at a time as there are processes in ``metadata.options.resources``.
    """

    ENTRY_POINT = 'ufpnmr.barriers'
    COMMAND = 'barriers'
    NO_PARAMETERS = ('jobs',)
    INPUT_FILES = {
        'trajectory': ('', 'trajectory.h5'),
        'potential': ('', 'potential.h5'),
        'softness': ('--softness', 'softness'),
    }
    RESULTS_OPTION = '-o'
    OUTPUT_FILE = 'results.extxyz'
    OUTPUT = ('paths', SinglefileData, 'The path of each hop as extended XYZ, with energies above that of its start.')
    HAS_FIGURE = True
    #: The folder of hops that are finished before the job ends.
    PIECES = f'{RESULTS_FILE}.pieces'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('trajectory', valid_type=TrajectoryData, help='The trajectory whose hops are wanted.')
        spec.input('potential', valid_type=PotentialData, help='The potential, which also made the trajectory.')
        text = (
            'The output `functions` of the analysis `softness` of the same trajectory, to tell soft ions from hard; or '
            'a NumPy archive or HDF5 file with softness (frames, ions), ions and frames.'
        )
        optional(
            spec.input,
            ('softness', SinglefileData, text),
            ('parent_folder', RemoteData, 'Working directory of a run that was cut off; hops it finished are kept.'),
        )

    def file_arguments(self) -> list[str]:
        jobs = processes_on_one_machine(self.inputs.metadata.options.resources)
        return [*super().file_arguments(), '--jobs', str(jobs)]

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        calcinfo = super().prepare_for_submission(folder)
        if 'parent_folder' in self.inputs:
            parent = self.inputs.parent_folder
            # a pattern, since a run that was killed at once has no pieces
            pieces = f'{parent.get_remote_path()}/{self.PIECES}*'
            calcinfo.remote_copy_list = [(parent.computer.uuid, pieces, '.')]
        return calcinfo
