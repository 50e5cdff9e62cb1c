"""Queries forward: which answers rest on a label, a model or a structure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aiida.common.links import LinkType
from aiida.orm import CalculationNode, Data, Dict, Node, QueryBuilder, load_node

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.queries import pk_of, reached


@dataclass(frozen=True)
class Outcome:
    """A decay time, or the verdict that there is none.

    Attributes:
        pk, uuid: of the node that holds it.
        temperature_K: mean over the trajectory; ``None`` where the node does not say.
        verdict: ``decay``, or why there is no decay time.
        tau_ns, tau_ns_ci95, tau_ns_lower_bound: as ``ufpnmr acf`` reports them, ns.
        hop_rate_per_s: from the hops along the same trajectory, where they were counted.
        hop_rate_corrected: whether that is more than a lower limit; ``None`` in answers of older versions.
        hops_verdict: ``hops``, or what speaks against that rate.
    """

    pk: int
    uuid: str
    temperature_K: float | None
    verdict: str | None
    tau_ns: float | None
    tau_ns_ci95: list[float] | None
    tau_ns_lower_bound: float | None
    hop_rate_per_s: float | None
    hop_rate_corrected: bool | None
    hops_verdict: str | None


_KEYS = (
    'temperature_mean_K', 'verdict', 'tau_ns', 'tau_ns_ci95', 'tau_ns_lower_bound', 'hop_rate_per_s',
    'hop_rate_corrected', 'hops_verdict',
)  # fmt: skip


def outcomes_of(node: Node) -> list[Outcome]:
    """Every decay time that rests on ``node``: a data set, a model, a structure, a trajectory, a calculation.

    Where a workflow put decay time, hops and diffusion side by side, that summary stands for them.
    """
    resting = reached([pk_of(node)], 'with_incoming')
    if not resting:  # which a query refuses
        return []
    query = QueryBuilder().append(
        Dict,
        filters={'id': {'in': resting}, 'and': [{'attributes': {'has_key': key}} for key in ('verdict', 'tau_ns')]},
        tag='answer',
        project=['id', 'uuid', *(f'attributes.{key}' for key in _KEYS)],
    )
    rows = query.order_by({'answer': 'id'}).all()
    summarised = _summarised([row[0] for row in rows])
    return [_outcome(row) for row in rows if row[0] not in summarised]


def _outcome(row: Sequence[Any]) -> Outcome:
    found = Outcome(*row)
    corrected = found.hop_rate_corrected
    # SQLite gives a number for a boolean
    return found if corrected is None else replace(found, hop_rate_corrected=bool(corrected))


@dataclass(frozen=True)
class Made:
    """Something that a calculation made of a node, directly or over other calculations.

    Attributes:
        pk, uuid: of what was made.
        output: what it is to the calculation, such as ``trajectory`` or ``results``.
        calculation_pk: of the calculation.
        calculation: its name.
    """

    pk: int
    uuid: str
    output: str
    calculation_pk: int
    calculation: str


#: Outputs that are no results.
_ASIDE = ('remote_folder', 'retrieved', 'timing', 'figure')


def made_of(nodes: Collection[Node]) -> list[Made]:
    """All that calculations made of some nodes: models, trajectories, diffusion, hops, spectra, decay times."""
    resting = reached([pk_of(node) for node in nodes], 'with_incoming')
    if not resting:  # which a query refuses
        return []
    query = QueryBuilder().append(
        CalculationNode, filters={'id': {'in': resting}}, tag='made_by', project=['id', 'attributes.process_label']
    )
    query.append(
        Data,
        with_incoming='made_by',
        tag='made',
        project=['id', 'uuid'],
        edge_project=['label'],
        edge_filters={'type': LinkType.CREATE.value, 'label': {'!in': list(_ASIDE)}},
    )
    names = ('calculation_pk', 'calculation', 'pk', 'uuid', 'output')
    found = [Made(**dict(zip(names, row))) for row in query.all()]
    return sorted(found, key=lambda made: made.pk)


def made_of_label(name: str) -> list[Made]:
    """All that rests on one labelled structure, named by its ``label_id`` or its label hash.

    Raises:
        InputError: no data set of the profile holds it.
    """
    return made_of([load_node(pk) for pk in _datasets_with(name)])


def outcomes_of_label(name: str) -> list[Outcome]:
    """Every decay time that rests on one labelled structure, named by its ``label_id`` or its label hash.

    Raises:
        InputError: no data set of the profile holds it.
    """
    found = {outcome.pk: outcome for pk in _datasets_with(name) for outcome in outcomes_of(load_node(pk))}
    return [found[pk] for pk in sorted(found)]


def decay_times(potential: PotentialData) -> list[Outcome]:
    """All decay times that were found with one potential, by temperature."""
    return sorted(outcomes_of(potential), key=lambda found: (found.temperature_K or 0.0, found.pk))


def _summarised(pks: Collection[int]) -> set[int]:
    """Those of some results that are of correlations which a summary has taken up."""
    if not pks:  # which a query refuses
        return set()
    query = QueryBuilder().append(Node, filters={'id': {'in': pks}}, tag='correlation', project='id')
    query.append(
        CalculationNode,
        with_incoming='correlation',
        filters={'attributes.process_label': 'summarise'},
        edge_project='label',  # a filter of it would have SQLite look at all links of this name in the profile
    )
    return {pk for pk, name in query.iterall() if name == 'acf'}


def _datasets_with(name: str) -> list[int]:
    query = QueryBuilder().append(DatasetData, tag='set', project=['id', 'attributes.rows']).order_by({'set': 'id'})
    found = [
        pk
        for pk, rows in query.iterall()
        if any(name in (record.label_id, record.label_sha256) for record in map(LabelRecord.of, rows))
    ]
    if not found:
        raise InputError(f'{name}: no data set of this profile holds such a label; see "aiida-ufpnmr query labels"')
    return found
