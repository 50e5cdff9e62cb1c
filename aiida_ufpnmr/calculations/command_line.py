"""The ``parameters`` of a calculation as options of its sub-command, checked by the command itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from aiida_ufpnmr.engine.commands.shared import RENAMED


def options(command: str, parameters: Mapping[str, Any]) -> list[str]:
    """The parameters of a sub-command as its options, in alphabetical order.

    ``{'first_lag_ps': 1.0, 'supercell': [1, 1, 2]}`` becomes ``--first-lag-ps 1.0 --supercell 1 1 2``. A list for an
    option that takes one argument gets commas: ``{'grain_nm': [10, 100]}`` becomes ``--grain-nm 10,100``. ``True`` is
    a bare flag; ``False`` and ``None`` leave the option out.
    """
    _, found, _ = _resolved(command.split())
    with_several = {word for parameter in found.params if parameter.nargs > 1 for word in parameter.opts}
    arguments: list[str] = []
    for name in sorted(parameters):
        value = parameters[name]
        if value is None or value is False:
            continue
        option = '--' + name.lower().replace('_', '-')
        arguments.append(option)
        if isinstance(value, (list, tuple)):
            words = [str(item) for item in value]
            arguments.extend(words if option in with_several else [','.join(words)])
        elif value is not True:
            arguments.append(str(value))
    return arguments


def refusal(command: str, known: Sequence[str], parameters: Mapping[str, Any]) -> str | None:
    """The reason why a sub-command would refuse these parameters, or ``None``; nothing is run.

    Args:
        command: the sub-command, without its files.
        known: names that ``parameters`` may hold.
        parameters: see :func:`options`.
    """
    names = set(map(str.lower, known))
    old_names = {_parameter(old) for old, new in RENAMED.items() if names & {_parameter(name) for name, _ in new}}
    unknown = sorted(set(map(str.lower, parameters)) - names - old_names)
    if unknown:
        return f'unknown parameter {unknown[0]!r}; known are {", ".join(sorted(known))}'
    try:
        name, found, _ = _resolved(command.split())
        files = [parameter.name for parameter in found.params if isinstance(parameter, click.Argument)]
        output = ['-o', 'OUTPUT'] if any('-o' in parameter.opts for parameter in found.params) else []
        found.make_context(name, [*map(str, files), *output, *options(command, parameters)])
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
