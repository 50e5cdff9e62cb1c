"""The command ``ufpnmr``: one sub-command a calculation, files in, files out."""

from __future__ import annotations

import importlib

import click

from aiida_ufpnmr import __version__
from aiida_ufpnmr.engine.commands.shared import run

#: Where each sub-command lives; a module is imported only when its command runs, so that ``--help`` is quick.
COMMANDS = {
    'fit-potential': ('potential', 'Fit an ultra-fast potential to DFT energies, forces and stresses.'),
    'evaluate-potential': ('potential', 'Errors of a potential on labelled structures.'),
    'convert-potential': ('potential', 'Convert a potential between .h5, .uf3 (LAMMPS) and .json (UF3).'),
    'md': ('md', 'Molecular dynamics with an ultra-fast potential.'),
    'fit-efg': ('efg', 'Fit a symmetry-adapted model of the electric field gradient.'),
    'evaluate-efg': ('efg', 'Errors of an EFG model on labelled structures.'),
    'predict-efg': ('efg', 'Predict EFG tensors for structures or along a trajectory.'),
    'acf': ('nmr', 'Correlation functions of the quadrupolar frequency, and their decay time.'),
    'analyse': ('transport', 'Transport along a trajectory: msd, hops.'),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports them when needed."""

    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f'aiida_ufpnmr.engine.commands.{COMMANDS[name][0]}')
        return getattr(module, name.replace('-', '_'))

    def format_commands(self, context, formatter):
        with formatter.section('Commands'):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={'help_option_names': ['-h', '--help']},
    epilog='Each command has a --help of its own, with an example.',
)
@click.version_option(__version__, prog_name='ufpnmr')
def ufpnmr():
    """How fast do the ions hop, as NMR would see it?

    From labelled structures to a potential and an EFG model, from those to a trajectory, from that to a decay time.
    """


def main() -> None:
    """Entry point of the console script."""
    run(ufpnmr, 'ufpnmr')


if __name__ == '__main__':
    main()
