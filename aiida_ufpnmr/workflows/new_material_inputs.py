"""Inputs of the workflow of a new material that follow from its crystal and from the temperature of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.crystals import Crystal
from aiida_ufpnmr.workflows.protocols import merged

#: Runs of a generation from each cell: there are few cells, and each shall be seen at all volumes.
REPLICAS = 3
#: Triplets reach as far as an atom has so many neighbours on average, around ions and around others, with splines of so
#: many intervals: a crystal has a structure beyond the first shell, and few labels of small cells tell it already.
#: Around ions a first shell does as well, and dynamics are a third faster.
ION_NEIGHBOURS, OTHER_NEIGHBOURS = 10.0, 22.0
TRIPLETS = {'bond_intervals': 8, 'third_intervals': 12}
#: Time step in fs of materials with an element too light for that of the protocols.
SHORT_STEPS_FS = {'H': 0.5}


def potential_settings(crystal: Crystal, ion: str) -> dict[str, Any]:
    """What a potential of a material has: how far triplets reach around each element, and many-body terms.

    These are around the element of most atoms but the ions, the anions that all others have for neighbours. Around
    others, too, they gain little, and let first potentials collapse.
    """
    numbers = dict(sorted(crystal.composition.items()))
    volume_each = abs(np.linalg.det(crystal.cell)) / sum(numbers.values())
    reach = {
        element: round(float(np.cbrt(neighbours * volume_each * 3 / (4 * np.pi))), 1)
        for element in numbers
        for neighbours in (ION_NEIGHBOURS if element == ion else OTHER_NEIGHBOURS,)
    }
    others = [element for element in numbers if element != ion]
    moments = [max(others, key=numbers.__getitem__)] if others else None
    return {'triplet_cutoff': reach, **TRIPLETS, 'moments': moments}


def staged_exploration(
    temperature_K: float, temperature_fractions: Any, exploration_steps: Any, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """How learning explores: up to and above the temperature of the answer, in ever longer runs.

    Args:
        temperature_K: of the answer.
        temperature_fractions: by stage, in units of that.
        exploration_steps: of the runs, by stage; those of the runs that are asked for come first.
        asked: overrides of learning.

    Raises:
        ValueError: the fractions are none.
    """
    given = temperature_fractions
    if not isinstance(given, list) or not given or not all(isinstance(one, (int, float)) and one > 0 for one in given):
        raise ValueError(f'temperature_fractions must be a list of numbers above 0, not {given!r}')
    found = {'temperatures_K': [[max(10.0, round(temperature_K * share, -1))] for share in given], 'replicas': REPLICAS}
    if 'steps' not in ((asked.get('md') or {}).get('parameters') or {}):
        found['steps'] = exploration_steps
    return found


def with_short_steps(inputs: dict[str, Any], elements: list[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs with shorter time steps where an element is very light, unless overrides name some."""
    step = min((fs for element, fs in SHORT_STEPS_FS.items() if element in elements), default=None)
    if step is None:
        return inputs
    short = {
        name: {'md': {'parameters': {'timestep': step}}}
        for name in ('learning', 'dynamic_nmr')
        if 'timestep' not in ((overrides.get(name) or {}).get('md') or {}).get('parameters', {})
    }
    guided = inputs['draw']['parameters']
    if 'guide' in guided:
        short['draw'] = {'parameters': {'guide_timestep': guided.get('guide_timestep', step)}}
    return merged(inputs, short)
