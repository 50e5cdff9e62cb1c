"""``aiida-ufpnmr query``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_ufpnmr.cli.shared import load_node, with_profile
from aiida_ufpnmr.engine.commands.shared import Command, check_outputs, json_option, print_table, report
from aiida_ufpnmr.engine.errors import InputError

if TYPE_CHECKING:
    from aiida_ufpnmr.tools.outcomes import Outcome


@click.group('query')
def query():
    """Ask for the origin of a result, for all that rests on a label or a model, for differences and costs."""


@query.command('labels', cls=Command, example='aiida-ufpnmr query labels 123')
@click.argument('node')
@json_option
@with_profile
def labels(node: str, json_path: Path | None) -> None:
    """List every labelled structure that NODE (pk, UUID or label) rests on."""
    from aiida_ufpnmr.tools.queries import labels_behind

    check_outputs(json_path)
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
    _show(('label', 'group', 'formula', 'data set', 'row'), rows, 'no labelled structure lies behind it')
    report({'labels': [{'dataset_uuid': label.dataset.uuid, **label.row} for label in found]}, json_path)


@query.command('settings', cls=Command, example='aiida-ufpnmr query settings 123')
@click.argument('node')
@json_option
@with_profile
def settings(node: str, json_path: Path | None) -> None:
    """List every parameter and setting that went into NODE (pk, UUID or label)."""
    from aiida_ufpnmr.tools.queries import pk_of, settings_behind, step_names

    check_outputs(json_path)
    found = []
    given = settings_behind(load_node(node))
    names = step_names([setting.process for setting in given])
    for setting in given:
        values = setting.value if isinstance(setting.value, dict) else {setting.name: setting.value}
        for name, value in sorted(values.items()):
            pk = pk_of(setting.process)
            found.append({'step': names[pk], 'pk': pk, 'setting': name, 'value': value})
    rows = [(f'{row["step"]} #{row["pk"]}', row['setting'], json.dumps(row['value'])) for row in found]
    _show(('step', 'setting', 'value'), rows, 'no calculation lies behind it')
    report({'settings': found}, json_path)


@query.command('results', cls=Command, example='aiida-ufpnmr query results lps-0014')
@click.argument('name')
@click.option('--all', 'everything', is_flag=True, help='All that was made of it: models, trajectories, hops, spectra.')
@json_option
@with_profile
def results(name: str, everything: bool, json_path: Path | None) -> None:
    """List decay times that rest on NAME: a node (pk, UUID or label), or a labelled structure (label_id or hash)."""
    from aiida_ufpnmr.tools.outcomes import made_of, made_of_label, outcomes_of, outcomes_of_label

    check_outputs(json_path)
    try:
        node = load_node(name)
    except InputError:  # not a node: a label
        node = None
    if not everything:
        _show_outcomes(outcomes_of_label(name) if node is None else outcomes_of(node), json_path)
        return
    found = made_of_label(name) if node is None else made_of([node])
    rows = [(f'#{one.pk}', one.output, one.calculation, f'#{one.calculation_pk}') for one in found]
    _show(('made', 'what', 'by', 'calculation'), rows, 'nothing was made of it')
    report({'results': [dataclasses.asdict(one) for one in found]}, json_path)


@query.command('decay-times', cls=Command, example='aiida-ufpnmr query decay-times 123')
@click.argument('potential')
@json_option
@with_profile
def decay_times(potential: str, json_path: Path | None) -> None:
    """List all decay times found with POTENTIAL (pk, UUID or label), by temperature."""
    from aiida_ufpnmr.data import PotentialData
    from aiida_ufpnmr.tools import outcomes

    check_outputs(json_path)
    _show_outcomes(outcomes.decay_times(load_node(potential, PotentialData)), json_path)


@query.command('cost', cls=Command, example='aiida-ufpnmr query cost 123')
@click.argument('node')
@json_option
@with_profile
def cost(node: str, json_path: Path | None) -> None:
    """Print the cost of every calculation behind NODE (pk, UUID or label)."""
    from aiida_ufpnmr.tools.costs import cost_by_step

    check_outputs(json_path)
    found = cost_by_step(load_node(node))
    rows = [(step.name, f'#{step.pk}', step.finished, _seconds(step.wall_s), _seconds(step.cpu_s)) for step in found]
    total = sum(step.cpu_s or 0.0 for step in found)
    heading = ('step', 'node', 'finished', 'wall, s', 'CPU, s')
    _show(heading, [*rows, ('all', '', '', '', _seconds(total))] if rows else [], 'no calculation lies behind it')
    report({'steps': [dataclasses.asdict(step) for step in found], 'cpu_s': total}, json_path)


@query.command('differences', cls=Command, example='aiida-ufpnmr query differences 123 456')
@click.argument('first')
@click.argument('second')
@json_option
@with_profile
def differences(first: str, second: str, json_path: Path | None) -> None:
    """Compare FIRST and SECOND (pk, UUID or label): inputs, settings, codes, versions, results."""
    from aiida_ufpnmr.tools import differences as tools

    check_outputs(json_path)
    found = tools.differences(load_node(first), load_node(second))
    rows = [(one.step, one.what, _short(one.first), _short(one.second)) for one in found]
    print_table([('step', 'what', 'first', 'second'), *rows])
    if not found:
        click.echo('nothing: the same inputs, codes, versions and results')
    report({'differences': [dataclasses.asdict(one) for one in found]}, json_path)


def _show(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]], otherwise: str) -> None:
    """Print a table, or that there is nothing for one."""
    if rows:
        print_table([heading, *rows])
    else:
        click.echo(otherwise)


def _show_outcomes(found: list[Outcome], json_path: Path | None) -> None:
    rows = [
        (
            f'#{one.pk}',
            '-' if one.temperature_K is None else f'{one.temperature_K:.0f}',
            '-' if one.tau_ns is None else f'{one.tau_ns:.3g}',
            '-' if not one.tau_ns_ci95 else ' to '.join(f'{end:.3g}' for end in one.tau_ns_ci95),
            one.verdict or '-',
            _hop_rate(one),
        )
        for one in found
    ]
    heading = ('answer', 'T, K', 'decay time, ns', '95 % interval, ns', 'verdict', 'hops, 1/s')
    _show(heading, rows, 'no answer rests on it')
    report({'results': [dataclasses.asdict(one) for one in found]}, json_path)


def _hop_rate(one: Outcome) -> str:
    from aiida_ufpnmr.calculations.summarise import speaks_against
    from aiida_ufpnmr.tools.answer import only_a_limit

    if one.hop_rate_per_s is None:
        return '-'
    values = dataclasses.asdict(one)
    bound = '> ' if only_a_limit('hop_rate_per_s', values) else ''
    return speaks_against('hop_rate_per_s', values) or f'{bound}{one.hop_rate_per_s:.3g}'


def _seconds(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f}'


def _short(value) -> str:
    text = '-' if value is None else json.dumps(value)
    return text if len(text) <= 40 else f'{text[:37]}...'
