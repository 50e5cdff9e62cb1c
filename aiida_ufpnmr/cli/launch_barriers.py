"""``aiida-ufpnmr launch barriers``."""

from __future__ import annotations

from typing import Any

import click

from aiida_ufpnmr.cli.launch import Launch, code_option, common_options, potential_option, stop_if_failed
from aiida_ufpnmr.cli.shared import NODE_OR_FILE, is_node, load_code, load_node, load_or_store
from aiida_ufpnmr.engine.barriers.result import Barriers
from aiida_ufpnmr.engine.barriers.settings import BarrierSettings
from aiida_ufpnmr.engine.commands.options import options_of, with_options
from aiida_ufpnmr.engine.commands.shared import Command, print_result
from aiida_ufpnmr.engine.files import check_input

#: Settings that are options of their own; others are overrides.
SHOWN = ('min_length_angstrom', 'max_length_angstrom', 'max_hops', 'seed')


@click.command(
    'barriers',
    cls=Command,
    example='aiida-ufpnmr launch barriers 140 --potential 123 --max-hops 200\n'
    'aiida-ufpnmr launch barriers run.h5 --potential potential.h5 --softness softness.h5 --protocol fast',
)
@click.argument('trajectory')
@potential_option
@click.option(
    '--softness',
    metavar=NODE_OR_FILE,
    help='Compare soft ions with hard ones, by the output "functions" of the analysis softness of TRAJECTORY, or by a '
    'file as "ufpnmr barriers" takes it.',
)
@with_options(*options_of(BarrierSettings, *SHOWN, unset="the protocol's"))
@code_option
@common_options
def barriers(
    trajectory: str, potential: str, softness: str | None, code_label: str, launch: Launch, **options: Any
) -> None:
    """Find the barriers of single hops along TRAJECTORY (the pk of a trajectory, or a file), by nudged elastic bands.

    Other settings are overrides: "calculation: {parameters: {end: frame}}".
    """
    from aiida.orm import SinglefileData

    from aiida_ufpnmr.workflows.barriers import BarriersWorkChain

    table = None
    if softness is not None and is_node(softness):
        table = load_node(softness, SinglefileData)
    elif softness is not None:
        table = SinglefileData(check_input(softness, 'table of softness').absolute())
    node = launch.with_values(('calculation', 'parameters'), **options).run(
        BarriersWorkChain,
        code=load_code(code_label),
        trajectory=load_or_store(trajectory, 'trajectory'),
        potential=load_or_store(potential, 'potential'),
        softness=table,
    )
    if node is None:
        return
    stop_if_failed(node)
    print_result(Barriers.from_dict(node.outputs.results.get_dict()))
    pk = node.outputs.paths.pk
    click.echo(f'\nPaths #{pk}; "verdi node repo dump {pk} FOLDER" writes them to a file for ASE or OVITO.')
