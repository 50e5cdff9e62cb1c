"""``aiida-ufpnmr report``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_ufpnmr.cli.shared import load_node, with_profile
from aiida_ufpnmr.engine.commands.shared import OUTPUT, Command


@click.command('report', cls=Command, example='aiida-ufpnmr report 123 -o report')
@click.argument('node')
@click.option(
    '-o', '--output', 'folder', type=OUTPUT, metavar='DIR',
    help='Folder for the page and its figures.  [default: report-PK]',
)  # fmt: skip
@with_profile
def report(node: str, folder: Path | None) -> None:
    """Write the result of a finished workflow NODE (pk, UUID or label) as one HTML page, with its figures beside it."""
    from aiida.orm import WorkChainNode

    from aiida_ufpnmr.tools.report import write_report

    workflow = load_node(node, WorkChainNode)
    click.echo(write_report(workflow, folder or Path(f'report-{workflow.pk}')))
