"""``aiida-ufpnmr status``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_ufpnmr.cli.shared import load_node, with_profile
from aiida_ufpnmr.engine.commands.shared import Command, check_outputs, json_option, print_table, report

if TYPE_CHECKING:
    from aiida_ufpnmr.tools.batches import Progress


@click.command('status', cls=Command, example='aiida-ufpnmr status 123')
@click.argument('batch')
@json_option
@with_profile
def status(batch: str, json_path: Path | None) -> None:
    """Say how far BATCH (pk, UUID or label) is: runs that are done, run, wait and failed, each failure with its reason,
    and the time that is left at the rate at which runs have ended."""
    from aiida_ufpnmr.tools.batches import progress_of

    check_outputs(json_path)
    found = progress_of(load_node(batch))
    print_progress(found)
    if not found.has_ended:
        from aiida_ufpnmr.tools.doctor.servers import daemon_state

        for fault in daemon_state():
            click.echo(f'\n{fault.line}')
    report({**dataclasses.asdict(found), 'counts': counts(found)}, json_path)


def counts(found: Progress) -> dict[str, int]:
    """Number of runs in each state."""
    from aiida_ufpnmr.tools.batches import DONE, FAILED, RUNNING, WAITING

    return {state: found.count(state) for state in (DONE, RUNNING, WAITING, FAILED)}


def print_progress(found: Progress) -> None:
    """Print how far a batch is."""
    from aiida_ufpnmr.tools.batches import FAILED, RUNNING, WAITING

    known = counts(found)
    before = sum(run.taken_up for run in found.runs)
    click.echo(f'Batch #{found.pk}, {found.process_state}: {len(found.runs)} runs')
    rows = [(state, str(number), f'{before} of them before' * bool(before and state == 'done'))
            for state, number in known.items()]  # fmt: skip
    if found.has_ended:
        rows = [('not begun' if state == WAITING else state, number, note) for state, number, note in rows]
    else:
        rows.append(('time left', duration(found.seconds_left), ''))
    print_table([('state', 'runs', ''), *rows])
    running = [run for run in found.runs if run.state == RUNNING and run.fraction is not None]
    if running:
        click.echo()
        lines = [(run.label, run.structure or '-', f'{run.temperature_K:g}', f'{100 * run.fraction:.0f} %')
                 for run in running if run.fraction is not None]  # fmt: skip
        print_table([('running', 'structure', 'T, K', 'of its steps'), *lines])
    failed = [run for run in found.runs if run.state == FAILED]
    if failed:
        click.echo()
        lines = [(run.label, run.structure or '-', f'{run.temperature_K:g}', run.reason) for run in failed]
        print_table([('failed', 'structure', 'T, K', 'reason'), *lines])


def duration(seconds: float | None) -> str:
    """A time in words; ``unknown`` where there is none."""
    if seconds is None:
        return 'unknown'
    for unit, size in (('d', 86400.0), ('h', 3600.0), ('min', 60.0)):
        if seconds >= 2 * size:
            return f'{seconds / size:.1f} {unit}'
    return f'{seconds:.0f} s'
