"""Runs that are launched again: with the same inputs, and with those calculations of theirs that are whole."""

from __future__ import annotations

from aiida.engine import Process
from aiida.engine.utils import instantiate_process
from aiida.manage import get_manager
from aiida.orm import CalcJobNode, ProcessNode, WorkChainNode

from aiida_ufpnmr.calculations.take_over import TAKES_OVER
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.doctor.damage import REPLACED_BY


def check_relaunch(node: ProcessNode) -> None:
    """:class:`InputError` where a process cannot be launched again, or need not."""
    if not isinstance(node, (CalcJobNode, WorkChainNode)):
        raise InputError(
            f'#{node.pk}: a {node.process_label} is no run that can be launched again; name the run above it'
        )
    if node.caller is not None:
        raise InputError(f'#{node.pk}: belongs to the run #{node.caller.pk}; launch that again')
    if not node.is_terminated:
        raise InputError(f'#{node.pk}: has not ended; "aiida-ufpnmr doctor" says what is wrong with it')
    if REPLACED_BY in node.base.extras.all:
        raise InputError(f'#{node.pk}: was launched again already, as {node.base.extras.get(REPLACED_BY)}')


def made_again(node: CalcJobNode | WorkChainNode) -> Process:
    """A run with the inputs of another, not begun yet; calculations with equal inputs that are whole are taken over."""
    process = instantiate_process(get_manager().get_runner(), node.get_builder_restart())
    process.node.base.extras.set(TAKES_OVER, True)
    node.base.extras.set(REPLACED_BY, process.node.uuid)
    return process


def relaunch(node: CalcJobNode | WorkChainNode) -> ProcessNode:
    """Submit a run again.

    Raises:
        InputError: see :func:`check_relaunch`.
    """
    check_relaunch(node)
    process = made_again(node)
    get_manager().get_persister().save_checkpoint(process)
    process.close()
    get_manager().get_process_controller().continue_process(process.pid, nowait=False, no_reply=True)
    return process.node
