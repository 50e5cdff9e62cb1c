"""Time that dynamics asks of a scheduler, by its size."""

from __future__ import annotations

import math
from typing import Any

from aiida.orm import AbstractCode

from aiida_ufpnmr.calculations.resources import processes_on_one_machine
from aiida_ufpnmr.workflows.protocols import merged

#: Atom-steps a second of one core, a third of what a present one does with tensors on the way (docs, topics/dynamics).
SPEED = 1e5
#: What is asked for, of what that speed needs: threads share the work badly where they share a memory bus.
MARGIN = 2.0
#: For the start of a job, and the most that one job asks for: queues seldom give more, and the next job goes on, s.
START, MOST = 600.0, 24 * 3600.0


def with_wall_time(inputs: dict[str, Any], n_atoms: int, code: AbstractCode) -> dict[str, Any]:
    """Inputs of ``md`` with a time limit for a scheduler, where they have none; as they are where jobs just start.

    Args:
        inputs: plain values, complete, with the supercell.
        n_atoms: of the structure, before it is repeated.
        code: what the dynamics runs.
    """
    md, computer = inputs['md'], code.computer
    options = md.get('metadata', {}).get('options', {})
    if 'max_wallclock_seconds' in options or computer is None or computer.scheduler_type == 'core.direct':
        return inputs
    parameters = md['parameters']
    threads = parameters.get('threads') or processes_on_one_machine(options.get('resources', {}))
    atom_steps = n_atoms * math.prod(parameters.get('supercell', (1,))) * parameters['steps']
    seconds = min(START + MARGIN * atom_steps / (SPEED * threads), MOST)
    limit = 60 * math.ceil(seconds / 60)
    return merged(inputs, {'md': {'metadata': {'options': {'max_wallclock_seconds': limit}}}})
