"""``aiida-ufpnmr archive``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_ufpnmr.cli.shared import load_code, load_node, with_profile
from aiida_ufpnmr.engine.commands.shared import INPUT, OUTPUT, Command, Number, print_table
from aiida_ufpnmr.engine.errors import InputError

if TYPE_CHECKING:
    from aiida_ufpnmr.tools.reruns import Comparison

#: Relative difference up to which numbers that are run again are equal.
TOLERANCE = 1e-6


@click.group('archive')
def archive():
    """A result with all that it rests on, as one file."""


@archive.command('create', cls=Command, example='aiida-ufpnmr archive create 123 --slim -o result.aiida')
@click.argument('nodes', nargs=-1, required=True, metavar='NODE...')
@click.option('-o', '--output', 'path', type=OUTPUT, required=True, metavar='FILE.aiida', help='The archive to write.')
@click.option(
    '--slim', is_flag=True, help='Leave out the files of trajectories, and of models that are no output of NODE; their '
    'hashes and sizes stay, and so does how to make them again.',
)  # fmt: skip
@click.option(
    '--most-mb', type=Number(min=0.1), metavar='MB', help='Slim, and where that is still larger, without models that '
    'are outputs of NODE, the largest first, and without workflows that are no part of NODE.',
)  # fmt: skip
@with_profile
def create(nodes: tuple[str, ...], path: Path, slim: bool, most_mb: float | None) -> None:
    """Write each NODE (pk, UUID or label) and everything behind it into one archive, for others to import and check."""
    from aiida_ufpnmr.tools.archives import archive_result

    archive_result(*map(load_node, nodes), path=path, slim=slim, most_mb=most_mb)
    size_mb = path.stat().st_size / 1e6
    click.echo(f'{path}: {size_mb:.1f} MB; read it with "verdi archive import {path}"')
    if most_mb is not None and size_mb > most_mb:
        raise click.ClickException(
            f'{path}: more than the {most_mb:g} MB that were asked for; what is left cannot be made again from the rest'
        )


@archive.command('verify', cls=Command, example='aiida-ufpnmr archive verify result.aiida --rerun md --rerun acf')
@click.argument('path', type=INPUT, metavar='FILE.aiida')
@click.option(
    '--rerun',
    'steps',
    multiple=True,
    metavar='STEP',
    help='Run these calculations again on this machine, too: fit_potential, fit_efg, md, select, predict_efg, acf, '
    'fit_softness, analyse, softness_correlations, softness_onset, or all. What they need of what was left out is '
    'made again first.',
)
@click.option(
    '--tolerance', type=Number(min=0, max=1), default=TOLERANCE, show_default=True,
    help='Relative difference up to which reported numbers are equal.',
)  # fmt: skip
def verify(path: Path, steps: tuple[str, ...], tolerance: float) -> None:
    """Check that an archive says what it said when it was made: every file, node and link.

    Nothing is imported into your profile, and none is needed: what is run again is run in a profile of its own, which
    is removed. Status 1 if something does not agree.
    """
    from aiida_ufpnmr.tools.verification import verify_archive

    steps = _known_steps(steps)
    checks, faults = verify_archive(path)
    print_table(
        [('type', 'uuid', 'sha-256', 'verdict'), *((c.kind, c.uuid[:8], c.sha256[:12], _verdict(c)) for c in checks)]
    )
    faulty = sum(bool(check.fault) for check in checks)
    for fault in faults:
        click.echo(fault)
    differing = 0
    if steps and not faulty and not faults:
        found = _rerun(path, steps, tolerance)
        click.echo()
        _print_comparisons(found)
        differing = sum(one.verdict == 'differs' for one in found)
    if faulty or faults:
        what = [f'{faulty} of {len(checks)} nodes do not agree with their files'] if faulty else []
        raise click.ClickException(f'{path}: {"; ".join([*what, *faults[:1]])}')
    if differing:
        raise click.ClickException(f'{path}: {differing} of {len(found)} outputs differ from those that were run again')


@archive.command('remake', cls=Command, example='aiida-ufpnmr archive remake 1823')
@click.argument('node')
@click.option('--code', 'code_label', default='ufpnmr@localhost', show_default=True, help='Code of the ufpnmr command.')
@with_profile
def remake(node: str, code_label: str) -> None:
    """Make the file of NODE (pk, UUID or label) again, a model or trajectory that an imported archive left out.

    Runs the calculation that made it, and before that what made those of its inputs that were left out, too. The file
    is that of a new node, whose pk is printed with how it compares with the hash of the old one. Status 1 if it
    differs.
    """
    from aiida_ufpnmr.data.checked_file import CheckedFileData
    from aiida_ufpnmr.tools.connections import runner_without_broker
    from aiida_ufpnmr.tools.reruns import made_again

    data = load_node(node, CheckedFileData)
    if data.left_out_bytes is None:
        raise InputError(f'{node}: its file is there')
    try:
        with runner_without_broker():
            new, found = made_again(data, load_code(code_label), TOLERANCE)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error
    _print_comparisons(found)
    click.echo(f'\n{type(new).__name__} #{new.pk} in place of #{data.pk}')
    if any(one.verdict == 'differs' for one in found):
        raise click.ClickException(f'{node}: what was run again differs')


def _print_comparisons(found: list[Comparison]) -> None:
    rows = [(one.step, one.uuid[:8], one.output, one.verdict, one.detail) for one in found]
    print_table([('step', 'uuid', 'output', 'run again', ''), *rows])


def _known_steps(steps: tuple[str, ...]) -> tuple[str, ...]:
    from aiida_ufpnmr.tools.reruns import STEPS

    unknown = sorted({*steps} - {*STEPS, 'all'})
    if unknown:
        raise click.BadParameter(f'{unknown[0]!r}; known are {", ".join(STEPS)} and all', param_hint='--rerun')
    return STEPS if 'all' in steps else steps


def _rerun(path: Path, steps: tuple[str, ...], tolerance: float) -> list:
    from aiida_ufpnmr.tools.reruns import rerun_archive

    try:
        return rerun_archive(path, steps, tolerance)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def _verdict(check) -> str:
    if check.left_out_bytes is not None:
        return f'left out, {check.left_out_bytes / 1e6:.1f} MB; made again where a --rerun needs it'
    return check.fault or 'agrees'
