"""The base of the CalcJobs: each runs one sub-command of ``ufpnmr``, files in, files out."""

from __future__ import annotations

import importlib
import typing as t
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

import yaml
from aiida.common import CalcInfo, CodeInfo
from aiida.common.folders import Folder, SandboxFolder
from aiida.common.lang import classproperty
from aiida.engine import CalcJobProcessSpec, ExitCode, ProcessSpec
from aiida.engine.processes.calcjobs.tasks import RETRIEVE_COMMAND
from aiida.orm import AbstractCode, Computer, Data, Dict, Node, SinglefileData, StructureData, to_aiida_type
from plumpy import run_until_complete
from plumpy.process_states import Wait

from aiida_ufpnmr.calculations import command_line
from aiida_ufpnmr.calculations.model_cache import link_models
from aiida_ufpnmr.calculations.resources import processes_on_one_machine, with_cores
from aiida_ufpnmr.calculations.take_over import TakesOver
from aiida_ufpnmr.engine.commands.batch import STATUS_FILE, STDERR_FILE, STDOUT_FILE
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.piece_folder import pieces_folder
from aiida_ufpnmr.engine.settings import settings_from_mapping

RESULTS_FILE = 'results.json'
SETTINGS_FILE = 'settings.yaml'
FIGURE_FILE = 'figure.png'

#: Where trajectories stay on a computer that asks for it, as the working directories of jobs see it.
KEPT_FOLDER = '../../../kept-trajectories'
#: How often the kernel of a machine has killed for want of memory.
KILLS = "grep -s '^oom_kill ' /proc/vmstat"
KERNEL_KILLED = 'oom-kill'
#: Exit status of a job that ran out of memory.
OUT_OF_MEMORY = 402
#: What says how many threads a job has: one, so that equal inputs give equal bits, where nobody asks for more.
THREAD_VARIABLES = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS')


def plain_input(
    spec: ProcessSpec, name: str, kind: type[Data], help: str, default: t.Any = None, **options: t.Any
) -> None:
    """Declare an input that may be given as a plain value, which becomes a node of ``kind``."""
    if default is not None:
        options['default'] = lambda: kind(default)
    spec.input(name, valid_type=kind, serializer=to_aiida_type, help=help, **options)


def optional(declare: Callable[..., None], *ports: tuple[str, type[Data], str]) -> None:
    """Declare inputs or outputs that may be missing, each by name, type and help; ``declare`` is a method of a spec."""
    for name, kind, help in ports:
        declare(name, valid_type=kind, required=False, help=help)


def job_defaults(spec: CalcJobProcessSpec, **defaults: t.Any) -> None:
    """Set defaults of ``metadata.options``, beside one process on one machine."""
    metadata: t.Any = spec.inputs['metadata']
    for name, value in {'resources': {'num_machines': 1, 'num_mpiprocs_per_machine': 1}, **defaults}.items():
        port = metadata['options'][name]
        port.default, port.required = value, False  # a default alone does not serve options that are given in part


def failures(spec: CalcJobProcessSpec, *codes: tuple[int, str, str]) -> None:
    """Declare exit codes, each by its status, label and message, of runs that caching must not use again."""
    for status, label, message in codes:
        spec.exit_code(status, label, message=message, invalidates_cache=True)


def validate_ordered(value: Data | Mapping[str, Data], _: object) -> str | None:
    """Refuse structures, one or several by name, with sites that are partly occupied or shared."""
    for structure in value.values() if isinstance(value, Mapping) else [value]:
        kinds = structure.kinds if isinstance(structure, StructureData) else []
        partial = next((kind.name for kind in kinds if kind.is_alloy or kind.has_vacancies), None)
        if partial is not None:
            return f'the sites of {partial} are partly occupied; order the structure first (ufpnmr build order)'
    return None


class UfpnmrCalculation(TakesOver):
    """Runs one sub-command of ``ufpnmr`` with fixed file names."""

    CACHE_VERSION = 1

    #: Name of this plug-in and of its parser.
    ENTRY_POINT: t.ClassVar[str]
    #: The sub-command.
    COMMAND: t.ClassVar[str]
    #: Options of the sub-command that are no ``parameters``, beside those that name a file: the way to run, not what.
    NO_PARAMETERS: t.ClassVar[tuple[str, ...]] = ()
    #: Whether the sub-command cannot do without some of them.
    PARAMETERS_REQUIRED: t.ClassVar[bool] = False
    #: The dataclass of the ``settings`` input, as ``module:class``; empty if there is none.
    SETTINGS: t.ClassVar[str] = ''
    #: Inputs that become files, in the order of the command line: the option before the file, empty for an argument,
    #: and the name of the file, with a place for the keys of a namespace.
    INPUT_FILES: t.ClassVar[dict[str, tuple[str, str]]]
    #: The option before the file of results; where it is ``-o``, the output lies beside that.
    RESULTS_OPTION: t.ClassVar[str] = '--json'
    #: The file that the sub-command writes with ``-o``, or beside its results; empty if there is none.
    OUTPUT_FILE: t.ClassVar[str] = ''
    #: The output that it becomes: name, type and help; ``None`` where there is none.
    OUTPUT: t.ClassVar[tuple[str, type[SinglefileData], str] | None] = None
    #: Other files that become nodes, where they are.
    MORE_OUTPUT: t.ClassVar[tuple[str | tuple[str, str, int], ...]] = ()
    #: Whether the sub-command draws a figure.
    HAS_FIGURE: t.ClassVar[bool] = False

    @classproperty
    def OPTIONS(cls) -> tuple[str, ...]:
        """The options of the sub-command that may stand in ``parameters``: all that change a number."""
        return tuple(name for name in command_line.parameters_of(cls.COMMAND) if name not in cls.NO_PARAMETERS)

    @classmethod
    def parameters_help(cls) -> str:
        """The help of the input `parameters`."""
        return f'Options of `ufpnmr {cls.COMMAND}`, with underscores for hyphens: {", ".join(cls.OPTIONS) or "none"}.'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('code', valid_type=AbstractCode, help='The command `ufpnmr` on the computer that shall run it.')
        default: dict | None = None if cls.PARAMETERS_REQUIRED else {}
        plain_input(spec, 'parameters', Dict, cls.parameters_help(), default=default, validator=cls.validate_parameters)
        if cls.SETTINGS:
            text = 'Settings of the fit, by name; what is not given keeps its default.'
            plain_input(spec, 'settings', Dict, text, required=False, validator=cls.validate_settings)
        text = 'Leave a trajectory that the job makes on the computer, and keep its hash and what it holds as a node.'
        spec.input('metadata.options.keep_trajectory', valid_type=bool, default=False, help=text)
        spec.inputs.validator = cls.validate_inputs
        job_defaults(spec, withmpi=False, parser_name=cls.ENTRY_POINT)
        optional(
            spec.output,
            *([cls.OUTPUT] if cls.OUTPUT else []),
            ('results', Dict, 'What the command reports; keys carry their units.'),
            ('timing', Dict, 'Wall and CPU time and speeds; no content hash covers them.'),
        )
        if cls.HAS_FIGURE:
            optional(spec.output, ('figure', SinglefileData, 'The figure, as PNG.'))
        spec.default_output_node = 'results'
        failures(
            spec,
            (210, 'ERROR_INPUT_REFUSED', 'The command refused its input: {message}'),
            (310, 'ERROR_COMMAND_FAILED', 'The command failed: {message}'),
            (320, 'ERROR_NO_RESULTS', 'The command ended well but left no readable results: {message}'),
            (330, 'ERROR_OUTPUT_UNUSABLE', 'An output file is missing or unusable: {message}'),
            (400, 'ERROR_INTERRUPTED', 'The command was cut off before it ended; run it again, with more time.'),
            (OUT_OF_MEMORY, 'ERROR_OUT_OF_MEMORY', 'The job ran out of memory ({message}); give it more.'),
        )

    @classmethod
    def validate_inputs(cls, inputs: Mapping[str, t.Any], _: object) -> str | None:
        """Refuse trajectories that stay on another computer than that of the code."""
        computer = inputs['code'].computer if 'code' in inputs else None
        for given in inputs.values():
            for node in given.values() if isinstance(given, Mapping) else [given]:
                if computer is not None and getattr(node, 'kept', None) and node.computer.uuid != computer.uuid:
                    return (
                        f'the trajectory {node.uuid} stays on {node.computer.label}; choose a code there, or fetch it '
                        f'with "aiida-ufpnmr trajectory fetch {node.uuid}"'
                    )
        return None

    @classmethod
    def validate_parameters(cls, value: Dict, _) -> str | None:
        """Refuse parameters that the sub-command does not know or would not take."""
        return command_line.refusal(cls.COMMAND, cls.OPTIONS, value.get_dict())

    @classmethod
    def validate_settings(cls, value: Dict, _) -> str | None:
        """Refuse settings that the fit does not know."""
        module, name = cls.SETTINGS.split(':')
        try:
            settings_from_mapping(getattr(importlib.import_module(module), name), value.get_dict())
        except InputError as error:
            return str(error)
        return None

    @property
    def command(self) -> str:
        """The sub-command of this run."""
        return self.COMMAND

    @property
    def output_file(self) -> str:
        """The file that this run writes with ``-o``."""
        return self.OUTPUT_FILE

    @property
    def threads_given(self) -> int | None:
        """Threads that the parameters ask for, also by the old name of the option."""
        given = {name.lower(): value for name, value in self.inputs.parameters.get_dict().items()}
        return given.get('threads', given.get('cores'))

    @property
    def threads(self) -> int:
        """Threads of the command: what its parameters say, or one a core of the job; one where it knows no threads."""
        if 'threads' not in command_line.parameters_of(self.command):
            return 1
        return self.threads_given or processes_on_one_machine(self.inputs.metadata.options.resources)

    def _setup_metadata(self, metadata: dict[str, t.Any]) -> None:
        """Let one number say how many threads run, how many the environment allows, and how many cores are asked for;
        what is given for the environment goes before."""
        options = dict(metadata['options'])
        of_threads = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        options['environment_variables'] = of_threads | dict(options.get('environment_variables', {}))
        options['resources'] = with_cores(options['resources'], self.threads)
        super()._setup_metadata({**metadata, 'options': options})

    def input_files(self) -> t.Iterator[tuple[str, str, Data]]:
        """Option, name in the working directory and node of each input that becomes a file there."""
        for name, (option, file) in self.INPUT_FILES.items():
            given = self.inputs.get(name, {})
            nodes = given if isinstance(given, Mapping) else {'': given}
            for key, node in sorted(nodes.items()):
                place = file.format(key)
                if key and getattr(node, 'is_in_pieces', False):  # the pieces of all of them have one name
                    place = f'{PurePosixPath(place).stem}/{place}'
                yield option, place, node

    def file_arguments(self) -> list[str]:
        """The files of this run as the command line names them, after the sub-command."""
        named = [(option, file) for option, file, _ in self.input_files()]
        arguments = [file for option, file in named if not option]
        if self.RESULTS_OPTION != '-o' and self.output_file:
            arguments += ['-o', self.output_file]
        return [*arguments, *(word for pair in named if pair[0] for word in pair)]

    @staticmethod
    def _links_to(node: Data, name: str) -> list[tuple[str, str, str]]:
        """Links in the working directory to a trajectory that stays on the computer, and to its pieces."""
        kept, computer = node.base.attributes.get('kept'), t.cast(Computer, node.computer).uuid
        found = [(computer, kept['path'], name)]
        if kept['pieces']:
            pieces = pieces_folder(PurePosixPath(kept['path']))
            found.append((computer, str(pieces), str(PurePosixPath(name).with_name(pieces.name))))
        return found

    def presubmit(self, folder: Folder) -> CalcInfo:
        """All that a job needs, with models linked to what its computer holds already."""
        calcinfo = super().presubmit(folder)
        if not self.inputs.metadata.dry_run:
            run_until_complete(self.loop, self._link_models(calcinfo))
        return calcinfo

    async def _link_models(self, calcinfo: CalcInfo) -> None:
        # the transport that is open for this very upload
        async with self.runner.transport.request_transport(self.node.get_authinfo()) as request:
            await link_models(self.node, calcinfo, await request)

    async def _perform_import(self) -> t.Any:
        """Take up what a job has left in `remote_folder`, as if it were of this calculation; AiiDA's own way reads
        local folders only, and does not try again."""
        with SandboxFolder() as folder:
            super().presubmit(folder)  # which says what to retrieve; nothing is uploaded
        self.node.set_remote_workdir(self.inputs.remote_folder.get_remote_path())
        return Wait(msg='Waiting to retrieve', data=RETRIEVE_COMMAND)

    def parse_scheduler_output(self, retrieved: Node) -> ExitCode | None:
        """Ask no scheduler about what another job has left."""
        return None if 'remote_folder' in self.inputs else super().parse_scheduler_output(retrieved)

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        arguments = [*self.file_arguments(), *command_line.options(self.command, self.inputs.parameters.get_dict())]
        if 'settings' in self.inputs:
            with folder.open(SETTINGS_FILE, 'w') as handle:
                yaml.safe_dump(self.inputs.settings.get_dict(), handle)
            arguments += ['--settings', SETTINGS_FILE]
        if self.HAS_FIGURE:
            arguments += ['--plot', FIGURE_FILE]

        codeinfo = CodeInfo()
        codeinfo.code_uuid = self.inputs.code.uuid
        codeinfo.cmdline_params = [*self.command.split(), *arguments, self.RESULTS_OPTION, RESULTS_FILE]
        codeinfo.stdout_name = STDOUT_FILE
        codeinfo.stderr_name = STDERR_FILE

        calcinfo = CalcInfo()
        calcinfo.codes_info = [codeinfo]
        # AiiDA does not say how a command ended, nor whether the kernel killed for want of memory meanwhile
        calcinfo.prepend_text = f'killed_before=$({KILLS})'
        calcinfo.append_text = (
            f'echo $? > {STATUS_FILE}\n[ "$killed_before" = "$({KILLS})" ] || echo {KERNEL_KILLED} >> {STATUS_FILE}'
        )
        calcinfo.local_copy_list = []
        calcinfo.remote_symlink_list = []
        for _, name, node in self.input_files():
            if getattr(node, 'kept', None):
                calcinfo.remote_symlink_list += self._links_to(node, name)
                continue
            if isinstance(node, StructureData):  # becomes XYZ
                from ase.io import write  # takes a while to import

                write(folder.get_abs_path(name), node.get_ase(), format='extxyz')
                continue
            # a trajectory may have a folder of pieces beside it
            for source in node.base.repository.list_object_names():
                is_file = source == node.base.attributes.get('filename')
                target = name if is_file else str(PurePosixPath(name).with_name(source))
                calcinfo.local_copy_list.append((node.uuid, source, target))
        calcinfo.retrieve_list = [RESULTS_FILE, STDOUT_FILE, STDERR_FILE, STATUS_FILE]
        figure = [FIGURE_FILE] if self.HAS_FIGURE else []
        output = [self.OUTPUT_FILE] if self.OUTPUT_FILE else []
        calcinfo.retrieve_temporary_list = [*output, *self.MORE_OUTPUT, *figure]  # become nodes: kept once
        return calcinfo
