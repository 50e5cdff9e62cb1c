"""``ufpnmr barriers``."""

from __future__ import annotations

import dataclasses
import time

import click
import numpy as np
from ase.io import write

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.barriers.barrier import FAILED
from aiida_ufpnmr.engine.barriers.pieces import Pieces
from aiida_ufpnmr.engine.barriers.run import BarrierSearch
from aiida_ufpnmr.engine.barriers.settings import BarrierSettings
from aiida_ufpnmr.engine.barriers.softness import Softness, by_softness
from aiida_ufpnmr.engine.commands.options import SettingsCommand, options_of, with_options
from aiida_ufpnmr.engine.commands.shared import (
    COUNT,
    INPUT,
    OUTPUT,
    check_outputs,
    plot_option,
    print_result,
    report,
    warn,
)
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.hdf5 import versions


@click.command(
    'barriers',
    cls=SettingsCommand,
    example='ufpnmr barriers run.h5 potential.h5 -o barriers.json --max-hops 200 --jobs 2 --plot barriers.png\n'
    'ufpnmr barriers run.h5 potential.h5 -o long.json --min-length 5 --max-length 10 --softness softness.npz',
)
@click.argument('trajectory', type=INPUT, metavar='RUN.h5')
@click.argument('potential', type=INPUT, metavar='POT')
@click.option(
    '-o',
    '--output',
    type=OUTPUT,
    required=True,
    metavar='BARRIERS.json',
    help='Where to write the barriers; the paths go beside it, to BARRIERS.extxyz.',
)
@with_options(*options_of(BarrierSettings))
@click.option(
    '--softness',
    'softness_path',
    type=INPUT,
    metavar='SOFTNESS',
    help='Compare soft ions with hard ones: a .npz or .h5 with softness (frames, ions), ions and frames.',
)
@click.option('--jobs', '--workers', 'jobs', type=COUNT, default=1, show_default=True, help='Hops at a time.')
@plot_option('Draw the histogram of the barriers, and the paths.')
def barriers(trajectory, potential, output, softness_path, jobs, plot, settings):
    """Barriers of single hops along a trajectory, by nudged elastic bands.

    Hops are cut out, both ends quenched in the cell as it is, and a band of images is relaxed between them, of which
    the highest climbs to the saddle. A hop without a barrier says why, and stops no other. What is finished is kept:
    the same command goes on where an earlier one was cut off.
    """
    if output.suffix != '.json':
        raise InputError(f'{output}: barriers are written as JSON; choose a name that ends in .json')
    paths = output.with_suffix('.extxyz')
    check_outputs(output, paths, plot)
    softness = None if softness_path is None else Softness.read(softness_path)
    compiled.aloud = True
    begin = time.perf_counter()
    search = BarrierSearch(trajectory, potential, settings)
    with Pieces(output) as pieces:
        found, cpu_s = search.run(pieces, jobs)
        if all(hop.status.startswith(FAILED) for hop in found.hops):
            raise click.ClickException(f'{trajectory}: no hop could be worked on: {found.hops[0]}')
        with whole_file(paths) as partial:
            write(partial, list(search.images(pieces)), format='extxyz')
        if softness is not None:
            found = dataclasses.replace(found, by_softness=by_softness(found.hops, softness, seed=settings.seed))
        if plot is not None:
            with whole_file(plot) as partial:
                found.plot().savefig(partial, dpi=150)
        timing = {'wall_s': time.perf_counter() - begin, 'cpu_s_per_hop': np.mean(cpu_s) if cpu_s else None}
        report({**found.to_dict(), 'versions': versions(), 'timing': timing}, output)
        pieces.forget()
    for line in found.failures:
        click.echo(line)
    print_result(found)
    if softness is not None and found.by_softness is None:
        warn([f'{softness_path}: knows the softness of too few hops whose barriers count'])


barriers.settings = BarrierSettings
