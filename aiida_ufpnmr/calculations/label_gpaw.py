"""Labels of a batch of structures from GPAW."""

from __future__ import annotations

from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.orm import RemoteData, StructureData

from aiida_ufpnmr.calculations.base import UfpnmrCalculation, failures, optional
from aiida_ufpnmr.calculations.label_sets import structure_refusal
from aiida_ufpnmr.calculations.resources import processes_on_one_machine
from aiida_ufpnmr.data.dataset import DatasetData


def validate_structures(value: DatasetData | StructureData, _) -> str | None:
    """Refuse a structure that GPAW cannot compute; those of a set are refused row by row."""
    return structure_refusal(value, 'GPAW') if isinstance(value, StructureData) else None


class LabelGpawCalculation(UfpnmrCalculation):
    """Labels structures with GPAW: energy, forces, stress and EFG tensors (`ufpnmr label`).

    One job labels many structures, as many at a time as it has processes. Rows that fail are named in the results, and
    the others go on.
    """

    ENTRY_POINT = 'ufpnmr.label_gpaw'
    COMMAND = 'label'
    NO_PARAMETERS = ('engine', 'index', 'jobs')
    SETTINGS = 'aiida_ufpnmr.engine.dft.gpaw_engine:GpawSettings'
    INPUT_FILES = {'structures': ('', 'structures.extxyz')}
    OUTPUT_FILE = 'labels.extxyz'
    OUTPUT = ('dataset', DatasetData, 'The structures with their labels.')
    #: The folder of labels that are done before the job ends, and of the output of GPAW for structures that failed.
    PIECES = f'{OUTPUT_FILE}.pieces'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.inputs['code'].help = (
            'The command `ufpnmr` on the computer that shall run it. Its prepend text says which Python there has '
            'GPAW: `export UFPNMR_GPAW_PYTHON=...`.'
        )
        text = 'The structures to label: one, or all of a set; labels that the set has already are not looked at.'
        kinds = (DatasetData, StructureData)
        spec.input('structures', valid_type=kinds, validator=validate_structures, help=text)
        text = 'Working directory of an earlier run that was cut off; what it had labelled is not labelled again.'
        optional(spec.input, ('parent_folder', RemoteData, text))
        failures(spec, (410, 'ERROR_TOO_FEW_LABELLED', 'Too few structures got labels: {message}'))

    def file_arguments(self) -> list[str]:
        cores = processes_on_one_machine(self.inputs.metadata.options.resources)
        return [*super().file_arguments(), '--engine', 'gpaw', '--jobs', str(cores)]

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        calcinfo = super().prepare_for_submission(folder)
        calcinfo.retrieve_list = [*(calcinfo.retrieve_list or ()), (f'{self.PIECES}/*/gpaw.*', '.', 3)]
        if 'parent_folder' in self.inputs:
            parent = self.inputs.parent_folder
            pieces = f'{parent.get_remote_path()}/{self.PIECES}'
            calcinfo.remote_copy_list = [(parent.computer.uuid, pieces, self.PIECES)]
        return calcinfo
