"""``aiida-ufpnmr trajectory``."""

from __future__ import annotations

import click

from aiida_ufpnmr.cli.shared import load_code, load_node, with_profile
from aiida_ufpnmr.engine.commands.shared import Command, print_table
from aiida_ufpnmr.engine.errors import InputError


@click.group('trajectory')
def trajectory():
    """Trajectories that stay on the computer where they were made."""


@trajectory.command('list', cls=Command, example='aiida-ufpnmr trajectory list')
@with_profile
def list_kept() -> None:
    """List what stays where, newest last."""
    from aiida_ufpnmr.tools.kept import kept_trajectories

    rows = [
        (
            str(node.pk),
            node.keeper.label,
            f'{node.kept["size_bytes"] / 1e6:.1f}',
            f'{node.time_ps:g}',
            node.kept['path'],
        )
        for node in kept_trajectories()
    ]
    print_table([('pk', 'computer', 'MB', 'ps', 'file'), *rows])


@trajectory.command('fetch', cls=Command, example='aiida-ufpnmr trajectory fetch 123')
@click.argument('node')
@with_profile
def fetch(node: str) -> None:
    """Copy trajectory NODE (pk, UUID or label) into the repository, checked by its hash, and print the new pk."""
    from aiida_ufpnmr.tools.kept import fetched

    click.echo(fetched(_kept(node)).pk)


@trajectory.command('verify', cls=Command, example='aiida-ufpnmr trajectory verify 123 --code ufpnmr@cluster')
@click.argument('node')
@click.option(
    '--code', 'code_label', metavar='CODE', help='The command `ufpnmr` there; the code that made it if not given.'
)
@with_profile
def verify(node: str, code_label: str | None) -> None:
    """Read trajectory NODE (pk, UUID or label) where it is, by a job, and compare its hash; status 1 if it differs."""
    from aiida_ufpnmr.tools.kept import difference

    kept = _kept(node)
    found = difference(kept, load_code(code_label) if code_label else kept.creator.inputs.code)
    if found:
        raise click.ClickException(f'{kept.kept["path"]} on {kept.keeper.label}: {found}')
    click.echo(f'{kept.kept["path"]} on {kept.keeper.label}: agrees with its hash')


def _kept(identifier: str):
    from aiida_ufpnmr.data import TrajectoryData

    node = load_node(identifier, TrajectoryData)
    if not node.kept:
        raise InputError(f'{identifier}: lies in the repository; there is nothing to fetch')
    return node
