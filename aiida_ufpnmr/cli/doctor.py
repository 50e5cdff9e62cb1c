"""``aiida-ufpnmr doctor`` and ``aiida-ufpnmr relaunch``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.cli.shared import load_node, quieten_broker, with_profile
from aiida_ufpnmr.engine.commands.shared import POSITIVE, Command, check_outputs, json_option, report
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.tools.profile import is_daemon_running


@click.command('doctor', cls=Command, example='aiida-ufpnmr doctor --repair --json found.json')
@click.option(
    '--repair',
    is_flag=True,
    help='Do what can be done without loss; where the daemon has to be down for it, it is stopped and started again.',
)
@click.option(
    '--least-free-gb',
    type=POSITIVE,
    default=2.0,
    show_default=True,
    metavar='GB',
    help='Room that disks should have left.',
)
@json_option
@with_profile
@click.pass_context
def doctor(context: click.Context, repair: bool, least_free_gb: float, json_path: Path | None) -> None:
    """Look for what failures of services, workers, jobs and machines have left behind.

    A line says what is wrong, and what to do. The exit status is 1 where something is wrong and was not repaired.
    """
    from aiida_ufpnmr.tools.doctor import examine
    from aiida_ufpnmr.tools.doctor import repair as mend

    check_outputs(json_path)
    quieten_broker()
    found = examine(least_free_gb)
    left = found
    if repair and found:
        mend(found)
        left = examine(least_free_gb)
    repaired = [finding for finding in found if finding not in left]
    for finding in repaired:
        click.echo(f'repaired: {finding.subject}: {finding.message}')
    for finding in left:
        click.echo(finding.line)
    if not found:
        click.echo('nothing is wrong')
    report({'repaired': [as_mapping(f) for f in repaired], 'found': [as_mapping(f) for f in left]}, json_path)
    if left:
        context.exit(1)


def as_mapping(finding: Any) -> dict[str, Any]:
    """A finding as JSON: ``kind``, ``subject``, ``message``, ``remedy``, ``pks``."""
    fields = dataclasses.asdict(finding)
    return {name: fields[name] for name in ('kind', 'subject', 'message', 'remedy', 'pks')}


@click.command('relaunch', cls=Command, example='aiida-ufpnmr relaunch 1234 1250')
@click.argument('runs', nargs=-1, required=True)
@with_profile
def relaunch(runs: tuple[str, ...]) -> None:
    """Submit the RUNS again, by pk, UUID or label; calculations of theirs that are whole are taken over.

    Prints the pk of each new run.
    """
    from aiida.engine.daemon.client import get_daemon_client
    from aiida.orm import ProcessNode

    from aiida_ufpnmr.tools.relaunch import check_relaunch
    from aiida_ufpnmr.tools.relaunch import relaunch as launch_again

    quieten_broker()
    nodes = [load_node(run, ProcessNode) for run in runs]
    for node in nodes:
        check_relaunch(node)
    if not is_daemon_running(get_daemon_client()):
        raise InputError('the daemon does not run; start it with "aiida-ufpnmr setup --daemon"')
    for node in nodes:
        click.echo(launch_again(node).pk)
