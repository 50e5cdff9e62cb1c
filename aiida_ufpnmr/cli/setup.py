"""``aiida-ufpnmr setup``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_ufpnmr.engine.commands.shared import INPUT, Command
from aiida_ufpnmr.tools import profile as profiles
from aiida_ufpnmr.tools.profile import CODE, COMPUTER, GPAW_CODE, PROFILE


@click.command('setup', cls=Command, example='aiida-ufpnmr setup --gpaw --daemon')
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
@click.option('--daemon/--no-daemon', default=False, help='Start the daemon too, so that workflows can be submitted.')
def setup(name: str | None, gpaw: bool, gpaw_python: Path | None, daemon: bool) -> None:
    """Make ready for workflows: a profile, this computer, the code `ufpnmr`, and where asked the code `gpaw`.

    What is there is left as it is. Everything is kept under AIIDA_PATH, or in the home folder if that is not set; no
    service needs to be installed.
    """
    profile, new = profiles.get_or_create_profile(name)
    click.echo(f'profile   {profile:<22} {"made" if new else "there"}')
    new = profiles.get_or_create_computer()
    click.echo(f'computer  {COMPUTER:<22} {"made" if new else "there"}')
    new = profiles.get_or_create_code(profiles.ufpnmr_executable())
    click.echo(f'code      {CODE}@{COMPUTER:<15} {"made" if new else "there"}')
    if gpaw or gpaw_python is not None:
        version, new = profiles.get_or_create_gpaw_code(gpaw_python)
        click.echo(f'code      {GPAW_CODE}@{COMPUTER:<17} {"made" if new else "there"} (GPAW {version})')
    if daemon:
        from aiida_ufpnmr.tools.daemon import start_daemon

        click.echo(f'daemon    {"":<22} {start_daemon()}')
