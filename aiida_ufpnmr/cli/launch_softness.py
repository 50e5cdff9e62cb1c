"""``aiida-ufpnmr launch softness``."""

from __future__ import annotations

import click

from aiida_ufpnmr.cli.launch import Launch, code_option, common_options, potential_option, stop_if_failed
from aiida_ufpnmr.cli.shared import NODE_OR_FILE, load_code, load_or_store
from aiida_ufpnmr.engine.commands.shared import Command, Count, print_result
from aiida_ufpnmr.engine.errors import InputError


@click.command(
    'softness',
    cls=Command,
    example='aiida-ufpnmr launch softness 500=140 600=145 700=150 --withhold 155 --potential 123\n'
    'aiida-ufpnmr launch softness glass.h5 --potential potential.h5 --model softness-model.h5 --max-hops 0',
)
@click.argument('trajectories', nargs=-1, required=True, metavar='TRAJ...')
@potential_option
@click.option(
    '--model', metavar=NODE_OR_FILE, help='A softness model: pk, UUID, label or file; nothing is fitted then.'
)
@click.option('--withhold', multiple=True, metavar='TRAJ', help='Judge the fit on this run; repeatable.')
@click.option(
    '--max-hops', type=Count(min=0), metavar='N', help="Most hops to climb, 0 for none; the protocol's if not given."
)
@click.option('--barriers-of', metavar='TRAJ', help='Find barriers along this one of TRAJ...; the first if not given.')
@code_option
@common_options
def softness(
    trajectories: tuple[str, ...],
    potential: str,
    model: str | None,
    withhold: tuple[str, ...],
    max_hops: int | None,
    barriers_of: str | None,
    code_label: str,
    launch: Launch,
) -> None:
    """Find which ions are soft along TRAJ..., what they have around them, and whether their barriers are lower.

    TRAJ is the pk of a trajectory, or a file, with its temperature in K before it, as in 600=140, where a run on record
    does not say it. Three temperatures or more give an onset temperature.
    """
    from aiida_ufpnmr.tools.softness_page import parts_of
    from aiida_ufpnmr.workflows.softness import SoftnessWorkChain

    given = {f'run_{number:03d}': _parted(word) for number, word in enumerate(trajectories, 1)}
    chosen = [name for name, (_, run) in given.items() if barriers_of is not None and run == _parted(barriers_of)[1]]
    if barriers_of is not None and not chosen:
        raise InputError(f'--barriers-of {barriers_of}: is none of the trajectories; give it as it stands among them')
    withheld = {f'run_{number:03d}': load_or_store(run, 'trajectory') for number, run in enumerate(withhold, 1)}
    node = launch.with_values((), max_hops=max_hops).run(
        SoftnessWorkChain,
        code=load_code(code_label),
        trajectories={name: load_or_store(run, 'trajectory') for name, (_, run) in given.items()},
        potential=load_or_store(potential, 'potential'),
        softness_model=None if model is None else load_or_store(model, 'softness-model'),
        withhold=withheld,
        temperatures_K={name: kelvin for name, (kelvin, _) in given.items() if kelvin is not None},
        barriers_of=next(iter(chosen), None),
    )
    if node is None:
        return
    for one in parts_of(node):
        click.echo(f'\n{one.title}')
        print_result(one.result)
    stop_if_failed(node)
    click.echo(f'\nOpen it as a page with "aiida-ufpnmr report {node.pk} -o report".')


def _parted(word: str) -> tuple[float | None, str]:
    """Temperature in K and trajectory of ``600=140``; no temperature where none stands before."""
    before, equals, run = word.partition('=')
    try:
        return (float(before), run) if equals else (None, word)
    except ValueError:
        return None, word
