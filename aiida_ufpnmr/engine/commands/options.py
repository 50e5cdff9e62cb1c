"""Command-line options made of the declarations of settings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import click

from aiida_ufpnmr.engine.commands.shared import Count, Number
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import Declaration, Settings, declarations, numbers


class Parsed(click.ParamType):
    """A value that a function of the settings reads, such as a list of numbers with commas between."""

    def __init__(self, declared: Declaration, parse: Callable[[Any], Any], metavar: str):
        self.declared, self.parse, self.name = declared, parse, metavar

    def convert(self, value, param, ctx):
        try:
            value = self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        reason = self.declared.refusal(value)
        if reason:
            self.fail(f'{value!r} {reason}', param, ctx)
        return value


def options_of(settings: type[Settings]) -> list[Callable]:
    """Decorators that give a command one option for each setting."""
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    return [_option(name, kind, declared, defaults[name]) for name, kind, declared in declarations(settings)]


def option_names(settings: type[Settings]) -> tuple[str, ...]:
    """Names of the options for the settings, with underscores for hyphens."""
    return tuple(_flag(name, declared)[2:].replace('-', '_') for name, _, declared in declarations(settings))


def settings_from_options(settings: type[Settings], values: dict[str, Any]) -> Settings:
    """The settings that the options give; :class:`click.UsageError` where they do not go together."""
    try:
        return settings(**values)
    except InputError as error:
        raise click.UsageError(str(error)) from error


def _flag(name: str, declared: Declaration) -> str:
    return declared.flag or '--' + name.lower().replace('_', '-')


def _option(name: str, kind: Any, declared: Declaration, default: Any) -> Callable:
    names = (_flag(name, declared), name)
    if kind is bool:
        return click.option(*names, is_flag=True, default=default, help=declared.help)
    many = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
    options: dict[str, Any] = {'help': declared.help, 'default': default, 'show_default': _shown(default)}
    if many and many[-1] is not Ellipsis:
        options |= {'type': _number(float, declared), 'nargs': len(many), 'metavar': declared.metavar}
    elif many or declared.metavar:
        options['type'] = Parsed(declared, declared.parse or numbers, declared.metavar or 'number,...')
    elif typing.get_origin(kind) is typing.Literal:
        options |= {'type': click.Choice([str(choice) for choice in typing.get_args(kind)]), 'default': str(default)}
    elif kind in (int, float):
        options['type'] = _number(kind, declared)
    return click.option(*names, **options)


def _number(kind: type, declared: Declaration) -> click.ParamType:
    least, is_open = (declared.above, True) if declared.above is not None else (declared.least, False)
    return (Number if kind is float else Count)(min=least, max=declared.most, min_open=is_open)


def _shown(default: Any) -> str | bool:
    """The default as the help shows it."""
    if isinstance(default, float):
        return f'{default:.3g}'
    if isinstance(default, tuple):
        return ','.join(f'{number:g}' for number in default)
    return default not in (None, '')
