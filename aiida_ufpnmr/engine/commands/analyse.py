"""``ufpnmr analyse``."""

from __future__ import annotations

import click

from aiida_ufpnmr.engine.commands.shared import LazyGroup

#: Where each analysis lives, and what it does.
ANALYSES = {
    'msd': ('transport', 'Mean square displacement and diffusion coefficient.'),
    'hops': ('transport', 'Hops of single ions and the hop rate per ion.'),
    'sites': ('transport', 'Fourfold and sixfold sites, and the EFG at each.'),
    'orientations': ('nmr_analyses', 'Maps of the orientations of EFG tensors on the sphere.'),
    'microstructure': ('microstructure', 'What grains and their boundaries make of a decay.'),
    'relaxation': ('nmr_analyses', 'Distribution of relaxation times, and T1.'),
    'spectrum': ('nmr_analyses', 'Static and MAS line shapes of partially averaged tensors.'),
}


@click.group('analyse', cls=LazyGroup, package='aiida_ufpnmr.engine.commands', commands=ANALYSES)
def analyse():
    """How ions move along a trajectory, and what NMR sees of it."""
