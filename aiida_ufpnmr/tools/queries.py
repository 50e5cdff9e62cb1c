"""Queries along the provenance of a result: which labels, which settings, which runs stand behind it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, TypeVar

from aiida.common.links import LinkType
from aiida.orm import AbstractCode, BaseType, CalculationNode, Dict, Node, ProcessNode, QueryBuilder

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.dft.record import LabelRecord

N = TypeVar('N', bound=Node)


@dataclass(frozen=True)
class Label:
    """A labelled structure behind a result.

    Attributes:
        dataset: the node that holds it.
        index: its row there.
        row: where it came from, as :meth:`DatasetData.row` gives it.
    """

    dataset: DatasetData
    index: int
    row: dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A choice of the user behind a result.

    Attributes:
        process: the calculation that it went into.
        name: the input.
        node: what was given.
        value: the same as a plain value.
    """

    process: CalculationNode
    name: str
    node: Node
    value: Any


def pk_of(node: Node) -> int:
    """The pk of a node that is stored, as all nodes of a provenance are."""
    assert node.pk is not None
    return node.pk


def calculations_behind(node: Node) -> list[CalculationNode]:
    """All calculations that led to ``node``, in the order in which they were made; to its outputs for a workflow."""
    found: dict[int, CalculationNode] = {}
    for start in _starts(node):
        itself = [start] if isinstance(start, CalculationNode) else []
        found |= {pk_of(calculation): calculation for calculation in (*itself, *_ancestors(start, CalculationNode))}
    # not by pk alone: those of nodes that were imported are in no order
    return sorted(found.values(), key=lambda calculation: (calculation.ctime, pk_of(calculation)))


def step_name(node: ProcessNode) -> str:
    """The name under which its workflow called a process, or that of the process itself.

    An attempt of a restart chain has the name of the chain, if its workflow gave it one.
    """
    links = node.base.links.get_incoming(link_type=(LinkType.CALL_CALC, LinkType.CALL_WORK)).all()
    called_as = links[0].link_label if links else ''
    if called_as.startswith('iteration_') and node.caller is not None:
        called_as = step_name(node.caller).removeprefix(node.caller.process_label or '')
    return str(node.process_label) if called_as in ('', 'CALL') else called_as


def labels_behind(node: Node) -> list[Label]:
    """Every labelled structure that ``node`` rests on, set by set and row by row.

    A label that went from set to set is listed once, where it came last.
    """
    datasets = {pk_of(dataset): dataset for start in _starts(node) for dataset in _ancestors(start, DatasetData)}
    if isinstance(node, DatasetData):
        datasets[pk_of(node)] = node
    found: list[Label] = []
    seen: set[tuple | None] = set()
    behind = {pk_of(calculation) for calculation in calculations_behind(node)}
    for pk in sorted(datasets, reverse=True):
        if pk != node.pk and not _gives_labels(datasets[pk], behind):
            continue
        rows = [Label(datasets[pk], i, row) for i, row in enumerate(datasets[pk].rows) if _identity(row) not in seen]
        seen.update(identity for identity in (_identity(label.row) for label in rows) if identity is not None)
        found = rows + found
    return found


def _identity(row: dict[str, Any]) -> tuple | None:
    """The identity of a label: its hash, or else the name that it was given, if any."""
    record = LabelRecord.of(row)
    if record.label_sha256 is not None:
        return (record.label_sha256,)
    return None if record.label_id is None else (record.label_id, row['group'], row['formula'])


#: Calculations, and the input of each, that look at structures and not at their labels; no name for any input.
_STRUCTURES_ONLY = {
    ('select_structure', 'dataset'),
    ('select_structures', 'dataset'),
    ('collect_labels', 'source'),
    ('gathered', ''),
    ('rows_between', 'dataset'),
    ('LabelGpawCalculation', 'structures'),
}


def _gives_labels(dataset: DatasetData, calculations: Collection[int]) -> bool:
    """True where one of these calculations took more than the structures of a set."""
    links = dataset.base.links.get_outgoing(link_type=LinkType.INPUT_CALC).all()
    return any(
        link.node.pk in calculations
        and not {(link.node.process_label, link.link_label), (link.node.process_label, '')} & _STRUCTURES_ONLY
        for link in links
    )


def settings_behind(node: Node) -> list[Setting]:
    """Every parameter and setting that went into the calculations behind ``node``."""
    settings = []
    for process in calculations_behind(node):
        for link in process.base.links.get_incoming(link_type=LinkType.INPUT_CALC):
            given = link.node
            if not isinstance(given, (Dict, BaseType)) or given.creator is not None:
                continue
            value = given.get_dict() if isinstance(given, Dict) else given.value
            settings.append(Setting(process, link.link_label, given, value))
    return settings


def codes_behind(node: Node) -> list[AbstractCode]:
    """The codes that the calculations behind ``node`` ran."""
    inputs = [process.inputs for process in calculations_behind(node)]
    codes = {given.code.pk: given.code for given in inputs if 'code' in given}
    return [codes[pk] for pk in sorted(codes)]


def _starts(node: Node) -> list[Node]:
    """The nodes from which the data provenance of ``node`` is walked back."""
    if isinstance(node, ProcessNode) and not isinstance(node, CalculationNode):
        return [link.node for link in node.base.links.get_outgoing(link_type=LinkType.RETURN)]
    return [node]


def _ancestors(node: Node, kind: type[N]) -> list[N]:
    query = QueryBuilder().append(Node, filters={'id': node.pk}, tag='result').append(kind, with_descendants='result')
    return query.distinct().all(flat=True)
