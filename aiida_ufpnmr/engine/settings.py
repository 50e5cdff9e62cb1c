"""Settings of a fit or an analysis: frozen dataclasses that are read from YAML and refuse what they do not know."""

from __future__ import annotations

import dataclasses
import json
import os
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import yaml

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input

S = TypeVar('S')


def settings_from_mapping(cls: type[S], values: Mapping[str, Any] | None, source: str = 'settings') -> S:
    """Build the settings dataclass ``cls`` from ``values``; unknown names and wrong types raise :class:`InputError`."""
    values = dict(values or {})
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise InputError(f'{source}: unknown setting {unknown[0]!r}; known are {", ".join(sorted(fields))}')
    hints = typing.get_type_hints(cls)
    for name, value in values.items():
        values[name] = _converted(value, hints[name], f'{source}: setting {name!r}')
    try:
        return cls(**values)
    except ValueError as error:
        raise InputError(f'{source}: {error}') from error


def _converted(value: Any, kind: Any, where: str) -> Any:
    options = typing.get_args(kind)
    if options and type(None) in options:
        if value is None:
            return None
        kind = next(option for option in options if option is not type(None))
    if kind is bool:
        if isinstance(value, bool):
            return value
    elif kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
            try:
                return float(value)
            except ValueError:
                pass
    elif kind is str:
        if isinstance(value, str):
            return value
    else:
        return value
    raise InputError(f'{where} must be {kind.__name__}, not {value!r}')


def read_settings(cls: type[S], path: str | os.PathLike | None) -> S:
    """Read settings from a YAML file; the defaults where ``path`` is ``None``."""
    if path is None:
        return cls()
    path = check_input(path, 'settings file')
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: not valid YAML ({" ".join(str(error).split())})') from error
    if values is not None and not isinstance(values, Mapping):
        raise InputError(f'{path}: settings must be "name: value" lines')
    return settings_from_mapping(cls, values, str(path))


def settings_to_json(settings: Any) -> str:
    """The settings as canonical JSON, for storing beside what they produced."""
    return json.dumps(dataclasses.asdict(settings), sort_keys=True)
