"""The profile, nodes by their identifiers or files, and codes, for the commands of ``aiida-ufpnmr``."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.profile import COMPUTER, GPAW_CODE, load_profile

#: What an option that takes a node takes.
NODE_OR_FILE = 'NODE|FILE'


def with_profile(function: Callable) -> Callable:
    """Load the profile before the command runs: the one named with ``--profile``, or the default."""

    @click.option('--profile', 'profile_name', metavar='NAME', help='AiiDA profile; the default one if not given.')
    @functools.wraps(function)
    def wrapped(*args, profile_name: str | None = None, **kwargs):
        load_profile(profile_name)
        return function(*args, **kwargs)

    return wrapped


def quieten_broker() -> None:
    """Keep off the console what AiiDA says about the version of RabbitMQ each time that it connects."""
    logging.getLogger('aiida.broker').setLevel(logging.CRITICAL)


def load_node(identifier: str, kind: Any = None):
    """The node with this pk, UUID or label; :class:`InputError` if there is none, or if it is of another kind."""
    from aiida import orm
    from aiida.common.exceptions import MultipleObjectsError, NotExistent

    try:
        node = orm.load_node(identifier)
    except MultipleObjectsError as error:
        labelled = orm.QueryBuilder().append(orm.Node if kind is None else kind, filters={'label': identifier})
        found = labelled.all(flat=True)
        if len(found) != 1:
            raise InputError(f'{identifier}: is the label or UUID of several nodes; give a pk') from error
        node = found[0]
    except (NotExistent, ValueError) as error:
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
        where = label.partition('@')[2]
        option = ' --gpaw' * label.startswith(GPAW_CODE) if where in ('', COMPUTER) else ' --computer CLUSTER.yaml'
        raise InputError(f'{label}: no such code in this profile; make it with "aiida-ufpnmr setup{option}"') from error


def is_node(given: str) -> bool:
    """Tell the pk, UUID or label of a node from the path of a file."""
    return not Path(given).exists() and Path(given).suffix == ''


def load_or_store(given: str, kind: str, index: int | None = None) -> Any:
    """A node by pk, UUID or label, or the node of a file, stored where its content is not there yet.

    Args:
        given: by the user; what exists as a file, or has a suffix, is a file.
        kind: key of :data:`aiida_ufpnmr.data.NAMED`.
        index: which of several structures of a file.

    Raises:
        InputError: no such node or file, one of another kind, or a structure with sites that are filled in part.
    """
    from aiida_ufpnmr.calculations.base import validate_ordered
    from aiida_ufpnmr.data import NAMED
    from aiida_ufpnmr.data.checked_file import CheckedFileData

    if is_node(given):
        if index is not None:
            raise InputError(f'{given}: is one structure, of which there is no number {index}; leave --index out')
        node = load_node(given, NAMED[kind])
        refusal = validate_ordered(node, None) if kind == 'structure' else None
        if refusal:
            raise InputError(f'{given}: {refusal}')
        if isinstance(node, CheckedFileData):
            node.check_is_there()
        return node
    from aiida_ufpnmr.tools.files import Given, node_of, stored_once  # takes a while to import

    node = node_of(Path(given), kind, Given(index=index))
    say_notes(node)
    return stored_once(node)[0]


def load_structure(given: str, shown: str) -> Any:
    """The node of a structure, of which ``FILE@I`` is one in a file; errors name it as ``shown``."""
    path, at, index = given.rpartition('@')
    is_one_of_several = at and re.fullmatch(r'-?\d+', index) and not Path(given).exists()
    try:
        return load_or_store(path, 'structure', int(index)) if is_one_of_several else load_or_store(given, 'structure')
    except InputError as error:
        raise InputError(str(error).replace('with --index', f'with {shown}@I')) from error


def say_notes(node: Any) -> None:
    """Say on stderr what the reader of a file has noticed."""
    from aiida_ufpnmr.tools.files import ORIGIN

    for note in node.base.extras.get(ORIGIN, {}).get('notes', ()):
        click.echo(f'note: {note}', err=True)
