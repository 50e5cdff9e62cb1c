"""Time that dynamics asks of a scheduler, by its size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from aiida.orm import AbstractCode

from aiida_ufpnmr.calculations.resources import processes_on_one_machine, starts_at_once
from aiida_ufpnmr.workflows.protocols import merged

#: Atom-steps a second of one core, a third of what a present one does with tensors on the way (docs, topics/dynamics).
SPEED = 1e5
#: What is asked for, of what that speed needs: threads share the work badly where they share a memory bus.
MARGIN = 2.0
#: For the start of a job, and the most that one job asks for: queues seldom give more, and the next job goes on, s.
START, MOST = 600.0, 24 * 3600.0


def is_limited_by_size(options: Mapping[str, Any], code: AbstractCode) -> bool:
    """Whether a job with these ``metadata.options`` has no time limit, on a computer that does not just start it."""
    return 'max_wallclock_seconds' not in options and code.computer is not None and not starts_at_once(code)


def limit_s(seconds: float) -> int:
    """The time limit of a job that needs so many seconds at :data:`SPEED`: whole minutes."""
    return 60 * math.ceil(min(START + MARGIN * seconds, MOST) / 60)


def atom_steps(n_atoms: int, parameters: Mapping[str, Any]) -> int:
    """The size of a run: steps, those before the first frame included, times atoms of the simulated cell.

    Args:
        n_atoms: of the structure, before it is repeated.
        parameters: of the dynamics.
    """
    steps = parameters['steps'] + (parameters.get('equilibrate') or 0)
    return n_atoms * math.prod(parameters.get('supercell') or (1,)) * steps


def makespan_s(seconds: Sequence[float], cores: int) -> float:
    """The longest time in which runs end, each begun in turn as soon as one of the cores is free.

    The bound is sharp (R. L. Graham, SIAM J. Appl. Math. 17, 416 (1969), eq. 3).

    Args:
        seconds: of each run on one core.
        cores: on which runs are made side by side, one on each.
    """
    return (sum(seconds) + (cores - 1) * max(seconds)) / cores


def with_wall_time(inputs: dict[str, Any], n_atoms: int, code: AbstractCode) -> dict[str, Any]:
    """Inputs of ``md`` with a time limit for a scheduler, where they have none; as they are where jobs just start.

    Args:
        inputs: plain values, complete, with the supercell.
        n_atoms: of the structure, before it is repeated.
        code: what the dynamics runs.
    """
    md = inputs['md']
    options, parameters = md.get('metadata', {}).get('options', {}), md['parameters']
    if not is_limited_by_size(options, code):
        return inputs
    threads = parameters.get('threads') or processes_on_one_machine(options.get('resources', {}))
    limit = limit_s(atom_steps(n_atoms, parameters) / (SPEED * threads))
    return merged(inputs, {'md': {'metadata': {'options': {'max_wallclock_seconds': limit}}}})
