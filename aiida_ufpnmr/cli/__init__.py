"""The command ``aiida-ufpnmr``: set up, launch, look back, report, archive."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from aiida_ufpnmr.engine.commands.shared import LazyGroup, run
from aiida_ufpnmr.version import __version__

#: The module of each sub-command, and its help.
COMMANDS = {
    'setup': ('setup', 'Make a profile, this computer and the code ready; does nothing where they are.'),
    'import': ('files', 'Store files as nodes, each content once.'),
    'launch': ('launch', 'Run or submit a workflow.'),
    'status': ('status', 'Say how far a batch of runs is.'),
    'query': ('query', 'Ask for the origin of a result, or for what rests on a label.'),
    'report': ('report', 'Write a result as one HTML page.'),
    'trajectory': ('trajectory', 'Fetch and check trajectories that stay on the computer where they were made.'),
    'doctor': ('doctor', 'Find what failures left behind, with the remedy, or repair it.'),
    'relaunch': ('doctor', 'Launch runs again that broke off; what is whole is taken over.'),
    'pause': ('services', 'Stop the daemon so that services can be restarted.'),
    'resume': ('services', 'Go on after services were restarted.'),
    'archive': ('archive', 'Put a result with all that it rests on into one file.'),
}


@click.group(
    cls=LazyGroup,
    package='aiida_ufpnmr.cli',
    commands=COMMANDS,
    context_settings={'help_option_names': ['-h', '--help']},
)
@click.version_option(__version__, prog_name='aiida-ufpnmr')
def aiida_ufpnmr():
    """From labelled structures to an NMR decay time, with every step on record."""


def main() -> None:
    """Entry point of the console script."""
    # AiiDA finds "verdi" by PATH when it is imported, and it is not there if this command was called by its full name.
    os.environ['PATH'] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get('PATH', '')))
    run(aiida_ufpnmr, 'aiida-ufpnmr')
