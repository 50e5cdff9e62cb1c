"""Signs that a job ended because memory ran out, and not because somebody stopped it."""

from __future__ import annotations

import re

from aiida.engine import CalcJob
from aiida.orm import CalcJobNode

#: What Slurm, PBS, LSF, the kernel and CASTEP write, each in words of its own.
_WORDS = re.compile(
    r'oom[-_ ]?kill|out of memory|exceeded[^\n]*memory limit|memory limit[^\n]*exceeded|mem \d+\w* exceeded limit'
    r'|TERM_MEMLIMIT|Cannot allocate memory|bad_alloc',
    re.IGNORECASE,
)
#: How Python and NumPy say it.
_PYTHON = re.compile(r'^(\S*MemoryError\b.*)$', re.MULTILINE)


def out_of_memory(node: CalcJobNode, errors: str = '', killed: bool = False, kernel_killed: bool = False) -> str | None:
    """The sign that a job ran out of memory; ``None`` where there is none.

    Args:
        node: of a job whose files are retrieved.
        errors: what the command wrote to its standard error.
        killed: whether the command alone got SIGKILL, while the script around it went on.
        kernel_killed: whether the kernel of that machine killed for want of memory meanwhile.
    """
    if node.exit_status == CalcJob.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY.status:
        return 'the scheduler says so'
    told = _WORDS.search(_scheduler_words(node)) or _PYTHON.search(errors)
    if told:
        return f'"{told[0].strip()}"'
    if killed and kernel_killed:
        return 'the kernel killed it'
    if killed and _asked_for_memory(node):
        return 'it was killed, as schedulers do where a job takes more memory than it asked for'
    return None


def _scheduler_words(node: CalcJobNode) -> str:
    """What the scheduler wrote beside the job."""
    if 'retrieved' not in node.outputs:
        return ''
    files = node.outputs.retrieved.base.repository
    names = {node.get_option('scheduler_stderr'), node.get_option('scheduler_stdout')} & {*files.list_object_names()}
    return '\n'.join(
        files.get_object_content(name, mode='rb').decode('utf-8', 'replace') for name in sorted(map(str, names))
    )


def _asked_for_memory(node: CalcJobNode) -> bool:
    return bool(node.get_option('max_memory_kb') or (node.computer and node.computer.get_default_memory_per_machine()))
