"""``aiida-ufpnmr import``, and files where nodes are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.cli.shared import load_node, with_profile
from aiida_ufpnmr.engine.commands.convert_trajectory import reading_options
from aiida_ufpnmr.engine.commands.options import settings_from_options
from aiida_ufpnmr.engine.commands.shared import INPUT, Command, print_table
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings

#: What an option that takes a node takes.
NODE_OR_FILE = 'NODE|FILE'


@click.command(
    'import', cls=Command, example='aiida-ufpnmr import labels.extxyz potential.uf3 run.h5 beta.cif --label beta'
)
@click.argument('files', type=INPUT, nargs=-1, required=True, metavar='FILE...')
@click.option('--label', metavar='L', help='Label of the nodes; by default the name of each file.')
@click.option(
    '--kind',
    metavar='KIND',
    help='labels, potential, efg-model, trajectory or structure; told by what the files hold where not given.',
)
@reading_options
@with_profile
def import_(files: tuple[Path, ...], label: str | None, kind: str | None, **options: Any) -> None:
    """Store files as nodes: labels, potentials (.h5, .uf3, .json), EFG models, trajectories, structures.

    Trajectories of other programs are converted on the way, as "ufpnmr convert-trajectory" does it.

    A file whose content is stored already is that node. All files are read before any is stored. Their names, hashes
    and the versions that they were made with are kept among the extras.
    """
    from aiida_ufpnmr.tools.files import node_of, stored_once

    reading = settings_from_options(ReadingSettings, options)
    nodes = [node_of(path, kind, reading) for path in files]
    rows = [('file', 'node', 'pk', '')]
    for path, node in zip(files, nodes):
        node.label = label or node.label
        say_notes(node)
        stored, is_new = stored_once(node)
        before = 'there before' if label in (None, stored.label) else f'there before, labelled {stored.label}'
        rows.append((str(path), type(stored).__name__, str(stored.pk), 'new' if is_new else before))
    print_table(rows)


def is_node(given: str) -> bool:
    """Tell the pk, UUID or label of a node from the path of a file."""
    return not Path(given).exists() and Path(given).suffix == ''


def load_or_store(given: str, kind: str) -> Any:
    """A node by pk, UUID or label, or the node of a file, stored where its content is not there yet.

    Args:
        given: by the user; what exists as a file, or has a suffix, is a file.
        kind: key of :data:`aiida_ufpnmr.tools.files.KINDS`.

    Raises:
        InputError: no such node or file, one of another kind, or a structure with sites that are filled in part.
    """
    from aiida_ufpnmr.calculations.base import validate_ordered
    from aiida_ufpnmr.tools.files import KINDS, node_of, stored_once

    if is_node(given):
        node = load_node(given, KINDS[kind].type)
        refusal = validate_ordered(node, None) if kind == 'structure' else None
        if refusal:
            raise InputError(f'{given}: {refusal}')
        return node
    node = node_of(Path(given), kind)
    say_notes(node)
    return stored_once(node)[0]


def say_notes(node: Any) -> None:
    """Say on stderr what the reader of a file has noticed."""
    from aiida_ufpnmr.tools.files import ORIGIN

    for note in node.base.extras.get(ORIGIN, {}).get('notes', ()):
        click.echo(f'note: {note}', err=True)
