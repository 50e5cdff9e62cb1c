"""``ufpnmr view``: a structure of a trajectory in three dimensions, or a slice of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aiida_ufpnmr.engine.commands.convert_trajectory import reading_options
from aiida_ufpnmr.engine.commands.options import options_of, settings_from_options, with_options
from aiida_ufpnmr.engine.commands.shared import INPUT, OUTPUT, Command, check_outputs, plot_option
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.pictures import SliceSettings, plot_slice, read_atom_values, view_page
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory


@click.command(
    'view', cls=Command, example='ufpnmr view run.h5 -o view.html --colour-by rings.h5:large_rings_of_atom --plot s.png'
)
@click.argument('trajectory', type=INPUT, metavar='TRAJ')
@click.option('-o', '--output', type=OUTPUT, metavar='VIEW.html', help='Write the view as a page for a browser.')
@click.option('--frame', type=int, default=-1, show_default=True, help='Which frame; 0 is the first, -1 the last.')
@click.option(
    '--colour-by',
    metavar='FILE[:NAME]',
    help='Numbers by atom: .npy, text with a number a line or lines of an index and a number, or an array of a result '
    '(of rows by frame that of the frame shown).',
)
@with_options(*options_of(SliceSettings))
@reading_options
@plot_option('Draw a slice.')
def view(trajectory: Path, output: Path | None, frame: int, colour_by: str | None, plot: Path | None, **options: Any):
    """Show a structure in three dimensions, and a slice of it, by element or coloured by numbers.

    The page needs nothing but a browser: it holds the numbers and the program, and asks for nothing else.
    """
    if output is None and plot is None:
        raise InputError('nothing to write; give -o, --plot or both')
    check_outputs(output, plot)
    settings = settings_from_options(SliceSettings, options)
    with own_files([trajectory], settings_from_options(ReadingSettings, options)) as (own, lines):
        for line in lines:
            click.echo(line, err=True)
        with Trajectory(own[0]) as source:
            if not -source.n_frames <= frame < source.n_frames:
                raise InputError(f'{trajectory}: has no frame {frame}, only {source.n_frames}')
            frame %= source.n_frames
            atoms = source.atoms(frame)
        values = None if colour_by is None else read_atom_values(colour_by, len(atoms), frame, own[0])
    if plot is not None:
        with whole_file(plot) as partial:
            plot_slice(atoms, values, settings).savefig(partial, dpi=150)
    if output is not None:
        with whole_file(output) as partial:
            partial.write_text(view_page(atoms, values), encoding='utf-8')
