"""``aiida-ufpnmr launch md``."""

from __future__ import annotations

from typing import Any

import click

from aiida_ufpnmr.cli.launch import (
    Launch,
    code_option,
    common_options,
    index_option,
    keep_option,
    potential_option,
    stop_if_failed,
    temperature_option,
)
from aiida_ufpnmr.cli.shared import NODE_OR_FILE, load_code, load_or_store
from aiida_ufpnmr.engine.commands.shared import COUNT, Command, print_table


@click.command(
    'md',
    cls=Command,
    example='aiida-ufpnmr launch md beta.cif --potential 123 --steps 500000000 --max-wall-time 24h --daemon',
)
@click.argument('structure')
@potential_option
@click.option(
    '--efg-model', metavar=NODE_OR_FILE, help='Predict EFG tensors on the way: pk, UUID, label or file of a model.'
)
@click.option('--steps', type=COUNT, metavar='N', help="Length of the run; the protocol's if not given.")
@index_option
@code_option
@temperature_option
@click.option(
    '--device',
    type=click.Choice(['cpu', 'gpu']),
    help='What moves the atoms; on a GPU the thermostat is langevin. That of the protocol if not given.',
)
@common_options
@keep_option('md')
def md(
    structure: str,
    potential: str,
    efg_model: str | None,
    steps: int | None,
    index: int | None,
    temperature: float | None,
    device: str | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Simulate STRUCTURE (a file that ASE reads, or the pk of a structure) with a potential.

    A job that comes to the end of its time leaves a checkpoint, from which the next one goes on. The trajectory is the
    one that a single job would have written.
    """
    from aiida_ufpnmr.workflows.md import MdWorkChain

    thermostat = 'langevin' if device == 'gpu' else None
    node = launch.with_values(
        ('md', 'parameters'), temperature=temperature, steps=steps, device=device, thermostat=thermostat
    ).run(
        MdWorkChain,
        code=load_code(code_label),
        structure=load_or_store(structure, 'structure', index),
        potential=load_or_store(potential, 'potential'),
        efg_model=None if efg_model is None else load_or_store(efg_model, 'efg-model'),
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
