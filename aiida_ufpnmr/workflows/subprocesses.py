"""Processes that a workflow calls: their inputs as its own, the reason of a failure, and their working directories."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from aiida.engine import Process, ProcessSpec
from aiida.engine.processes.ports import PortNamespace
from aiida.orm import Bool, CalcJobNode, ProcessNode
from plumpy import ProcessState

from aiida_ufpnmr.calculations.base import plain_input


def expose_inputs(
    spec: ProcessSpec, process: type[Process], namespace: str, exclude: Sequence[str], help: str, required: bool = True
) -> None:
    """Expose the inputs of ``process`` under ``namespace``, without ``exclude``; it may stay empty if not ``required``.

    AiiDA opens an exposed namespace to any name, since it sets its valid type anew; here each keeps what it was.
    """
    options = {'help': help} if required else {'help': help, 'required': False, 'populate_defaults': False}
    spec.expose_inputs(process, namespace=namespace, exclude=exclude, namespace_options=options)
    exposed: Any = spec.inputs[namespace]
    _close(exposed, process.spec().inputs)


def _close(exposed: PortNamespace, original: Any) -> None:
    exposed.dynamic = original.dynamic
    for name, port in exposed.items():
        if isinstance(port, PortNamespace):
            _close(port, original[name])


def reason(node: ProcessNode) -> str:
    """The reason why a process failed, for the message of its caller."""
    return f'{node.process_label}<{node.pk}> {node.exit_message or node.process_state}'


def end_as_killed(node: ProcessNode, why: str) -> None:
    """End a process that nothing runs any more."""
    node.set_process_state(ProcessState.KILLED)
    node.set_process_status(why)
    node.delete_checkpoint()
    node.seal()


def clean_input(spec: ProcessSpec) -> None:
    """Let a workflow be asked whether working directories are to go."""
    text = 'Remove the working directories of what went well in the end; what matters is kept as nodes.'
    plain_input(spec, 'clean_workdir', Bool, text, default=True)


def clean_working_directories(calculations: Iterable[CalcJobNode]) -> None:
    """Clean the working directories of ``calculations``; one that cannot be reached is left alone."""
    for calculation in calculations:
        with suppress(OSError, AttributeError, KeyError):
            calculation.outputs.remote_folder._clean()
