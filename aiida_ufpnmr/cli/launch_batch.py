"""``aiida-ufpnmr launch batch``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.calculations.resources import IN_QUEUE
from aiida_ufpnmr.cli.launch import Launch, code_option, common_options, potential_option, stop_if_failed
from aiida_ufpnmr.cli.shared import NODE_OR_FILE, is_node, load_code, load_or_store, load_structure
from aiida_ufpnmr.cli.status import print_progress
from aiida_ufpnmr.engine.commands.options import Parsed
from aiida_ufpnmr.engine.commands.shared import COUNT, Command, Duration, Number
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import Declaration, numbers

temperatures_option = click.option(
    '--temperatures',
    'temperatures_K',
    type=Parsed(Declaration('', above=0), numbers, 'K,...'),
    required=True,
    help='Temperatures of the runs in K.',
)
replicas_option = click.option(
    '--replicas', type=COUNT, default=1, show_default=True, metavar='N', help='Runs at each temperature.'
)
most_at_once_option = click.option(
    '--most-at-once',
    type=COUNT,
    metavar='N',
    help='Runs, or packs of them, that are submitted at a time.  '
    f'[default: {IN_QUEUE}, on this machine as many as it has cores for]',
)
pack_option = click.option(
    '--pack-to',
    type=Duration(),
    metavar='TIME',
    help='Pack runs into a job until their estimated time on its cores reaches this; with 1s each has a job of its '
    'own.  [default: 30min]',
)


@click.command(
    'batch',
    cls=Command,
    example='aiida-ufpnmr launch batch beta.cif glass*.extxyz --potential 123 --temperatures 300,400,500 --replicas 3 '
    '--steps 100000 --daemon',
)
@click.argument('structures', nargs=-1, required=True, metavar='STRUCTURE...')
@potential_option
@click.option(
    '--efg-model', metavar=NODE_OR_FILE, help='Predict EFG tensors on the way: pk, UUID, label or file of a model.'
)
@click.option('--nmr', is_flag=True, help='Dynamic NMR of each run, as "launch dynamic-nmr"; needs --efg-model.')
@temperatures_option
@replicas_option
@click.option('--steps', type=COUNT, metavar='N', help="Length of each run; the protocol's if not given.")
@most_at_once_option
@pack_option
@click.option(
    '--least-success',
    'min_success_fraction',
    type=Number(min=0, max=1),
    metavar='SHARE',
    help='Share of the runs that must end well.  [default: one run]',
)
@code_option
@common_options
def batch(
    structures: tuple[str, ...],
    potential: str,
    efg_model: str | None,
    nmr: bool,
    temperatures_K: tuple[float, ...],
    replicas: int,
    steps: int | None,
    most_at_once: int | None,
    pack_to: float | None,
    min_success_fraction: float | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Simulate each STRUCTURE (a file that ASE reads, FILE@I for one of several, or the pk of a structure) at each
    temperature, with replicas that differ in their seeds, as one batch.

    A run that ended well before, in any batch, is taken up and not made again: the same command, given again after
    whatever stop, makes what lacks. A run that fails stops no other. "aiida-ufpnmr status" says how far a batch is.
    """
    from aiida_ufpnmr.tools.batches import progress_of
    from aiida_ufpnmr.workflows.batches import DynamicNmrBatchWorkChain, MdBatchWorkChain

    if nmr and efg_model is None:
        raise InputError('--nmr needs --efg-model, which predicts the EFG tensors')
    shared: dict[str, Any] = {
        'code': load_code(code_label),
        'structures': named_structures(structures),
        'potential': load_or_store(potential, 'potential'),
        'efg_model': None if efg_model is None else load_or_store(efg_model, 'efg-model'),
        'temperatures_K': temperatures_K,
        'replicas': replicas,
    }
    launch = launch.with_values(
        (), most_at_once=most_at_once, pack_to_s=pack_to, min_success_fraction=min_success_fraction
    ).with_values(('md', 'parameters'), steps=steps)
    node = launch.run(DynamicNmrBatchWorkChain if nmr else MdBatchWorkChain, **shared)
    if node is not None:
        print_progress(progress_of(node))
        stop_if_failed(node)


def named_structures(given: tuple[str, ...]) -> dict[str, Any]:
    """Structures by names that links may have: of their files, or their labels.

    Raises:
        InputError: a structure that cannot be read, or is given twice.
    """
    found: dict[str, Any] = {}
    pks: dict[int, str] = {}
    for one in given:
        node = load_structure(one, one)
        # beta.cif is beta, beta.cif@3 is beta_3
        name = node.label or 'structure' if is_node(one) else re.sub(r'\.\w+(?=(@-?\d+)?$)', '', Path(one).name)
        if node.pk in pks:
            raise InputError(f'{one}: is the same structure as {pks[node.pk]}; give it once, "--replicas" repeats it')
        pks[node.pk] = one
        plain = re.sub(r'[^A-Za-z0-9]+', '_', name).strip('_') or 'structure'
        found[plain if plain not in found else f'{plain}_{node.pk}'] = node
    return found
