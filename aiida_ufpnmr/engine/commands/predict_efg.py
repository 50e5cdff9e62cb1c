"""``ufpnmr predict-efg``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numba
from ase import Atoms

from aiida_ufpnmr.engine.commands.convert_trajectory import reading_options
from aiida_ufpnmr.engine.commands.efg import print_extrapolation
from aiida_ufpnmr.engine.commands.options import settings_from_options
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
)
from aiida_ufpnmr.engine.cores import available_cores
from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, read_structures, write_dataset
from aiida_ufpnmr.engine.dft.magres import write_magres
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.posterior import EfgPrediction
from aiida_ufpnmr.engine.efg.prediction import labelled_copy, predict_structures, predict_trajectory
from aiida_ufpnmr.engine.efg.storage import (
    PredictionWriter,
    identity_of,
    is_finished,
    read_predictions,
    write_predictions,
)
from aiida_ufpnmr.engine.efg.summary import PredictionSummary
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import content_hash, versions
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.trajectories.readers import reader_of
from aiida_ufpnmr.engine.trajectories.series import POSITION
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

#: Suffixes of trajectories.
_H5MD = ('.h5', '.h5md', '.hdf5')


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
def predict_efg(model_path, structures_path, output, errors_every, threads, restart, json_path, **options):
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
    reading = settings_from_options(ReadingSettings, options)
    is_trajectory = structures_path.suffix in _H5MD or _is_foreign_trajectory(structures_path, reading)
    along = is_trajectory and output.suffix == '.h5'
    if not along and (restart or threads):
        raise InputError(
            f'{structures_path} to {output}: --restart and --threads are for trajectories that are written to .h5; '
            'leave them out'
        )
    began, cpu_began = time.perf_counter(), time.process_time()
    summary = PredictionSummary(model.isotope)
    if along:
        # of numba, since AiiDA says by it how many threads a job has
        allowed = min(available_cores(), numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        threads = min(threads or allowed, available_cores())
        with _opened(structures_path, reading) as trajectory:
            next(predict_trajectory(model, trajectory, frames=1))  # refuses a trajectory before anything is written
            identity = identity_of(content_hash(model_path), trajectory, errors_every)
            if not (restart and is_finished(output, identity)):
                _predict_along(
                    model, trajectory, output, identity, errors_every=errors_every, threads=threads, restart=restart
                )
        for part in read_predictions(output, model.species):
            summary.add(part)
    else:
        structures = _read_structures(structures_path, model, reading, is_trajectory)
        if output.suffix == '.magres' and len(structures) != 1:
            raise InputError(
                f'{structures_path}: holds {len(structures)} structures, a .magres file takes one; '
                'write .extxyz or .h5 instead'
            )
        found = predict_structures(model, structures, str(structures_path), errors_every > 0)
        spacing_fs = reading.timestep_fs and reading.timestep_fs * (reading.every or 1)
        _write(output, model, structures, _counted(found, summary, len(structures)), spacing_fs, structures_path)
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
            'threads': threads or 1,
        },
    }
    report(results, json_path)
    rows = [
        ['quantity', 'value'],
        ['frames', str(summary.frames)],
        ['tensors', str(summary.tensors)],
        [f'mean |C_Q| of {model.isotope} (kHz)', f'{results["c_q_mean_khz"]:.2f}'],
        ['mean eta', f'{results["eta_mean"]:.3f}'],
    ]
    if summary.judged:
        rows.append(['expected error of omega_Q (kHz)', f'{results["omega_q_error_expected_khz"]:.1f}'])
    print_table(rows)
    print_extrapolation(results)


def _is_foreign_trajectory(path: Path, reading: ReadingSettings) -> bool:
    """Whether a file of another program is read as a trajectory; what ASE reads are structures, if no time is given."""
    name = path.name.lower()
    structures = name.endswith(('.xyz', '.extxyz', '.traj', '.json')) or ('xdatcar' in name and not reading.timestep_fs)
    return not structures and reader_of(path) is not None


@contextmanager
def _opened(path: Path, reading: ReadingSettings) -> Iterator[Trajectory]:
    """A trajectory of any program."""
    with own_files([path], reading) as ((own,), lines), Trajectory(own) as trajectory:
        for line in lines:
            click.echo(line, err=True)
        yield trajectory


def _read_structures(path: Path, model: EfgModel, reading: ReadingSettings, is_trajectory: bool) -> list[Atoms]:
    """Structures of any file; :class:`InputError` where one holds no ion of the model."""
    if is_trajectory:
        with _opened(path, reading) as trajectory:
            next(predict_trajectory(model, trajectory, frames=1))  # refuses what nothing can be predicted for
            return [trajectory.atoms(frame) for frame in range(trajectory.n_frames)]
    unused = [name for name in reading.given if name not in ('timestep_fs', 'every')]
    if unused:
        raise InputError(f'{path}: is read as structures, which {unused[0]} says nothing about; leave it out')
    structures = list(read_dataset(path)) if path.suffix in ('.xyz', '.extxyz') else read_structures(path)
    for number, atoms in enumerate(structures):
        if not len(model.ions(atoms.numbers)):
            raise InputError(f'{path}, structure {number}: holds no {model.species}, whose EFG the model predicts')
    return structures


def _counted(predictions: Iterable[EfgPrediction], summary: PredictionSummary, total: int) -> Iterator[EfgPrediction]:
    """Hand predictions on, one structure after the other, while they are counted into a summary."""
    with progress(total, 'EFG', 'structure') as bar:
        for prediction in predictions:
            summary.add(prediction)
            bar.update()
            yield prediction


def _write(
    output: Path,
    model: EfgModel,
    structures: list[Atoms],
    predictions: Iterable[EfgPrediction],
    timestep_fs: float | None,
    source: Path,
) -> None:
    """Write structures with their predictions in the format that the suffix names."""
    if output.suffix == '.h5':
        write_predictions(output, model, structures, predictions, timestep_fs, str(source))
        return
    frames = tuple(labelled_copy(model, *pair) for pair in zip(structures, predictions, strict=True))
    if output.suffix == '.magres':
        write_magres(output, frames[0])
    else:
        write_dataset(output, Dataset(frames, str(source)))


def _predict_along(
    model: EfgModel, trajectory: Trajectory, output: Path, identity: str, errors_every: int, threads: int, restart: bool
) -> None:
    """Predict along a trajectory and write piece by piece, from where an earlier run stopped if ``restart``."""
    writer = PredictionWriter(
        output,
        species=model.species,
        index=model.ions(trajectory.numbers),
        step=trajectory.series(POSITION)['step'][...],
        time_fs=trajectory.time_fs,
        identity=identity,
        restart=restart,
    )
    first = writer.next_frame
    try:
        with progress(trajectory.n_frames, 'EFG', 'frame', initial=first) as bar:
            for part in predict_trajectory(model, trajectory, errors_every, first, threads):
                writer.add(part)
                bar.update(len(part.tensors))
    except InputError:
        writer.discard()
        raise
    writer.close()
