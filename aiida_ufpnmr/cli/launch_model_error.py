"""``aiida-ufpnmr launch model-error``."""

from __future__ import annotations

from typing import Any

import click

from aiida_ufpnmr.cli.launch import (
    Launch,
    code_option,
    common_options,
    index_option,
    print_answer,
    stop_if_failed,
    temperature_option,
)
from aiida_ufpnmr.cli.shared import NODE_OR_FILE, load_code, load_or_store
from aiida_ufpnmr.engine.commands.shared import COUNT, Command, print_table


@click.command(
    'model-error',
    cls=Command,
    example='aiida-ufpnmr launch model-error beta.cif --potential 123 --efg-model 130 --temperature 900 --daemon',
)
@click.argument('structure')
@click.option('--potential', required=True, metavar=NODE_OR_FILE, help='The potential: pk, UUID, label or file.')
@click.option('--efg-model', metavar=NODE_OR_FILE, help='The EFG model, without which there is no NMR, but motion.')
@click.option('--ion', metavar='ELEMENT', help='Element that is followed; that of the EFG model, or Li without one.')
@click.option('--number', type=COUNT, metavar='N', help="Models that are drawn; the protocol's if not given.")
@index_option
@temperature_option
@code_option
@common_options
def model_error(
    structure: str,
    potential: str,
    efg_model: str | None,
    ion: str | None,
    number: int | None,
    index: int | None,
    temperature: float | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Find an interval of the decay time, hop rate and diffusion of STRUCTURE that holds the error of the models.

    Beside the fitted models, models drawn from what their labels leave open, as far from the fitted ones as these are
    expected to err, have a run each. Both models must hold a posterior.
    """
    from aiida_ufpnmr.workflows.model_error import ModelErrorWorkChain

    launch = launch.with_values((), number=number)
    node = launch.with_values(('dynamic_nmr', 'md', 'parameters'), temperature=temperature).run(
        ModelErrorWorkChain,
        code=load_code(code_label),
        structure=load_or_store(structure, 'structure', index),
        potential=load_or_store(potential, 'potential'),
        efg_model=None if efg_model is None else load_or_store(efg_model, 'efg-model'),
        ion=ion,
    )
    if node is not None:
        stop_if_failed(node)
        print_answer(node)
        click.echo()
        print_model_error(node.outputs.model_error)


def print_model_error(found: Any) -> None:
    """Print each quantity over the drawn models, and by what factor sampling and models spread it."""
    from aiida_ufpnmr.tools.answer import model_error_rows

    print_table(model_error_rows(found))
