"""``aiida-ufpnmr pause`` and ``aiida-ufpnmr resume``."""

from __future__ import annotations

import click

from aiida_ufpnmr.cli.shared import quieten_broker, with_profile
from aiida_ufpnmr.engine.commands.shared import COUNT, Command


@click.command(
    'pause', cls=Command, example='aiida-ufpnmr pause && systemctl restart rabbitmq-server; aiida-ufpnmr resume'
)
@with_profile
def pause() -> None:
    """Stop the daemon, and return when none of its workers lives and nothing is being written.

    Services may be restarted then. Jobs in schedulers go on.
    """
    from aiida_ufpnmr.tools import daemon, services
    from aiida_ufpnmr.tools.foreground import active_of_daemon

    quieten_broker()
    services.require()
    number = daemon.pause()
    waiting = len(active_of_daemon())
    click.echo(f'stopped {number} workers; {waiting} processes wait for "aiida-ufpnmr resume"')


@click.command('resume', cls=Command, example='aiida-ufpnmr resume')
@click.option('--workers', type=COUNT, metavar='N', help='Start so many workers; as many as before if not given.')
@with_profile
def resume(workers: int | None) -> None:
    """Wait until the services answer, mend the queue of tasks, and start the daemon."""
    from aiida_ufpnmr.tools import daemon

    quieten_broker()
    click.echo(f'daemon {daemon.resume(workers)}')
