"""What a result has cost, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from aiida.orm import Dict, Node, QueryBuilder

from aiida_ufpnmr.tools.queries import calculations_behind, step_name


@dataclass(frozen=True)
class Step:
    """One calculation behind a result; times in seconds, ``None`` where it reports none."""

    name: str
    pk: int
    uuid: str
    finished: str
    wall_s: float | None
    cpu_s: float | None


def cost_by_step(node: Node) -> list[Step]:
    """All calculations behind ``node``, in order, with the time they took."""
    calculations = calculations_behind(node)
    timings = _timings([calculation.pk for calculation in calculations])
    return [
        Step(
            step_name(calculation),
            calculation.pk,
            calculation.uuid,
            calculation.mtime.strftime('%Y-%m-%d %H:%M'),
            timings.get(calculation.pk, {}).get('wall_s'),
            timings.get(calculation.pk, {}).get('cpu_s', timings.get(calculation.pk, {}).get('wall_s')),
        )
        for calculation in calculations
    ]


def _timings(pks: list[int]) -> dict[int, dict]:
    """The ``timing`` output of each calculation that has one."""
    query = QueryBuilder().append(Node, filters={'id': {'in': pks}}, tag='calculation', project='id')
    query.append(Dict, with_incoming='calculation', edge_filters={'label': 'timing'}, project='attributes')
    return dict(query.iterall())
