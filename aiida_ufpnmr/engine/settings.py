"""Settings of a fit or an analysis: frozen dataclasses that are read from YAML and refuse what they do not know.

A field of :class:`Settings` is declared once, by :func:`setting`, with its default, help and bounds; its
unit is part of its name. The command line, the parameters of AiiDA and the reference pages are made of these
declarations.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import os
import types
import typing
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from numbers import Integral, Real
from typing import Any, Literal, TypeVar

import numpy as np
import yaml

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input

S = TypeVar('S')

#: Light atoms, the hottest of them too, are followed well with steps ten times as long.
SHORTEST_TIMESTEP_FS = 0.05


@dataclasses.dataclass(frozen=True)
class Declaration:
    """The description of a setting beside its type and default.

    Attributes:
        help: a sentence for users.
        above, least, most: open lower, closed lower and closed upper bound of each number.
        choices: the words that are allowed, where the type does not say.
        parse: turns what a user wrote into the value and raises :class:`ValueError` with a reason; for values that are
            more than numbers, words and flags.
        metavar: for the help of the command line.
        option: name of the option, without hyphens before it, where that of the setting does not do; empty for a
            setting that no option gives.
    """

    help: str
    above: float | None = None
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[Any], Any] | None = None
    metavar: str | None = None
    option: str | None = None

    def parameter(self, name: str) -> str:
        """The name by which a command, and the parameters of a calculation, know the setting ``name``."""
        return name if self.option is None else self.option.replace('-', '_')

    def refusal(self, value: Any) -> str | None:
        """Reason why a value lies out of bounds; ``None`` where it does not."""
        for number in value if isinstance(value, tuple) else [value]:
            if isinstance(number, bool) or not isinstance(number, Real):
                continue
            number = float(number)
            if not math.isfinite(number):
                return 'must be a finite number'
            if self.above is not None and not number > self.above:
                return 'must be above zero' if self.above == 0 else f'must be above {self.above:g}'
            if self.least is not None and number < self.least:
                return 'must not be negative' if self.least == 0 else f'must be at least {self.least:g}'
            if self.most is not None and number > self.most:
                return f'must be at most {self.most:g}'
        return None


def setting(default: Any, help: str, **declared: Any) -> Any:
    """Field of a :class:`Settings` class; keywords as in :class:`Declaration`."""
    return dataclasses.field(default=default, metadata={'setting': Declaration(help, **declared)})


def with_default(settings: type[Settings], name: str, default: Any) -> Any:
    """Field of a subclass of ``settings``: the setting ``name`` as it is declared there, with another default."""
    return dataclasses.field(default=default, metadata=settings.__dataclass_fields__[name].metadata)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings whose fields check themselves; subclasses are frozen dataclasses of :func:`setting` fields, whose help
    becomes part of their docstring."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        fields = getattr(cls, '__dataclass_fields__', {}) | vars(cls)
        helps = {name: field.metadata['setting'].help for name, field in fields.items() if _is_setting(field)}
        attributes = [f'    {name}: {help}' for name, help in helps.items()]
        cls.__doc__ = '\n'.join([inspect.cleandoc(cls.__doc__ or ''), '', 'Attributes:', *attributes])

    def __post_init__(self):
        for name, kind, declared in declarations(type(self)):
            value, default = getattr(self, name), getattr(type(self), name, dataclasses.MISSING)
            if value is not None or default is not None:
                object.__setattr__(self, name, checked(name, value, kind, declared))


def checked(name: str, value: Any, kind: Any, declared: Declaration) -> Any:
    """A value as the type and the declaration ask for, plain where numpy has one of its own.

    Raises:
        InputError: another type, out of bounds, or not among the choices; the message begins with ``name``.
    """
    parse = declared.parse or (numbers if typing.get_origin(kind) is tuple else None)
    if parse is not None:
        try:
            value = parse(value)
        except (TypeError, ValueError) as error:
            raise InputError(f'{name}: {error}') from error
    choices = choices_of(kind, declared)
    if choices and value not in choices:
        raise InputError(f'{name} must be one of {", ".join(map(str, choices))}; {value!r} is not known')
    members = typing.get_args(kind) if typing.get_origin(kind) is tuple else ()
    if members and members[-1] is not Ellipsis and len(value) != len(members):
        raise InputError(f'{name} must be {len(members)} numbers, not {value!r}')
    if kind in _KINDS and declared.parse is None:
        value = _plain(name, value, kind)
    reason = declared.refusal(value)
    if reason:
        raise InputError(f'{name} {reason}, not {value}')
    return value


def _plain(name: str, value: Any, kind: type) -> Any:
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    accepted: Any = {bool: (bool, np.bool_), int: Integral, float: Real, str: str}[kind]
    fits = isinstance(value, accepted) and not (kind in (int, float) and isinstance(value, bool))
    with suppress(OverflowError):
        if fits and (kind is not float or math.isfinite(value)):
            return kind(value)
    raise InputError(f'{name} must be {_KINDS[kind]}, not {value!r}')


def declarations(cls: type[Settings]) -> list[tuple[str, Any, Declaration]]:
    """Name, type (without ``None``) and declaration of each setting, in the order of their definition."""
    hints = typing.get_type_hints(cls)
    return [
        (field.name, required(hints[field.name]), field.metadata['setting'])
        for field in dataclasses.fields(cls)
        if _is_setting(field)
    ]


def _is_setting(field: Any) -> bool:
    return isinstance(field, dataclasses.Field) and 'setting' in field.metadata


def parameters_of(settings: type[Settings]) -> tuple[str, ...]:
    """Names by which a command knows the settings; those that no option gives are left out."""
    return tuple(declared.parameter(name) for name, _, declared in declarations(settings) if declared.option != '')


def values_of(cls: type[Settings], parameters: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Values by the names of the settings, all or those of ``names``, from values by the names of options."""
    return {
        name: parameters[declared.parameter(name)]
        for name, _, declared in declarations(cls)
        if declared.parameter(name) in parameters and (not names or name in names)
    }


def choices_of(kind: Any, declared: Declaration) -> tuple[Any, ...]:
    """The values that a setting of the type ``kind`` may have; empty where there is no list of them."""
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else declared.choices


def required(kind: Any) -> Any:
    """The type ``kind`` without ``None``."""
    if typing.get_origin(kind) not in (typing.Union, types.UnionType):
        return kind
    return next(option for option in typing.get_args(kind) if option is not type(None))


def numbers(value: Any) -> tuple[float, ...]:
    """Numbers with commas between, a sequence of them, or a single one, as a tuple."""
    parts = value.split(',') if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
    try:
        return tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise ValueError(f'{value!r} is no list of numbers, such as 10,100,1000') from None


def time_step_fs(value: Any) -> float:
    """A time step of dynamics in fs; one that can only be meant in ps is refused."""
    number = float(value)
    if number < SHORTEST_TIMESTEP_FS:
        raise ValueError(
            f'{number:g} fs is shorter than any motion of atoms needs; time steps are in fs, so give '
            f'{1000 * number:g} for {number:g} ps, or at least {SHORTEST_TIMESTEP_FS:g}'
        )
    return number


#: The name in a mapping that stands for all that have no entry of their own.
DEFAULT = 'default'

_KINDS = {bool: 'true or false', int: 'a whole number', float: 'a finite number', str: 'text'}


def old_names(**names: str) -> Callable[[type[S]], type[S]]:
    """Decorator of a settings dataclass that takes some settings by the names that they once had, too, with a
    warning."""

    def decorate(cls: type[S]) -> type[S]:
        make = cls.__init__

        @functools.wraps(make)
        def init(self, *values, **named):
            make(self, *values, **_with_new_names(cls, named))

        cls.__init__, cls.OLD_NAMES = init, names  # type: ignore[method-assign, attr-defined]
        return cls

    return decorate


def _with_new_names(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    names = getattr(cls, 'OLD_NAMES', {})
    for old in names.keys() & values.keys():
        warnings.warn(f'the setting {old} is now called {names[old]}', FutureWarning, stacklevel=4)
        if names[old] in values:
            raise ValueError(f'{old} is an old name of {names[old]}; give one of them')
    return {names.get(name, name): value for name, value in values.items()}


def settings_from_mapping(cls: type[S], values: Mapping[str, Any] | None, source: str = 'settings') -> S:
    """Build the settings dataclass ``cls`` from ``values``; unknown names and wrong types raise :class:`InputError`."""
    values = _known(cls, values or {}, source)
    hints = typing.get_type_hints(cls)
    for name, value in values.items():
        values[name] = _converted(value, hints[name], f'{source}: setting {name!r}')
    try:
        return cls(**values)
    except ValueError as error:
        raise InputError(f'{source}: {error}') from error


def settings_from_keywords(cls: type[S], values: Mapping[str, Any], source: str) -> S:
    """The settings ``cls`` of keywords that a user gave; :class:`InputError` for a name or value that it refuses."""
    values = _known(cls, values, source)
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f'{source}: {error}') from error


def _known(cls: Any, values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values by the present names of the settings; an unknown name raises :class:`InputError`."""
    if not isinstance(values, Mapping):
        raise InputError(f'{source} must be "name: value" lines, not {values!r}')
    try:
        values = _with_new_names(cls, dict(values))
    except ValueError as error:
        raise InputError(f'{source}: {error}') from None
    names = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise InputError(f'{source}: unknown setting {unknown[0]!r}; known are {", ".join(sorted(names))}')
    return values


def _converted(value: Any, kind: Any, where: str) -> Any:
    options: Any = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        options = [option for option in options if option is not type(None)]
        # of a number and a mapping, what the value looks like
        alike = [option for option in options if (typing.get_origin(option) is dict) == isinstance(value, Mapping)]
        return _converted(value, (alike or options)[0], where)
    if typing.get_origin(kind) is dict:
        if isinstance(value, Mapping):
            return {str(name): _converted(item, options[1], f'{where}, {name}') for name, item in value.items()}
        raise InputError(f'{where} must be "name: value" lines, not {value!r}')
    if typing.get_origin(kind) is list:
        if isinstance(value, (list, tuple)):
            return [_converted(item, options[0], where) for item in value]
        raise InputError(f'{where} must be a list, not {value!r}')
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        with suppress(ValueError):
            value = float(value)
    return _plain(where, value, kind) if kind in _KINDS else value


def read_settings(cls: type[S], path: str | os.PathLike | None) -> S:
    """Read settings from a YAML file; the defaults where ``path`` is ``None``."""
    if path is None:
        return cls()
    return settings_from_mapping(cls, read_mapping(path, 'settings'), str(path))


class _Loader(yaml.SafeLoader):
    """Refuses a name that is given twice, of which YAML would silently take the last."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [name for number, name in enumerate(names) if name in names[:number]]
        if twice:
            raise yaml.YAMLError(f'{twice[0]!r} is given twice')
        return super().construct_mapping(node, deep)


def read_mapping(path: str | os.PathLike, what: str) -> dict[str, Any]:
    """Read a YAML file of "name: value" lines; :class:`InputError` if it is none, which names it by ``what``."""
    path = check_input(path, f'{what} file')
    try:
        values = yaml.load(path.read_text(encoding='utf-8'), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: not valid YAML ({" ".join(str(error).split())})') from error
    if values is not None and not isinstance(values, dict):
        raise InputError(f'{path}: {what} must be "name: value" lines')
    return values or {}


def later_setting() -> Any:
    """Field of settings that came after the files of models; nothing shows it where it is not given.

    So what was fitted without it keeps its content, and the hash of that.
    """
    return dataclasses.field(default=None, metadata={'later': True})


def stated_values(settings: Any) -> dict[str, Any]:
    """The settings as results and files hold them; without a :func:`later_setting` that is not given."""
    absent = [field.name for field in dataclasses.fields(settings) if 'later' in field.metadata]
    values = dataclasses.asdict(settings)
    return {name: value for name, value in values.items() if name not in absent or value is not None}


def settings_to_json(settings: Any) -> str:
    """The settings as canonical JSON, for storing beside what they produced."""
    return json.dumps(stated_values(settings), sort_keys=True)
