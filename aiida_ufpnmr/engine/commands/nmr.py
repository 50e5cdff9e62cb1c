"""``ufpnmr acf``."""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np

from aiida_ufpnmr.engine.analyses.groups import first_sites, hopping_ions, starting_sites
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
from aiida_ufpnmr.engine.nmr.observables import FIELDS, AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.nmr.storage import write_curves
from aiida_ufpnmr.engine.timeseries.decay import DECAY


class FieldDirection(click.ParamType):
    """``powder``, ``x``, ``y``, ``z``, or three numbers with commas between."""

    name = 'powder|x|y|z|bx,by,bz'

    def convert(self, value, param, ctx):
        if value == 'powder' or value in FIELDS or isinstance(value, tuple):
            return value
        try:
            vector = tuple(float(part) for part in value.split(','))
        except ValueError:
            vector = ()
        if len(vector) != 3 or not 0 < sum(b * b for b in vector) < float('inf'):
            self.fail(f'{value!r} is none of powder, x, y, z, nor a vector such as 1,1,0', param, ctx)
        return vector


@click.command(
    'acf',
    cls=Command,
    example='ufpnmr acf run.h5 -o acf.h5 --skip-ps 20 --plot acf.png --json acf.json',
)
@click.argument('trajectories', type=INPUT, nargs=-1, required=True, metavar='TRAJ.h5...')
@click.option('-o', '--output', type=OUTPUT, metavar='ACF.h5', help='Write curves, bands and fits as HDF5.')
@click.option('--species', help='Element whose EFG tensors to use, where the trajectory holds several.')
@click.option('--isotope', default='', help='Nuclide, such as 6Li; default the common one of the species.')
@click.option('--skip-ps', type=NOT_NEGATIVE, default=0.0, show_default=True, help='Leave out the first ps.')
@click.option(
    '--field',
    type=FieldDirection(),
    default='powder',
    show_default=True,
    help='Direction of the magnetic field; the powder average is always given, too.',
)
@click.option('--gamma', type=Number(0, 1, min_open=True), help='Fix the stretching exponent; fitted where not given.')
@click.option(
    '--decays',
    type=click.Choice(['1', '2', 'auto']),
    default='auto',
    show_default=True,
    help='Decays in the fit; auto takes two where one does not describe the curve; τ is then the slow one.',
)
@click.option(
    '--first-lag-ps',
    type=NOT_NEGATIVE,
    help='First lag of the fit in ps; default where white noise and vibrations are over.',
)
@click.option(
    '--max-tau-fraction',
    type=Number(0, 1, min_open=True),
    default=1 / 3,
    help='Refuse a decay time above this share of the trajectory (default 1/3).',
)
@click.option('--pulse-us', type=POSITIVE, help='Pulse time t_p of the echo in µs.')
@click.option('--decay-us', type=POSITIVE, help='Detection time t_d of the echo in µs.')
@click.option('--full-frequency', is_flag=True, help='Let the phase of the echo run with ω_Q instead of ω_Q/2.')
@click.option('--subtract-mean', is_flag=True, help='Correlate deviations from the mean: a plateau is lost.')
@click.option('--hopping', is_flag=True, help='Also average over only the ions that hop, as "analyse hops" finds them.')
@click.option('--by-site', is_flag=True, help='Also average by the site at the start, as "analyse sites" finds them.')
@click.option('--bootstrap', type=click.IntRange(min=2), default=200, show_default=True, help='Resampled curves.')
@click.option('--seed', type=click.IntRange(min=0), default=0, show_default=True, help='Seed of the resampling.')
@click.option('--plot', type=OUTPUT, metavar='FIG.png', help='Draw the curves with band, fit and verdict.')
@json_option
def acf(
    trajectories: tuple[Path, ...],
    output,
    species,
    isotope,
    skip_ps,
    field,
    gamma,
    decays,
    first_lag_ps,
    max_tau_fraction,
    pulse_us,
    decay_us,
    full_frequency,
    subtract_mean,
    hopping,
    by_site,
    bootstrap,
    seed,
    plot,
    json_path,
):
    """Correlation functions of ω_Q and C_Q along a trajectory, and their decay times.

    Several files are averaged as runs of their own; files whose times go on from the one before are one run.

    The decay rate 1/τ is that of the correlation, not the hop rate of an ion: "ufpnmr analyse hops" counts hops.
    """
    check_outputs(output, plot, json_path)
    settings = AcfSettings(
        field=field,
        isotope=isotope,
        gamma=gamma,
        first_lag_ps=first_lag_ps,
        pulse_us=pulse_us,
        decay_us=decay_us,
        half=not full_frequency,
        subtract_mean=subtract_mean,
        bootstrap=bootstrap,
        tau_fraction=max_tau_fraction,
        seed=seed,
        decays=decays if decays == 'auto' else int(decays),
    )
    started = time.perf_counter()
    runs = EfgRuns.open(trajectories, species, skip_ps * 1000)
    try:
        groups = [hopping_ions(runs)] if hopping else []
        sites = starting_sites(runs) if by_site else []
        groups += sites
        curves, results = correlation_functions(runs, settings, groups)
    except InputError as error:
        named = any(str(path) in str(error) for path in trajectories)
        raise error if named else InputError(f'{trajectories[0]}: {error}') from error
    timing = {'wall_s': time.perf_counter() - started}
    results |= {'run_files': runs.files, 'skip_ps': skip_ps, 'versions': versions(), 'timing': timing}

    if output is not None:
        write_curves(output, curves, settings, species=runs.species, ion_index=runs.index)
    if plot is not None:
        from aiida_ufpnmr.engine.nmr.figures import acf_figure

        with whole_file(plot) as partial:
            start, names = first_sites(sites)
            acf_figure(curves, start, names).savefig(partial, dpi=150)
    report(results, json_path)
    click.echo(
        f'{results["ions"]} {runs.species} ions, {results["frames"]} frames, {results["trajectory_ps"]:.4g} ps; '
        f'mean |C_Q| {results["c_q_mean_khz"]:.1f} kHz, mean η {results["eta_mean"]:.2f}'
    )
    if results['runs'] > 1:
        click.echo(f'averaged over {results["runs"]} runs: ' + '; '.join(' + '.join(files) for files in runs.files))
    print_table(
        [('observable', 'τ (ns)', '95 % interval', 'γ', 'plateau', 'amplitude', 'verdict')]
        + [row for name, values in results['observables'].items() for row in _rows(name, values)]
    )


def _rows(name: str, values: dict) -> list[tuple[str, ...]]:
    """A row of an observable, and one for each of two decays."""
    parts = [
        (
            f'  {speed}',
            f'{part["tau_ns"]:.4g}',
            '{:.4g} to {:.4g}'.format(*part['tau_ns_ci95']),
            '',
            '',
            f'{values["amplitude"] * (1 - values["plateau"]) * part["weight"]:.3f}',
            'share {:.2f} ({:.2f} to {:.2f}) of the decay'.format(part['weight'], *part['weight_ci95']),
        )
        for speed, part in zip(('fast', 'slow'), values['components'])
    ]
    return [_row(name, values), *parts]


def _row(name: str, values: dict) -> tuple[str, ...]:
    if values['verdict'] != DECAY:
        bound = values['tau_ns_lower_bound']
        words = f'{values["verdict"]}: {values["reason"]}'
        return (name, f'> {bound:.4g}' if np.isfinite(bound) else '-', '-', '-', '-', '-', words)
    low, high = values['tau_ns_ci95']
    return (
        name,
        f'{values["tau_ns"]:.4g}',
        f'{low:.4g} to {high:.4g}',
        f'{values["gamma"]:.2f}',
        f'{values["plateau"]:.2f}',
        f'{values["amplitude"]:.3f}',
        f'{values["verdict"]}: {values["reason"]}' if values['reason'] else values['verdict'],
    )
