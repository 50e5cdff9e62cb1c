"""``aiida-ufpnmr launch md``."""

from __future__ import annotations

from typing import Any

import click

from aiida_ufpnmr.cli.launch import (
    Launch,
    code_option,
    common_options,
    load_structure,
    stop_if_failed,
    temperature_option,
)
from aiida_ufpnmr.cli.shared import load_code, load_node
from aiida_ufpnmr.engine.commands.shared import COUNT, Command, print_table


@click.command(
    'md',
    cls=Command,
    example='aiida-ufpnmr launch md beta.cif --potential 123 --steps 500000000 --max-wall-time 24h --daemon',
)
@click.argument('structure')
@click.option('--potential', required=True, metavar='NODE', help='The potential: pk, UUID or label.')
@click.option('--efg-model', metavar='NODE', help='Predict EFG tensors on the way with this model: pk, UUID or label.')
@click.option('--steps', type=COUNT, metavar='N', help="Length of the run; the protocol's if not given.")
@code_option
@temperature_option
@common_options
def md(
    structure: str,
    potential: str,
    efg_model: str | None,
    steps: int | None,
    temperature: float | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Simulate STRUCTURE (a file that ASE reads, or the pk of a structure) with a potential.

    A job that comes to the end of its time leaves a checkpoint, from which the next one goes on. The trajectory is the
    one that a single job would have written.
    """
    from aiida_ufpnmr.data import EfgModelData, PotentialData
    from aiida_ufpnmr.workflows.md import MdWorkChain

    node = launch.with_values(('md', 'parameters'), temperature=temperature, steps=steps).run(
        MdWorkChain,
        code=load_code(code_label),
        structure=load_structure(structure),
        potential=load_node(potential, PotentialData),
        efg_model=None if efg_model is None else load_node(efg_model, EfgModelData),
    )
    if node is not None:
        stop_if_failed(node)
        print_run(node)


def print_run(node: Any) -> None:
    """Print a summary of the run, and the pk of its trajectory."""
    results = node.outputs.results.get_dict()
    print_table(
        [
            ('quantity', 'value'),
            ('simulated, ps', f'{results["simulated_ps"]:g}'),
            ('frames', f'{results["frames"]}'),
            ('temperature, K', f'{results["temperature_mean_K"]:.0f} ± {results["temperature_std_K"]:.0f}'),
            ('jobs', f'{sum(called.process_label == "MdCalculation" for called in node.called)}'),
        ]
    )
    pk = node.outputs.trajectory.pk
    click.echo(f'\nTrajectory #{pk}; "verdi data ufpnmr export {pk} -o run.h5" writes it to a file.')
