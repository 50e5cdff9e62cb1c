"""``ufpnmr barriers``."""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path
from zipfile import is_zipfile

import click
import numpy as np
from ase.io import write

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.analyses.softness import SoftnessResult
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
from aiida_ufpnmr.engine.files import check_input, whole_file
from aiida_ufpnmr.engine.hdf5 import format_of, versions
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory


@click.command(
    'barriers',
    cls=SettingsCommand,
    example='ufpnmr barriers run.h5 potential.h5 -o barriers.json --max-hops 200 --jobs 2 --plot barriers.png\n'
    'ufpnmr barriers run.h5 potential.h5 -o long.json --min-length 5 --max-length 10 --softness softness.h5',
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
    metavar='SOFTNESS.h5',
    help='Compare soft ions with hard ones, by what "ufpnmr analyse softness RUN.h5 -o" wrote; or a .npz or .h5 with '
    'softness (frames, ions), ions and frames.',
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
    if softness_path is not None:
        check_input(softness_path, 'table of softness')
    compiled.aloud = True
    begin = time.perf_counter()
    search = BarrierSearch(trajectory, potential, settings)
    softness = None
    if softness_path is not None:
        softness = softness_along(softness_path, trajectory, str(search.source['trajectory_sha256']), settings.species)
    with Pieces(output) as pieces:
        found, cpu_s = search.run(pieces, jobs)
        if all(hop.status.startswith(FAILED) for hop in found.hops):
            raise click.ClickException(f'{trajectory}: no hop could be worked on: {found.hops[0]}')
        with whole_file(paths) as partial:
            write(partial, list(search.images(pieces)), format='extxyz')
        if softness is not None:
            hops = tuple(dataclasses.replace(hop, softness=softness.of(hop)) for hop in found.hops)
            split = functools.partial(by_softness, hops, softness, seed=settings.seed)
            found = dataclasses.replace(found, hops=hops, by_softness=split(), by_plane=split(split=0.0))
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


def softness_along(path: Path, trajectory: Path, trajectory_sha256: str, species: str) -> Softness:
    """The softness of the ions of a trajectory: the result of the analysis, or a table of one's own.

    Raises:
        InputError: neither, a result that does not say its frames, or softness of another trajectory or element.
    """
    if is_zipfile(path) or not format_of(path):
        table = Softness.read(path)
    else:
        found = SoftnessResult.load(path)
        if found.frame is None:
            raise InputError(f'{path}: does not say its frames yet; run "ufpnmr analyse softness {trajectory}" again')
        if found.trajectory_sha256 != trajectory_sha256:
            raise InputError(f'{path}: softness of another trajectory than {trajectory}; analyse that one')
        table = Softness(found.softness, found.atom, found.frame)
    with Trajectory(trajectory) as there:
        if not table.lies_within(there.n_frames, len(there.numbers)):
            raise InputError(f'{path}: has frames or ions that {trajectory} has not; give the softness of that run')
        if not (np.array(there.symbols)[table.ions] == species).any():
            raise InputError(f'{path}: knows the softness of no {species}; give that of the ions whose hops are wanted')
    return table


barriers.settings = BarrierSettings
