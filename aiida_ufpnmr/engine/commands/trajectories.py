"""``ufpnmr describe-trajectory`` and ``ufpnmr join-trajectory``."""

from __future__ import annotations

from pathlib import Path

import click

from aiida_ufpnmr.engine.commands.shared import (
    INPUT,
    OUTPUT,
    Command,
    check_outputs,
    json_option,
    keep_option,
    print_table,
    report,
)
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.md.statistics import log_statistics
from aiida_ufpnmr.engine.trajectories.chain import chain
from aiida_ufpnmr.engine.trajectories.keeping import describe, keep


@click.command('describe-trajectory', cls=Command, example='ufpnmr describe-trajectory run.h5 --json run.json')
@click.argument('trajectory', type=INPUT, metavar='TRAJ.h5')
@json_option
def describe_trajectory(trajectory: Path, json_path: Path | None):
    """What a trajectory holds, and the hash of its content: equal for equal numbers, however the bytes lie on disk."""
    check_outputs(json_path)
    found = describe(trajectory)
    tensors = ', '.join(f'{number} of {species}' for species, number in found['efg_frames'].items())
    rows = [
        ('quantity', 'value'),
        ('atoms', found['n_atoms']),
        ('elements', ' '.join(found['species'])),
        ('frames', found['n_frames']),
        ('frames with EFG tensors', tensors or 'none'),
        ('time, ps', f'{found["time_ps"]:g}'),
        ('content', found['sha256']),
    ]
    print_table(rows)
    report({**found, 'versions': versions()}, json_path)


@click.command(
    'join-trajectory', cls=Command, example='ufpnmr join-trajectory monday.h5 tuesday.h5 wednesday.h5 -o week.h5'
)
@click.argument('parts', type=INPUT, required=True, nargs=-1, metavar='PART...')
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='TRAJ.h5', help='The trajectory to write.')
@keep_option
@json_option
def join_trajectory(parts: tuple[Path, ...], output: Path, keep_in: Path | None, json_path: Path | None):
    """Make one trajectory of the parts of a run, each begun with --from-checkpoint of the one before.

    No frame is copied where the file system has links: the rows stay in the files of the parts, which get second names
    in the folder TRAJ.h5.pieces. The content, and so its hash, is that of the same run in one go.
    """
    check_outputs(output, json_path)
    chain(parts, output)
    found = describe(output)
    results = {**log_statistics(output, found['n_atoms']), 'versions': versions()}
    if keep_in is not None:
        results['kept'] = keep(output, keep_in)
    click.echo(f'{output}: {found["n_frames"]} frames, {found["time_ps"]:g} ps, of {len(parts)} parts')
    report(results, json_path)
