"""``ufpnmr fit-potential``, ``evaluate-potential`` and ``convert-potential``."""

from __future__ import annotations

import click

from aiida_ufpnmr.engine.commands.shared import (
    INPUT,
    OUTPUT,
    Command,
    check_outputs,
    json_option,
    print_table,
    report,
    settings_option,
)
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.settings import read_settings
from aiida_ufpnmr.engine.ufp.fitting import PotentialSettings
from aiida_ufpnmr.engine.ufp.fitting import fit_potential as fit
from aiida_ufpnmr.engine.ufp.metrics import potential_errors
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

_LABELS = ('energy', 'forces')


def _number(value: float | None, digits: int = 1) -> str:
    return '–' if value is None else f'{value:.{digits}f}'


def _error_rows(columns: dict[str, dict]) -> list[list[str]]:
    species = sorted({name for errors in columns.values() for name in errors['forces_rmse_meV_per_angstrom_by_species']})

    def row(label, values, digits):
        return [label, *(_number(value, digits) for value in values)]

    rows = [
        ['', *columns],
        row('energy RMSE, meV/atom', [errors['energy_rmse_meV_per_atom'] for errors in columns.values()], 1),
        row('forces RMSE, meV/Å', [errors['forces_rmse_meV_per_angstrom'] for errors in columns.values()], 0),
    ]
    for name in species:
        by_species = [errors['forces_rmse_meV_per_angstrom_by_species'].get(name) for errors in columns.values()]
        rows.append(row(f'  on {name}', by_species, 0))
    rows.append(row('stress RMSE, GPa', [errors['stress_rmse_GPa'] for errors in columns.values()], 2))
    return rows


@click.command(
    'fit-potential',
    cls=Command,
    example='ufpnmr fit-potential examples/data/li3ps4-pbe-gpaw.extxyz -o potential.h5 --json potential.json',
)
@click.argument('train', type=INPUT, metavar='TRAIN.extxyz')
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='POT.h5', help='Where to write the potential.')
@click.option('--test', type=INPUT, metavar='TEST.extxyz', help='Structures to measure the errors on.')
@settings_option
@json_option
def fit_potential(train, output, test, settings_path, json_path):
    """Fit an ultra-fast potential to DFT energies, forces and (where labelled) stresses.

    Without --test, whole groups of structures (config_type) are withheld in turn, and the errors on them are reported; the
    potential that is written is fitted to everything.
    """
    check_outputs(output, json_path)
    settings = read_settings(PotentialSettings, settings_path)
    dataset = read_dataset(train, _LABELS)
    potential, results = fit(dataset, settings, None if test is None else read_dataset(test, _LABELS))
    potential.save(output)
    report(results, json_path)
    click.echo(
        f'{results["structures"]} structures, {results["columns"]} coefficients; errors: {results["validation"]["method"]}'
    )
    print_table(_error_rows({'withheld': results, 'training': results['train']}))


@click.command(
    'evaluate-potential', cls=Command, example='ufpnmr evaluate-potential potential.h5 test.extxyz --json errors.json'
)
@click.argument('potential', type=INPUT, metavar='POT.h5')
@click.argument('data', type=INPUT, metavar='DATA.extxyz')
@json_option
def evaluate_potential(potential, data, json_path):
    """Errors of a potential on labelled structures, by species and by group too."""
    check_outputs(json_path)
    loaded = UltraFastPotential.load(potential)
    dataset = read_dataset(data, _LABELS)
    results = {
        **potential_errors([(loaded, dataset)]),
        'structures': len(dataset),
        'data_sha256': dataset.content_hash,
        'training_sha256': loaded.training_sha256,
    }
    report(results, json_path)
    print_table(_error_rows({'error': results}))


@click.command('convert-potential', cls=Command, example='ufpnmr convert-potential potential.h5 potential.uf3')
@click.argument('potential', type=INPUT, metavar='POT')
@click.argument('output', type=OUTPUT, metavar='OUT')
@json_option
def convert_potential(potential, output, json_path):
    """Convert a potential between .h5, .uf3 (LAMMPS) and .json (UF3 package), by suffix.

    What the new format cannot carry is said.
    """
    check_outputs(output, json_path)
    lost = UltraFastPotential.load(potential).save(output)
    report({'output': str(output), 'not_carried': lost}, json_path)
    click.echo(f'{output} written')
    for line in lost:
        click.echo(f'  not carried: {line}')
