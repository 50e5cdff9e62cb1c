"""What is done with trajectories where they are: their parts joined, and their content looked at."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec

from aiida_ufpnmr.calculations.base import KEPT_FOLDER, UfpnmrCalculation
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.data.trajectory import TrajectoryData


class JoinTrajectoryCalculation(UfpnmrCalculation):
    """Joins the parts of a run, some of which stay on the computer, into one trajectory that stays there, too.

    No frame is copied: files get second names (`ufpnmr join-trajectory`).
    """

    ENTRY_POINT = 'ufpnmr.join_trajectory'
    COMMAND = 'join-trajectory'
    NO_PARAMETERS = ('keep_in',)
    INPUT_FILES = {'parts': ('', '{}.h5')}
    OUTPUT_FILE = MdCalculation.OUTPUT_FILE
    OUTPUT = MdCalculation.OUTPUT
    MORE_OUTPUT = MdCalculation.MORE_OUTPUT[1:]

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        text = 'The parts of the run, in the order of their names.'
        spec.input_namespace('parts', valid_type=TrajectoryData, dynamic=True, help=text)

    def file_arguments(self) -> list[str]:
        kept = ['--keep-in', KEPT_FOLDER] if self.options.keep_trajectory else []
        return [*super().file_arguments(), *kept]


class DescribeTrajectoryCalculation(UfpnmrCalculation):
    """Reads a trajectory where it is and takes the hash of its content (`ufpnmr describe-trajectory`)."""

    ENTRY_POINT = 'ufpnmr.describe_trajectory'
    COMMAND = 'describe-trajectory'
    INPUT_FILES = {'trajectory': ('', 'trajectory.h5')}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('trajectory', valid_type=TrajectoryData, help='The trajectory.')
