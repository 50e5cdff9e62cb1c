"""``ufpnmr analyse`` and ``ufpnmr acf``: one command for each analysis, made of what the analysis declares."""

from __future__ import annotations

import time
from typing import Any

import click

from aiida_ufpnmr.engine.analyses import ANALYSES, get_analysis
from aiida_ufpnmr.engine.analyses.base import Analysis
from aiida_ufpnmr.engine.commands.convert_trajectory import reading_options
from aiida_ufpnmr.engine.commands.options import SettingsCommand, options_of, settings_from_options
from aiida_ufpnmr.engine.commands.shared import INPUT, OUTPUT, check_outputs, json_option, plot_option, show_result
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings


def command_of(analysis: Analysis) -> click.Command:
    """The sub-command of an analysis."""
    many = analysis.many_files
    files = click.argument(
        'trajectory', type=INPUT, required=True, nargs=-1 if many else 1, metavar='TRAJ...' if many else 'TRAJ'
    )
    decorators: list[Any] = [
        files,
        click.option('-o', '--output', type=OUTPUT, metavar='OUT.h5', help='Write the result as HDF5.'),
        *options_of(analysis.Settings),
        reading_options,
        plot_option('Draw the result.'),
        json_option,
    ]

    def run(trajectory, output, plot, json_path, settings, **options):
        check_outputs(output, plot, json_path)
        started = time.perf_counter()
        reading = settings_from_options(ReadingSettings, options)
        with own_files(trajectory if many else [trajectory], reading) as (own, lines):
            for line in lines:
                click.echo(line, err=True)
            found = analysis.run(own, settings)
        timing = {'wall_s': time.perf_counter() - started}
        show_result(found, output, plot, json_path, timing=timing)

    function: Any = run
    for decorate in reversed(decorators):
        function = decorate(function)
    command = click.command(analysis.name, cls=SettingsCommand, example=analysis.example, help=analysis.__doc__)(
        function
    )
    command.settings = analysis.Settings
    return command


class AnalysisGroup(click.Group):
    """The analyses by name, imported when they are asked for, so that ``--help`` is quick."""

    def list_commands(self, context):
        """Names in the order of the list."""
        return [name for name in ANALYSES if name != 'acf']

    def get_command(self, context, name):
        """The command of an analysis."""
        return command_of(get_analysis(name)) if name in self.list_commands(context) else None

    def format_commands(self, context, formatter):
        """One line about each."""
        with formatter.section('Commands'):
            formatter.write_dl([(name, ANALYSES[name]) for name in self.list_commands(context)])


@click.group('analyse', cls=AnalysisGroup)
def analyse():
    """How ions move along a trajectory, and what NMR sees of it."""


def __getattr__(name: str) -> click.Command:
    if name == 'acf':
        return command_of(get_analysis('acf'))
    raise AttributeError(name)
