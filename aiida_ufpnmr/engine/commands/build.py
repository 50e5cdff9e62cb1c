"""``ufpnmr build``: cells to compute on."""

from __future__ import annotations

import os
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
from aiida_ufpnmr.engine.building.drawing import DrawSettings, drawn_cells
from aiida_ufpnmr.engine.building.glass import Glass, GlassSettings
from aiida_ufpnmr.engine.building.glass_packing import pack_glass
from aiida_ufpnmr.engine.building.guides import guide_calculator
from aiida_ufpnmr.engine.building.label_cells import LabelCellSettings, crystal_of, label_cells
from aiida_ufpnmr.engine.building.ordered_cells import OrderSettings
from aiida_ufpnmr.engine.building.ordering import order_crystal
from aiida_ufpnmr.engine.building.rigid_units import RIGID_UNITS, parse_unit, read_unit
from aiida_ufpnmr.engine.building.strain import StrainSettings, strained_cells
from aiida_ufpnmr.engine.commands.md import GUARD
from aiida_ufpnmr.engine.commands.options import options_of, settings_from_options, with_options
from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    OUTPUT,
    POSITIVE,
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
from aiida_ufpnmr.engine.md.conditions import MdSettings
from aiida_ufpnmr.engine.md.guards import Stop
from aiida_ufpnmr.engine.md.relaxation import anneal, relax
from aiida_ufpnmr.engine.settings import values_of
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

output_option = click.option(
    '-o', '--output', type=OUTPUT, required=True, metavar='CELLS.extxyz', help='Where to write the structures.'
)


@click.group('build')
def build():
    """Cells to compute on: ordered, repeated, strained, packed."""


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


@build.command(
    'label-cell',
    cls=Command,
    example='ufpnmr build label-cell crystal.cif --least-height-angstrom 9 --number 2 -o cells.extxyz',
)
@click.argument('crystal', type=INPUT)
@output_option
@with_options(*options_of(LabelCellSettings))
@json_option
def label_cell(crystal, output, json_path, **options):
    """Make cells of a crystal (CIF, or another file with one structure) that DFT can label and a potential learn from.

    The cell is repeated until no height is below one number and the atoms are not below another; a crystal whose sites
    are filled in part is ordered in it, as "ufpnmr build order" does.
    """
    settings = settings_from_options(LabelCellSettings, options)
    _check_outputs(output, json_path)
    is_cif = crystal.suffix.lower() == '.cif'
    given = read_crystal(crystal) if is_cif else crystal_of(read_structure(crystal), str(crystal))
    compiled.aloud = True
    found = label_cells(given, settings)
    _write(output, found.cells)
    report({**found.to_dict(), 'versions': versions()}, json_path)
    click.echo(found.headline)
    print_table(found.table())
    for line in found.remarks:
        click.echo(line)


@build.command(
    'draw',
    cls=Command,
    example='ufpnmr build draw cells.extxyz --index 0 --number 40 --rattle-angstrom 0.05,0.2 -o drawn.extxyz\n'
    'ufpnmr build draw cells.extxyz --index 0 --guide sevennet-0 --guide-temperatures 300,900 -o drawn.extxyz',
)
@click.argument('structure', type=INPUT)
@output_option
@with_options(*options_of(DrawSettings))
@index_option
@json_option
def draw(structure, output, index, json_path, **options):
    """Draw the first structures of a material to label: rattled, strained, and along runs of a universal potential.

    Structures of groups "withheld..." are for the errors of what is fitted to the others. With --guide, which needs
    the extra "guide" of this package, a share of both comes from molecular dynamics with that potential.
    """
    settings = settings_from_options(DrawSettings, options)
    _check_outputs(output, json_path)
    atoms = read_structure(structure, index)
    calculator, guide = (None, {}) if settings.guide is None else guide_calculator(settings.guide)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    cells = drawn_cells(atoms, settings, calculator, str(structure))
    timing = {'wall_s': time.perf_counter() - begin, 'cpu_s': time.process_time() - begin_cpu}
    _write_and_report(output, cells, json_path, versions={**versions(), **guide}, timing=timing)


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


@build.command(
    'glass',
    cls=Command,
    example='ufpnmr build glass --units PS4:8,P2S7:2 --ions Li --density 1.75 --seed 1 -o glass.extxyz\n'
    'ufpnmr build glass --units SiS4:8 --unit SiS4=sis4.xyz:-4 --ions Li --density 1.8 -o glass.extxyz',
)
@output_option
@with_options(*options_of(GlassSettings))
@click.option(
    '--unit',
    'given',
    multiple=True,
    metavar='NAME=FILE.xyz:CHARGE',
    help=f'A unit of a file, beside {", ".join(RIGID_UNITS)}; may be given several times.',
)
@click.option('--potential', type=INPUT, metavar='POT.h5', help='Relax the packed cell with this potential.')
@click.option(
    '--anneal-ps', type=POSITIVE, metavar='PS', help='And run it at constant volume for so long; see --temperature.'
)
@with_options(
    *options_of(MdSettings, 'timestep_fs', 'temperature_K', 'guard_fraction', 'threads', temperature_K=700.0,
                guard_fraction=0.8)
)  # fmt: skip
@json_option
def glass(output, given, potential, anneal_ps, json_path, **options):
    """Pack whole units and ions at random in a cubic cell, and say whether the units stay whole.

    No two atoms of different units are closer than least distances, which the table shows. With a potential the cell
    is relaxed and, for --anneal-ps, run at a temperature. Where a unit breaks or a foreign bond forms, the structure is
    written all the same, and the status is 3.
    """
    settings = settings_from_options(GlassSettings, options)
    _check_outputs(output, json_path)
    if anneal_ps and potential is None:
        raise InputError('--anneal-ps needs a potential; give --potential POT.h5')
    files = [parse_unit(text) for text in given]
    if os.path.realpath(output) in [os.path.realpath(path) for _, path, _ in files]:
        raise InputError(f'{output}: is a unit, too, and would be written over; choose another name for the output')
    library = RIGID_UNITS | {name: read_unit(path, charge) for name, path, charge in files}
    loaded = None if potential is None else UltraFastPotential.load(potential)
    conditions = values_of(MdSettings, {**options, 'seed': settings.seed})
    compiled.aloud = True
    begin = time.perf_counter()
    made, stop = pack_glass(settings, library), None
    if loaded is not None:
        atoms = relax(made.atoms, loaded)
        if anneal_ps:
            atoms, stop = anneal(atoms, loaded, anneal_ps, **conditions)
        made = made.moved(atoms)
    timing = {'wall_s': time.perf_counter() - begin}
    wrapped = bare(made.atoms)
    wrapped.wrap()
    _write(output, [wrapped])
    annealing = {'anneal_ps': anneal_ps, **conditions, 'stop_message': stop and stop.message} if anneal_ps else {}
    report({**made.to_dict(), **annealing, 'versions': versions(), 'timing': timing}, json_path)
    click.echo(made.headline)
    print_table(made.table())
    print_table(made.contact_table())
    for line in made.remarks:
        click.echo(line)
    _end_glass(output, made, stop)


def _end_glass(output: Path, made: Glass, stop: Stop | None) -> None:
    """Leave with the status of a guard where annealing was stopped, or where units are not those that were packed."""
    if stop is not None:
        reason = f'annealing stopped {stop.message}'
    elif not made.is_whole:
        reason = 'units are broken, or have foreign bonds'
    else:
        return
    error = click.ClickException(f'{output}: {reason}; the structure is kept')
    error.exit_code = GUARD
    raise error


def _check_outputs(output: Path, json_path: Path | None) -> None:
    if output.suffix != '.extxyz':
        raise InputError(f'{output}: structures are written as extended XYZ; choose a name that ends in .extxyz')
    check_outputs(output, json_path)


def _write(output: Path, cells: Sequence[Atoms]) -> None:
    with whole_file(output) as partial:
        write(partial, cells, format='extxyz')


def _write_and_report(output: Path, cells: Sequence[Atoms], json_path: Path | None, **record: Any) -> None:
    """Write structures; print and report their composition, volume and what ``info`` says of them."""
    _write(output, cells)
    rows: list[dict[str, Any]] = [
        {'composition': formula(cell.symbols.formula.count()), 'volume_angstrom3': cell.get_volume(), **cell.info}
        for cell in cells
    ]
    report({'structures': rows, 'versions': versions(), **record}, json_path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    print_table(
        [['structure', *names], *([str(i), *(_shown(row.get(n, '')) for n in names)] for i, row in enumerate(rows))]
    )


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f'{value:.6g}'
