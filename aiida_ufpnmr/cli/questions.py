"""The description of a cluster by questions at a terminal."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import click
import yaml

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import Settings, choices_of, declarations
from aiida_ufpnmr.tools.cluster import PROGRAMS, Cluster, ClusterSettings, CodeSettings, cluster_of

#: Settings of several lines or entries, which a file takes better than an answer.
NOT_ASKED = ('modules', 'environment', 'append')


def ask_for_cluster() -> Cluster:
    """Ask for each setting of a cluster, and show the file that says the same."""
    if not sys.stdin.isatty():
        raise InputError('--computer -: asks questions, for which there is no terminal; give a file instead')
    values = _answers(ClusterSettings)
    codes = {}
    for name in PROGRAMS:
        if click.confirm(f'Is there {name}?', default=name == 'ufpnmr'):
            codes[name] = _answers(CodeSettings, () if name == 'gpaw' else ('python',))
    if codes:
        values['codes'] = codes
    click.echo(f'\nThe same as a file:\n\n{yaml.safe_dump(values, sort_keys=False)}')
    return cluster_of(values, 'answers')


def _answers(settings: type[Settings], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """What was answered, where it differs from the default."""
    values = {}
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    for name, kind, declared in declarations(settings):
        if name in NOT_ASKED + left_out:
            continue
        default: Any = defaults[name]
        choices = choices_of(kind, declared)
        shown = {dataclasses.MISSING: None, None: ''}.get(default, default)
        answer = click.prompt(
            f'{declared.help} [{name}]',
            type=click.Choice(choices) if choices else str if shown in (None, '') else kind,
            default=shown,
            show_default=shown not in (None, ''),
        )
        if answer != shown:
            values[name] = answer if choices else kind(answer)
    return values
