"""The profile, and nodes and codes by their identifiers, for the commands of ``aiida-ufpnmr``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.profile import load_profile


def with_profile(function: Callable) -> Callable:
    """Load the profile before the command runs: the one named with ``--profile``, or the default."""

    @click.option('--profile', 'profile_name', metavar='NAME', help='AiiDA profile; the default one if not given.')
    @functools.wraps(function)
    def wrapped(*args, profile_name: str | None = None, **kwargs):
        load_profile(profile_name)
        return function(*args, **kwargs)

    return wrapped


def load_node(identifier: str, kind: Any = None):
    """The node with this pk, UUID or label; :class:`InputError` if there is none, or if it is of another kind."""
    from aiida import orm
    from aiida.common.exceptions import MultipleObjectsError, NotExistent

    try:
        node = orm.load_node(identifier)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        raise InputError(f'{identifier}: no such node in this profile ({" ".join(str(error).split())})') from error
    if kind is not None and not isinstance(node, kind):
        expected = ' or '.join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise InputError(f'{identifier}: is a {type(node).__name__}, where a {expected} is needed')
    return node


def load_code(label: str):
    """The code with this label, pk or UUID; :class:`InputError` if there is none."""
    from aiida import orm
    from aiida.common.exceptions import MultipleObjectsError, NotExistent

    try:
        return orm.load_code(label)
    except (NotExistent, MultipleObjectsError, ValueError) as error:
        raise InputError(f'{label}: no such code in this profile; make it with "aiida-ufpnmr setup"') from error
