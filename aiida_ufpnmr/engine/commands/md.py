"""``ufpnmr md``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_ufpnmr.engine.commands.options import Parsed, options_of, with_options
from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    OUTPUT,
    Command,
    Count,
    Duration,
    check_outputs,
    index_option,
    json_option,
    keep_option,
    print_table,
    report,
    supercell_option,
)
from aiida_ufpnmr.engine.cores import available_cores
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md.conditions import MdSettings
from aiida_ufpnmr.engine.md.output import Output
from aiida_ufpnmr.engine.md.watches import GradeWatch, UnitWatch
from aiida_ufpnmr.engine.settings import Declaration, numbers
from aiida_ufpnmr.engine.trajectories.storage import Storage

#: Exit status of a run that a guard stopped, and of one that ran out of wall time.
GUARD, WALL_TIME = 3, 4


#: Options that any run has: what is written, when it is watched, checked and ended.
RUN_OPTIONS = (
    *options_of(Output, every=None),
    click.option(
        '--efg-model', type=INPUT, metavar='M.h5', help='Predict EFG tensors with this model while the run goes on.'
    ),
    *options_of(Storage),
    *options_of(GradeWatch, unset='{} with a posterior'),
    click.option(
        '--checkpoint-every',
        type=COUNT,
        metavar='N',
        help='Steps between checkpoints; by default one every ten minutes.',
    ),
    click.option(
        '--max-wall-time',
        type=Duration(),
        metavar='TIME',
        help=f'End with a checkpoint, and status {WALL_TIME}, after so many seconds; 30min and 23.5h are times, too.',
    ),
    click.option('--restart', is_flag=True, help='Go on from the checkpoint; start anew where there is none.'),
    click.option('--overwrite', is_flag=True, help='Write over a run that could be continued.'),
)


@click.command(
    'md',
    cls=Command,
    example='ufpnmr md potential.h5 beta.cif -o run.h5 --steps 100000 --timestep 2 --temperature '
    '600 --efg-model efg.h5',
)
@click.argument('potential', type=INPUT, metavar='POT')
@click.argument('structure', type=INPUT, metavar='STRUCTURE')
@click.option(
    '-o', '--output', type=OUTPUT, required=True, metavar='TRAJ.h5', help='Where to write the trajectory (H5MD).'
)
@click.option('--steps', type=COUNT, required=True, metavar='N', help='The last step, counted from the very beginning.')
@click.option(
    '--equilibrate',
    type=Count(min=0),
    default=0,
    show_default=True,
    metavar='N',
    help='Steps to take before, of which nothing is written.',
)
@with_options(*options_of(MdSettings), *options_of(UnitWatch))
@index_option
@supercell_option
@click.option(
    '--replicas',
    type=COUNT,
    metavar='N',
    help='Run so many copies, TRAJ-0.h5, TRAJ-1.h5, ..., with seeds that count up from --seed.',
)
@click.option(
    '--from-checkpoint',
    type=INPUT,
    metavar='C.h5',
    help='Go on from this checkpoint of the same run, whose frames are elsewhere; TRAJ.h5 holds what comes after.',
)
@click.option(
    '--replica-temperatures',
    type=Parsed(Declaration('', above=0, most=1e5), numbers, 'K,...'),
    help='Temperatures in K that the replicas take in turn, in place of --temperature.',
)
@click.option(
    '--device',
    type=click.Choice(['cpu', 'gpu']),
    default='cpu',
    show_default=True,
    help='What moves the atoms: processor cores, or an NVIDIA GPU, which moves all replicas at the same time.',
)
@click.option('--jobs', type=COUNT, metavar='N', help='Replicas at a time; by default as many as there are cores for.')
@with_options(*RUN_OPTIONS)
@keep_option
@json_option
def md(output, json_path, replicas, replica_temperatures, device, from_checkpoint, jobs, seed, keep_in, **options):
    """Molecular dynamics with an ultra-fast potential.

    The run stops by itself, keeps what it has and leaves with status 3 when the potential no longer knows what it does:
    two atoms come closer than the training data allow, an atom is in surroundings unlike any of them, a force or the
    temperature runs away, or, with --guard-units, a unit such as PS4 breaks. Ctrl-C, SIGTERM and --max-wall-time end it
    cleanly; --restart goes on from there.
    """
    from aiida_ufpnmr.engine.commands.md_runs import one_run, runs_on_gpu  # takes a while to import
    from aiida_ufpnmr.engine.md.replicas import in_processes, replica_path, summary
    from aiida_ufpnmr.engine.trajectories.keeping import keep

    check_outputs(output, json_path)
    if keep_in is not None and options['restart']:
        raise InputError('--keep-in takes away what --restart goes on from; give --from-checkpoint, or keep it later')
    if replicas is None:
        if replica_temperatures:
            raise InputError('--replica-temperatures are for --replicas; give their number, or --temperature')
        run = {**options, 'output': output, 'seed': seed}
        results = one_run(run, from_checkpoint) if device == 'cpu' else runs_on_gpu([run], from_checkpoint)[0]
        if keep_in is not None:
            results['kept'] = keep(output, keep_in)
        _print(results)
    elif from_checkpoint is not None:
        raise InputError(f'{from_checkpoint}: is of one run; leave out --replicas')
    else:
        paths = [replica_path(output, number) for number in range(replicas)]
        check_outputs(*paths)
        temperatures = replica_temperatures or [options['temperature']]
        runs = [
            {**options, 'output': path, 'seed': seed + number, 'temperature': temperatures[number % len(temperatures)]}
            for number, path in enumerate(paths)
        ]
        if device == 'gpu':
            found: list[dict | None] = [*runs_on_gpu(runs)]
        else:
            at_once = jobs or max(1, available_cores() // options['threads'])
            found = in_processes(one_run, [(run,) for run in runs], at_once)
        for path, result in zip(paths, found):
            if keep_in is not None and result is not None:
                result['kept'] = keep(path, keep_in)
        ended = [result for result in found if result is not None]
        if not ended:
            raise KeyboardInterrupt
        results = summary(ended)
        if len(ended) < replicas:
            results |= {'stop_reason': 'interrupted', 'stop_message': f'with {len(ended)} of {replicas} replicas begun'}
        _print_replicas(results)
    report(results, json_path)
    end(output, results)


def _print(results: dict) -> None:
    grade = results.get('extrapolation_grade_max')
    rows = [
        ['quantity', 'value'],
        ['simulated, ps', f'{results["simulated_ps"]:g}'],
        ['frames', results['frames']],
        ['temperature, K', _spread(results, 'temperature', 'K', 0)],
    ]
    if results['barostat']:
        rows.append(['pressure, GPa', _spread(results, 'pressure', 'GPa', 2)])
        rows.append(['density at the end, g/cm³', f'{results["density_g_per_cm3"]:.3f}'])
    rows.append(['largest extrapolation grade', 'not watched' if grade is None else f'{grade:.2f}'])
    if results['efg_extrapolating_fraction'] is not None:
        share, largest = 100 * results['efg_extrapolating_fraction'], results['efg_extrapolation_grade_max']
        rows.append(['ions with an EFG grade above 1', f'{share:.1f} %, at most {largest:.2f}'])
    rows += [
        ['atom-steps per second', f'{results["timing"]["atom_steps_per_second"]:.3g}'],
        ['ns per day', f'{results["timing"]["ns_per_day"]:.3g}'],
    ]
    print_table(rows)


def _spread(results: dict, quantity: str, unit: str, digits: int) -> str:
    """Mean and standard deviation over the rows of the log."""
    mean, spread = results[f'{quantity}_mean_{unit}'], results[f'{quantity}_std_{unit}']
    return '-' if mean is None else f'{mean:.{digits}f} ± {spread:.{digits}f}'


def _print_replicas(results: dict) -> None:
    print_table(
        [
            ['replica', 'ps', 'temperature, K', 'ended'],
            *(
                [number, f'{found["simulated_ps"]:g}', _spread(found, 'temperature', 'K', 0), found['stop_reason']]
                for number, found in enumerate(results['replicas'])
            ),
        ]
    )


def end(output: Path, results: dict) -> None:
    """Leave with a status that says why a run ended, where it did not reach its last step."""
    reason, message = results['stop_reason'], results['stop_message']
    if reason == 'finished':
        return
    if reason in ('wall_time', 'interrupted'):
        error = click.ClickException(f'{output}: ended {message}; --restart goes on from there')
        error.exit_code = WALL_TIME if reason == 'wall_time' else 1
    else:
        error = click.ClickException(f'{output}: stopped {message}; the trajectory up to there is kept')
        error.exit_code = GUARD
    raise error
