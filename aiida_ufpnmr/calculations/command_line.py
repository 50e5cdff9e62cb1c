"""From the ``parameters`` of a calculation to the options of its sub-command, checked by the command itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from aiida_ufpnmr.engine.commands.shared import RENAMED


def options(parameters: Mapping[str, Any]) -> list[str]:
    """The parameters as command-line options, in alphabetical order.

    ``{'first_lag_ps': 1.0, 'supercell': [1, 1, 2]}`` becomes ``--first-lag-ps 1.0 --supercell 1 1 2``. ``True`` is a
    bare flag; ``False`` and ``None`` leave the option out.
    """
    arguments: list[str] = []
    for name in sorted(parameters):
        value = parameters[name]
        if value is None or value is False:
            continue
        arguments.append('--' + name.lower().replace('_', '-'))
        if isinstance(value, (list, tuple)):
            arguments.extend(str(item) for item in value)
        elif value is not True:
            arguments.append(str(value))
    return arguments


def refusal(known: Sequence[str], parameters: Mapping[str, Any], arguments: Sequence[str]) -> str | None:
    """The reason why ``ufpnmr`` would refuse this command line, or ``None``; nothing is run.

    Args:
        known: names that ``parameters`` may hold.
        parameters: see :func:`options`.
        arguments: the whole command line, starting with the sub-command.
    """
    names = set(map(str.lower, known))
    old_names = {_parameter(old) for old, new in RENAMED.items() if names & {_parameter(name) for name, _ in new}}
    unknown = sorted(set(map(str.lower, parameters)) - names - old_names)
    if unknown:
        return f'unknown parameter {unknown[0]!r}; known are {", ".join(sorted(known))}'
    try:
        name, command, rest = _resolved(arguments)
        command.make_context(name, rest)
    except click.UsageError as error:
        return ' '.join(error.format_message().split())
    return None


def parameters_of(command: str) -> tuple[str, ...]:
    """Names of the options of a sub-command that name no file, in the order of its help."""
    _, found, _ = _resolved(command.split())
    named = [option for option in found.params if isinstance(option, click.Option)]
    words = (
        next(word for word in option.opts if word.startswith('--'))
        for option in named
        if not isinstance(option.type, click.Path) and not option.hidden
    )
    return tuple(map(_parameter, words))


def _parameter(option: str) -> str:
    """The parameter that an option such as ``--first-lag-ps`` belongs to."""
    return option.removeprefix('--').replace('-', '_')


def _resolved(arguments: Sequence[str]) -> tuple[str, click.Command, list[str]]:
    """The sub-command that a command line calls, its name and the arguments after it."""
    from aiida_ufpnmr.engine.main import ufpnmr

    name: str | None = None
    command: click.Command | None = ufpnmr
    rest = list(arguments)
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(click.Context(command), rest)
    assert command is not None  # an unknown name is a usage error
    return str(name), command, rest
