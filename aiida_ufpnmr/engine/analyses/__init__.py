"""Analyses of trajectories: one file each, listed here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiida_ufpnmr.engine.analyses.base import Analysis

#: All analyses: module of this package and sub-command, with one line about each.
ANALYSES = {
    'acf': 'Correlation functions of ω_Q and C_Q, and their decay times.',
    'msd': 'Mean square displacement and diffusion coefficient.',
    'conductivity': 'Ionic conductivity of the collective charge displacement, and Haven ratio.',
    'hops': 'Hops of single ions and the hop rate per ion.',
    'jumps': 'Jumps between the sites of a lattice, their rates and residence times.',
    'van-hove': 'Self and distinct parts of the function of van Hove.',
    'vdos': 'Vibrational density of states by element, and its bands.',
    'sites': 'Fourfold and sixfold sites, and the EFG at each.',
    'orientations': 'Maps of the orientations of EFG tensors on the sphere.',
    'microstructure': 'Decay of the correlation by grains and their boundaries.',
    'relaxation': 'Distribution of relaxation times, and T1.',
    'rdf': 'Radial distribution functions and coordination numbers.',
    'structure-factor': 'Structure factors for neutrons and X-rays.',
    'anions': 'Polyanions by their bonds: shares, lifetimes, bridging ligands.',
    'angles': 'Angles within tetrahedra, their velocities and spectrum.',
    'distance-angle': 'Ions by distance from a ligand and angle to its centre.',
    'rotations': 'Rotations of tetrahedral anions, and hops of ions with them.',
    'voronoi': 'Voronoi volumes and neighbours of ions.',
    'rings': 'Rings and cavities by persistent homology, and their part in the first sharp peak.',
    'rearrangements': 'Non-affine displacement of ions, hop indicator, mobile and immobile ions.',
    'softness': 'Softness of ions in each frame, and the probability to rearrange by softness.',
    'environments': 'Decay time, |C_Q| and η by anion cluster, coordination and mobility.',
    'silent-hops': 'Hops that change the quadrupolar frequency, and hops that do not.',
    'rates': 'Hop rate, diffusion and decay side by side, with the factors between them.',
    'frequency': 'ω_Q of single ions against time, with their hops.',
    'spectrum': 'Static and MAS line shapes of partially averaged tensors.',
}


def get_analysis(name: str) -> Analysis:
    """The analysis of this name, imported when it is asked for."""
    return getattr(importlib.import_module(f'{__name__}.{name.replace("-", "_")}'), name.replace('-', '_'))
