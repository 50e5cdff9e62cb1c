"""``aiida-ufpnmr query``."""

from __future__ import annotations

import json

import click

from aiida_ufpnmr.cli.shared import load_node, with_profile
from aiida_ufpnmr.engine.commands.shared import Command, print_table


@click.group('query')
def query():
    """What stands behind a result."""


@query.command('labels', cls=Command, example='aiida-ufpnmr query labels 123')
@click.argument('node')
@with_profile
def labels(node: str) -> None:
    """Every labelled structure that NODE (pk, UUID or label) rests on."""
    from aiida_ufpnmr.tools.queries import labels_behind

    found = labels_behind(load_node(node))
    rows = [
        (
            label.row.get('label_id', '-'),
            label.row['group'],
            label.row['formula'],
            f'#{label.dataset.pk}',
            str(label.index),
        )
        for label in found
    ]
    print_table([('label', 'group', 'formula', 'data set', 'row'), *rows])


@query.command('settings', cls=Command, example='aiida-ufpnmr query settings 123')
@click.argument('node')
@with_profile
def settings(node: str) -> None:
    """Every parameter and setting that went into NODE (pk, UUID or label)."""
    from aiida_ufpnmr.tools.queries import settings_behind, step_name

    rows = []
    for setting in settings_behind(load_node(node)):
        values = setting.value if isinstance(setting.value, dict) else {setting.name: setting.value}
        for name, value in sorted(values.items()):
            rows.append((f'{step_name(setting.process)} #{setting.process.pk}', name, json.dumps(value)))
    print_table([('step', 'setting', 'value'), *rows])
