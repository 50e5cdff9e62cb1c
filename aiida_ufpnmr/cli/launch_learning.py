"""``aiida-ufpnmr launch active-learning``."""

from __future__ import annotations

from typing import Any

import click

from aiida_ufpnmr.cli.launch import (
    Launch,
    code_option,
    common_options,
    engine_option,
    ion_option,
    label_code_option,
    stop_if_failed,
)
from aiida_ufpnmr.cli.shared import load_code, load_or_store, load_structure
from aiida_ufpnmr.engine.commands.shared import COUNT, POSITIVE, Command, print_table
from aiida_ufpnmr.engine.errors import InputError


@click.command(
    'active-learning',
    cls=Command,
    example='aiida-ufpnmr launch active-learning labels.extxyz beta=beta.cif glass=glass.extxyz --engine gpaw --daemon',
)
@click.argument('dataset')
@click.argument('structures', nargs=-1, required=True, metavar='NAME=STRUCTURE...')
@engine_option
@click.option('--test', 'test', metavar='TEST', help='Labelled structures for the errors (file or node).')
@label_code_option
@ion_option
@click.option('--labels', type=COUNT, metavar='N', help='Give no more structures than this to DFT.')
@click.option(
    '--core-hours', type=POSITIVE, metavar='H', help='Begin no generation, nor more labels, than this pays for.'
)
@code_option
@common_options
def active_learning(
    dataset: str,
    structures: tuple[str, ...],
    engine: str,
    test: str | None,
    label_code: str | None,
    ion: str | None,
    labels: int | None,
    core_hours: float | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Improve models fitted to DATASET (extended XYZ, or a node) by new labels of what they know least.

    Exploration starts from each STRUCTURE (a file that ASE reads, FILE@I for one of several, or a node); its NAME
    becomes that of a group of structures. Models, labels and history are there whether or not it converged, which
    status 1 says.
    """
    from aiida_ufpnmr.workflows.active_learning import ActiveLearningWorkChain

    node = launch.with_values((), max_labels=labels, max_core_hours=core_hours).run(
        ActiveLearningWorkChain,
        code=load_code(code_label),
        label_code=load_code(label_code or f'{engine}@localhost'),
        engine=engine,
        dataset=load_or_store(dataset, 'labels'),
        structures=_named(structures),
        test_dataset=None if test is None else load_or_store(test, 'labels'),
        ion=ion,
    )
    if node is not None:
        print_history(node)
        stop_if_failed(node)


def _named(given: tuple[str, ...]) -> dict:
    structures = {}
    for item in given:
        name, equals, where = item.partition('=')
        if not equals or not name.isidentifier() or name in structures:
            raise InputError(
                f'{item!r}: give each structure as NAME=FILE, each with a name of its own, like beta=beta.cif'
            )
        structures[name] = load_structure(where, f'{name}={where}')
    return structures


def print_history(node: Any) -> None:
    """Print labels and errors by generation, why it ended, and the pks of the models."""
    if 'history' not in node.outputs:
        return
    history = node.outputs.history.get_dict()
    keys = {
        'labels': 'labels', 'runs_stopped_by_guard': 'stopped runs', 'fraction_above_grade_1': 'unknown',
        'energy_rmse_meV_per_atom': 'E, meV/atom', 'forces_rmse_meV_per_angstrom': 'F, meV/Å',
        'omega_q_mae_khz': 'ω_Q, kHz',
    }  # fmt: skip
    rows = [
        (entry['generation'], *('-' if entry.get(key) is None else f'{entry[key]:.3g}' for key in keys))
        for entry in history['generations']
    ]
    print_table([('generation', *keys.values()), *rows])
    if 'verdict' in history:
        click.echo(f'\nEnded: {history["verdict"]}.')
    found = [name for name in ('dataset', 'potential', 'efg_model') if name in node.outputs]
    click.echo('\n' + ', '.join(f'{name.replace("_", " ")} #{node.outputs[name].pk}' for name in found))
