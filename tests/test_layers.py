"""Claims about the order of the rooms: the layers that the developer guide draws are those that the imports follow."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / 'docs' / 'source' / 'developer' / 'architecture.rst'

Arrows = dict[str, set[str]]


def drawn_layers(text: str) -> list[list[set[str]]]:
    """The layers of the diagram, the lowest first: of each the rooms side by side, and of each room the names in it."""
    (diagram,) = re.findall(r'^\.\. code-block:: text\n   :name: layers\n\n((?:   .*\n|\n)+)', text, re.MULTILINE)
    rows = [line.strip().strip('│').strip() for line in diagram.splitlines() if line.strip().startswith('│')]
    return [[{name.strip() for name in room.split(',')} for room in row.split('|')] for row in reversed(rows)]


def arrows_up_with_reasons(text: str) -> set[tuple[str, str]]:
    """The arrows up that the guide allows, each with a reason: lines like ``* ``a`` → ``b``: because ...``."""
    return set(re.findall(r'^\* ``(\w+)`` → ``(\w+)``: \w+', text, re.MULTILINE))


def package_sources() -> dict[str, str]:
    """Source text of all modules of the package by their dotted names."""
    sources = {}
    for path in sorted((ROOT / 'aiida_ufpnmr').rglob('*.py')):
        name = '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
        sources[name] = path.read_text(encoding='utf-8')
    return sources


def imports_of(sources: Mapping[str, str]) -> Arrows:
    """Modules that each module imports anywhere: at its top, within functions, and for type checkers alone."""
    found: Arrows = {name: set() for name in sources}
    for name, text in sources.items():
        is_package = any(other.startswith(f'{name}.') for other in sources)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                parents = name.split('.')[: len(name.split('.')) - node.level + is_package] if node.level else []
                module = '.'.join([*parents, *([node.module] if node.module else [])])
                # a name that is imported from a package may be a module of it
                wanted = [f'{module}.{a.name}' if f'{module}.{a.name}' in sources else module for a in node.names]
            else:
                continue
            found[name] |= {module for module in wanted if module in sources and module != name}
    return found


def room_of(module: str) -> str:
    """The room of a module: its folder or file on its floor, or the package's own name."""
    floor, *below = module.split('.')[1:] or [module]
    return below[0] if floor == 'engine' and below else floor


def arrows_between_rooms(imports: Arrows) -> dict[tuple[str, str], str]:
    """Pairs of rooms of which the first imports the second, each with an example."""
    return {
        (room_of(a), room_of(b)): f'{a} imports {b}'
        for a, targets in imports.items()
        for b in sorted(targets)
        if room_of(a) != room_of(b)
    }


def circles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Sets of nodes that can be reached from each other, by what is left when ends without arrows are taken away."""
    reach = {start: {start} for start in arrows}
    for start, seen in reach.items():
        waiting = [start]
        while waiting:
            new = set(arrows.get(waiting.pop(), ())) - seen
            seen |= new
            waiting += new
    groups = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in arrows}
    return sorted(sorted(group) for group in groups if len(group) > 1)


def arrows_up(arrows: Iterable[tuple[str, str]], layers: list[list[set[str]]]) -> set[tuple[str, str]]:
    """Arrows that do not lead to a lower layer, or stay between names of one room of the diagram."""
    level = {
        name: (height, place) for height, row in enumerate(layers) for place, room in enumerate(row) for name in room
    }
    return {(a, b) for a, b in arrows if not (level[b][0] < level[a][0] or level[a] == level[b])}


@pytest.fixture(scope='module')
def guide() -> str:
    return GUIDE.read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def imports() -> Arrows:
    return imports_of(package_sources())


def test_every_room_is_drawn_once_and_every_drawn_room_exists(guide, imports):
    drawn = sorted(name for row in drawn_layers(guide) for room in row for name in room)
    assert drawn == sorted({room_of(module) for module in imports})


def test_no_modules_import_each_other_in_a_circle(imports):
    assert circles(imports) == []


def test_no_rooms_import_each_other_in_a_circle(imports):
    between: Arrows = {room_of(module): set() for module in imports}
    for a, b in arrows_between_rooms(imports):
        between[a].add(b)
    assert circles(between) == []


def test_arrows_lead_down_but_for_at_most_two_that_the_guide_gives_a_reason_for(guide, imports):
    arrows, allowed = arrows_between_rooms(imports), arrows_up_with_reasons(guide)
    assert len(allowed) <= 2
    up = arrows_up(arrows, drawn_layers(guide))
    assert not [arrows[arrow] for arrow in sorted(up - allowed)]
    assert allowed <= up, 'the guide gives a reason for an arrow up that is not there'


SOURCES = {
    'p': '',
    'p.engine': '',
    'p.engine.low': 'def later():\n    from p.engine.high import thing',
    'p.engine.high': 'from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.engine import low',
    'p.top': 'import p.engine.high\nfrom . import engine',
}


def test_lazy_imports_and_those_for_type_checkers_count():
    imports = imports_of(SOURCES)
    assert imports['p.engine.low'] == {'p.engine.high'} and imports['p.engine.high'] == {'p.engine.low'}
    assert imports['p.top'] == {'p.engine.high', 'p.engine'}
    assert circles(imports) == [['p.engine.high', 'p.engine.low']]


def test_an_arrow_up_or_to_the_side_is_found():
    layers = drawn_layers('.. code-block:: text\n   :name: layers\n\n   │ top │\n   │ a | b │\n   │ c, d │\n\nText.')
    assert layers == [[{'c', 'd'}], [{'a'}, {'b'}], [{'top'}]]
    arrows = {('top', 'a'), ('a', 'c'), ('c', 'd'), ('a', 'b'), ('c', 'a')}
    assert arrows_up(arrows, layers) == {('a', 'b'), ('c', 'a')}
