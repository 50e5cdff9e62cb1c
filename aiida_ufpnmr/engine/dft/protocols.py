"""Named sets of settings for a DFT engine, from a YAML file beside the code."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import read_mapping

#: The same names everywhere in the package.
PROTOCOLS = ('fast', 'balanced', 'stringent')
DEFAULT_PROTOCOL = 'balanced'


def protocol_settings(engine: str, protocol: str, elements: Iterable[str] = ()) -> dict[str, Any]:
    """The settings of a protocol by name; :class:`InputError` if there is no such protocol.

    Of a setting that is given by element, the largest value that one of ``elements`` needs; the default is the least.
    """
    known = _load(engine)
    if protocol not in known:
        raise InputError(f'no protocol {protocol!r} for {engine}; known are {", ".join(known)}')
    chosen = ('default', *elements)
    return {
        name: max(value[element] for element in chosen if element in value) if isinstance(value, dict) else value
        for name, value in known[protocol]['settings'].items()
    }


def protocol_descriptions(engine: str) -> dict[str, str]:
    """One line about each protocol of an engine."""
    return {name: entry['description'] for name, entry in _load(engine).items()}


@cache
def _load(engine: str) -> dict[str, Any]:
    return read_mapping(Path(__file__).with_name(f'{engine}_protocols.yaml'), 'protocols')
