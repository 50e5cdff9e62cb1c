"""``ufpnmr analyse``."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import click
import numpy as np

from aiida_ufpnmr.engine.commands.shared import (
    INPUT,
    NOT_NEGATIVE,
    OUTPUT,
    POSITIVE,
    Command,
    Number,
    check_outputs,
    json_option,
    print_table,
    report,
)
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.md.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.hops import HopSettings, find_hops, hop_rate
from aiida_ufpnmr.engine.transport.msd import DIFFUSION, diffusion
from aiida_ufpnmr.engine.transport.paths import REFERENCES, IonPaths, ion_paths
from aiida_ufpnmr.engine.transport.storage import write_hops, write_msd

_ALWAYS = (
    click.argument('trajectory', type=INPUT, metavar='TRAJ.h5'),
    click.option('-o', '--output', type=OUTPUT, metavar='OUT.h5', help='Write the result as HDF5.'),
    click.option('--species', default='Li', show_default=True, help='Element whose ions to follow.'),
    click.option(
        '--skip-ps', type=NOT_NEGATIVE, default=0.0, show_default=True, help='Leave out the first ps.'
    ),
    click.option(
        '--reference',
        type=click.Choice(REFERENCES),
        default='framework',
        show_default=True,
        help='Whose mass centre is held still: all other atoms, all atoms, or nothing.',
    ),
    click.option('--plot', type=OUTPUT, metavar='FIG.png', help='Draw the result.'),
    json_option,
)


def _common(function):
    for decorate in reversed(_ALWAYS):
        function = decorate(function)
    return function


@click.group('analyse')
def analyse():
    """How ions move along a trajectory."""


@analyse.command('msd', cls=Command, example='ufpnmr analyse msd run.h5 --skip-ps 20 --plot msd.png --json msd.json')
@_common
@click.option(
    '--window',
    type=Number(0, 1),
    nargs=2,
    default=(0.05, 0.25),
    show_default=True,
    help='Lags of the straight-line fit, as two shares of the trajectory.',
)
@click.option('--bootstrap', type=click.IntRange(min=2), default=500, show_default=True, help='Resampled curves.')
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of the resampling.')
def msd(trajectory, output, species, skip_ps, reference, plot, json_path, window, bootstrap, seed):
    """Mean square displacement and diffusion coefficient, D = slope/6."""
    check_outputs(output, plot, json_path)
    started = time.perf_counter()
    paths = _paths(trajectory, species, skip_ps, reference)
    found = _naming(
        trajectory, diffusion, paths.positions, paths.step_ps, window=window, bootstrap=bootstrap, seed=seed
    )
    results = {
        'diffusion_coefficient_cm2_per_s': found.coefficient_cm2_per_s,
        'diffusion_coefficient_cm2_per_s_ci95': found.ci95_cm2_per_s,
        'verdict': found.verdict,
        'diffusive': found.verdict == DIFFUSION,
        'msd_exponent': found.exponent,
        'window_ps': found.window_ps,
        'msd_at_window_end_angstrom2': found.offset + found.slope * found.window_ps[1],
        **_record(paths, skip_ps, started),
        'seed': seed,
    }
    if output is not None:
        write_msd(output, found, paths)
    if plot is not None:
        from aiida_ufpnmr.engine.transport.figures import msd_figure

        _draw(plot, msd_figure(found, species))
    report(results, json_path)
    low, high = found.ci95_cm2_per_s
    click.echo(f'{results["ions"]} {species} ions, {results["trajectory_ps"]:.4g} ps: {found.verdict}')
    print_table(
        [
            ('quantity', 'value', '95 % interval'),
            ('D (cm²/s)', f'{found.coefficient_cm2_per_s:.3e}', f'{low:.3e} to {high:.3e}'),
            ('exponent of the MSD', f'{found.exponent:.2f}', ''),
        ]
    )


@analyse.command('hops', cls=Command, example='ufpnmr analyse hops run.h5 -o hops.h5 --plot hops.png --json hops.json')
@_common
@click.option(
    '--window-ps',
    type=POSITIVE,
    default=HopSettings.window_ps,
    show_default=True,
    help='Average positions over this time, in ps (at least three frames).',
)
@click.option(
    '--threshold-angstrom',
    type=POSITIVE,
    default=HopSettings.threshold_angstrom,
    show_default=True,
    help='An ion farther than this from where it sat, in Å, may have hopped.',
)
@click.option(
    '--residence-ps',
    type=POSITIVE,
    default=HopSettings.residence_ps,
    show_default=True,
    help='It has if its mean position over this time, in ps, is beyond the threshold, too (at least three frames).',
)
def hops(
    trajectory, output, species, skip_ps, reference, plot, json_path, window_ps, threshold_angstrom, residence_ps
):
    """Hops of single ions and the hop rate per ion.

    The rate counts every hop. 1/τ of a correlation function is another quantity: with two sites it is twice this rate.
    """
    check_outputs(output, plot, json_path)
    started = time.perf_counter()
    settings = HopSettings(window_ps, threshold_angstrom, residence_ps)
    paths = _paths(trajectory, species, skip_ps, reference)
    found = _naming(trajectory, find_hops, paths.positions, paths.step_ps, settings)
    rate = hop_rate(found)
    results = {
        'hop_rate_per_s': rate.rate_per_s,
        'hop_rate_per_s_ci95': rate.ci95_per_s,
        'hop_rate_counted_per_s': rate.counted_per_s,
        'hop_rate_corrected': rate.corrected,
        'dead_time_ps': rate.dead_time_ps,
        'return_fraction': rate.return_fraction,
        'hops': len(found.frame),
        'hopping_ions': len(np.unique(found.ion)),
        'hop_distance_mean_angstrom': found.distance.mean() if len(found.frame) else None,
        **dataclasses.asdict(settings),
        **_record(paths, skip_ps, started),
    }
    if output is not None:
        write_hops(output, found, paths)
    if plot is not None:
        from aiida_ufpnmr.engine.transport.figures import hops_figure

        _draw(plot, hops_figure(paths.positions, found, paths.index, species))
    report(results, json_path)
    low, high = rate.ci95_per_s
    click.echo(
        f'{len(found.frame)} hops of {results["hopping_ions"]} out of {results["ions"]} {species} ions '
        f'in {results["trajectory_ps"]:.4g} ps'
    )
    print_table(
        [
            ('quantity', 'value', '95 % interval'),
            ('hop rate per ion (1/s)', f'{rate.rate_per_s:.3e}', f'{low:.3e} to {high:.3e}'),
            ('as counted (1/s)', f'{rate.counted_per_s:.3e}', ''),
        ]
    )
    if not rate.corrected:
        click.echo('Hops follow one another too fast for the residence time: the rate is a lower limit.')


def _paths(trajectory: Path, species: str, skip_ps: float, reference: str) -> IonPaths:
    with Trajectory(trajectory) as source:
        return ion_paths(source, species, skip_ps * 1000, reference)


def _naming(trajectory: Path, function, *arguments, **options):
    """Call ``function``; what it refuses is reported with the name of the trajectory."""
    try:
        return function(*arguments, **options)
    except InputError as error:
        raise InputError(f'{trajectory}: {error}') from error


def _record(paths: IonPaths, skip_ps: float, started: float) -> dict:
    return {
        'species': paths.species,
        'ions': len(paths.index),
        'frames': len(paths.positions),
        'frame_spacing_ps': paths.step_ps,
        'trajectory_ps': paths.length_ps,
        'reference': paths.reference,
        'skip_ps': skip_ps,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - started},
    }


def _draw(path: Path, figure) -> None:
    with whole_file(path) as partial:
        figure.savefig(partial, dpi=150)
