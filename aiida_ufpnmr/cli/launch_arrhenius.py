"""``aiida-ufpnmr launch arrhenius``."""

from __future__ import annotations

import click

from aiida_ufpnmr.cli.launch import (
    Launch,
    code_option,
    common_options,
    index_option,
    keep_option,
    potential_option,
    stop_if_failed,
)
from aiida_ufpnmr.cli.launch_batch import most_at_once_option, pack_option, replicas_option, temperatures_option
from aiida_ufpnmr.cli.shared import NODE_OR_FILE, load_code, load_or_store
from aiida_ufpnmr.engine.analyses.arrhenius import ArrheniusSettings
from aiida_ufpnmr.engine.commands.options import options_of, with_options
from aiida_ufpnmr.engine.commands.shared import Command, print_result


@click.command(
    'arrhenius',
    cls=Command,
    example='aiida-ufpnmr launch arrhenius beta.cif --potential 123 --efg-model 130 --temperatures 600,700,800,900',
)
@click.argument('structure')
@potential_option
@click.option('--efg-model', required=True, metavar=NODE_OR_FILE, help='The EFG model: pk, UUID, label or file.')
@temperatures_option
@replicas_option
@with_options(*options_of(ArrheniusSettings, 'extrapolate_K'))
@most_at_once_option
@pack_option
@index_option
@code_option
@common_options
@keep_option('md')
def arrhenius(
    structure: str,
    potential: str,
    efg_model: str,
    temperatures_K: tuple[float, ...],
    replicas: int,
    extrapolate_K: tuple[float, ...],
    most_at_once: int | None,
    pack_to: float | None,
    index: int | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Simulate STRUCTURE (a file that ASE reads, or the pk of a structure) at several temperatures, and find activation
    energies of diffusion, hops and the decay that NMR sees.

    Replicas differ in their seeds. A run that fails is left out. One that ended well before, in any batch, is taken up.
    """
    from aiida_ufpnmr.tools.arrhenius_page import laws_of
    from aiida_ufpnmr.workflows.arrhenius import ArrheniusWorkChain

    node = launch.with_values((), most_at_once=most_at_once, pack_to_s=pack_to).run(
        ArrheniusWorkChain,
        code=load_code(code_label),
        structure=load_or_store(structure, 'structure', index),
        potential=load_or_store(potential, 'potential'),
        efg_model=load_or_store(efg_model, 'efg-model'),
        temperatures_K=temperatures_K,
        replicas=replicas,
        extrapolate_K=extrapolate_K,
    )
    if node is None:
        return
    stop_if_failed(node)
    for law in laws_of(node):
        print_result(law)
        click.echo()
    click.echo(f'Open it as a page with "aiida-ufpnmr report {node.pk} -o report".')
