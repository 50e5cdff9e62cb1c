"""``ufpnmr fit-efg`` and ``evaluate-efg``."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click
import numpy as np

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.commands import fits
from aiida_ufpnmr.engine.commands.columns import label_options, read_labelled, structure_option
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
from aiida_ufpnmr.engine.efg.evaluation import evaluation
from aiida_ufpnmr.engine.efg.fitting import fit_efg_model
from aiida_ufpnmr.engine.efg.isotopes import isotope_of
from aiida_ufpnmr.engine.efg.labels import check_same_unit, check_sign, labelled_tensors
from aiida_ufpnmr.engine.efg.learning import learning_curve
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.prediction import predict_labelled
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.tuning import tune
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.settings import read_settings, stated_values
from aiida_ufpnmr.engine.tables import with_weighted

#: Rows of the table of errors: key, name, format.
_ERRORS = (
    ('omega_q_mae_khz', 'omega_Q, MAE (kHz)', '.2f'),
    ('omega_q_rmse_khz', 'omega_Q, RMSE (kHz)', '.2f'),
    ('c_q_mae_khz', '|C_Q|, MAE (kHz)', '.2f'),
    ('c_q_rmse_khz', '|C_Q|, RMSE (kHz)', '.2f'),
    ('eta_mae', 'eta, MAE', '.3f'),
    ('eta_rmse', 'eta, RMSE', '.3f'),
    ('efg_component_mae_au', 'tensor component, MAE (1e-4 a.u.)', '.1f'),
    ('efg_component_rmse_au', 'tensor component, RMSE (1e-4 a.u.)', '.1f'),
    ('efg_relative_rmse', 'tensor, relative RMSE', '.3f'),
    ('quaternion_dot_fraction_above_0_9', "orientation, q.q' >= 0.9", '.3f'),
    ('quaternion_dot_fraction_above_0_99', "orientation, q.q' >= 0.99", '.3f'),
    ('quaternion_dot_fraction_above_0_999', "orientation, q.q' >= 0.999", '.3f'),
)
#: Columns of the tables of groups, likewise.
_OF_GROUPS = (
    ('ions', 'ions', ''),
    ('omega_q_mae_khz', 'omega_Q, MAE (kHz)', '.1f'),
    ('c_q_mae_khz', '|C_Q|, MAE (kHz)', '.1f'),
    ('quaternion_dot_fraction_above_0_9', "q.q' >= 0.9", '.2f'),
)
#: Columns of the learning curve, likewise.
_CURVE = (
    ('ions', 'ions', '.0f'),
    ('omega_q_mae_khz', 'omega_Q withheld, MAE (kHz)', '.1f'),
    ('train_omega_q_mae_khz', 'training', '.1f'),
    ('c_q_mae_khz', '|C_Q| withheld', '.1f'),
    ('quaternion_dot_fraction_above_0_9', "q.q' >= 0.9", '.2f'),
)
#: Rows of a table of groups; the rest is in the JSON.
_MOST_ROWS = 24


def _print_errors(title: str, columns: dict[str, dict], results: dict) -> None:
    """Errors in all, a column each; then those by group, by site and by distance from the training set."""
    scaled = {
        name: {key: 1e4 * errors[key] if key.endswith('_au') else errors[key] for key, _, _ in _ERRORS}
        for name, errors in columns.items()
    }
    print_table(fits.quantity_rows(scaled, _ERRORS), title)
    weighted = results.get('weighted', {}).get('by_group', {})
    for part in ('group', 'site', 'grade'):
        by_name = results.get(f'by_{part}', {})
        rows = [[part, *(heading for _, heading, _ in _OF_GROUPS)]]
        if part == 'group' and weighted:
            rows[0].append('omega_Q, weighted (kHz)')
        for name, errors in by_name.items():
            numbers = [format(errors[key], form) for key, _, form in _OF_GROUPS]
            if part == 'group' and weighted:
                numbers.append(format(weighted[name]['omega_q_mae_khz'], '.1f'))
            if part == 'grade':
                name = name.replace('_to_', ' to ').replace('above_', 'above ').replace('_', '.')
            rows.append([name, *numbers])
        if len(by_name) > 1:
            fits.print_start(rows, _MOST_ROWS)


def _print_calibration(results: dict) -> None:
    if results['calibration'] is not None:
        click.echo(f'  {fits.calibration_line(results["calibration"], "omega_Q")}')


def _draw(results: dict, path: Path | None, *tensors: np.ndarray) -> None:
    """Draw what there is in the results, and predicted against labelled tensors where given."""
    if path is not None:
        from aiida_ufpnmr.engine.efg.figures import fit_figure  # matplotlib takes a while to import

        with whole_file(path) as partial:
            fit_figure(results, *tensors).savefig(partial, dpi=200)


@click.command('fit-efg', cls=Command, example='ufpnmr fit-efg train.extxyz -o model.h5 --species Li --json fit.json')
@fits.train_argument
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='MODEL.h5', help='Where to write the model.')
@click.option('--species', required=True, metavar='SYMBOL', help='Element whose EFG tensors are learnt, such as Li.')
@click.option(
    '--test', type=INPUT, metavar='TEST', help='Labelled structures for the errors; default: withheld groups.'
)
@settings_option
@fits.tune_option
@click.option('--learning-curve', 'learning', is_flag=True, help='Measure withheld errors by number of ions, too.')
@fits.posterior_option
@plot_option('Draw orientations, expected and real errors, the curve.')
@label_options('efg')
@structure_option
@json_option
def fit_efg(
    train, output, species, test, settings_path, tuned, learning, no_posterior, plot, keys, structure_path, json_path
):
    """Fit a model of the EFG tensors of one element to labelled structures.

    TRAIN, one file or several (labels that came later need no copying together), is extended XYZ with the column efg
    (nine numbers an atom, atomic units; nine NaN for no label), .magres, or the output of a code. Groups (config_type)
    are withheld in turn to choose the penalty and, without --test, for the errors; the model is fitted to everything.
    """
    check_outputs(output, plot, json_path)
    settings = read_settings(EfgSettings, settings_path)
    dataset = read_labelled(train, ('efg',), species, keys, structure_path)
    test_set = None if test is None else read_labelled(test, ('efg',), species, keys, structure_path)
    compiled.aloud = True
    copies = Copies.of(dataset, test_set)
    extra = {'duplicates': copies.results()}
    if tuned:
        settings, extra['tuning'] = tune(dataset, species, settings)
    model, results = fit_efg_model(dataset, species, settings, test_set, keep_posterior=not no_posterior)
    if learning:
        extra['learning_curve'] = learning_curve(dataset, species, settings)
    results.update(extra)
    if tuned and test is None:
        results['validation']['method'] += '; the settings were chosen on the same folds'
    model.save(output)
    _draw(results, plot)
    report(results, json_path)
    warn(copies.warnings())
    withheld = 'test' if test else 'withheld'
    _print_errors(
        f'{species} in {len(dataset)} structures, {results["train"]["ions"]} ions, {results["features"]} features; '
        f'errors for {results["isotope"]}',
        with_weighted({withheld: results, 'train': results['train']}),
        results,
    )
    fits.print_weights(results)
    click.echo(f'  validation: {results["validation"]["method"]}; penalty {model.penalty:g}')
    minimum = results['tuning' if tuned else 'validation']['penalty_minimum']
    if line := fits.penalty_line(minimum, model.penalty):
        click.echo(f'  {line}')
    _print_calibration(results)
    if learning:
        curve = results['learning_curve']
        fits.print_learning_curve(curve, _CURVE)
        if curve['ions_for_7_4_khz'] is not None:
            click.echo(f'  7.4 kHz at {curve["ions_for_7_4_khz"]:.1e} ions, if it goes on like its second half')
    if tuned:
        for line in (fits.tuning_line(results['tuning']), fits.ends_line(results['tuning'])):
            click.echo(f'  {line}')


@click.command('evaluate-efg', cls=Command, example='ufpnmr evaluate-efg model.h5 test.extxyz --json errors.json')
@click.argument('model_path', type=INPUT, metavar='MODEL.h5')
@click.argument('data', type=INPUT, metavar='DATA...', nargs=-1, required=True)
@plot_option('Draw prediction against label, orientations, errors.')
@click.option(
    '--isotope', metavar='NAME', help='Isotope whose frequencies are meant, such as 6Li; default: that of the model.'
)
@label_options('efg')
@structure_option
@json_option
def evaluate_efg(model_path, data, plot, isotope, keys, structure_path, json_path):
    """Errors of an EFG model on labelled structures, by group, by site and by size of the cell, too."""
    check_outputs(plot, json_path)
    model = EfgModel.load(model_path)
    if isotope is not None:
        model = dataclasses.replace(model, isotope=isotope_of(model.species, isotope).name)
    dataset = read_labelled(data, ('efg',), model.species, keys, structure_path)
    began, cpu_began = time.perf_counter(), time.process_time()
    found = predict_labelled(model, dataset)
    reference = labelled_tensors(dataset, model.species)[1]
    check_same_unit(reference, found.tensors, dataset.source, 'the model predicts')
    check_sign(reference, found.tensors, dataset.source)
    results = {
        **evaluation(model, dataset, found),
        'settings': stated_values(model.settings),
        'training_sha256': model.training_sha256,
        'data_sha256': dataset.content_hash,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - began, 'cpu_s': time.process_time() - cpu_began},
    }
    _draw(results, plot, np.concatenate(found.tensors), np.concatenate(reference))
    report(results, json_path)
    title = f'{results["ions"]} {model.species} in {len(dataset)} structures; errors for {model.isotope}'
    _print_errors(title, with_weighted({'error': results}), results)
    _print_calibration(results)
    print_extrapolation(results)


def print_extrapolation(results: dict) -> None:
    """Print how many ions lie outside the domain of a model, where that is known."""
    if results['extrapolating_fraction'] is not None:
        click.echo(
            f'  extrapolation grade above 1 on {100 * results["extrapolating_fraction"]:.0f} % of the ions '
            f'(5 % of those of withheld structures), at most {results["extrapolation_grade_max"]:.2f}'
        )
