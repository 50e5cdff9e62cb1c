"""The description of a cluster, a workstation or a server in one YAML file: how to reach it, and what runs there."""

from __future__ import annotations

import dataclasses
import os
import shlex
import string
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar

from aiida_ufpnmr.calculations.resources import REFUSALS, memory_kb
from aiida_ufpnmr.engine.dft.gpaw_engine import PYTHON_VARIABLE
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import Settings, read_mapping, setting, settings_from_mapping
from aiida_ufpnmr.tools.profile import NAME

S = TypeVar('S', bound=Settings)

#: The place of the work directory, and of the image, in the command of a container engine.
WORK_DIRECTORY, IMAGE = '{work_directory}', '{image_name}'
#: What may stand in braces in the command that starts MPI.
MPI_PLACES = (
    *('tot_num_mpiprocs', 'num_machines', 'num_mpiprocs_per_machine', 'num_cores_per_machine', 'num_cores_per_mpiproc'),
    'parallel_env',
)
#: Programs that jobs run, with the words that make each say its version.
PROGRAMS = {
    'ufpnmr': ('--version',),
    'gpaw': ('-c', 'import gpaw; print("GPAW", gpaw.__version__)'),
    'castep': ('--version',),
}


def _check_places(name: str, text: str, known: Sequence[str]) -> None:
    """:class:`ValueError` where a text has braces around something else than what AiiDA fills in there."""
    try:
        found = [place for _, place, *_ in string.Formatter().parse(text) if place is not None]
    except ValueError as error:
        raise ValueError(f'{name} {text}: {error}') from error
    for place in found:
        if place not in known:
            raise ValueError(f'{name} {text}: unknown {{{place}}}; known are {", ".join(known)}')


@dataclass(frozen=True)
class CodeSettings(Settings):
    """A program on the cluster: `ufpnmr`, `gpaw` (which is `ufpnmr`, told which Python has GPAW) or `castep`."""

    path: str = setting(MISSING, 'The executable: an absolute path there, or a name inside the image.')
    python: str | None = setting(None, 'Of `gpaw`: the Python that has GPAW, there or inside the image.')
    image: str | None = setting(None, 'Container image that holds it: a file there, or a name that the engine knows.')
    engine: str = setting(
        f'apptainer exec --bind {WORK_DIRECTORY} {IMAGE}',
        f'Command that runs a program in an image. {WORK_DIRECTORY} has to be seen inside under the same name.',
    )
    mpi: bool | None = setting(None, 'Whether it is started with mpirun; castep is, the others are not.')
    prepend: str = setting('', 'Lines before it in every job script, such as "module load castep".')

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image is None and not PurePosixPath(self.path).is_absolute():
            raise ValueError(
                f'path {self.path} must be absolute, as "which {self.path}" says it there; or give an image'
            )
        if self.image is not None and IMAGE not in self.engine:
            raise ValueError(f'engine must hold {IMAGE}, as in "apptainer exec {IMAGE}"')

    def engine_command(self, work_directory: str) -> str:
        """The command of the container engine, with the place of the image left open as AiiDA wants it."""
        return self.engine.replace(WORK_DIRECTORY, work_directory)

    def words(self, work_directory: str) -> list[str]:
        """What stands before the name of a program inside the image; nothing without one."""
        if self.image is None:
            return []
        return self.engine_command(work_directory).format(image_name=self.image).split()


@dataclass(frozen=True)
class ClusterSettings(Settings):
    """A machine on which jobs run, and the habits of its scheduler."""

    label: str = setting(MISSING, 'Its name here, as in ufpnmr@LABEL.')
    host: str = setting(MISSING, 'Host, as in "ssh HOST": a name of ~/.ssh/config; localhost for core.local.')
    work_directory: str = setting(
        MISSING, 'Directory there for the jobs, on a large and fast disk; {username} is yours.'
    )
    transport: Literal['core.ssh_async', 'core.local'] = setting('core.ssh_async', 'How files and commands get there.')
    scheduler: Literal['core.slurm', 'core.pbspro', 'core.sge', 'core.lsf', 'core.direct'] = setting(
        'core.slurm', 'What starts the jobs; core.direct starts them at once.'
    )
    cores: int | None = setting(None, 'Cores of a node.', least=1)
    memory: str | None = setting(None, 'Memory of a node, such as 250GB.')
    queue: str | None = setting(None, 'Queue (partition) where a launch names none.')
    account: str | None = setting(None, 'Account (project) that pays where a launch names none.')
    parallel_environment: str | None = setting(None, 'Of core.sge: the parallel environment of one node; smp.')
    shebang: str = setting('#!/bin/bash', 'First line of a job script.')
    modules: list[str] | None = setting(None, 'Modules that every job loads.')
    environment: dict[str, str] | None = setting(None, 'Variables of the environment of every job.')
    prepend: str = setting('', 'Other lines before the program in every job script.')
    append: str = setting('', 'Lines after the program in every job script.')
    mpirun: str = setting('mpirun -np {tot_num_mpiprocs}', 'Command that starts a program with MPI.')
    login_shell: bool = setting(True, 'Whether commands are run by a login shell, which reads ~/.profile.')
    poll_interval_s: float = setting(30.0, 'Seconds between two looks at the queue, at least.', least=0)
    connection_interval_s: float = setting(15.0, 'Seconds between two connections, at least.', least=0)
    test_wait_s: float = setting(600.0, 'Seconds that a job which tests the set-up may wait and run.', above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not NAME.fullmatch(self.label):
            raise ValueError(f'label {self.label!r} must be letters, digits, - and _ alone')
        if not PurePosixPath(self.work_directory).is_absolute():
            raise ValueError(f'work_directory {self.work_directory} must be an absolute path')
        _check_places('work_directory', self.work_directory, ('username',))
        _check_places('mpirun', self.mpirun, MPI_PLACES)
        if not self.shebang.startswith('#!'):
            raise ValueError(f'shebang {self.shebang!r} must begin with #!, as in "#!/bin/bash"')
        refused = REFUSALS.get(self.scheduler, {})
        for name in ('queue', 'account'):
            if getattr(self, name) is not None and name in refused:
                raise ValueError(f'{name}: {refused[name]}')
        if self.transport == 'core.local' and self.host != 'localhost':
            raise ValueError(f'transport core.local reaches localhost only, not {self.host}; give core.ssh_async')
        if self.memory is not None:
            memory_kb(self.memory)

    @property
    def head(self) -> str:
        """Lines before the program in every job script."""
        lines = [f'module load {name}' for name in self.modules or ()]
        lines += [f'export {name}={shlex.quote(value)}' for name, value in (self.environment or {}).items()]
        return '\n'.join([*lines, *filter(None, [self.prepend.rstrip('\n')])])

    @property
    def node(self) -> dict[str, Any]:
        """What launches have to know, see :func:`aiida_ufpnmr.calculations.resources.node_of`."""
        known = {name: getattr(self, name) for name in ('cores', 'queue', 'account', 'parallel_environment')}
        known['memory_kb'] = None if self.memory is None else memory_kb(self.memory)
        return {name: value for name, value in known.items() if value is not None}

    @property
    def connection(self) -> dict[str, Any]:
        """Arguments of the transport."""
        shared = {'use_login_shell': self.login_shell, 'safe_interval': self.connection_interval_s}
        return {**shared, 'host': self.host} if self.transport == 'core.ssh_async' else shared


@dataclass(frozen=True)
class Cluster:
    """A cluster with its programs, by the labels of their codes."""

    settings: ClusterSettings
    codes: dict[str, CodeSettings]

    def with_mpi(self, name: str) -> bool:
        """Whether a program is started with MPI."""
        mpi = self.codes[name].mpi
        return name == 'castep' if mpi is None else mpi

    def prepend(self, name: str) -> str:
        """Lines before a program, beside those of the cluster."""
        code = self.codes[name]
        lines = [code.prepend.rstrip('\n')]
        if name == 'gpaw' and code.python is not None:
            lines.append(f'export {PYTHON_VARIABLE}={shlex.quote(code.python)}')
        return '\n'.join(filter(None, lines))


def cluster_of(values: Mapping[str, Any], source: str) -> Cluster:
    """A cluster from the content of its file; :class:`InputError` names the file and the key that is wrong."""
    given = dict(values)
    codes = given.pop('codes', None) or {}
    if not isinstance(codes, Mapping):
        raise InputError(f'{source}: codes must be "name: ..." entries of {", ".join(PROGRAMS)}')
    settings = _complete(ClusterSettings, given, source)
    found = {}
    for name, entry in codes.items():
        if name not in PROGRAMS:
            raise InputError(f'{source}: codes: unknown program {name!r}; known are {", ".join(PROGRAMS)}')
        if not isinstance(entry, Mapping):
            raise InputError(f'{source}: codes: {name} must have "path: ..." and so on below it, not {entry!r}')
        found[name] = _complete(CodeSettings, entry, f'{source}: codes: {name}')
        if name == 'gpaw' and found[name].python is None:
            raise InputError(f'{source}: codes: gpaw: python is missing; it says which Python there has GPAW')
    return Cluster(settings, found)


def read_cluster(path: str | os.PathLike) -> Cluster:
    """Read the YAML file of a cluster."""
    return cluster_of(read_mapping(path, 'cluster'), str(path))


def _complete(cls: type[S], values: Mapping[str, Any], source: str) -> S:
    for field in dataclasses.fields(cls):
        if field.default is MISSING and field.name not in values:
            raise InputError(f'{source}: {field.name} is missing; {field.metadata["setting"].help}')
    return settings_from_mapping(cls, values, source)
