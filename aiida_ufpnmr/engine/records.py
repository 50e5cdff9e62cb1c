"""Records of named numbers, words and arrays with units, which are written to HDF5 and JSON and read back."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import h5py
import numpy as np

from aiida_ufpnmr.engine.files import plain
from aiida_ufpnmr.engine.settings import required


def quantity(unit: str, help: str, shape: str = '', **options: Any) -> Any:
    """Field of a :class:`Record`.

    Args:
        unit: of the numbers; empty for words and numbers without one.
        help: a phrase for the reference page.
        shape: names of the dimensions of an array, such as ``lags, 2``; arrays stay in the file, everything else is
            among the results.
        options: ``default`` or ``default_factory``, for what an older file does not hold.
    """
    return field(metadata={'unit': unit, 'help': help, 'shape': shape}, **options)


@dataclass(frozen=True)
class Record:
    """Numbers, words and arrays with units, each declared once by :func:`quantity`; for frozen dataclasses.

    Fields may also be records, or mappings and tuples of them.
    """

    def to_dict(self) -> dict[str, Any]:
        """All but the arrays, as JSON-ready values; the keys carry their units."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if 'shape' in one.metadata}
        return plain({name: _results(value) for name, value in values.items() if not isinstance(value, np.ndarray)})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]):
        """Make one, of numbers and words alone, of what :meth:`to_dict` gave and JSON has carried."""
        there: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**there)

    def write(self, group: h5py.Group) -> None:
        """Write into an HDF5 group: arrays as datasets with their unit, records as groups, the rest as attributes."""
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                group[one.name] = value
                if one.metadata['unit']:
                    group[one.name].attrs['unit'] = one.metadata['unit']
            else:
                _write(group, one.name, value)

    @classmethod
    def read(cls, group: h5py.Group):
        """Read from an HDF5 group; what an older file does not hold has its default."""
        hints = typing.get_type_hints(cls)
        found = {one.name: _read(group, one.name, required(hints[one.name])) for one in fields(cls)}
        return cls(**{name: value for name, value in found.items() if value is not None})


def _results(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _results(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_results(item) for item in value]
    return value


def _write(group: h5py.Group, name: str, value: Any) -> None:
    parts = list(value.values()) if isinstance(value, Mapping) else value
    if value is None:
        return
    if isinstance(value, Record):
        value.write(group.create_group(name))
    elif isinstance(parts, (list, tuple)) and parts and all(isinstance(part, Record) for part in parts):
        names = value if isinstance(value, Mapping) else map(str, range(len(parts)))
        inside = group.create_group(name, track_order=True)
        for key, part in zip(names, parts):
            part.write(inside.create_group(key))
    elif isinstance(value, Mapping):
        group.attrs[name] = json.dumps(plain(value), sort_keys=True)
    else:
        group.attrs[name] = value


def _read(group: h5py.Group, name: str, kind: Any) -> Any:
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    inner = options[-1 if origin is dict else 0] if origin in (dict, tuple) else None
    if isinstance(inner, type) and issubclass(inner, Record):
        parts = group[name] if name in group else {}
        if origin is dict:
            return {key: inner.read(parts[key]) for key in parts}
        return tuple(inner.read(parts[key]) for key in sorted(parts, key=int))
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.read(group[name]) if name in group else None
    if kind is np.ndarray:
        return group[name][...] if name in group else None
    if name not in group.attrs:
        return None
    value = group.attrs[name]
    if origin is dict or kind is dict:
        return json.loads(value)
    if origin is tuple or kind is tuple:
        return tuple(value.tolist() if isinstance(value, np.ndarray) else value)
    return kind(value) if kind in (bool, int, float, str) else value
