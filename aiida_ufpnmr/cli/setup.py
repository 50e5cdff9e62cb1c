"""``aiida-ufpnmr setup``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aiida_ufpnmr.engine.commands.shared import INPUT, Command
from aiida_ufpnmr.tools import profile as profiles
from aiida_ufpnmr.tools import service_urls
from aiida_ufpnmr.tools.profile import CODE, COMPUTER, GPAW_CODE, PROFILE

if TYPE_CHECKING:
    from aiida_ufpnmr.tools.cluster import Cluster


@click.command(
    'setup',
    cls=Command,
    example='aiida-ufpnmr setup --gpaw --daemon\naiida-ufpnmr setup --computer cluster.yaml\n'
    'PGPASSWORD=... aiida-ufpnmr setup --profile group --profile-storage postgresql://me@server/aiida '
    '--broker rabbitmq://me:password@server',
)
@click.option(
    '--profile', 'name', metavar='NAME', help=f'Profile to use; made if there is none. Default: yours, or "{PROFILE}".'
)
@click.option('--gpaw', is_flag=True, help='Make a code for labels from GPAW too; GPAW is found, or installed here.')
@click.option(
    '--gpaw-python',
    type=INPUT,
    metavar='PATH',
    help='The Python that has GPAW; implies --gpaw. Default: the first found.',
)
@click.option(
    '--computer',
    'cluster_path',
    type=INPUT,
    metavar='CLUSTER.yaml',
    help='Make a cluster and its programs ready too, as this file describes them; - asks for all of it.',
)
@click.option(
    '--profile-storage',
    'storage',
    metavar='URL',
    help=f'Keep a new profile in PostgreSQL: {service_urls.STORAGE_FORM}; the password may stand in '
    'PGPASSWORD instead.',
)
@click.option('--broker', metavar='URL', help=f'Let a new profile use RabbitMQ: {service_urls.BROKER_FORM}.')
@click.option('--daemon/--no-daemon', default=False, help='Start the daemon too, so that workflows can be submitted.')
def setup(
    name: str | None,
    gpaw: bool,
    gpaw_python: Path | None,
    cluster_path: Path | None,
    storage: str | None,
    broker: str | None,
    daemon: bool,
) -> None:
    """Make ready for workflows: a profile, this computer, the code `ufpnmr`, and where asked the code `gpaw`.

    What is there is left as it is. Everything is kept under AIIDA_PATH, or in the home folder if that is not set; no
    service needs to be installed. A cluster is tried before it is stored: a connection, a file, and a job for each
    program.
    """
    cluster = None if cluster_path is None else _cluster(cluster_path)
    profile, new = profiles.get_or_create_profile(name, storage, broker)
    click.echo(f'profile   {profile:<22} {"made" if new else "there"}')
    new = profiles.get_or_create_computer()
    click.echo(f'computer  {COMPUTER:<22} {"made" if new else "there"}')
    new = profiles.get_or_create_code(profiles.ufpnmr_executable())
    click.echo(f'code      {CODE}@{COMPUTER:<15} {"made" if new else "there"}')
    if gpaw or gpaw_python is not None:
        version, new = profiles.get_or_create_gpaw_code(gpaw_python)
        click.echo(f'code      {GPAW_CODE}@{COMPUTER:<17} {"made" if new else "there"} (GPAW {version})')
    if cluster is not None:
        from aiida_ufpnmr.tools.cluster_setup import set_up_cluster

        for kind, what, outcome in set_up_cluster(cluster):
            click.echo(f'{kind:<9} {what:<22} {outcome}')
    if daemon:
        from aiida_ufpnmr.tools.daemon import start_daemon

        click.echo(f'daemon    {"":<22} {start_daemon()}')


def _cluster(path: Path) -> Cluster:
    """The cluster that a file describes, or answers do."""
    from aiida_ufpnmr.cli.questions import ask_for_cluster
    from aiida_ufpnmr.tools.cluster import read_cluster

    return ask_for_cluster() if str(path) == '-' else read_cluster(path)
