"""The provenance of a result as a small picture: boxes for data and calculations, arrows from input to output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from xml.sax.saxutils import escape

from aiida.orm import Node, StructureData

from aiida_ufpnmr.data import DatasetData, EfgModelData, PotentialData, SoftnessModelData, TrajectoryData
from aiida_ufpnmr.tools.queries import calculations_behind, creators_of, inputs_of, pk_of, step_names

#: Data that the picture shows, with what it calls them; other data become plain arrows.
SHOWN = {
    DatasetData: 'data set',
    StructureData: 'structure',
    PotentialData: 'potential',
    EfgModelData: 'EFG model',
    SoftnessModelData: 'softness model',
    TrajectoryData: 'trajectory',
}
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 126, 44, 14, 30, 6


@dataclass(frozen=True)
class Box:
    """A box of the picture: ``kind`` is ``data``, ``calculation`` or ``answer``."""

    text: str
    note: str
    kind: str


def provenance(*results: Node) -> tuple[dict[int, Box], list[tuple[int, int]]]:
    """Boxes by pk, and arrows between them, for everything behind ``results``."""
    boxes = {pk_of(result): Box('answer', f'#{result.pk}', 'answer') for result in results}
    calculations = {pk_of(one): one for one in chain.from_iterable(map(calculations_behind, results))}
    names, given = step_names(calculations.values()), inputs_of(calculations.values())
    made_by = creators_of([*boxes, *(pk_of(one) for named in given.values() for one in named.values())])
    arrows = {(made_by[result], result) for result in boxes if result in made_by}
    for pk in calculations:
        boxes[pk] = Box(names[pk].replace('_', ' '), f'#{pk}', 'calculation')
        for one in given[pk].values():
            shown = isinstance(one, tuple(SHOWN))
            if shown:
                boxes[pk_of(one)] = Box(_name(one), _note(one), 'data')
                arrows.add((pk_of(one), pk))
            if one.pk in made_by:
                arrows.add((made_by[pk_of(one)], pk_of(one) if shown else pk))
    return boxes, sorted(arrow for arrow in arrows if arrow[0] in boxes and arrow[1] in boxes)


def _name(node: Node) -> str:
    return next(name for kind, name in SHOWN.items() if isinstance(node, kind))


def _note(node: Node) -> str:
    return f'#{node.pk}, {len(node.rows)} structures' if isinstance(node, DatasetData) else f'#{node.pk}'


def layers(boxes: Mapping[int, Box], arrows: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The boxes in rows, each below all that it depends on, and close to the middle of that."""
    parents = {pk: [a for a, b in arrows if b == pk] for pk in boxes}
    depth: dict[int, int] = {}

    def find(pk: int) -> int:
        if pk not in depth:
            depth[pk] = 1 + max((find(parent) for parent in parents[pk]), default=-1)
        return depth[pk]

    rows: list[list[int]] = [[] for _ in range(1 + max(map(find, boxes)))]
    for pk in sorted(boxes):
        rows[depth[pk]].append(pk)
    place: dict[int, float] = {}
    for row in rows:
        centre = {pk: sum(place[p] for p in parents[pk]) / len(parents[pk]) if parents[pk] else 0.0 for pk in row}
        row.sort(key=lambda pk: (centre[pk], pk))
        place.update({pk: i - (len(row) - 1) / 2 for i, pk in enumerate(row)})
    return rows


def folded(boxes: Mapping[int, Box], arrows: Sequence[tuple[int, int]]) -> tuple[dict[int, Box], list[tuple[int, int]]]:
    """Boxes and arrows with one box in place of several of one name that were made of equal things."""
    stand_in: dict[int, int] = {}
    alike: dict[tuple, list[int]] = {}
    for row in layers(boxes, arrows):
        for pk in row:
            parents = frozenset(stand_in[a] for a, b in arrows if b == pk)
            same = alike.setdefault((boxes[pk].kind, boxes[pk].text, parents) if parents else (pk,), [])
            same.append(pk)
            stand_in[pk] = same[0]
    several = {same[0]: len(same) for same in alike.values() if len(same) > 1}
    kept = {
        pk: replace(boxes[pk], text=f'{several[pk]} × {boxes[pk].text}', note=f'{boxes[pk].note}, …')
        if pk in several
        else boxes[pk]
        for pk in sorted(set(stand_in.values()))
    }
    return kept, sorted({(stand_in[a], stand_in[b]) for a, b in arrows})


def svg(boxes: Mapping[int, Box], arrows: Sequence[tuple[int, int]]) -> str:
    """The picture as inline SVG; colours come from the classes ``data``, ``calculation``, ``answer`` and ``arrow``."""
    rows = layers(boxes, arrows)
    widest = max(map(len, rows))
    width = 2 * MARGIN + widest * BOX_WIDTH + (widest - 1) * GAP_X + 2 * GAP_X
    height = 2 * MARGIN + len(rows) * BOX_HEIGHT + (len(rows) - 1) * GAP_Y
    centre: dict[int, tuple[float, float]] = {}
    for r, row in enumerate(rows):
        for i, pk in enumerate(row):
            x = width / 2 + (i - (len(row) - 1) / 2) * (BOX_WIDTH + GAP_X)
            centre[pk] = (x, MARGIN + r * (BOX_HEIGHT + GAP_Y) + BOX_HEIGHT / 2)
    parts = [
        f'<svg class="graph" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        'aria-label="What was computed from what">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    depth = {pk: r for r, row in enumerate(rows) for pk in row}
    for a, b in arrows:
        (x0, y0), (x1, y1) = centre[a], centre[b]
        y0, y1 = y0 + BOX_HEIGHT / 2, y1 - BOX_HEIGHT / 2
        bend = GAP_Y / 2
        if depth[b] - depth[a] > 1:  # around the boxes between
            side = width - MARGIN if (x0 + x1) / 2 >= width / 2 else MARGIN
            path = (
                f'M{x0:g} {y0:g} C{x0:g} {y0 + bend:g} {side:g} {y0:g} {side:g} {y0 + 2 * bend:g} '
                f'V{y1 - 2 * bend:g} C{side:g} {y1:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}'
            )
        else:
            path = f'M{x0:g} {y0:g} C{x0:g} {y0 + bend:g} {x1:g} {y1 - bend:g} {x1:g} {y1:g}'
        parts.append(f'<path class="arrow" marker-end="url(#tip)" d="{path}"/>')
    for pk, (x, y) in centre.items():
        box = boxes[pk]
        corner = 5 if box.kind == 'calculation' else BOX_HEIGHT / 2
        parts.append(
            f'<g class="{box.kind}"><rect x="{x - BOX_WIDTH / 2:g}" y="{y - BOX_HEIGHT / 2:g}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="{corner:g}"/><text x="{x:g}" y="{y - 3:g}">{escape(box.text)}</text>'
            f'<text class="note" x="{x:g}" y="{y + 13:g}">{escape(box.note)}</text></g>'
        )
    return '\n'.join([*parts, '</svg>'])
