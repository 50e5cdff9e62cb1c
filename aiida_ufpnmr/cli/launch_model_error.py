"""``aiida-ufpnmr launch model-error``."""

from __future__ import annotations

import click

from aiida_ufpnmr.cli.launch import (
    Launch,
    code_option,
    common_options,
    efg_model_option,
    followed_option,
    index_option,
    potential_option,
    print_answer,
    stop_if_failed,
    temperature_option,
)
from aiida_ufpnmr.cli.shared import load_code, load_or_store
from aiida_ufpnmr.engine.commands.shared import COUNT, Command, print_table


@click.command(
    'model-error',
    cls=Command,
    example='aiida-ufpnmr launch model-error beta.cif --potential 123 --efg-model 130 --temperature 900 --daemon',
)
@click.argument('structure')
@potential_option
@efg_model_option
@followed_option
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
    from aiida_ufpnmr.tools.answer import model_error_rows
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
        print_table(model_error_rows(node.outputs.model_error))
        click.echo()
        print_answer(node)
