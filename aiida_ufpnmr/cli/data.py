"""``verdi data ufpnmr``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
from aiida.cmdline.utils import decorators, echo

from aiida_ufpnmr.cli.shared import load_node
from aiida_ufpnmr.engine.commands.shared import print_table
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file


@click.group('ufpnmr')
def data_ufpnmr():
    """Data sets, potentials, EFG models and trajectories of dynamic NMR."""


@data_ufpnmr.command('list')
@decorators.with_dbenv()
def list_nodes():
    """List all nodes, newest last."""
    from aiida.orm import QueryBuilder

    from aiida_ufpnmr.data import KINDS

    query = QueryBuilder().append(KINDS, tag='node').order_by({'node': 'id'})
    rows = [
        (str(node.pk), type(node).__name__, node.label, _description(node), node.sha256[:12])
        for node in query.all(flat=True)
    ]
    print_table([('PK', 'Type', 'Label', 'Holds', 'SHA-256'), *rows])


@data_ufpnmr.command('show')
@click.argument('node')
@decorators.with_dbenv()
def show(node):
    """Show what NODE (pk, UUID or label) holds."""
    loaded = _load(node)
    attributes = {name: value for name, value in loaded.base.attributes.items() if name != 'rows'}
    echo.echo(f'{type(loaded).__name__} #{loaded.pk}  {_description(loaded)}')
    echo.echo(json.dumps(attributes, indent=2, sort_keys=True))


@data_ufpnmr.command('export')
@click.argument('node')
@click.option(
    '-o', '--output', 'path', type=click.Path(path_type=Path), required=True, metavar='FILE', help='The file to write.'
)
@decorators.with_dbenv()
def export(node, path):
    """Write the file of NODE (pk, UUID or label), as the command `ufpnmr` reads it."""
    from aiida_ufpnmr.data import TrajectoryData
    from aiida_ufpnmr.engine.trajectories.chain import in_one_file

    loaded = _load(node)
    try:
        check_output(path)
    except InputError as error:
        echo.echo_critical(str(error))
    if isinstance(loaded, TrajectoryData) and loaded.is_in_pieces:
        with loaded.as_path() as source:
            in_one_file(source, path)
    else:
        with whole_file(path) as partial, loaded.open(mode='rb') as source, open(partial, 'wb') as target:
            shutil.copyfileobj(source, target)
    echo.echo_success(f'wrote {path}')


def _load(identifier):
    from aiida_ufpnmr.data import KINDS

    try:
        return load_node(identifier, KINDS)
    except InputError as error:
        echo.echo_critical(str(error))


def _description(node) -> str:
    attributes = node.base.attributes.all
    elements = '-'.join(attributes['species'])
    if 'structures' in attributes:
        return f'{elements}, {attributes["structures"]} structures'
    if 'n_frames' in attributes:
        efg = ', '.join(f'EFG of {species}' for species in attributes['efg_frames'])
        return ', '.join(part for part in (elements, f'{attributes["time_ps"]:.4g} ps', efg) if part)
    ion = f', EFG of {attributes["ion"]}' if 'ion' in attributes else ''
    return f'{elements}{ion}'
