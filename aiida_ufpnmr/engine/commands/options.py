"""Command-line options made of the declarations of settings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from aiida_ufpnmr.engine.commands.shared import Command, Count, Number
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import (
    Declaration,
    Settings,
    choices_of,
    declarations,
    numbers,
    parameters_of,
    values_of,
)

S = TypeVar('S', bound=Settings)


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


def options_of(settings: type[Settings], *names: str, unset: str = '', **defaults: Any) -> list[Callable]:
    """Decorators that give a command one option for each setting.

    Args:
        names: which settings; all that are given by options where none is named.
        unset: where given, options without a value are ``None``, and the help shows this as their default, with the
            declared one in place of ``{}``.
        defaults: by the name of the setting, where a command has another one; a setting without any must be given.
    """
    known = {field.name: field.default for field in dataclasses.fields(settings)} | defaults
    return [
        _option(name, kind, declared, known[name], unset)
        for name, kind, declared in declarations(settings)
        if declared.option != '' and (not names or name in names)
    ]


def with_options(*decorators: Callable) -> Callable[[Callable], Callable]:
    """One decorator that does what several do; the first is the first in the help."""

    def decorate(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def settings_from_options(settings: type[S], options: Mapping[str, Any]) -> S:
    """The settings that the options give; :class:`click.UsageError` where they do not go together."""
    try:
        return settings(**values_of(settings, options))
    except InputError as error:
        raise click.UsageError(str(error)) from error


class SettingsCommand(Command):
    """A command whose options are settings that may contradict each other; it gets them as ``settings``.

    Attributes:
        settings: their class, which the options are made of.
    """

    settings: type[Settings]

    def make_context(self, *args, **kwargs):
        """Parse the command line and make the settings of the options; refuse those that do not go together."""
        context = super().make_context(*args, **kwargs)
        if not context.resilient_parsing:
            chosen = {name: context.params.pop(name) for name in parameters_of(self.settings)}
            context.params['settings'] = settings_from_options(self.settings, chosen)
        return context


def _option(name: str, kind: Any, declared: Declaration, default: Any, unset: str) -> Callable:
    names = ('--' + (declared.option or name.lower().replace('_', '-')), declared.parameter(name))
    many = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
    choices = choices_of(kind, declared)
    options: dict[str, Any] = {'help': declared.help, 'metavar': declared.metavar}
    if default is dataclasses.MISSING:
        options |= {'required': True}
        default = None
    elif unset:
        options['show_default'] = unset.format(default)
    else:
        separator = ',' if Ellipsis in many else ' '
        options |= {'default': default, 'show_default': _shown(default, separator)}
    if choices:
        options['type'] = click.Choice([str(choice) for choice in choices])
        options['metavar'] = declared.metavar or f'[{"|".join(filter(None, options["type"].choices))}]'
        options['default'] = None if default is None or unset else str(default)
    elif many and many[-1] is not Ellipsis:
        options |= {'type': _number(many[0], declared), 'nargs': len(many)}
    elif many or declared.parse:
        options['type'] = Parsed(declared, declared.parse or numbers, declared.metavar or 'number,...')
    elif kind is bool:
        options |= {'is_flag': True, 'show_default': False}
    elif kind in (int, float):
        options['type'] = _number(kind, declared)
    return click.option(*names, **options)


def _number(kind: type, declared: Declaration) -> click.ParamType:
    least, is_open = (declared.above, True) if declared.above is not None else (declared.least, False)
    return (Number if kind is float else Count)(min=least, max=declared.most, min_open=is_open)


def _shown(default: Any, separator: str) -> str | bool:
    """The default as the help shows it, with a separator between several numbers."""
    if isinstance(default, float) and default != round(default, 3):
        return f'{default:.3g}'
    if isinstance(default, tuple):
        return separator.join(f'{number:g}' for number in default)
    return default not in (None, '')
