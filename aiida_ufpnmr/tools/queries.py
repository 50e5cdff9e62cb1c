"""Queries along the provenance of a result: which labels, which settings, which runs stand behind it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from aiida.common import AttributeDict
from aiida.common.links import LinkType
from aiida.orm import (
    AbstractCode,
    BaseType,
    CalculationNode,
    Data,
    Dict,
    Node,
    ProcessNode,
    QueryBuilder,
    WorkflowNode,
    load_node,
)
from plumpy import ProcessState

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.dft.record import LabelRecord

N = TypeVar('N', bound=Node)
#: Links from data to a calculation, and from that to what it made.
_OF_DATA = [LinkType.CREATE.value, LinkType.INPUT_CALC.value]

#: Links from a workflow to what it called.
_CALLS = [LinkType.CALL_CALC.value, LinkType.CALL_WORK.value]
#: States that no process leaves.
_ENDED = {state.value for state in (ProcessState.FINISHED, ProcessState.EXCEPTED, ProcessState.KILLED)}


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
class Called:
    """What a process called, as it was when it was looked at.

    Attributes:
        is_job: it runs on a computer.
        state: its state, by AiiDA's name, or ``None`` where it has only just been made.
    """

    is_job: bool
    state: str | None

    @property
    def has_ended(self) -> bool:
        return self.state in _ENDED


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


def process_node(pk: int) -> ProcessNode:
    """The process with a pk."""
    node = load_node(pk)
    assert isinstance(node, ProcessNode)  # as all whose pk comes here
    return node


def reached(pks: Collection[int], join: Literal['with_incoming', 'with_outgoing']) -> list[int]:
    """The pks of all nodes that links of data lead to from some nodes, themselves left out, a query for each step.

    Joins with all ancestors follow every way to a node, of which there are several times as many after each generation
    of active learning.

    Args:
        pks: where to begin.
        join: ``with_incoming`` goes forward, to all that rests on the nodes; ``with_outgoing`` to what they rest on.
    """
    found: set[int] = set()
    step = set(pks)
    while step:
        query = QueryBuilder().append(Node, filters={'id': {'in': list(step)}}, tag='here')
        query.append(
            Node, joining_keyword=join, joining_value='here', project='id', edge_filters={'type': {'in': _OF_DATA}}
        )
        step = set(query.distinct().all(flat=True)) - found
        found |= step
    return sorted(found)


def calculations_behind(node: Node) -> list[CalculationNode]:
    """All calculations that led to ``node``, in the order in which they were made; to its outputs for a workflow.

    A workflow without outputs has those that it called.
    """
    found = _among(CalculationNode, _behind(node))
    if not found and isinstance(node, WorkflowNode):
        found = [called for called in node.called_descendants if isinstance(called, CalculationNode)]
    # not by pk alone: those of nodes that were imported are in no order
    return sorted(found, key=lambda calculation: (calculation.ctime, pk_of(calculation)))


def called_below(root: ProcessNode) -> dict[int, Called]:
    """All that a process called, and that called in turn, by pk in the order of calls, with a query for each level."""
    found: dict[int, Called] = {}
    step = [pk_of(root)]
    while step:
        query = QueryBuilder().append(ProcessNode, filters={'id': {'in': step}}, tag='caller')
        query.append(
            ProcessNode,
            with_incoming='caller',
            project=['id', 'node_type', 'attributes.process_state'],
            edge_filters={'type': {'in': _CALLS}},
        )
        level = {pk: Called('calcjob' in kind, state) for pk, kind, state in query.iterall()}
        step = list(level)
        found |= level
    return dict(sorted(found.items()))


def step_name(node: ProcessNode) -> str:
    """The name under which its workflow called a process, or that of the process itself.

    An attempt of a restart chain has the name of the chain, if its workflow gave it one.
    """
    return step_names([node])[pk_of(node)]


def step_names(nodes: Collection[ProcessNode]) -> dict[int, str]:
    """The name of each process, as of :func:`step_name`, by pk."""
    own = {pk_of(node): str(node.process_label) for node in nodes}
    called: dict[int, tuple[str, int]] = {}
    step = set(own)
    while step:  # from processes to those that called them, as far as names come from there
        query = QueryBuilder().append(ProcessNode, filters={'id': {'in': list(step)}}, tag='called', project='id')
        query.append(
            ProcessNode,
            with_outgoing='called',
            project=['id', 'attributes.process_label'],
            edge_project='label',
            edge_filters={'type': {'in': _CALLS}},
        )
        step = set()
        for pk, caller, label, name in query.iterall():
            called[pk] = (name, caller)
            own[caller] = own.get(caller, str(label))
            if name.startswith('iteration_'):
                step.add(caller)

    def name_of(pk: int) -> str:
        name, caller = called.get(pk, ('', pk))
        if name.startswith('iteration_'):
            name = name_of(caller).removeprefix(own[caller])
        return own[pk] if name in ('', 'CALL') else name

    return {pk_of(node): name_of(pk_of(node)) for node in nodes}


def inputs_of(calculations: Collection[CalculationNode]) -> dict[int, dict[str, Node]]:
    """All inputs of each calculation by name, by its pk."""
    found: dict[int, dict[str, Node]] = {pk_of(calculation): {} for calculation in calculations}
    if found:  # else a query refuses
        query = QueryBuilder().append(CalculationNode, filters={'id': {'in': list(found)}}, tag='to', project='id')
        query.append(Data, with_outgoing='to', project='*', edge_project=['label', 'id'])
        for pk, given, name, _ in sorted(query.iterall(), key=lambda row: row[3]):
            found[pk][name] = given
    return found


def creators_of(pks: Collection[int]) -> dict[int, int]:
    """The pk of the calculation that made a node, by the pk of that, for each that one made."""
    if not pks:  # which a query refuses
        return {}
    query = QueryBuilder().append(CalculationNode, tag='maker', project='id')
    query.append(Data, filters={'id': {'in': list(pks)}}, with_incoming='maker', project='id')
    return {made: maker for maker, made in query.iterall()}


def labels_behind(node: Node) -> list[Label]:
    """Every labelled structure that ``node`` rests on, set by set and row by row.

    A label that went from set to set is listed once, where it came last.
    """
    behind = _behind(node)
    datasets = {pk_of(dataset): dataset for dataset in _among(DatasetData, behind)}
    found: list[Label] = []
    seen: set[tuple | None] = set()
    giving = _giving_labels(datasets, behind)
    for pk in sorted(datasets, reverse=True):
        if pk != node.pk and pk not in giving:
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


def _giving_labels(datasets: Collection[int], calculations: Collection[int]) -> set[int]:
    """Those of some sets of which one of these calculations took more than the structures."""
    if not datasets:  # which a query refuses
        return set()
    query = QueryBuilder().append(DatasetData, filters={'id': {'in': list(datasets)}}, tag='set', project='id')
    query.append(
        CalculationNode,
        filters={'id': {'in': list(calculations)}},
        with_incoming='set',
        project='attributes.process_label',
        edge_project='label',
    )
    return {pk for pk, process, name in query.iterall() if not {(process, name), (process, '')} & _STRUCTURES_ONLY}


def settings_behind(node: Node) -> list[Setting]:
    """Every parameter and setting that went into the calculations behind ``node``."""
    return settings_of(calculations_behind(node))


def settings_of(calculations: Sequence[CalculationNode]) -> list[Setting]:
    """Every parameter and setting that calculations were given."""
    given = inputs_of(calculations)
    made = creators_of({pk_of(one) for named in given.values() for one in named.values()})
    return [
        Setting(process, name, one, one.get_dict() if isinstance(one, Dict) else one.value)
        for process in calculations
        for name, one in given[pk_of(process)].items()
        if isinstance(one, (Dict, BaseType)) and one.pk not in made
    ]


def outputs_of(node: ProcessNode) -> AttributeDict:
    """All outputs of a process, nested as its namespaces are, in one query: ``node.outputs`` makes one a look."""
    links = node.base.links.get_outgoing(link_type=(LinkType.CREATE, LinkType.RETURN))
    return AttributeDict(links.nested())


def codes_of(calculations: Sequence[CalculationNode]) -> list[AbstractCode]:
    """The codes that calculations ran."""
    given = [named['code'] for named in inputs_of(calculations).values() if 'code' in named]
    codes = {pk_of(code): code for code in given if isinstance(code, AbstractCode)}
    return [codes[pk] for pk in sorted(codes)]


def _behind(node: Node) -> list[int]:
    """The pks of a node, or of the outputs of a workflow, and of all that it rests on."""
    starts = [pk_of(node)]
    if isinstance(node, ProcessNode) and not isinstance(node, CalculationNode):
        query = QueryBuilder().append(Node, filters={'id': node.pk}, tag='workflow')
        query.append(Data, with_incoming='workflow', project='id', edge_filters={'type': LinkType.RETURN.value})
        starts = query.distinct().all(flat=True)
    return [*starts, *reached(starts, 'with_outgoing')]


def _among(kind: type[N], pks: Collection[int]) -> list[N]:
    """The nodes of a kind among some."""
    return QueryBuilder().append(kind, filters={'id': {'in': list(pks)}}).all(flat=True) if pks else []
