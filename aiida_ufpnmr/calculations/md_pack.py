"""Several runs of molecular dynamics in one job."""

from __future__ import annotations

from typing import Any, cast

import yaml
from aiida.common import CalcInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJobProcessSpec
from aiida.engine.utils import instantiate_process
from aiida.orm import Dict, StructureData

from aiida_ufpnmr.calculations.base import KEPT_FOLDER, UfpnmrCalculation, failures, optional, plain_input
from aiida_ufpnmr.calculations.md import MdCalculation, time_to_end
from aiida_ufpnmr.calculations.resources import processes_on_one_machine
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData

RUNS_FILE = 'runs.yaml'


class MdPackCalculation(UfpnmrCalculation):
    """Several runs of molecular dynamics in one job (`ufpnmr batch`), each in a folder by its name.

    The folders hold what jobs of an :class:`MdCalculation` would leave, which takes each up by its `remote_folder`.
    """

    ENTRY_POINT = 'ufpnmr.md_pack'
    COMMAND = 'batch'
    NO_PARAMETERS = ('jobs', 'max_wall_time')
    INPUT_FILES = {name: MdCalculation.INPUT_FILES[name] for name in ('potential', 'efg_model')}

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('potential', valid_type=PotentialData, help='The potential that moves the atoms.')
        optional(spec.input, ('efg_model', EfgModelData, 'Predicts EFG tensors along the runs, where given.'))
        spec.input_namespace('structures', dynamic=True, valid_type=StructureData, help='Where runs start, by name.')
        plain_input(spec, 'shared', Dict, 'Parameters of all runs, as those of `ufpnmr.md`.')
        text = 'The runs by name: `structure`, and parameters of its own on top of those that all share.'
        plain_input(spec, 'runs', Dict, text)
        failures(spec, (401, 'ERROR_RUNS_LEFT', 'Ended before all runs had: {message}'))

    @classmethod
    def validate_parameters(cls, value: Dict, _) -> str | None:
        """Refuse any: those of the runs stand in `shared` and `runs`."""
        return f'unknown parameter {next(iter(value.get_dict()))!r}; a pack has none' if value.get_dict() else None

    def file_arguments(self) -> list[str]:
        resources: Any = self.options.resources
        arguments = [RUNS_FILE, '--jobs', str(processes_on_one_machine(resources))]
        limit = self.options.get('max_wallclock_seconds')
        return arguments if limit is None else [*arguments, '--max-wall-time', time_to_end(limit)]

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        calcinfo = super().prepare_for_submission(folder)
        shared = {file: f'../{file}' for _, file, _ in self.input_files()}
        shared[KEPT_FOLDER] = f'../{KEPT_FOLDER}'
        commands = {}
        for name in sorted(self.inputs.runs.get_dict()):
            of_run = self._run(name).prepare_for_submission(folder.get_subfolder(name, create=True))
            words: Any = of_run.codes_info[0].cmdline_params if of_run.codes_info else ()
            commands[name] = [shared.get(word, word) for word in words]
        with folder.open(RUNS_FILE, 'w') as handle:
            yaml.safe_dump(commands, handle)
        calcinfo.retrieve_temporary_list = []
        return calcinfo

    def _run(self, name: str) -> MdCalculation:
        """The calculation that a run would be in a job of its own; it is neither stored nor run."""
        own = self.inputs.runs[name]
        parameters = {key: value for key, value in own.items() if key != 'structure'}
        inputs = {
            'code': self.inputs.code,
            'potential': self.inputs.potential,
            'structure': self.inputs.structures[own['structure']],
            'parameters': Dict({**self.inputs.shared.get_dict(), **parameters}),
            'metadata': {'store_provenance': False, 'options': {'keep_trajectory': self.options.keep_trajectory}},
        }
        if 'efg_model' in self.inputs:
            inputs['efg_model'] = self.inputs.efg_model
        return cast(MdCalculation, instantiate_process(self.runner, MdCalculation, **inputs))
