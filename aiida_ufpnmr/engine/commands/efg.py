"""``ufpnmr fit-efg``, ``evaluate-efg`` and ``predict-efg``."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import click
import numba
import numpy as np

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.commands.convert_trajectory import reading_of, reading_options
from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    OUTPUT,
    Command,
    Count,
    check_outputs,
    json_option,
    print_table,
    report,
    settings_option,
    warn,
)
from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, read_structures, write_dataset
from aiida_ufpnmr.engine.dft.magres import write_magres
from aiida_ufpnmr.engine.duplicates import Copies
from aiida_ufpnmr.engine.efg.fitting import fit_efg_model
from aiida_ufpnmr.engine.efg.labels import check_same_unit, labelled_tensors
from aiida_ufpnmr.engine.efg.learning import learning_curve
from aiida_ufpnmr.engine.efg.metrics import dataset_errors
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.posterior import frequency_error_khz
from aiida_ufpnmr.engine.efg.prediction import Part, predict_labelled, predict_structures, predict_trajectory
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.storage import PredictionWriter, identity_of, is_finished, read_predictions
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling
from aiida_ufpnmr.engine.efg.tuning import tune
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.hdf5 import content_hash, versions
from aiida_ufpnmr.engine.md.replicas import available_cores
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import read_settings
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.trajectories.h5md import POSITION
from aiida_ufpnmr.engine.trajectories.readers import reader_of
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

#: Suffixes of trajectories of this package.
_H5MD_SUFFIXES = ('.h5', '.h5md', '.hdf5')
#: Rows of the table: key, what to call it, how to print it.
_ROWS = (
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


#: Rows of a table of groups; the rest is in the JSON.
_MOST_ROWS = 24


def _print_errors(title: str, columns: dict[str, dict]) -> None:
    rows = [['', *columns]]
    for key, name, form in _ROWS:
        factor = 1e4 if key.endswith('_au') else 1
        rows.append([name, *(format(factor * errors[key], form) for errors in columns.values())])
    print_table(rows, title)


def _print_parts(results: dict) -> None:
    """Errors by group, by site and by distance from the training set."""
    for part, title in (('by_group', 'group'), ('by_site', 'site'), ('by_grade', 'grade')):
        rows = [[title, 'ions', 'omega_Q, MAE (kHz)', '|C_Q|, MAE (kHz)', "q.q' >= 0.9"]]
        for name, errors in results.get(part, {}).items():
            numbers = errors['omega_q_mae_khz'], errors['c_q_mae_khz']
            fraction = f'{errors["quaternion_dot_fraction_above_0_9"]:.2f}'
            shown = name
            if part == 'by_grade':
                shown = name.replace('_to_', ' to ').replace('above_', 'above ').replace('_', '.')
            rows.append([shown, errors['ions'], *(f'{number:.1f}' for number in numbers), fraction])
        if len(rows) > 2:
            print_table(rows[: _MOST_ROWS + 1])
        if len(rows) > _MOST_ROWS + 1:
            click.echo(f'  and {len(rows) - _MOST_ROWS - 1} more, see --json')


def _print_calibration(results: dict) -> None:
    found = results['calibration']
    if found is not None:
        click.echo(
            f'  real errors of omega_Q: {100 * found["fraction_within_1_sigma"]:.0f} % within the expected error, '
            f'{100 * found["fraction_within_2_sigma"]:.0f} % within twice that (a Gaussian has 68 and 95)'
        )


def _print_learning_curve(curve: dict) -> None:
    rows = [['ions', 'omega_Q withheld, MAE (kHz)', 'training', '|C_Q| withheld', "q.q' >= 0.9"]]
    numbers = ('omega_q_mae_khz', 'train_omega_q_mae_khz', 'c_q_mae_khz')
    for k, ions in enumerate(curve['ions']):
        fraction = f'{curve["quaternion_dot_fraction_above_0_9"][k]:.2f}'
        rows.append([f'{ions:.0f}', *(f'{curve[name][k]:.1f}' for name in numbers), fraction])
    print_table(rows)
    if curve['ions_for_7_4_khz'] is not None:
        click.echo(f'  7.4 kHz at {curve["ions_for_7_4_khz"]:.1e} ions, if it goes on like its second half')


@click.command('fit-efg', cls=Command, example='ufpnmr fit-efg train.extxyz -o model.h5 --species Li --json fit.json')
@click.argument('train', type=INPUT, metavar='TRAIN.extxyz...', nargs=-1, required=True)
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='MODEL.h5', help='Where to write the model.')
@click.option('--species', required=True, metavar='SYMBOL', help='Element whose EFG tensors are learnt, such as Li.')
@click.option(
    '--test', type=INPUT, metavar='TEST.extxyz', help='Labelled structures for the errors; default: withheld groups.'
)
@settings_option
@click.option('--tune', 'tuned', is_flag=True, help='Choose the settings by cross-validation first; takes minutes.')
@click.option('--learning-curve', 'learning', is_flag=True, help='Measure withheld errors by number of ions, too.')
@click.option('--no-posterior', is_flag=True, help='Leave out what tells expected errors, for a smaller file.')
@click.option('--plot', type=OUTPUT, metavar='FIG.png', help='Draw orientations, expected and real errors, the curve.')
@json_option
def fit_efg(
    train: tuple[Path, ...],
    output: Path,
    species: str,
    test: Path | None,
    settings_path: Path | None,
    tuned: bool,
    learning: bool,
    no_posterior: bool,
    plot: Path | None,
    json_path: Path | None,
):
    """Fit a model of the EFG tensors of one element to labelled structures.

    TRAIN.extxyz, one file or several (labels that came later need no copying together), holds the column efg (nine
    numbers an atom, atomic units; nine NaN for no label). Groups (config_type) are withheld in turn to choose the
    penalty and, without --test, for the errors; the model is fitted to everything.
    """
    check_outputs(output, plot, json_path)
    settings = read_settings(EfgSettings, settings_path)
    dataset = _read_all(train, species)
    test_set = None if test is None else read_dataset(test, ('efg',), species)
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
    if plot is not None:
        from aiida_ufpnmr.engine.efg.figures import fit_figure  # matplotlib takes a while to import

        with whole_file(plot) as partial:
            fit_figure(results).savefig(partial, dpi=200)
    report(results, json_path)
    warn(copies.warnings())
    withheld = 'test' if test else 'withheld'
    _print_errors(
        f'{species} in {len(dataset)} structures, {results["train"]["ions"]} ions, {results["features"]} features; '
        f'errors for {results["isotope"]}',
        {withheld: results, 'train': results['train']},
    )
    _print_parts(results)
    click.echo(f'  validation: {results["validation"]["method"]}; penalty {model.penalty:g}')
    _print_calibration(results)
    if learning:
        _print_learning_curve(results['learning_curve'])
    if tuned:
        changed = ', '.join(f'{name} {value:g}' for name, value in results['tuning']['changed'].items())
        click.echo(f'  tuned: {changed or "nothing better found"}')


def _read_all(paths: tuple[Path, ...], species: str) -> Dataset:
    """Several files as one set."""
    sets = [read_dataset(path, ('efg',), species) for path in paths]
    for part in sets:
        labelled_tensors(part, species)  # while it is known which file a structure came from
    return Dataset.joined(sets)


@click.command('evaluate-efg', cls=Command, example='ufpnmr evaluate-efg model.h5 test.extxyz --json errors.json')
@click.argument('model_path', type=INPUT, metavar='MODEL.h5')
@click.argument('data', type=INPUT, metavar='DATA.extxyz')
@click.option('--plot', type=OUTPUT, metavar='FIG.png', help='Draw prediction against label, orientations, errors.')
@json_option
def evaluate_efg(model_path: Path, data: Path, plot: Path | None, json_path: Path | None):
    """Errors of an EFG model on labelled structures, by group, by site and by size of the cell, too."""
    check_outputs(plot, json_path)
    model = EfgModel.load(model_path)
    dataset = read_dataset(data, ('efg',), model.species)
    began, cpu_began = time.perf_counter(), time.process_time()
    found = predict_labelled(model, dataset)
    reference = labelled_tensors(dataset, model.species)[1]
    check_same_unit(reference, found.tensors, str(data), 'the model predicts')
    results = {
        **dataset_errors(found.tensors, dataset, model.species, model.isotope, found.grade),
        'calibration': found.calibration(dataset, model.species, model.isotope),
        **_grades(found.grade),
        'species': model.species,
        'isotope': model.isotope,
        'structures': len(dataset),
        'settings': dataclasses.asdict(model.settings),
        'training_sha256': model.training_sha256,
        'data_sha256': dataset.content_hash,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - began, 'cpu_s': time.process_time() - cpu_began},
    }
    if plot is not None:
        from aiida_ufpnmr.engine.efg.figures import fit_figure  # matplotlib takes a while to import

        with whole_file(plot) as partial:
            fit_figure(results, np.concatenate(found.tensors), np.concatenate(reference)).savefig(partial, dpi=200)
    report(results, json_path)
    title = f'{results["ions"]} {model.species} in {len(dataset)} structures; errors for {model.isotope}'
    _print_errors(title, {'error': results})
    _print_parts(results)
    _print_calibration(results)
    _print_grades(results)


def _grades(grades) -> dict[str, float | None]:
    """How far a model extrapolates."""
    values = np.zeros(0) if grades is None else np.concatenate([np.ravel(part) for part in grades])
    if not len(values):
        return {'extrapolation_grade_max': None, 'extrapolating_fraction': None}
    return {'extrapolation_grade_max': float(values.max()), 'extrapolating_fraction': float((values > 1).mean())}


def _print_grades(results: dict) -> None:
    if results['extrapolating_fraction'] is not None:
        click.echo(
            f'  extrapolation grade above 1 on {100 * results["extrapolating_fraction"]:.0f} % of the ions '
            f'(5 % of those of withheld structures), at most {results["extrapolation_grade_max"]:.2f}'
        )


class _Summary:
    """Mean |C_Q| and η, expected error and grades of predictions that pass by."""

    def __init__(self, isotope: str):
        self.isotope = isotope
        self.tensors = self.frames = self.judged = 0
        self.coupling = self.asymmetry = self.square = 0.0
        self.beyond, self.largest = 0, 0.0

    def add(self, tensors: np.ndarray, error: np.ndarray | None, grade: np.ndarray | None) -> None:
        """Count tensors (frames, n_ions, 3, 3) in a.u., errors (..., n_ions) in a.u. and grades."""
        self.frames += len(tensors)
        self.tensors += tensors.shape[0] * tensors.shape[1]
        self.coupling += float(quadrupolar_coupling(tensors, self.isotope, signed=False).sum())
        self.asymmetry += float(np.nansum(asymmetry(tensors)))
        if error is not None and error.size:
            self.judged += error.size
            self.square += float(np.sum(error**2))
            self.beyond += int((grade > 1).sum())
            self.largest = max(self.largest, float(grade.max()))

    def results(self) -> dict:
        """Means over all that was counted; null where no errors were asked for."""
        judged = self.judged or None
        expected = judged and float(frequency_error_khz(np.sqrt(self.square / judged), self.isotope))
        return {
            'frames': self.frames,
            'tensors': self.tensors,
            'c_q_mean_khz': self.coupling / self.tensors,
            'eta_mean': self.asymmetry / self.tensors,
            'omega_q_error_expected_khz': expected,
            'extrapolation_grade_max': judged and self.largest,
            'extrapolating_fraction': judged and self.beyond / judged,
        }


def _labelled(model: EfgModel, atoms, tensors, error, grade):
    """A copy of a structure with predicted tensors and, where known, errors; NaN for other atoms, no other label."""
    copy, ions = atoms.copy(), model.ions(atoms.numbers)
    copy.calc = None
    for name in ('efg', 'efg_error_au', 'omega_q_error_khz', 'efg_grade'):  # of an earlier prediction
        copy.arrays.pop(name, None)
    columns = {'efg': tensors}
    if error is not None:
        frequency = frequency_error_khz(error, model.isotope)
        columns.update(efg_error_au=error, omega_q_error_khz=frequency, efg_grade=grade)
    for name, values in columns.items():
        copy.new_array(name, np.full((len(copy), *values.shape[1:]), np.nan))
        copy.arrays[name][ions] = values
    return copy


def _write_structures(
    model: EfgModel, structures, predictions, output: Path, timestep_fs: float | None, source: Path
) -> None:
    """Write predictions (tensors, errors, grades) for structures in the format that the suffix names."""
    if output.suffix == '.h5':
        first = structures[0].numbers
        for number, atoms in enumerate(structures):
            if not np.array_equal(atoms.numbers, first):
                raise InputError(
                    f'{source}, structure {number}: other atoms than in structure 0, which one .h5 series cannot hold; '
                    'write .extxyz instead'
                )
        steps = np.arange(len(structures))
        # a single frame needs no time step; of several, times that nobody gave are NaN, so that nothing correlates them
        spacing = timestep_fs or (np.nan if len(structures) > 1 else 0.0)
        tensors, error, grade = zip(*predictions)
        judged = np.zeros(0, int) if error[0] is None else steps
        errors = (np.array([part for part in parts if part is not None]) for parts in (error, grade))
        writer = PredictionWriter(output, model.species, model.ions(first), steps, steps * spacing)
        writer.add(Part(0, np.stack(tensors), judged, *errors))
        writer.close()
        return
    frames = [_labelled(model, atoms, *found) for atoms, found in zip(structures, predictions, strict=True)]
    if output.suffix == '.magres':
        write_magres(output, frames[0])
    else:
        write_dataset(output, Dataset(tuple(frames), str(source)))


def _predict_structures(model, structures, output, timestep_fs, source: Path, errors: bool) -> _Summary:
    """Predict for structures that are in memory, and write what comes out."""
    summary = _Summary(model.isotope)

    def watched():
        with progress(len(structures), 'EFG', 'structure') as bar:
            for tensors, error, grade in predict_structures(model, structures, str(source), errors):
                summary.add(tensors[None], error, grade)
                bar.update()
                yield tensors, error, grade

    _write_structures(model, structures, watched(), output, timestep_fs, source)
    return summary


def _predict_along(model, trajectory, output, identity: str, errors_every: int, cores: int, restart: bool) -> _Summary:
    """Predict along a trajectory, piece by piece; what is there already is not made again where ``restart`` says so."""
    if not (restart and is_finished(output, identity)):
        step, ions = trajectory.series(POSITION)['step'][...], model.ions(trajectory.numbers)
        writer = PredictionWriter(output, model.species, ions, step, trajectory.time_fs, identity, restart)
        first = writer.next_frame
        try:
            with progress(trajectory.n_frames, 'EFG', 'frame', initial=first) as bar:
                for part in predict_trajectory(model, trajectory, errors_every, first, cores):
                    writer.add(part)
                    bar.update(len(part.tensors))
        except InputError:
            writer.discard()
            raise
        writer.close()
    summary = _Summary(model.isotope)
    for part in read_predictions(output, model.species):
        summary.add(part.tensors, part.error, part.grade)
    return summary


@click.command('predict-efg', cls=Command, example='ufpnmr predict-efg model.h5 trajectory.h5 -o efg.h5')
@click.argument('model_path', type=INPUT, metavar='MODEL.h5')
@click.argument('structures_path', type=INPUT, metavar='STRUCTURES_OR_TRAJ')
@click.option(
    '-o',
    '--output',
    type=OUTPUT,
    required=True,
    metavar='OUT',
    help='Tensors as .h5 (H5MD), .extxyz (column efg) or .magres (one structure), by suffix.',
)
@reading_options
@click.option(
    '--uncertainty-every',
    'errors_every',
    type=Count(min=0),
    metavar='N',
    help='Expected errors and extrapolation grades at each N-th frame of a trajectory, or of all structures; 0 for '
    'none. Default 1, or 0 where the model has no posterior.',
)
@click.option('--threads', type=COUNT, metavar='N', help='Threads along a trajectory, default all; no number changes.')
@click.option('--restart', is_flag=True, help='Go on along a trajectory where an earlier run was cut off.')
@json_option
def predict_efg(
    model_path: Path,
    structures_path: Path,
    output: Path,
    errors_every: int | None,
    threads: int | None,
    restart: bool,
    json_path: Path | None,
    **options: Any,
):
    """Predict EFG tensors for structures (any file that ASE reads) or along a trajectory, also of another program.

    A trajectory may be longer than memory: it is read and written in pieces. XYZ files hold structures.
    """
    if output.suffix not in ('.h5', '.extxyz', '.magres'):
        raise InputError(f'{output}: unknown suffix; give .h5, .extxyz or .magres')
    check_outputs(output, json_path)
    model = EfgModel.load(model_path)
    if errors_every is None:
        errors_every = 0 if model.posterior is None else 1
    if errors_every and model.posterior is None:
        raise InputError(
            f'{model_path}: holds no posterior, so its errors are not known; fit it again without --no-posterior'
        )
    reading = reading_of(options)
    is_trajectory = structures_path.suffix in _H5MD_SUFFIXES or _is_foreign_trajectory(structures_path, reading)
    along = is_trajectory and output.suffix == '.h5'
    if not along and (restart or threads):
        raise InputError(
            f'{structures_path} to {output}: --restart and --threads are for trajectories that are written to .h5; '
            'leave them out'
        )
    threads = threads or min(available_cores(), numba.config.NUMBA_NUM_THREADS)
    began, cpu_began = time.perf_counter(), time.process_time()
    if is_trajectory:
        with own_files([structures_path], reading) as ((own,), lines), Trajectory(own) as trajectory:
            for line in lines:
                click.echo(line, err=True)
            _check_trajectory(model, trajectory)
            if along:
                identity = identity_of(content_hash(model_path), trajectory, errors_every)
                summary = _predict_along(model, trajectory, output, identity, errors_every, threads, restart)
            else:
                _check_single(output, trajectory.n_frames, structures_path)
                structures = [trajectory.atoms(frame) for frame in range(trajectory.n_frames)]
                summary = _predict_structures(model, structures, output, None, structures_path, errors_every > 0)
    else:
        _refuse_reading(structures_path, reading)
        extended = structures_path.suffix in ('.xyz', '.extxyz')
        structures = list(read_dataset(structures_path)) if extended else read_structures(structures_path)
        _check_single(output, len(structures), structures_path)
        for number, atoms in enumerate(structures):
            if not len(model.ions(atoms.numbers)):
                raise InputError(
                    f'{structures_path}, structure {number}: holds no {model.species}, whose EFG the model predicts'
                )
        spacing_fs = reading.timestep_fs and reading.timestep_fs * (reading.every or 1)
        summary = _predict_structures(model, structures, output, spacing_fs, structures_path, errors_every > 0)
    wall = time.perf_counter() - began
    results = {
        'species': model.species,
        'isotope': model.isotope,
        **summary.results(),
        'training_sha256': model.training_sha256,
        'versions': versions(),
        'timing': {
            'wall_s': wall,
            'cpu_s': time.process_time() - cpu_began,
            'microseconds_per_ion': 1e6 * wall / summary.tensors,
        },
    }
    report(results, json_path)
    rows = [
        ['quantity', 'value'],
        ['frames', summary.frames],
        ['tensors', summary.tensors],
        [f'mean |C_Q| of {model.isotope} (kHz)', f'{results["c_q_mean_khz"]:.2f}'],
        ['mean eta', f'{results["eta_mean"]:.3f}'],
    ]
    if summary.judged:
        rows.append(['expected error of omega_Q (kHz)', f'{results["omega_q_error_expected_khz"]:.1f}'])
    print_table(rows)
    _print_grades(results)


def _is_foreign_trajectory(path: Path, reading: ReadingSettings) -> bool:
    """Whether a file of another program is read as a trajectory; what ASE reads are structures, if no time is given."""
    name = path.name.lower()
    structures = name.endswith(('.xyz', '.extxyz', '.traj', '.json')) or ('xdatcar' in name and not reading.timestep_fs)
    return not structures and reader_of(path) is not None


def _refuse_reading(path: Path, reading: ReadingSettings) -> None:
    unused = [name for name in reading.given if name not in ('timestep_fs', 'every')]
    if unused:
        raise InputError(f'{path}: is read as structures, which {unused[0]} says nothing about; leave it out')


def _check_trajectory(model: EfgModel, trajectory: Trajectory) -> None:
    """Refuse a trajectory that nothing can be predicted for, before anything is written."""
    next(predict_trajectory(model, trajectory, frames=1))


def _check_single(output: Path, frames: int, source: Path) -> None:
    if output.suffix == '.magres' and frames != 1:
        raise InputError(f'{source}: holds {frames} structures, a .magres file takes one; write .extxyz or .h5 instead')
