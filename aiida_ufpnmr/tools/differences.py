"""Differences between two results: inputs, settings, codes, versions, and the results themselves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from aiida.common.links import LinkType
from aiida.orm import AbstractCode, BaseType, CalculationNode, Dict, Node

from aiida_ufpnmr.tools.queries import calculations_behind, pk_of, step_names


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in two results.

    Attributes:
        step: the calculation, by the name under which its workflow called it.
        what: input, setting, version or result.
        first, second: its value in either; ``None`` where there is none.
    """

    step: str
    what: str
    first: Any
    second: Any


def differences(first: Node, second: Node) -> list[Difference]:
    """Inputs that were given, codes, versions and results that differ between two results or workflows.

    Calculations are matched by their step, and in the order of their making where there are several of a step. What one
    calculation made and another one took in is left out: it differs if something before it does.
    """
    found = []
    before, after = _by_step(first), _by_step(second)
    for step in sorted({*before, *after}):
        pairs = list(zip_longest(before.get(step, []), after.get(step, [])))
        for number, (one, other) in enumerate(pairs, 1):
            name = step if len(pairs) == 1 else f'{step} {number}'
            a, b = _facts(one), _facts(other)
            found += [
                Difference(name, what, first=a.get(what), second=b.get(what))
                for what in sorted({*a, *b})
                if a.get(what) != b.get(what)
            ]
    return found


def _by_step(node: Node) -> dict[str, list[CalculationNode]]:
    steps = defaultdict(list)
    calculations = calculations_behind(node)
    names = step_names(calculations)
    for calculation in calculations:
        steps[names[pk_of(calculation)]].append(calculation)
    return steps


def _facts(calculation: CalculationNode | None) -> dict[str, Any]:
    """All facts about a calculation that may differ, by name."""
    if calculation is None:
        return {}
    facts: dict[str, Any] = {'exit status': calculation.exit_status}
    for link in calculation.base.links.get_incoming(link_type=LinkType.INPUT_CALC):
        facts |= _given(link.link_label, link.node)
    if 'results' in calculation.outputs and isinstance(calculation.outputs.results, Dict):
        results = calculation.outputs.results.get_dict()
        versions = results.pop('versions', {})
        facts |= {f'version of {name}': value for name, value in versions.items()}
        facts |= {f'result {name}': value for name, value in results.items()}
    return facts


def _given(label: str, node: Node) -> dict[str, Any]:
    """An input that the user gave, as plain values."""
    if node.creator is not None:
        return {}
    if isinstance(node, Dict):
        return {f'{label} {name}': value for name, value in node.get_dict().items()}
    if isinstance(node, BaseType):
        return {label: node.value}
    if isinstance(node, AbstractCode):
        return {label: node.full_label}
    content = node.base.attributes.get('sha256', None) or node.base.caching.compute_hash()
    return {label: f'{node.label or type(node).__name__} {str(content)[:12]}'}
