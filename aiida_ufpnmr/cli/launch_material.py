"""``aiida-ufpnmr launch new-material``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.cli.launch import (
    Launch,
    code_option,
    common_options,
    engine_option,
    label_code_option,
    print_answer,
    stop_if_failed,
    temperature_option,
)
from aiida_ufpnmr.cli.launch_check import print_check
from aiida_ufpnmr.cli.launch_learning import print_history
from aiida_ufpnmr.cli.shared import load_code, load_or_store
from aiida_ufpnmr.engine.building.charges import read_charges
from aiida_ufpnmr.engine.building.guides import GUIDES
from aiida_ufpnmr.engine.commands.shared import COUNT, POSITIVE, Command


@click.command(
    'new-material',
    cls=Command,
    example='aiida-ufpnmr launch new-material Na3SbS4.cif --ion Na --engine gpaw --labels 100 --daemon',
)
@click.argument('crystal', metavar='FILE.cif')
@click.option('--ion', required=True, metavar='NAME', help='Element or isotope that is followed, such as Na or 6Li.')
@engine_option
@label_code_option
@click.option('--labels', type=COUNT, metavar='N', help="No more labels than this; the protocol's if not given.")
@click.option(
    '--core-hours',
    type=POSITIVE,
    metavar='H',
    help='Nor more core hours of labels, runs and fits, as they report them.',
)
@click.option(
    '--begin-with',
    metavar='LABELS',
    help='Labels that there are, by the same settings of DFT: pk, UUID, label or file. They join the first ones.',
)
@click.option(
    '--guide', type=click.Choice(tuple(GUIDES)), help='Draw half of the first structures along runs of this potential.'
)
@click.option(
    '--charges', metavar='Li=1,S=-2', help='Formal charges, where not the usual ones, for an order of shared sites.'
)
@temperature_option
@code_option
@common_options
def new_material(
    crystal: str,
    ion: str,
    engine: str,
    label_code: str | None,
    labels: int | None,
    core_hours: float | None,
    begin_with: str | None,
    guide: str | None,
    charges: str | None,
    temperature: float | None,
    code_label: str,
    launch: Launch,
) -> None:
    """From a crystal (CIF, another file with one structure, or a node) to models, and to how fast its ions move.

    Orders sites that are filled in part, draws and labels first structures, learns from labels of what the models know
    least at rising temperatures, and runs dynamic NMR with what there is when errors are small enough or the budget is
    spent. Status 1 says that they are not. Launched again, it labels nothing twice.
    """
    from aiida_ufpnmr.workflows.new_material import NewMaterialWorkChain

    if not ion:
        raise click.BadParameter('give the element or isotope that is followed, such as Na or 6Li', param_hint='--ion')
    launch = launch.with_values((), max_labels=labels, max_core_hours=core_hours)
    launch = launch.with_values(('draw', 'parameters'), guide=guide)
    launch = launch.with_values(('cell',), charges=None if charges is None else read_charges(charges))
    launch = launch.with_values(('dynamic_nmr', 'md', 'parameters'), temperature=temperature)
    node = launch.run(
        NewMaterialWorkChain,
        code=load_code(code_label),
        label_code=load_code(label_code or f'{engine}@localhost'),
        engine=engine,
        crystal=_crystal(crystal),
        ion=ion,
        labels=None if begin_with is None else load_or_store(begin_with, 'labels'),
    )
    if node is not None:
        print_history(node)
        if 'check' in node.outputs:
            click.echo()
            print_check(node.outputs.check)
        if 'tau' in node.outputs:
            click.echo()
            print_answer(node)
        stop_if_failed(node)


def _crystal(given: str) -> Any:
    """The node of a CIF file as it is, so that its occupancies stay on record, or of a structure."""
    from aiida.orm import SinglefileData

    from aiida_ufpnmr.engine.crystals import read_crystal

    path = Path(given)
    if path.suffix.lower() != '.cif':
        return load_or_store(given, 'structure')
    read_crystal(path)
    return SinglefileData(path.resolve())
