"""What calculations have cost, as their ``timing`` says, and what a budget leaves."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from aiida.orm import CalcJobNode, Dict, Node, ProcessNode, QueryBuilder

from aiida_ufpnmr.calculations.resources import processes_on_one_machine

if TYPE_CHECKING:
    from aiida_ufpnmr.data.dataset import DatasetData

SECONDS_PER_HOUR = 3600.0


def timings(pks: Collection[int]) -> dict[int, dict]:
    """The ``timing`` output of each calculation that has one, by pk."""
    if not pks:  # which a query refuses
        return {}
    query = QueryBuilder().append(Node, filters={'id': {'in': list(pks)}}, tag='calculation', project='id')
    query.append(Dict, with_incoming='calculation', edge_filters={'label': 'timing'}, project='attributes')
    return dict(query.iterall())


def core_hours(nodes: Iterable[ProcessNode]) -> float:
    """CPU time of the jobs among ``nodes`` in hours; of those that report none (CASTEP), wall time on all their cores.

    Jobs that were cut off report nothing, and are not counted.
    """
    jobs = {node.pk: node for node in nodes if isinstance(node, CalcJobNode) and node.pk is not None}
    seconds = 0.0
    for pk, timing in timings(jobs).items():
        resources = jobs[pk].get_option('resources') or {}
        cores = resources.get('num_machines', 1) * processes_on_one_machine(resources)
        seconds += timing.get('cpu_s') or cores * (timing.get('wall_s') or 0.0)
    return seconds / SECONDS_PER_HOUR


def label_core_hours(dataset: DatasetData) -> float | None:
    """Core hours of a label of a set, on average over those that know the job which made them, whenever that was.

    ``None`` where none does, or where the jobs report no times.
    """
    made_by = {row['calculation_uuid'] for row in dataset.rows if row.get('calculation_uuid')}
    if not made_by:
        return None
    jobs = QueryBuilder().append(CalcJobNode, filters={'uuid': {'in': sorted(made_by)}}).all(flat=True)
    labels = sum(len(job.outputs.dataset.rows) for job in jobs if 'dataset' in job.outputs)
    spent = core_hours(jobs)
    return spent / labels if labels and spent else None


def affordable(hours_left: float, hours_before: float, hours_each: float | None) -> int | None:
    """How many labels some core hours pay for, after what comes before them; ``None`` where a price is not known."""
    if hours_left <= hours_before:
        return 0
    return None if not hours_each else math.floor((hours_left - hours_before) / hours_each)
