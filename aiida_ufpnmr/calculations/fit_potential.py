"""Fit an ultra-fast potential."""

from __future__ import annotations

from aiida_ufpnmr.calculations.fit import FitCalculation
from aiida_ufpnmr.data.potential import PotentialData


class FitPotentialCalculation(FitCalculation):
    """Fits an ultra-fast potential to DFT energies, forces and stresses (`ufpnmr fit-potential`)."""

    ENTRY_POINT = 'ufpnmr.fit_potential'
    COMMAND = 'fit-potential'
    SETTINGS = 'aiida_ufpnmr.engine.ufp:PotentialSettings'
    OUTPUT_FILE = 'potential.h5'
    OUTPUT = ('potential', PotentialData, 'The potential.')
