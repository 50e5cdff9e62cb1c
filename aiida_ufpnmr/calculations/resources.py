"""What a job asks of a scheduler, declared once and said in the words of each scheduler."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiida_ufpnmr.engine.cores import available_cores
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import Settings, setting

if TYPE_CHECKING:
    from aiida.orm import AbstractCode, Computer

#: Where a computer keeps what ``aiida-ufpnmr setup --computer`` knew of it beyond AiiDA's own words.
PROPERTY = 'ufpnmr'
#: The line that asks for so many GPUs on each node, by scheduler; others have no word that is the same everywhere.
GPU_LINES = {'core.slurm': '#SBATCH --gres=gpu:{gpus}', 'core.lsf': '#BSUB -gpu "num={gpus}"'}
#: What a scheduler cannot be asked for, and what to do instead.
REFUSALS: dict[str, dict[str, str]] = {
    'core.direct': dict.fromkeys(
        ('queue', 'account', 'nodes', 'memory', 'gpus'),
        'core.direct starts jobs at once, on this one machine, and has none; leave it out',
    ),
    'core.pbspro': {'gpus': 'write the line of your site: --scheduler-line "#PBS -l select=1:ncpus=8:ngpus=1"'},
    'core.sge': {
        'gpus': 'write the line of your site: --scheduler-line "#$ -l gpu=1"',
        'nodes': 'its parallel environment decides about nodes; give --cores',
    },
}
#: Cores of a job of DFT where a scheduler hands out nodes that have them: one for each structure that a job of GPAW
#: labels by default, and what CASTEP keeps busy on a cell of some ten atoms.
DFT_CORES = 8
#: Jobs that a workflow submits at a time where a scheduler shares out the cores.
IN_QUEUE = 20
#: Units of memory, in kB as schedulers mean them.
_KILOBYTES = {'KB': 1, 'MB': 1024, 'GB': 1024**2, 'TB': 1024**3}


def memory_kb(value: Any) -> int:
    """Memory such as ``4GB``, ``500 MB`` or ``1.5TB`` in kB (1024 bytes)."""
    found = re.fullmatch(r'([0-9.]+)\s*([KMGT])I?B?', str(value).strip().upper())
    if found is None:
        raise ValueError(f'{value!r} is no memory such as 4GB or 500MB')
    kilobytes = float(found[1]) * _KILOBYTES[f'{found[2]}B']
    if not 1024 <= kilobytes < 2**62:
        raise ValueError(f'{value!r} is less than 1 MB or more than any machine has')
    return round(kilobytes)


def in_words(kilobytes: int) -> str:
    """Memory as :func:`memory_kb` reads it."""
    unit = next(unit for unit in reversed(_KILOBYTES) if kilobytes >= _KILOBYTES[unit])
    return f'{kilobytes / _KILOBYTES[unit]:g}{unit}'


def _memory(value: Any) -> str:
    return in_words(memory_kb(value))


def scheduler_lines(value: Any) -> tuple[str, ...]:
    """Lines for the head of the job script, from one or a sequence of them."""
    lines = (value,) if isinstance(value, str) else tuple(value)
    if any(not isinstance(line, str) or '\n' in line for line in lines):
        raise ValueError('give one line of text at a time')
    return lines


@dataclass(frozen=True)
class Resources(Settings):
    """What each job of a workflow asks of the scheduler of its computer; what is not given is not asked for."""

    queue: str | None = setting(None, 'Queue (partition) of the scheduler.', metavar='NAME')
    account: str | None = setting(None, 'Account (project) that pays.', metavar='NAME')
    nodes: int | None = setting(None, 'Machines of each job; only CASTEP uses several.', least=1, metavar='N')
    cores: int | None = setting(
        None,
        'Cores of each job on each node: threads of the dynamics, structures side by side for GPAW, processes for '
        'CASTEP.',
        least=1,
        metavar='N',
    )
    memory: str | None = setting(None, 'Memory of each job on each node, such as 4GB.', parse=_memory, metavar='MEMORY')
    gpus: int | None = setting(None, 'GPUs of each job on each node.', least=1, metavar='N')
    max_wallclock_hours: float | None = setting(
        None, 'Time limit of each job, in hours.', above=0, most=24 * 366, metavar='HOURS'
    )
    scheduler_line: tuple[str, ...] = setting(
        (), 'A line for the head of the job script, as it is; repeatable.', parse=scheduler_lines, option=''
    )

    @property
    def given(self) -> dict[str, Any]:
        """What is asked for, by name."""
        return {name: value for name, value in vars(self).items() if value not in (None, ())}

    def refusals(self, scheduler: str) -> dict[str, str]:
        """What is asked for that this scheduler does not have, with what to do instead."""
        return {name: why for name, why in REFUSALS.get(scheduler, {}).items() if name in self.given}

    def check(self, computers: Iterable[Computer], mpi: bool) -> None:
        """Refuse what none of the computers has, and more cores or memory than a node has.

        Args:
            computers: where jobs run.
            mpi: whether any of them runs on several nodes.

        Raises:
            InputError: names the option, the computer and the remedy.
        """
        computers = list(computers)
        if self.nodes and self.nodes > 1 and not mpi:
            raise InputError(f'--nodes {self.nodes}: only CASTEP runs on several; leave it out')
        for name in self.given:
            whys = [(one, self.refusals(one.scheduler_type).get(name)) for one in computers]
            if whys and all(why for _, why in whys):
                one, why = whys[0]
                raise InputError(f'--{name.replace("_", "-")}: {one.label} has {one.scheduler_type}: {why}')
        for computer in computers:
            node, label = node_of(computer), computer.label
            if self.cores and self.cores > node.get('cores', math.inf):
                raise InputError(f'--cores {self.cores}: a node of {label} has {node["cores"]}; give at most so many')
            if self.memory and memory_kb(self.memory) > node.get('memory_kb', math.inf):
                most = in_words(node['memory_kb'])
                raise InputError(f'--memory {self.memory}: a node of {label} has {most}; give at most so much')

    def options(self, computer: Computer, mpi: bool = False) -> dict[str, Any]:
        """``metadata.options`` of a job on ``computer``; what its scheduler does not have is left out.

        Args:
            computer: where the job runs; its own queue and account stand in where none is given.
            mpi: whether cores become processes of MPI, or those of one process.
        """
        scheduler, node = computer.scheduler_type, node_of(computer)
        known = {name: value for name, value in self.given.items() if name not in self.refusals(scheduler)}
        asked = Resources(**({name: node[name] for name in ('queue', 'account') if name in node} | known))
        lines = list(asked.scheduler_line)
        if asked.gpus:
            lines.insert(0, GPU_LINES[scheduler].format(gpus=asked.gpus))
        named = {
            'resources': asked._of_scheduler(scheduler, node, mpi),
            'queue_name': asked.queue,
            'account': asked.account,
            'max_memory_kb': None if asked.memory is None else memory_kb(asked.memory),
            'max_wallclock_seconds': asked.max_wallclock_hours and max(1, round(3600 * asked.max_wallclock_hours)),
            'custom_scheduler_commands': '\n'.join(lines) or None,
        }
        return {name: value for name, value in named.items() if value is not None}

    def _of_scheduler(self, scheduler: str, node: Mapping[str, Any], mpi: bool) -> dict[str, Any] | None:
        """``metadata.options.resources``: by nodes, or by slots where the scheduler hands out those; ``None`` for the
        one process on one node that every calculation has by default."""
        nodes, cores = self.nodes or 1 if mpi else 1, self.cores or 1
        if scheduler in ('core.sge', 'core.lsf'):
            slots: dict[str, Any] = {'tot_num_mpiprocs': nodes * cores}
            if scheduler == 'core.sge':
                slots['parallel_env'] = node.get('parallel_environment', 'smp')
            elif nodes > 1:
                slots |= {'use_num_machines': True, 'num_machines': nodes}
            return slots
        if nodes == cores == 1:
            return None
        if mpi:
            return {'num_machines': nodes, 'num_mpiprocs_per_machine': cores}
        return {'num_machines': nodes, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': cores}


def node_of(computer: Computer) -> dict[str, Any]:
    """What is known of a node of ``computer``: cores, memory_kb, queue, account, parallel_environment."""
    return dict(computer.get_property(PROPERTY, {}))


#: What a workflow may be asked for: resources, or ``metadata.options`` as AiiDA has them.
Asked = Resources | Mapping[str, Any] | None


def options_of_job(asked: Asked, code: AbstractCode, mpi: bool = False, cores: int = 1) -> dict[str, Any]:
    """``metadata.options`` of a job of ``code``: of what is asked for, or as they are given.

    Args:
        asked: resources, or the options themselves.
        code: what the job runs.
        mpi: whether cores become processes of MPI.
        cores: what is sensible where nothing is asked for, and a scheduler hands out nodes of known size.
    """
    if isinstance(asked, Mapping):
        return dict(asked)
    computer, asked = code.computer, asked or Resources()
    if computer is None:
        return {}
    of_node = node_of(computer).get('cores')
    if asked.cores is None and of_node and computer.scheduler_type != 'core.direct':
        asked = replace(asked, cores=min(cores, of_node))
    return asked.options(computer, mpi)


def processes_on_one_machine(resources: Mapping[str, Any]) -> int:
    """The number of processes, or threads of one, that the command may run, by what the job asks of the scheduler."""
    processes = resources.get('num_mpiprocs_per_machine')
    if not processes:
        processes = resources.get('tot_num_mpiprocs', 1) // resources.get('num_machines', 1)
    return max(1, processes) * (resources.get('num_cores_per_mpiproc') or 1)


def starts_at_once(code: AbstractCode) -> bool:
    """Whether jobs of ``code`` start at once, on a machine whose cores nothing counts."""
    return code.computer is not None and code.computer.scheduler_type == 'core.direct'


def jobs_at_a_time(calculation: Mapping[str, Any]) -> int:
    """Jobs with these inputs that a workflow submits at a time: :data:`IN_QUEUE`, or where jobs start at once as many
    as the machine has cores for, if it is known how many it has."""
    code, computer = calculation['code'], calculation['code'].computer
    if not starts_at_once(code):
        return IN_QUEUE
    here = available_cores() if computer.transport_type == 'core.local' else 0
    cores = node_of(computer).get('cores') or here
    of_job = processes_on_one_machine(calculation['metadata']['options']['resources'])
    return max(1, cores // of_job) if cores else IN_QUEUE


def with_cores(resources: Mapping[str, Any], cores: int) -> dict[str, Any]:
    """``resources`` with at least so many cores for one process."""
    if processes_on_one_machine(resources) >= cores:
        return dict(resources)
    if resources.get('num_mpiprocs_per_machine'):
        return {**resources, 'num_mpiprocs_per_machine': 1, 'num_cores_per_mpiproc': cores}
    return {**resources, 'tot_num_mpiprocs': cores * resources.get('num_machines', 1)}
