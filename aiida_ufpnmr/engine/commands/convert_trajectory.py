"""``ufpnmr convert-trajectory``: trajectories of other programs as those of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.engine.commands.options import options_of, settings_from_options, with_options
from aiida_ufpnmr.engine.commands.shared import INPUT, OUTPUT, Command, check_outputs
from aiida_ufpnmr.engine.trajectories.convert import convert_trajectory as convert
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.trajectories.storage import Storage

#: Options about files of other programs.
reading_options = with_options(*options_of(ReadingSettings))


@click.command(
    'convert-trajectory',
    cls=Command,
    example='ufpnmr convert-trajectory run.lammpstrj -o run.h5 --timestep 2 --elements Li,P,S',
)
@click.argument('inputs', type=INPUT, required=True, nargs=-1, metavar='TRAJECTORY...')
@click.option('-o', '--output', type=OUTPUT, required=True, metavar='OUT.h5', help='The trajectory to write.')
@reading_options
@click.option(
    '--stored-precision',
    type=click.Choice(['single', 'double']),
    default='single',
    show_default=True,
    help='Of the numbers in the trajectory.',
)
def convert_trajectory(inputs: tuple[Path, ...], output: Path, stored_precision: str, **options: Any):
    """Convert a trajectory of another program, in one file or in the parts of one run, to H5MD of this one.

    Read are text dumps of LAMMPS, DCD, XDATCAR, XYZ (extended or of CP2K), .traj of ASE, XTC and TRR of GROMACS, NetCDF
    of AMBER, NumPy arrays, and H5MD; texts also compressed. Frames are read one by one, unwrapped by nearest images
    where they are wrapped, and refused where these cannot tell.
    """
    check_outputs(output)
    converted = convert(
        inputs, output, settings_from_options(ReadingSettings, options), Storage(double=stored_precision == 'double')
    )
    click.echo(f'{output}: {converted}')
