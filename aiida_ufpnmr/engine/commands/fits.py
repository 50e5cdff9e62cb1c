"""Options, tables and lines of the commands that fit and judge models, be they potentials or EFG models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from aiida_ufpnmr.engine.commands.shared import INPUT, print_table

train_argument = click.argument('train', type=INPUT, metavar='TRAIN...', nargs=-1, required=True)
tune_option = click.option(
    '--tune', 'tuned', is_flag=True, help='Choose the settings by cross-validation first; takes minutes.'
)
posterior_option = click.option(
    '--no-posterior', is_flag=True, help='Leave out what tells expected errors, for a smaller file.'
)


def number(value: float | None, form: str) -> str:
    """A number in a format such as ``.1f``; a dash where there is none."""
    return '–' if value is None else format(value, form)


def quantity_rows(columns: Mapping[str, dict], quantities: Iterable[tuple[str, str, str]]) -> list[list[str]]:
    """Rows of a table of errors, the heading first.

    Args:
        columns: errors by heading.
        quantities: for each row its key in the errors, its name and its format.
    """
    rows = [[name, *(number(errors[key], form) for errors in columns.values())] for key, name, form in quantities]
    return [['', *columns], *rows]


def print_weights(results: Mapping[str, Any]) -> None:
    """Print how many structures of a fit count less or more than others, if any do."""
    if weights := results.get('weights'):
        click.echo(
            f'weights: {weights["structures"]} of {results["structures"]} structures have another than 1; '
            f'all say as much as {weights["effective_structures"]:.0f} of weight 1'
        )


def print_start(rows: Sequence[Sequence[str]], most: int) -> None:
    """Print a table, its heading first, of at most so many rows below."""
    print_table(rows[: most + 1])
    if len(rows) > most + 1:
        click.echo(f'  and {len(rows) - most - 1} more, see --json')


def print_learning_curve(curve: Mapping[str, Any], columns: Iterable[tuple[str, str, str]]) -> None:
    """Print a learning curve; for each column its key in the curve, its heading and its format."""
    keys, headings, forms = zip(*columns)
    rows = zip(*(curve[key] for key in keys))
    print_table([headings, *([format(value, form) for value, form in zip(row, forms)] for row in rows)])


def calibration_line(coverage: Mapping[str, Any], quantity: str) -> str:
    """Fractions of the real errors of a quantity that lie within the expected error and within twice that."""
    within, within_twice = (100 * coverage[f'fraction_within_{n}_sigma'] for n in (1, 2))
    expected = coverage.get('expected_rmse_meV_per_angstrom')
    size = '' if expected is None else f', {expected:.0f} meV/Å'
    return (
        f'real errors of {quantity}: {within:.0f} % within the expected error{size}, '
        f'{within_twice:.0f} % within twice that (a Gaussian has 68 and 95)'
    )


def tuning_line(tuning: Mapping[str, Any]) -> str:
    """The settings that tuning changed; those by pair or triplet with their entries."""

    def shown(value: str | float | dict[str, float]) -> str:
        if isinstance(value, dict):
            return ' '.join(f'{name} {entry:g}' for name, entry in value.items())
        return value if isinstance(value, str) else f'{value:g}'

    changed = ', '.join(f'{name} {shown(value)}' for name, value in tuning['changed'].items())
    return f'tuned: {changed or "nothing better found"}'


def edges_line(front: Mapping[str, Any]) -> str:
    """The cut-offs and intervals of the chosen point that lie at an edge of what could be tried."""
    ends = ', '.join(f'{name} ({end})' for name, end in front['ends'].items())
    return f'{front["protocol"]}, at an edge of what was tried: {ends or "none"}'


def ends_line(tuning: Mapping[str, Any]) -> str:
    """The settings whose best value lies at an end of what was tried."""
    ends = ', '.join(f'{name} ({end})' for name, end in tuning['ends'].items())
    return f'not between two values that are worse: {ends or "none"}'


def penalty_line(minimum: str | None, penalty: float) -> str | None:
    """A line on a penalty that was chosen at an end of what can be tried; no line for any other."""
    return {
        'edge': f'penalty {penalty:g} is the edge of what can be tried, and the withheld error still falls towards it',
        'flat': f'penalty {penalty:g} begins a flat end: beyond it, the withheld error does not change any more',
    }.get(minimum or '')
