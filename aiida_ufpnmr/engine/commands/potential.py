"""``ufpnmr fit-potential``, ``evaluate-potential`` and ``convert-potential``."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from pathlib import Path

import click

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.commands import fits
from aiida_ufpnmr.engine.commands.columns import label_options, read_labelled
from aiida_ufpnmr.engine.commands.shared import (
    INPUT,
    OUTPUT,
    Command,
    check_outputs,
    json_option,
    plot_option,
    print_table,
    report,
    settings_option,
    warn,
)
from aiida_ufpnmr.engine.duplicates import Copies
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.hdf5 import recorded_versions, versions
from aiida_ufpnmr.engine.md.speed import atom_steps_per_second, cell_for_speed
from aiida_ufpnmr.engine.settings import read_settings, stated_values
from aiida_ufpnmr.engine.tables import with_weighted
from aiida_ufpnmr.engine.ufp.continuation import SavedEquations
from aiida_ufpnmr.engine.ufp.evaluation import evaluation
from aiida_ufpnmr.engine.ufp.fitting import run_fit
from aiida_ufpnmr.engine.ufp.front import CHOSEN, DEFAULT_PROTOCOL, PROTOCOLS, front_table, search_front
from aiida_ufpnmr.engine.ufp.label_checks import evaluation_warnings
from aiida_ufpnmr.engine.ufp.learning import learning_curve
from aiida_ufpnmr.engine.ufp.metrics import predict
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.problem import Problem
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings
from aiida_ufpnmr.engine.ufp.tuning import GRID, tune

_LABELS = ('energy', 'forces')
#: Rows of a table that may grow long; the rest is in the JSON.
_MOST_ROWS = 12
_FORCES, _ENERGY = 'forces_rmse_meV_per_angstrom', 'energy_rmse_meV_per_atom'
#: Rows of the table of errors: key, name, format.
_ERRORS = (
    (_ENERGY, 'energy RMSE, meV/atom', '.1f'),
    ('energy_rmse_after_offset_meV_per_atom', '  less its mean', '.1f'),
    (_FORCES, 'forces RMSE, meV/Å', '.0f'),
    ('stress_rmse_GPa', 'stress RMSE, GPa', '.2f'),
)
#: Columns of the learning curve, likewise.
_CURVE = (
    ('structures', 'structures', '.0f'),
    (_FORCES, 'forces withheld, meV/Å', '.0f'),
    (f'train_{_FORCES}', 'training', '.0f'),
    (_ENERGY, 'energy withheld, meV/atom', '.1f'),
)


def _print_errors(results: dict, columns: dict[str, dict]) -> None:
    """Errors in all and of forces by species, a column each; errors by group; and how well expected errors hold."""
    by_species = [errors[f'{_FORCES}_by_species'] for errors in columns.values()]
    *rows, stress = fits.quantity_rows(columns, _ERRORS)
    for name in sorted(set().union(*by_species)):
        rows.append([f'  on {name}', *(fits.number(errors.get(name), '.0f') for errors in by_species)])
    print_table([*rows, stress])
    _print_groups(columns)
    if results['calibration'] is not None:
        for name, found in (('forces', results['calibration']['forces']), *_by_species(results['calibration'])):
            click.echo(fits.calibration_line(found, name))


def _by_species(calibration: dict) -> list[tuple[str, dict]]:
    """How well expected errors of the forces on each species hold, by name."""
    return [(f'forces on {symbol}', found) for symbol, found in calibration.get('forces_by_species', {}).items()]


def _print_groups(columns: dict[str, dict]) -> None:
    """Errors by group, the worst forces first."""
    forces, energies = ([errors[f'{key}_by_group'] for errors in columns.values()] for key in (_FORCES, _ENERGY))
    if len(forces[0]) < 2:
        return
    names = [f'{name} ' if len(columns) > 1 else '' for name in columns]
    rows = [['group', *(f'forces {name}(meV/Å)' for name in names), *(f'energy {name}(meV/atom)' for name in names)]]
    for group in sorted(forces[0], key=forces[0].get, reverse=True):
        by_force = [fits.number(errors.get(group), '.0f') for errors in forces]
        rows.append([group, *by_force, *(fits.number(errors.get(group), '.1f') for errors in energies)])
    fits.print_start(rows, _MOST_ROWS)


def _print_contacts(contacts: list[dict]) -> None:
    """The structures on which the potential is its wall, not its data."""
    if not contacts:
        return
    click.echo('atoms closer than any in training, where the potential does not know better:')
    rows = [['structure', 'atoms', 'species', 'distance, Å', 'in training, Å']]
    for contact in contacts:
        atoms, distances = contact['atoms'], (contact['distance_angstrom'], contact['closest_in_training_angstrom'])
        rows.append(
            [str(contact['structure']), f'{atoms[0]} {atoms[1]}', contact['species'], *(f'{d:.3f}' for d in distances)]
        )
    fits.print_start(rows, _MOST_ROWS)


def _draw_fit(results: dict, path: Path | None, front_path: Path | None) -> None:
    """Draw what there is in the results, and errors against cost alone, where asked."""
    if path is not None or front_path is not None:
        from aiida_ufpnmr.engine.ufp.figures import fit_figure, front_figure  # matplotlib takes a while to import

        for target, figure in ((path, fit_figure), (front_path, front_figure)):
            if target is not None:
                with whole_file(target) as unfinished:
                    figure(results).savefig(unfinished, dpi=200)


@click.command(
    'fit-potential',
    cls=Command,
    example='ufpnmr fit-potential examples/data/li3ps4-pbe-gpaw.extxyz -o potential.h5 --json potential.json',
)
@fits.train_argument
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='POT.h5', help='Where to write the potential.')
@click.option('--test', type=INPUT, metavar='TEST', help='Structures to measure the errors on.')
@settings_option
@fits.tune_option
@click.option(
    '--protocol',
    type=click.Choice(list(PROTOCOLS)),
    help='Search triplet cut-offs by centre, error against cost of dynamics, and take that point of the front; '
    f'--tune takes the point {DEFAULT_PROTOCOL} unless another is named.',
)
@click.option(
    '--learning-curve', 'learning', is_flag=True, help='Measure withheld errors by number of structures, too.'
)
@click.option(
    '--resample',
    type=click.IntRange(min=0),
    metavar='SEED',
    help='Fit to a bootstrap sample of the groups, as a member of a committee (see select); the setting of that name.',
)
@fits.posterior_option
@click.option(
    '--save-equations', type=OUTPUT, metavar='EQ.h5', help='Keep the normal equations, for more data later on.'
)
@click.option(
    '--add-to', type=INPUT, metavar='EQ.h5', help='Add TRAIN to the data behind these equations, with their settings.'
)
@plot_option('Draw expected against real errors, the learning curve, and errors against cost.')
@label_options('energy', 'forces', 'stress')
@json_option
def fit_potential(
    train,
    output,
    test,
    settings_path,
    tuned,
    protocol,
    learning,
    resample,
    no_posterior,
    save_equations,
    add_to,
    plot,
    keys,
    json_path,
):
    """Fit an ultra-fast potential to DFT energies, forces and (where labelled) stresses.

    TRAIN is extended XYZ or the output of a DFT code, one file or several: labels that came later need no copying
    together.
    Without --test, whole groups of structures (config_type) are withheld in turn, and the errors on them are reported;
    the potential that is written is fitted to everything.

    --tune searches cut-offs and intervals of triplets by centre, for errors and for cost of dynamics, then all other
    settings for errors alone. It draws errors against measured cost beside the potential, POT-front.png.
    """
    front_path = output.with_name(f'{output.stem}-front.png') if tuned else None
    check_outputs(output, save_equations, plot, json_path, front_path)
    if tuned and protocol is None:
        protocol = DEFAULT_PROTOCOL
    searched = protocol is not None
    if add_to is not None and (settings_path is not None or searched or learning or resample is not None):
        raise InputError(
            f'{add_to}: the equations fix the settings; leave out --settings, --tune, --protocol, --learning-curve and '
            '--resample'
        )
    settings = read_settings(PotentialSettings, settings_path)
    if resample is not None:
        settings = dataclasses.replace(settings, resample=resample)
    dataset = read_labelled(train, _LABELS, keys=keys)
    test_set = None if test is None else read_labelled(test, _LABELS, keys=keys)
    compiled.aloud = True
    copies = Copies.of(dataset, test_set)
    extra = {'duplicates': copies.results()}
    if searched:
        speed = partial(atom_steps_per_second, cell=cell_for_speed(dataset))
        settings, extra['front'] = search_front(dataset, settings, protocol, intervals=tuned, speed=speed)
    if tuned:
        grid = {name: values for name, values in GRID.items() if name not in CHOSEN}
        settings, extra['tuning'] = tune(dataset, settings, grid)
    if add_to is None:
        problem = Problem.of(dataset, settings)
    else:
        problem = Problem.adding(dataset, SavedEquations.load(add_to))
    fit = run_fit(problem, test_set, keep_posterior=not no_posterior, keep_equations=save_equations is not None)
    if learning:
        extra['learning_curve'] = learning_curve(dataset, settings)
    results = {**fit.results, **extra}
    if searched and test is None:
        results['validation']['method'] += '; the settings were chosen on the same folds'
    lost = fit.potential.save(output)
    if fit.equations is not None:
        fit.equations.save(save_equations)
    _draw_fit(results, plot, front_path)
    report(results, json_path)
    warn([*copies.warnings(), *results.get('label_warnings', ())])
    if 'isolated_atoms_eV' in results:
        click.echo(f'isolated atoms set the one-body energies of {", ".join(results["isolated_atoms_eV"])}')
    click.echo(
        f'{results["structures"]} structures, {results["columns"]} coefficients '
        f'({results["effective_degrees_of_freedom"]:.0f} effective, condition number '
        f'{results["condition_number"]:.0e}); '
        f'errors: {results["validation"]["method"]}'
    )
    fits.print_weights(results)
    _print_errors(results, with_weighted({'withheld': results, 'training': results['train']}))
    if learning:
        fits.print_learning_curve(results['learning_curve'], _CURVE)
    if searched:
        print_table(front_table(results['front']))
        click.echo(fits.edges_line(results['front']))
    if tuned:
        for line in (fits.tuning_line(results['tuning']), fits.ends_line(results['tuning'])):
            click.echo(line)
        click.echo(f'errors against cost: {front_path}')
    for line in lost:
        click.echo(f'  not carried: {line}')


@click.command(
    'evaluate-potential', cls=Command, example='ufpnmr evaluate-potential potential.h5 test.extxyz --json errors.json'
)
@click.argument('potential', type=INPUT, metavar='POT.h5')
@click.argument('data', type=INPUT, metavar='DATA...', nargs=-1, required=True)
@plot_option('Draw predictions against labels: energies, forces by species.')
@label_options('energy', 'forces', 'stress')
@json_option
def evaluate_potential(potential, data, plot, keys, json_path):
    """Errors of a potential on labelled structures, by species and by group too.

    Structures in which atoms come closer than any in training are listed: there the potential is a wall, not a fit.
    """
    check_outputs(plot, json_path)
    loaded = UltraFastPotential.load(potential)
    dataset = read_labelled(data, _LABELS, keys=keys)
    begin, begin_cpu = time.perf_counter(), time.process_time()
    predictions = predict([(loaded, dataset)])
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - begin_cpu
    results = {
        **evaluation(loaded, dataset, predictions),
        'data_sha256': dataset.content_hash,
        'training_sha256': loaded.training_sha256 or None,
        'settings': None if loaded.settings is None else stated_values(loaded.settings),
        'potential_versions': recorded_versions(potential) if potential.suffix == '.h5' else None,
        'versions': versions(),
        'timing': {
            'wall_s': wall_s,
            'cpu_s': cpu_s,
            'structures_per_second': len(dataset) / wall_s,
            'atoms_per_second': sum(map(len, dataset)) / wall_s,
        },
    }
    if plot is not None:
        from aiida_ufpnmr.engine.ufp.figures import parity_figure  # matplotlib takes a while to import

        with whole_file(plot) as unfinished:
            parity_figure(predictions).savefig(unfinished, dpi=200)
    warnings = evaluation_warnings(dataset, predictions)
    if warnings:
        results['label_warnings'] = warnings
    report(results, json_path)
    warn(warnings)
    _print_errors(results, with_weighted({'error': results}))
    _print_contacts(results['closer_than_training'])


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
