"""Inputs of a WorkChain by protocol, with overrides that are checked against its ports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import yaml
from aiida.engine import ProcessBuilder
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import AbstractCode

from aiida_ufpnmr.calculations.resources import Asked, options_of_job
from aiida_ufpnmr.workflows.calls_once import CallsOnce


class ProtocolMixin(CallsOnce):
    """The part of a WorkChain whose inputs come from a YAML file of protocols.

    The file holds ``default_inputs`` (for all protocols), ``default_protocol``, and ``protocols``: by name, a
    ``description`` and the inputs that differ. ``get_builder_from_protocol`` of each WorkChain gives a builder with
    these inputs; it takes what the WorkChain is about, and of each the same:

    Args:
        protocol: ``fast``, ``balanced`` or ``stringent``.
        overrides: nested as the inputs are, on top of the protocol; those of a workflow that it calls under its name.
        options: what all jobs ask of their schedulers, as :class:`~aiida_ufpnmr.calculations.resources.Resources`, or
            ``metadata.options`` as they are.

    Raises:
        ValueError: an unknown protocol, override or value; the message names it.
    """

    #: Name of the protocol file, without its suffix.
    PROTOCOL: ClassVar[str]
    #: Entries of the file that are no inputs: :meth:`get_builder_from_protocol` turns them into some.
    PROTOCOL_ENTRIES: ClassVar[tuple[str, ...]] = ()
    #: Inputs that are arguments of :meth:`get_builder_from_protocol`, and so no overrides.
    PROTOCOL_ARGUMENTS: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def get_available_protocols(cls) -> dict[str, str]:
        """Names of the protocols, with their descriptions."""
        return {name: entries['description'] for name, entries in _load(cls.PROTOCOL)['protocols'].items()}

    @classmethod
    def get_default_protocol(cls) -> str:
        """Name of the protocol that is used where none is named."""
        return _load(cls.PROTOCOL)['default_protocol']

    @classmethod
    def get_protocol_inputs(
        cls,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        **called: Callable[[Mapping[str, Any] | None], dict[str, Any]],
    ) -> dict[str, Any]:
        """The inputs of a protocol as plain values, with ``overrides`` on top.

        Args:
            protocol: its name; the default one if not given.
            overrides: nested as the inputs are.
            called: for a workflow that this one calls, the function that makes its inputs of the overrides of its name.

        Raises:
            ValueError: no such protocol, or an override that is no input; the message names it.
        """
        content = _load(cls.PROTOCOL)
        protocol = protocol or content['default_protocol']
        if protocol not in content['protocols']:
            raise ValueError(f'unknown protocol {protocol!r}; known are {", ".join(content["protocols"])}')
        given: Any = overrides or {}
        own = {key: value for key, value in given.items() if key not in called} if isinstance(given, Mapping) else given
        _check_overrides(cls.spec().inputs, own, cls.PROTOCOL_ENTRIES)
        for name in cls.PROTOCOL_ARGUMENTS:
            if name in own:
                raise ValueError(f'override {name!r} is an argument of its own; give it there')
        chosen = {key: value for key, value in content['protocols'][protocol].items() if key != 'description'}
        inputs = merged(merged(content['default_inputs'], chosen), own)
        for name, inputs_of in called.items():
            try:
                inputs[name] = inputs_of(given.get(name))
            except ValueError as error:
                raise ValueError(f'{name}: {error}') from error
        return inputs

    @classmethod
    def filled_builder(cls, inputs: Mapping[str, Any]) -> ProcessBuilder:
        """A builder with these plain values and nodes.

        Raises:
            ValueError: a value that its port refuses; the message names the port.
        """
        builder = cls.get_builder()
        _fill(builder, cls.spec().inputs, inputs, ())
        return builder


def of_all(
    names: Iterable[str], code: AbstractCode, options: Asked, mpi: bool = False, cores: int = 1
) -> dict[str, dict[str, Any]]:
    """Code and ``metadata.options`` as inputs of all calculations of these names; see :func:`options_of_job`."""
    return {name: {'code': code, 'metadata': {'options': options_of_job(options, code, mpi, cores)}} for name in names}


@cache
def _load(name: str) -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / f'{name}.yaml').read_text())


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` on top, mappings merged at every depth; neither argument is changed."""
    result = {key: merged(value, {}) if isinstance(value, Mapping) else value for key, value in base.items()}
    for key, value in changes.items():
        if isinstance(value, Mapping):
            below = result.get(key, {})
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _check_overrides(
    namespace: PortNamespace, overrides: Any, entries: tuple[str, ...] = (), path: tuple[str, ...] = ()
) -> None:
    if not isinstance(overrides, Mapping):
        raise ValueError(f'override {".".join(path) or "file"!r} must hold "name: value" entries, not {overrides!r}')
    for key, value in overrides.items():
        if key in entries:
            continue
        here = (*path, str(key))
        if key not in namespace:
            raise ValueError(
                f'unknown override {".".join(here)!r}; known here are {", ".join(sorted([*namespace, *entries]))}'
            )
        port = namespace[key]
        if isinstance(port, PortNamespace) and not port.dynamic:
            _check_overrides(port, value, (), here)


def _fill(builder: Any, namespace: PortNamespace, inputs: Mapping[str, Any], path: tuple[str, ...]) -> None:
    for key, value in inputs.items():
        here = (*path, key)
        if key not in namespace:  # of a namespace that takes any name
            builder[key] = value
            continue
        port: Any = namespace[key]
        if isinstance(port, PortNamespace) and isinstance(value, Mapping):
            _fill(builder[key], port, value, here)
            continue
        try:
            value = port.serialize(value)
            error = port.validate(value, here[:-1])
        except TypeError as wrong_type:
            raise ValueError(f'{".".join(here)}: {wrong_type}') from wrong_type
        if error is not None:
            raise ValueError(f'{".".join(here)}: {error.message}')
        builder[key] = value
