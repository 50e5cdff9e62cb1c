"""What the analyses of ``ufpnmr analyse`` share: their common options, and what becomes of a result."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_ufpnmr.engine.commands.shared import (
    INPUT,
    NOT_NEGATIVE,
    OUTPUT,
    check_outputs,
    json_option,
    print_table,
    report,
)
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.trajectories.paths import REFERENCES, IonPaths, ion_paths
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # takes a while to import

_OUTPUT = click.option('-o', '--output', type=OUTPUT, metavar='OUT.h5', help='Write the result as HDF5.')
_SKIP = click.option('--skip-ps', type=NOT_NEGATIVE, default=0.0, show_default=True, help='Leave out the first ps.')
_PLOT = click.option('--plot', type=OUTPUT, metavar='FIG.png', help='Draw the result.')

_OF_PATHS = (
    click.argument('trajectory', type=INPUT, metavar='TRAJ.h5'),
    _OUTPUT,
    click.option('--species', default='Li', show_default=True, help='Element whose ions to follow.'),
    _SKIP,
    click.option(
        '--reference',
        type=click.Choice(REFERENCES),
        default='framework',
        show_default=True,
        help='Whose mass centre is held still: all other atoms, all atoms, or nothing.',
    ),
    _PLOT,
    json_option,
)
_OF_TENSORS = (
    click.argument('trajectories', type=INPUT, nargs=-1, required=True, metavar='TRAJ.h5...'),
    _OUTPUT,
    click.option('--species', help='Element whose EFG tensors to use, where the trajectory holds several.'),
    click.option('--isotope', default='', help='Nuclide, such as 6Li; default the common one of the species.'),
    _SKIP,
    _PLOT,
    json_option,
)


@dataclass(frozen=True)
class Finding:
    """What an analysis gives.

    Attributes:
        results: for ``--json``.
        headline: one line for the terminal, which names the ions and the time already.
        table: rows for the terminal, the heading first.
        write: writes the result as HDF5.
        figure: draws it.
        remark: a line after the table.
    """

    results: dict
    headline: str
    table: Sequence[Sequence[str]]
    write: Callable[[Path], None]
    figure: Callable[[], Figure]
    remark: str = ''


def analysis_of_paths(function: Callable[..., Finding]):
    """Make a command of a function of paths and its own options; what it refuses is reported with the trajectory."""
    reads_file = 'trajectory' in inspect.signature(function).parameters

    @functools.wraps(function)
    def command(trajectory, output, species, skip_ps, reference, plot, json_path, **options):
        check_outputs(output, plot, json_path)
        started = time.perf_counter()
        with Trajectory(trajectory) as source:
            paths = ion_paths(source, species, skip_ps * 1000, reference)
        if reads_file:
            options |= {'trajectory': trajectory, 'skip_fs': skip_ps * 1000}
        found = _named(function, trajectory, paths, **options)
        _report(found, _record_of_paths(paths), skip_ps, started, output, plot, json_path)

    return _decorated(command, _OF_PATHS)


def analysis_of_tensors(function: Callable[..., Finding]):
    """Make a command of a function of EFG tensors, their nuclide and its own options; several files are several runs."""

    @functools.wraps(function)
    def command(trajectories, output, species, isotope, skip_ps, plot, json_path, **options):
        check_outputs(output, plot, json_path)
        started = time.perf_counter()
        runs = EfgRuns.open(trajectories, species, skip_ps * 1000)
        nuclide = get_isotope(isotope or runs.species)
        found = _named(function, trajectories[0], runs, nuclide, **options)
        record = _record_of_tensors(runs) | {'isotope': nuclide.name}
        _report(found, record, skip_ps, started, output, plot, json_path)

    return _decorated(command, _OF_TENSORS)


def _decorated(command, decorators):
    for decorate in reversed(decorators):
        command = decorate(command)
    return command


def _named(function: Callable[..., Finding], path: Path, *arguments, **options) -> Finding:
    try:
        return function(*arguments, **options)
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f'{path}: {error}') from error


def _report(found: Finding, record: dict, skip_ps: float, started: float, output, plot, json_path) -> None:
    timing = {'wall_s': time.perf_counter() - started}
    results = {**found.results, **record, 'skip_ps': skip_ps, 'versions': versions(), 'timing': timing}
    if output is not None:
        found.write(output)
    if plot is not None:
        with whole_file(plot) as partial:
            found.figure().savefig(partial, dpi=150)
    report(results, json_path)
    click.echo(found.headline)
    print_table(found.table)
    if found.remark:
        click.echo(found.remark)


def _record_of_paths(paths: IonPaths) -> dict:
    return {
        'species': paths.species,
        'ions': len(paths.index),
        'frames': len(paths.positions),
        'frame_spacing_ps': paths.step_ps,
        'trajectory_ps': paths.length_ps,
        'reference': paths.reference,
    }


def _record_of_tensors(runs: EfgRuns) -> dict:
    return {
        'species': runs.species,
        'ions': runs.n_ions,
        'frames': sum(runs.lengths),
        'frame_spacing_ps': runs.step_ps,
        'trajectory_ps': (max(runs.lengths) - 1) * runs.step_ps,
        'runs': len(runs.lengths),
        'run_files': runs.files,
    }
