"""``ufpnmr fit-efg``, ``evaluate-efg`` and ``predict-efg``."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click
import numpy as np

from aiida_ufpnmr.engine.commands.shared import (
    INPUT,
    OUTPUT,
    POSITIVE,
    Command,
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
from aiida_ufpnmr.engine.efg.metrics import dataset_errors
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.prediction import predict_structures, predict_trajectory
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.md.trajectory import Trajectory, write_efg_in_parts
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import read_settings

#: Rows of the table: key, what to call it, how to print it.
_ROWS = (
    ('omega_q_mae_khz', 'omega_Q, MAE (kHz)', '.2f'),
    ('omega_q_rmse_khz', 'omega_Q, RMSE (kHz)', '.2f'),
    ('c_q_mae_khz', '|C_Q|, MAE (kHz)', '.2f'),
    ('c_q_rmse_khz', '|C_Q|, RMSE (kHz)', '.2f'),
    ('eta_mae', 'eta, MAE', '.3f'),
    ('efg_relative_rmse', 'tensor, relative RMSE', '.3f'),
    ('quaternion_dot_fraction_above_0_9', "orientation, q.q' >= 0.9", '.3f'),
    ('quaternion_dot_fraction_above_0_99', "orientation, q.q' >= 0.99", '.3f'),
    ('quaternion_dot_fraction_above_0_999', "orientation, q.q' >= 0.999", '.3f'),
)


def _print_errors(title: str, columns: dict[str, dict]) -> None:
    rows = [['', *columns]]
    for key, name, form in _ROWS:
        rows.append([name, *(format(errors[key], form) for errors in columns.values())])
    print_table(rows, title)


@click.command('fit-efg', cls=Command, example='ufpnmr fit-efg train.extxyz -o model.h5 --species Li --json fit.json')
@click.argument('train', type=INPUT, metavar='TRAIN.extxyz')
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='MODEL.h5', help='Where to write the model.')
@click.option('--species', required=True, metavar='SYMBOL', help='Element whose EFG tensors are learnt, such as Li.')
@click.option(
    '--test', type=INPUT, metavar='TEST.extxyz', help='Labelled structures for the errors; default: withheld groups.'
)
@settings_option
@json_option
def fit_efg(
    train: Path,
    output: Path,
    species: str,
    test: Path | None,
    settings_path: Path | None,
    json_path: Path | None,
):
    """Fit a model of the EFG tensors of one element to labelled structures.

    TRAIN.extxyz holds the column efg (nine numbers an atom, atomic units; nine NaN for no label). Groups (config_type)
    are withheld in turn to choose the penalty and, without --test, for the errors; the model is fitted to everything.
    """
    check_outputs(output, json_path)
    settings = read_settings(EfgSettings, settings_path)
    dataset = read_dataset(train, ('efg',), species)
    test_set = None if test is None else read_dataset(test, ('efg',), species)
    copies = Copies.of(dataset, test_set)
    model, results = fit_efg_model(dataset, species, settings, test_set)
    results['duplicates'] = copies.results()
    model.save(output)
    report(results, json_path)
    warn(copies.warnings())
    withheld = 'test' if test else 'withheld'
    _print_errors(
        f'{species} in {len(dataset)} structures, {results["train"]["ions"]} ions, {results["features"]} features; '
        f'errors for {results["isotope"]}',
        {withheld: results, 'train': results['train']},
    )
    click.echo(f'  validation: {results["validation"]["method"]}; penalty {model.penalty:g}')


@click.command('evaluate-efg', cls=Command, example='ufpnmr evaluate-efg model.h5 test.extxyz --json errors.json')
@click.argument('model_path', type=INPUT, metavar='MODEL.h5')
@click.argument('data', type=INPUT, metavar='DATA.extxyz')
@json_option
def evaluate_efg(model_path: Path, data: Path, json_path: Path | None):
    """Errors of an EFG model on labelled structures."""
    check_outputs(json_path)
    model = EfgModel.load(model_path)
    dataset = read_dataset(data, ('efg',), model.species)
    began, cpu_began = time.perf_counter(), time.process_time()
    with progress(len(dataset), 'EFG', 'structure') as bar:
        predicted = []
        for tensors in predict_structures(model, dataset, dataset.source):
            predicted.append(tensors)
            bar.update()
    results = {
        **dataset_errors(predicted, dataset, model.species, model.isotope),
        'species': model.species,
        'isotope': model.isotope,
        'structures': len(dataset),
        'settings': dataclasses.asdict(model.settings),
        'training_sha256': model.training_sha256,
        'data_sha256': dataset.content_hash,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - began, 'cpu_s': time.process_time() - cpu_began},
    }
    report(results, json_path)
    title = f'{results["ions"]} {model.species} in {len(dataset)} structures; errors for {model.isotope}'
    _print_errors(title, {'error': results})


class _Summary:
    """Mean |C_Q| and η of tensors that pass by."""

    def __init__(self, isotope: str):
        self.isotope = isotope
        self.tensors = self.frames = 0
        self.coupling = self.asymmetry = 0.0

    def watch(self, parts, bar):
        """Yield the parts, (frames, n_ions, 3, 3) in a.u., and count them."""
        for part in parts:
            self.frames += len(part)
            self.tensors += part.shape[0] * part.shape[1]
            self.coupling += float(quadrupolar_coupling(part, self.isotope, signed=False).sum())
            self.asymmetry += float(np.nansum(asymmetry(part)))
            bar.update(len(part))
            yield part


def _with_tensors(atoms, ions, tensors):
    """A copy of a structure with predicted tensors, NaN for other atoms, and no other label."""
    copy = atoms.copy()
    copy.calc = None
    copy.arrays.pop('efg', None)
    copy.new_array('efg', np.full((len(copy), 3, 3), np.nan))
    copy.arrays['efg'][ions] = tensors
    return copy


def _write_structures(
    model: EfgModel, structures, parts, output: Path, timestep_fs: float | None, source: Path
) -> None:
    """Write the tensors of structures in the format that the suffix names; ``parts`` are (1, n_ions, 3, 3) each."""
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
        write_efg_in_parts(output, model.species, model.ions(first), steps, steps * spacing, parts)
        return
    frames = [
        _with_tensors(atoms, model.ions(atoms.numbers), part[0]) for atoms, part in zip(structures, parts, strict=True)
    ]
    if output.suffix == '.magres':
        write_magres(output, frames[0])
    else:
        write_dataset(output, Dataset(tuple(frames), str(source)))


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
@click.option(
    '--timestep', 'timestep_fs', type=POSITIVE, metavar='FS',
    help='Time between two structures in fs, for .h5 from a file that holds no times.',
)
@json_option
def predict_efg(
    model_path: Path, structures_path: Path, output: Path, timestep_fs: float | None, json_path: Path | None
):
    """Predict EFG tensors for structures (any file that ASE reads) or along an H5MD trajectory (.h5)."""
    if output.suffix not in ('.h5', '.extxyz', '.magres'):
        raise InputError(f'{output}: unknown suffix; give .h5, .extxyz or .magres')
    check_outputs(output, json_path)
    model = EfgModel.load(model_path)
    began, cpu_began = time.perf_counter(), time.process_time()
    summary = _Summary(model.isotope)
    if structures_path.suffix in ('.h5', '.h5md', '.hdf5'):
        with Trajectory(structures_path) as trajectory, progress(trajectory.n_frames, 'EFG', 'frame') as bar:
            parts = summary.watch(predict_trajectory(model, trajectory), bar)
            if output.suffix == '.h5':
                position = trajectory.series('particles/all/position')
                write_efg_in_parts(
                    output,
                    model.species,
                    model.ions(trajectory.numbers),
                    position['step'][...],
                    trajectory.time_fs,
                    parts,
                )
            else:
                _check_single(output, trajectory.n_frames, structures_path)
                structures = [trajectory.atoms(frame) for frame in range(trajectory.n_frames)]
                single = (tensors[None] for part in parts for tensors in part)
                _write_structures(model, structures, single, output, timestep_fs, structures_path)
    else:
        extended = structures_path.suffix in ('.xyz', '.extxyz')
        structures = list(read_dataset(structures_path)) if extended else read_structures(structures_path)
        _check_single(output, len(structures), structures_path)
        for number, atoms in enumerate(structures):
            if not len(model.ions(atoms.numbers)):
                raise InputError(
                    f'{structures_path}, structure {number}: holds no {model.species}, whose EFG the model predicts'
                )
        with progress(len(structures), 'EFG', 'structure') as bar:
            single = (tensors[None] for tensors in predict_structures(model, structures, str(structures_path)))
            _write_structures(model, structures, summary.watch(single, bar), output, timestep_fs, structures_path)
    wall = time.perf_counter() - began
    results = {
        'species': model.species,
        'isotope': model.isotope,
        'frames': summary.frames,
        'tensors': summary.tensors,
        'c_q_mean_khz': summary.coupling / summary.tensors,
        'eta_mean': summary.asymmetry / summary.tensors,
        'training_sha256': model.training_sha256,
        'versions': versions(),
        'timing': {
            'wall_s': wall,
            'cpu_s': time.process_time() - cpu_began,
            'microseconds_per_ion': 1e6 * wall / summary.tensors,
        },
    }
    report(results, json_path)
    print_table(
        [
            ['quantity', 'value'],
            ['frames', summary.frames],
            ['tensors', summary.tensors],
            [f'mean |C_Q| of {model.isotope} (kHz)', f'{results["c_q_mean_khz"]:.2f}'],
            ['mean eta', f'{results["eta_mean"]:.3f}'],
        ]
    )


def _check_single(output: Path, frames: int, source: Path) -> None:
    if output.suffix == '.magres' and frames != 1:
        raise InputError(f'{source}: holds {frames} structures, a .magres file takes one; write .extxyz or .h5 instead')
