"""``aiida-ufpnmr archive``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_ufpnmr.cli.shared import load_node, with_profile
from aiida_ufpnmr.engine.commands.shared import INPUT, OUTPUT, Command, print_table


@click.group('archive')
def archive():
    """A result with all that it rests on, as one file."""


@archive.command('create', cls=Command, example='aiida-ufpnmr archive create 123 -o result.aiida')
@click.argument('node')
@click.option('-o', '--output', 'path', type=OUTPUT, required=True, metavar='FILE.aiida', help='The archive to write.')
@with_profile
def create(node: str, path: Path) -> None:
    """Write NODE (pk, UUID or label) and everything behind it into an archive, for others to import and check."""
    from aiida_ufpnmr.tools.archives import archive_result

    archive_result(load_node(node), path)
    click.echo(f'{path}: {path.stat().st_size / 1e6:.1f} MB; read it with "verdi archive import {path}"')


@archive.command('verify', cls=Command, example='aiida-ufpnmr archive verify result.aiida')
@click.argument('path', type=INPUT, metavar='FILE.aiida')
def verify(path: Path) -> None:
    """Check that every data set, model and trajectory in an archive still says what its node claims.

    Nothing is imported, and no profile is needed. Status 1 if something does not agree.
    """
    from aiida_ufpnmr.tools.archives import verify_archive

    checks = verify_archive(path)
    rows = [(check.kind, check.uuid[:8], check.sha256[:12], check.fault or 'agrees') for check in checks]
    print_table([('type', 'uuid', 'sha-256', 'verdict'), *rows])
    faulty = sum(bool(check.fault) for check in checks)
    if faulty:
        raise click.ClickException(f'{path}: {faulty} of {len(checks)} nodes do not agree with their files')
