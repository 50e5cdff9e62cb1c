"""``aiida-ufpnmr launch check-models``."""

from __future__ import annotations

from typing import Any

import click

from aiida_ufpnmr.cli.launch import (
    Launch,
    code_option,
    common_options,
    engine_option,
    index_option,
    label_code_option,
    potential_option,
    stop_if_failed,
    temperature_option,
)
from aiida_ufpnmr.cli.shared import NODE_OR_FILE, load_code, load_or_store
from aiida_ufpnmr.engine.commands.shared import COUNT, Command, print_table


@click.command(
    'check-models',
    cls=Command,
    example='aiida-ufpnmr launch check-models cell.extxyz --potential 123 --efg-model 130 --engine gpaw '
    '--temperature 600 --daemon',
)
@click.argument('structure')
@potential_option
@click.option('--efg-model', metavar=NODE_OR_FILE, help='The EFG model, where it shall be checked, too.')
@engine_option
@label_code_option
@click.option('--frames', type=COUNT, metavar='N', help="Frames that are labelled; the protocol's if not given.")
@index_option
@temperature_option
@code_option
@common_options
def check_models(
    structure: str,
    potential: str,
    efg_model: str | None,
    engine: str,
    label_code: str | None,
    frames: int | None,
    index: int | None,
    temperature: float | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Say how wrong models are where they are used: on frames of a run from STRUCTURE, which DFT labels.

    STRUCTURE is a file that ASE reads, or a node, and of a size for DFT. Of the errors of forces on each element, those
    that the potential expects stand beside the real ones.
    """
    from aiida_ufpnmr.workflows.model_check import ModelCheckWorkChain

    launch = launch.with_values((), frames=frames).with_values(('md', 'parameters'), temperature=temperature)
    node = launch.run(
        ModelCheckWorkChain,
        code=load_code(code_label),
        label_code=load_code(label_code or f'{engine}@localhost'),
        engine=engine,
        structure=load_or_store(structure, 'structure', index),
        potential=load_or_store(potential, 'potential'),
        efg_model=None if efg_model is None else load_or_store(efg_model, 'efg-model'),
    )
    if node is not None:
        stop_if_failed(node)
        print_check(node.outputs)


def print_check(outputs: Any) -> None:
    """Print the errors of models on frames of a run, beside those that they expect."""
    from aiida_ufpnmr.tools.answer import check_rows

    print_table(check_rows(outputs))
