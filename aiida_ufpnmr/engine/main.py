"""The command ``ufpnmr``: one sub-command a calculation, files in, files out."""

from __future__ import annotations

import sys

try:
    import click

    from aiida_ufpnmr.engine.commands.shared import LazyGroup, run
    from aiida_ufpnmr.version import __version__
except KeyboardInterrupt:  # while the program loads, when there is nothing yet to end cleanly
    sys.exit('ufpnmr: error: interrupted')

#: Where each sub-command lives, and what it does.
COMMANDS = {
    'compile': ('compilation', 'Compile the kernels ahead of the first run.'),
    'build': ('build', 'Make cells: order crystals with partial occupancies, repeat, strain, draw, pack glasses.'),
    'label': ('label', 'Label structures with DFT: energy, forces, stress, EFG tensors.'),
    'fit-potential': ('potential', 'Fit an ultra-fast potential to DFT energies, forces and stresses.'),
    'evaluate-potential': ('potential', 'Errors of a potential on labelled structures.'),
    'convert-potential': ('potential', 'Convert a potential between .h5, .uf3 (LAMMPS) and .json (UF3).'),
    'md': ('md', 'Molecular dynamics with an ultra-fast potential.'),
    'batch': ('batch', 'Run several of these commands, each in a folder of its own.'),
    'convert-trajectory': (
        'convert_trajectory',
        'Convert a trajectory of another program (LAMMPS, VASP, GROMACS, ...).',
    ),
    'describe-trajectory': ('trajectories', 'What a trajectory holds, and the hash of its content.'),
    'join-trajectory': ('trajectories', 'Make one trajectory of the parts of a run.'),
    'select': ('select', 'The structures of trajectories whose labels would tell most.'),
    'melt-quench': ('melt_quench', 'Make a glass from a composition and a density.'),
    'fit-efg': ('efg', 'Fit a symmetry-adapted model of the electric field gradient.'),
    'evaluate-efg': ('efg', 'Errors of an EFG model on labelled structures.'),
    'predict-efg': ('predict_efg', 'Predict EFG tensors for structures or along a trajectory.'),
    'sample-models': ('sample_models', 'Draw models from what the labels leave open, for what it does to a rate.'),
    'fit-softness': ('softness', 'Fit what tells mobile from immobile ions by their surroundings.'),
    'acf': ('analyse', 'Correlation functions of the quadrupolar frequency, and their decay time.'),
    'analyse': ('analyse', 'Analyses of a trajectory: motion, sites, orientations, grains, relaxation, spectra.'),
    'barriers': ('barriers', 'Barriers of single hops along a trajectory, by nudged elastic bands.'),
    'view': ('view', 'A structure in three dimensions, or a slice of it, coloured by numbers.'),
    'arrhenius': ('arrhenius', 'Activation energy from results at several temperatures.'),
    'softness-correlations': ('softness', 'Softness against anions nearby, room, coordination and energy.'),
    'softness-onset': ('softness', 'Barriers by softness and onset temperature, from several temperatures.'),
}


@click.group(
    cls=LazyGroup,
    package='aiida_ufpnmr.engine.commands',
    commands=COMMANDS,
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
