"""Findings about runs that have ended: outputs that are there twice, and what broke off with an exception."""

from __future__ import annotations

from collections import Counter

from aiida.common.links import LinkType
from aiida.orm import CalcJobNode, Data, ProcessNode, QueryBuilder
from plumpy import ProcessState

from aiida_ufpnmr.calculations.take_over import has_doubled_outputs
from aiida_ufpnmr.tools.doctor.finding import Finding
from aiida_ufpnmr.tools.doctor.processes import named
from aiida_ufpnmr.tools.queries import pk_of, process_node

#: Extra of a run that was launched again: the UUID of the new one.
REPLACED_BY = 'ufpnmr_replaced_by'
#: Processes of this package, also of functions that have no entry point.
OURS = {'process_type': {'like': '%ufpnmr%'}}


def doubled_outputs() -> dict[int, list[str]]:
    """The processes of this package that have an output more than once: its names by their pks."""
    query = QueryBuilder().append(ProcessNode, filters=OURS, project='id', tag='process')
    types = [LinkType.CREATE.value, LinkType.RETURN.value]
    query.append(Data, with_incoming='process', edge_filters={'type': {'in': types}}, edge_project=['label', 'type'])
    found: dict[int, list[str]] = {}
    for (pk, label, _), number in Counter(map(tuple, query.iterall())).items():
        if number > 1:
            found.setdefault(pk, []).append(label)
    return found


def excepted() -> set[int]:
    """The processes of this package that broke off with an exception."""
    state = {'attributes.process_state': ProcessState.EXCEPTED.value}
    return set(QueryBuilder().append(ProcessNode, filters={**OURS, **state}, project='id').all(flat=True))


def root_of(node: ProcessNode) -> ProcessNode:
    while node.caller is not None:
        node = node.caller
    return node


def damaged_runs() -> dict[int, list[str]]:
    """What is wrong, below each run that has ended and was not launched again since, by the pk of the run."""
    reasons: dict[int, list[str]] = {}
    for pk, labels in doubled_outputs().items():
        reasons.setdefault(pk, []).append(f'has {", ".join(sorted(labels))} more than once')
    for pk in excepted():
        reasons.setdefault(pk, []).append(f'broke off: {_last_words(process_node(pk))}')
    runs: dict[int, list[str]] = {}
    for pk in sorted(reasons):
        node = process_node(pk)
        root = root_of(node)
        if root.is_terminated and REPLACED_BY not in root.base.extras.all:
            who = 'it' if node.pk == root.pk else named(node)
            runs.setdefault(pk_of(root), []).extend(f'{who} {reason}' for reason in reasons[pk])
    return runs


def damaged() -> list[Finding]:
    """The damaged runs, with what of each is whole."""
    return [_finding(process_node(pk), reasons) for pk, reasons in damaged_runs().items()]


def _finding(root: ProcessNode, reasons: list[str]) -> Finding:
    whole = whole_calculations(root)
    trajectories = [job.outputs.trajectory.pk for job in whole if 'trajectory' in job.outputs]
    kept = f'{len(whole)} calculations are whole' if len(whole) != 1 else '1 calculation is whole'
    if trajectories:
        kept += f', trajectory {", ".join(f"#{pk}" for pk in trajectories)} among what they gave'
    more = f' (and {len(reasons) - 1} more)' if len(reasons) > 1 else ''
    remedy = f'run "aiida-ufpnmr relaunch {root.pk}", which takes over what is whole'
    return Finding('damaged-run', named(root), f'{reasons[0]}{more}; {kept}', remedy, (pk_of(root),))


def whole_calculations(root: ProcessNode) -> list[CalcJobNode]:
    """The calculations below a run that ended well, with each output once."""
    jobs = [node for node in (root, *root.called_descendants) if isinstance(node, CalcJobNode)]
    return [job for job in jobs if job.is_finished_ok and not has_doubled_outputs(job)]


def _last_words(node: ProcessNode) -> str:
    lines = [line.strip() for line in (node.exception or 'nothing is known').splitlines() if line.strip()]
    return lines[-1][:160] if lines else 'nothing is known'
