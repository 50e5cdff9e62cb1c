"""``aiida-ufpnmr import``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.cli.shared import say_notes, with_profile
from aiida_ufpnmr.engine.commands.columns import label_options
from aiida_ufpnmr.engine.commands.convert_trajectory import reading_options
from aiida_ufpnmr.engine.commands.options import settings_from_options
from aiida_ufpnmr.engine.commands.shared import INPUT, Command, print_table, warn
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.label_names import LabelKeys
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings


@click.command(
    'import', cls=Command, example='aiida-ufpnmr import labels.extxyz potential.uf3 run.h5 beta.cif --label beta'
)
@click.argument('files', type=INPUT, nargs=-1, required=True, metavar='FILE...')
@click.option('--label', metavar='L', help='Label of the nodes; by default the name of each file.')
@click.option(
    '--kind',
    metavar='KIND',
    help='labels, potential, efg-model, softness-model, trajectory or structure; told by what the files hold where not '
    'given.',
)
@label_options('energy', 'forces', 'stress', 'efg')
@reading_options
@with_profile
def import_(files: tuple[Path, ...], label: str | None, kind: str | None, keys: LabelKeys, **options: Any) -> None:
    """Store files as nodes: labels, potentials (.h5, .uf3, .json), EFG models, trajectories, structures.

    Trajectories of other programs are converted on the way, as "ufpnmr convert-trajectory" does it.

    A file whose content is stored already is that node. All files are read before any is stored. Their names, hashes
    and the versions that they were made with are kept among the extras.
    """
    from aiida_ufpnmr.data import DatasetData
    from aiida_ufpnmr.tools.files import Given, node_of, same_label, stored_once

    given = Given(settings_from_options(ReadingSettings, options), keys)
    nodes = [node_of(path, kind, given) for path in files]
    if keys and not any(isinstance(node, DatasetData) for node in nodes):
        raise InputError(f'{files[0]}: holds no labels, whose names a key could say; leave the --…-key options out')
    ambiguous = []
    rows = [('file', 'node', 'pk', '')]
    for path, node in zip(files, nodes):
        node.label = label or node.label
        say_notes(node)
        stored, is_new = stored_once(node)
        if is_new and (others := same_label(stored)):
            ambiguous.append(f'{path}: #{others[0]} is labelled {stored.label!r}, too; name them by their pks')
        before = 'there before' if label in (None, stored.label) else f'there before, labelled {stored.label}'
        rows.append((str(path), type(stored).__name__, str(stored.pk), 'new' if is_new else before))
    print_table(rows)
    warn(ambiguous)
