"""What all CalcJobs of this package share: each runs one sub-command of ``ufpnmr``, files in, files out."""

from __future__ import annotations

import importlib
import typing as t

import yaml
from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder
from aiida.engine import CalcJob, CalcJobProcessSpec
from aiida.orm import AbstractCode, Dict, SinglefileData, to_aiida_type

from aiida_ufpnmr.calculations import command_line
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import settings_from_mapping

RESULTS_FILE = 'results.json'
SETTINGS_FILE = 'settings.yaml'
FIGURE_FILE = 'figure.png'
STDOUT_FILE = 'ufpnmr.out'
STDERR_FILE = 'ufpnmr.err'
STATUS_FILE = 'exit-status'

#: One thread a job, so that equal inputs give equal bits.
ENVIRONMENT = {'OMP_NUM_THREADS': '1', 'OPENBLAS_NUM_THREADS': '1', 'NUMBA_NUM_THREADS': '1'}


class UfpnmrCalculation(CalcJob):
    """Runs one sub-command of ``ufpnmr`` with fixed file names."""

    CACHE_VERSION = 1

    #: Name of this plug-in and of its parser.
    ENTRY_POINT: t.ClassVar[str]
    #: The sub-command.
    COMMAND: t.ClassVar[str]
    #: Options of the sub-command that may stand in ``parameters``: all that change a number, none that name a file.
    OPTIONS: t.ClassVar[tuple[str, ...]] = ()
    #: Whether the sub-command cannot do without some of them.
    PARAMETERS_REQUIRED: t.ClassVar[bool] = False
    #: The dataclass of the ``settings`` input, as ``module:class``; ``None`` if there is none.
    SETTINGS: t.ClassVar[str | None] = None
    #: The file that the sub-command writes with ``-o``.
    OUTPUT_FILE: t.ClassVar[str]
    #: Whether the sub-command draws a figure.
    HAS_FIGURE: t.ClassVar[bool] = False

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('code', valid_type=AbstractCode, help='The command `ufpnmr` on the computer that shall run it.')
        spec.input(
            'parameters',
            valid_type=Dict,
            serializer=to_aiida_type,
            validator=cls.validate_parameters,
            help=f'Options of `ufpnmr {cls.COMMAND}`, with underscores for hyphens: {", ".join(cls.OPTIONS) or "none"}.',
            **({} if cls.PARAMETERS_REQUIRED else {'default': lambda: Dict({})}),
        )
        if cls.SETTINGS is not None:
            spec.input(
                'settings',
                valid_type=Dict,
                serializer=to_aiida_type,
                required=False,
                validator=cls.validate_settings,
                help='Settings of the fit, by name; what is not given keeps its default.',
            )
        options = spec.inputs['metadata']['options']
        options['resources'].default = {'num_machines': 1, 'num_mpiprocs_per_machine': 1}
        options['withmpi'].default = False
        options['parser_name'].default = cls.ENTRY_POINT
        options['environment_variables'].default = dict(ENVIRONMENT)

        spec.output(
            'results', valid_type=Dict, required=False, help='What the command reports; keys carry their units.'
        )
        spec.output(
            'timing', valid_type=Dict, required=False, help='Wall and CPU time and speeds; no content hash covers them.'
        )
        if cls.HAS_FIGURE:
            spec.output('figure', valid_type=SinglefileData, required=False, help='The figure, as PNG.')
        spec.default_output_node = 'results'

        fails = {'invalidates_cache': True}
        spec.exit_code(210, 'ERROR_INPUT_REFUSED', message='The command refused its input: {message}', **fails)
        spec.exit_code(310, 'ERROR_COMMAND_FAILED', message='The command failed: {message}', **fails)
        spec.exit_code(
            320, 'ERROR_NO_RESULTS', message='The command ended well but left no readable results: {message}', **fails
        )
        spec.exit_code(
            330, 'ERROR_OUTPUT_UNUSABLE', message='An output file is missing or unusable: {message}', **fails
        )
        spec.exit_code(
            400,
            'ERROR_INTERRUPTED',
            message='The command was cut off before it ended; run it again, with more time.',
            **fails,
        )

    @classmethod
    def validate_parameters(cls, value: Dict, _) -> str | None:
        """Refuse parameters that the sub-command does not know or would not take."""
        parameters = value.get_dict()
        arguments = [*cls.example_arguments(), *command_line.options(parameters)]
        return command_line.refusal(cls.OPTIONS, parameters, arguments)

    @classmethod
    def validate_settings(cls, value: Dict, _) -> str | None:
        """Refuse settings that the fit does not know."""
        module, name = cls.SETTINGS.split(':')
        try:
            settings_from_mapping(getattr(importlib.import_module(module), name), value.get_dict())
        except InputError as error:
            return str(error)
        return None

    @classmethod
    def example_arguments(cls) -> list[str]:
        """A command line without options that stands for any run of this calculation, for checking parameters."""
        return [cls.COMMAND, 'INPUT', '-o', cls.OUTPUT_FILE]

    def file_arguments(self) -> list[str]:
        """The files of this run as the command line names them, after the sub-command."""
        raise NotImplementedError

    def input_files(self) -> dict[str, SinglefileData]:
        """Nodes whose file goes into the working directory, by the name it gets there."""
        raise NotImplementedError

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        arguments = [*self.file_arguments(), *command_line.options(self.inputs.parameters.get_dict())]
        if self.SETTINGS is not None and 'settings' in self.inputs:
            with folder.open(SETTINGS_FILE, 'w') as handle:
                yaml.safe_dump(self.inputs.settings.get_dict(), handle)
            arguments += ['--settings', SETTINGS_FILE]
        if self.HAS_FIGURE:
            arguments += ['--plot', FIGURE_FILE]

        codeinfo = CodeInfo()
        codeinfo.code_uuid = self.inputs.code.uuid
        codeinfo.cmdline_params = [*self.COMMAND.split(), *arguments, '--json', RESULTS_FILE]
        codeinfo.stdout_name = STDOUT_FILE
        codeinfo.stderr_name = STDERR_FILE

        calcinfo = CalcInfo()
        calcinfo.codes_info = [codeinfo]
        calcinfo.append_text = f'echo $? > {STATUS_FILE}'  # AiiDA does not say how a command ended
        calcinfo.local_copy_list = [
            (node.uuid, source, name if source == node.filename else source)
            for name, node in self.input_files().items()
            for source in node.base.repository.list_object_names()  # a trajectory may have a folder of pieces
        ]
        calcinfo.retrieve_list = [RESULTS_FILE, STDOUT_FILE, STDERR_FILE, STATUS_FILE]
        calcinfo.retrieve_temporary_list = [self.OUTPUT_FILE]  # becomes a node: kept once
        if self.HAS_FIGURE:
            calcinfo.retrieve_temporary_list.append(FIGURE_FILE)
        return calcinfo
