"""``ufpnmr convert-trajectory``: trajectories of other programs as those of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from aiida_ufpnmr.engine.commands.options import options_of, settings_from_options
from aiida_ufpnmr.engine.commands.shared import INPUT, OUTPUT, Command, check_outputs
from aiida_ufpnmr.engine.settings import declarations
from aiida_ufpnmr.engine.trajectories.convert import convert_trajectory as convert
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.trajectories.h5md import Storage


def reading_of(options: dict[str, Any]) -> ReadingSettings:
    """The settings of reading among options, which are taken out of them."""
    values = {name: options.pop(name) for name, _, _ in declarations(ReadingSettings)}
    return cast(ReadingSettings, settings_from_options(ReadingSettings, values))


def reading_options(function: Any) -> Any:
    """Options about files of other programs."""
    for decorate in reversed(options_of(ReadingSettings)):
        function = decorate(function)
    return function


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
    converted = convert(inputs, output, reading_of(options), Storage(double=stored_precision == 'double'))
    click.echo(f'{output}: {converted}')
