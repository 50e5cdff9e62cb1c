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
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.settings import read_settings
from aiida_ufpnmr.engine.ufp.calibration import expected_and_real
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.fitting import Problem, run_fit
from aiida_ufpnmr.engine.ufp.learning import learning_curve
from aiida_ufpnmr.engine.ufp.metrics import potential_errors
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.tuning import tune

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


def _echo_calibration(results: dict) -> None:
    """Whether expected errors of forces hold, in a line."""
    if results['calibration'] is not None:
        within = results['calibration']['forces']
        click.echo(
            f'real errors of forces: {100 * within["fraction_within_1_sigma"]:.0f} % within the expected error, '
            f'{100 * within["fraction_within_2_sigma"]:.0f} % within twice that (a Gaussian has 68 and 95)'
        )


@click.command(
    'fit-potential',
    cls=Command,
    example='ufpnmr fit-potential examples/data/li3ps4-pbe-gpaw.extxyz -o potential.h5 --json potential.json',
)
@click.argument('train', type=INPUT, metavar='TRAIN.extxyz')
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='POT.h5', help='Where to write the potential.')
@click.option('--test', type=INPUT, metavar='TEST.extxyz', help='Structures to measure the errors on.')
@settings_option
@click.option('--tune', 'tuned', is_flag=True, help='Choose the settings by cross-validation first; takes minutes.')
@click.option('--learning-curve', 'learning', is_flag=True, help='Measure withheld errors by number of structures, too.')
@click.option('--no-posterior', is_flag=True, help='Leave out what tells expected errors, for a smaller file.')
@click.option('--save-equations', type=OUTPUT, metavar='EQ.h5', help='Keep the normal equations, for more data later on.')
@click.option(
    '--add-to', type=INPUT, metavar='EQ.h5', help='Add TRAIN to the data behind these equations, with their settings.'
)
@click.option('--plot', type=OUTPUT, metavar='FIG.png', help='Draw expected against real errors, and the learning curve.')
@json_option
def fit_potential(
    train, output, test, settings_path, tuned, learning, no_posterior, save_equations, add_to, plot, json_path
):
    """Fit an ultra-fast potential to DFT energies, forces and (where labelled) stresses.

    Without --test, whole groups of structures (config_type) are withheld in turn, and the errors on them are reported; the
    potential that is written is fitted to everything.
    """
    check_outputs(output, save_equations, plot, json_path)
    if add_to is not None and (settings_path is not None or tuned or learning):
        raise InputError(f'{add_to}: the equations fix the settings; leave out --settings, --tune and --learning-curve')
    settings = read_settings(PotentialSettings, settings_path)
    dataset = read_dataset(train, _LABELS)
    test_set = None if test is None else read_dataset(test, _LABELS)
    extra = {}
    if tuned:
        settings, extra['tuning'] = tune(dataset, settings)
    if add_to is None:
        problem = Problem.of(dataset, settings)
    else:
        problem = Problem.adding(dataset, SavedEquations.load(add_to))
    fit = run_fit(problem, test_set, keep_posterior=not no_posterior, keep_equations=save_equations is not None)
    if learning:
        extra['learning_curve'] = learning_curve(dataset, settings)
    results = {**fit.results, **extra}
    if tuned and test is None:
        results['validation']['method'] += '; the settings were chosen on the same folds'
    lost = fit.potential.save(output)
    if fit.equations is not None:
        fit.equations.save(save_equations)
    if plot is not None:
        from aiida_ufpnmr.engine.ufp.figures import fit_figure  # matplotlib takes a while to import

        with whole_file(plot) as partial:
            fit_figure(results).savefig(partial, dpi=200)
    report(results, json_path)
    click.echo(
        f'{results["structures"]} structures, {results["columns"]} coefficients '
        f'({results["effective_degrees_of_freedom"]:.0f} effective); errors: {results["validation"]["method"]}'
    )
    print_table(_error_rows({'withheld': results, 'training': results['train']}))
    _echo_calibration(results)
    if tuned:
        changed = ', '.join(f'{name} {value:g}' for name, value in results['tuning']['changed'].items())
        click.echo(f'tuned: {changed or "nothing better found"}')
    for line in lost:
        click.echo(f'  not carried: {line}')


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
        'calibration': None if loaded.posterior is None else expected_and_real(loaded, dataset),
        'structures': len(dataset),
        'data_sha256': dataset.content_hash,
        'training_sha256': loaded.training_sha256,
    }
    report(results, json_path)
    print_table(_error_rows({'error': results}))
    _echo_calibration(results)


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
