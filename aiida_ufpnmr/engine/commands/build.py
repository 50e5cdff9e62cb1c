"""``ufpnmr build``: cells to compute on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from ase import Atoms
from ase.io import write

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.building.charges import read_charges
from aiida_ufpnmr.engine.building.composition import formula
from aiida_ufpnmr.engine.building.ordered_cells import OrderSettings
from aiida_ufpnmr.engine.building.ordering import order_crystal
from aiida_ufpnmr.engine.building.strain import StrainSettings, strained_cells
from aiida_ufpnmr.engine.commands.options import options_of, settings_from_options, with_options
from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    OUTPUT,
    Command,
    check_outputs,
    index_option,
    json_option,
    print_table,
    report,
    supercell_option,
)
from aiida_ufpnmr.engine.crystals import read_crystal
from aiida_ufpnmr.engine.dataset import bare, check_geometry, read_structure
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.hdf5 import versions

output_option = click.option(
    '-o', '--output', type=OUTPUT, required=True, metavar='CELLS.extxyz', help='Where to write the structures.'
)


@click.group('build')
def build():
    """Cells to compute on: ordered, repeated, strained."""


@build.command('order', cls=Command, example='ufpnmr build order crystal.cif --number 10 --seed 1 -o cells.extxyz')
@click.argument('crystal', type=INPUT, metavar='CIF')
@output_option
@supercell_option
@click.option('--charges', metavar='Li=1,S=-2', help='Formal charges of elements, where not the common ones.')
@with_options(*options_of(OrderSettings))
@json_option
def order(crystal, output, supercell, charges, json_path, **options):
    """Order a crystal whose sites are filled in part or shared, as databases have them.

    Ions are swapped on their sites until the Coulomb energy of their formal charges is low. The cells differ by
    symmetry, and have the composition that the occupancies ask for, in whole atoms. The comment line of each has its
    energy (ewald_energy_eV).
    """
    _check_outputs(output, json_path)
    given = read_charges(charges) if charges else {}
    compiled.aloud = True
    begin = time.perf_counter()
    found = order_crystal(read_crystal(crystal), supercell, given, settings_from_options(OrderSettings, options))
    timing = {'wall_s': time.perf_counter() - begin}
    _write(output, found.cells)
    report({**found.to_dict(), 'supercell': supercell, 'versions': versions(), 'timing': timing}, json_path)
    click.echo(found.headline)
    print_table(found.table())
    for line in found.remarks:
        click.echo(line)


@build.command('supercell', cls=Command, example='ufpnmr build supercell cells.extxyz 2 2 1 --index 0 -o large.extxyz')
@click.argument('structure', type=INPUT)
@click.argument('repeat', type=COUNT, nargs=3, metavar='A B C')
@output_option
@index_option
@json_option
def supercell(structure, repeat, output, index, json_path):
    """Repeat a structure along its cell vectors."""
    _check_outputs(output, json_path)
    atoms = read_structure(structure, index)
    if any(times > 1 and not periodic for times, periodic in zip(repeat, atoms.pbc)):
        raise InputError(f'{structure}: is not periodic along a direction in which it should be repeated')
    _write_and_report(output, [bare(atoms).repeat(repeat)], json_path)


@build.command(
    'strain',
    cls=Command,
    example='ufpnmr build strain beta.cif --volume-percent=-6,-3,3,6 --shear-percent 2,4 -o strained.extxyz',
)
@click.argument('structure', type=INPUT)
@output_option
@with_options(*options_of(StrainSettings))
@index_option
@json_option
def strain(structure, output, index, json_path, **options):
    """Change the volume of a structure, and shear it, each in a cell of its own.

    The comment line of each says what was done: volume_percent, or shear_percent and shear_plane.
    """
    settings = settings_from_options(StrainSettings, options)
    _check_outputs(output, json_path)
    cells = strained_cells(read_structure(structure, index), settings, str(structure))
    for cell in cells:
        check_geometry(cell, f'{structure}, strained by {cell.info}')
    _write_and_report(output, cells, json_path)


def _check_outputs(output: Path, json_path: Path | None) -> None:
    if output.suffix != '.extxyz':
        raise InputError(f'{output}: structures are written as extended XYZ; choose a name that ends in .extxyz')
    check_outputs(output, json_path)


def _write(output: Path, cells: Sequence[Atoms]) -> None:
    with whole_file(output) as partial:
        write(partial, cells, format='extxyz')


def _write_and_report(output: Path, cells: Sequence[Atoms], json_path: Path | None) -> None:
    """Write structures; print and report their composition, volume and what ``info`` says of them."""
    _write(output, cells)
    rows: list[dict[str, Any]] = [
        {'composition': formula(cell.symbols.formula.count()), 'volume_angstrom3': cell.get_volume(), **cell.info}
        for cell in cells
    ]
    report({'structures': rows, 'versions': versions()}, json_path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_table(
        [['structure', *names], *([str(i), *(_shown(row.get(n, '')) for n in names)] for i, row in enumerate(rows))]
    )


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f'{value:.6g}'
