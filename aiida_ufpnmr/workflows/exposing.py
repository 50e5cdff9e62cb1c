"""Expose the inputs of a process so that unknown names stay refused."""

from __future__ import annotations

from collections.abc import Sequence

from aiida.engine import Process, ProcessSpec
from aiida.engine.processes.ports import PortNamespace


def expose_inputs(
    spec: ProcessSpec, process: type[Process], namespace: str, exclude: Sequence[str], help: str, required: bool = True
) -> None:
    """Expose the inputs of ``process`` under ``namespace``, without ``exclude``; it may stay empty if not ``required``.

    AiiDA opens an exposed namespace to any name, since it sets its valid type anew; here each keeps what it was.
    """
    options = {'help': help} if required else {'help': help, 'required': False, 'populate_defaults': False}
    spec.expose_inputs(process, namespace=namespace, exclude=exclude, namespace_options=options)
    _close(spec.inputs[namespace], process.spec().inputs)


def _close(exposed: PortNamespace, original: PortNamespace) -> None:
    exposed.dynamic = original.dynamic
    for name, port in exposed.items():
        if isinstance(port, PortNamespace):
            _close(port, original[name])
