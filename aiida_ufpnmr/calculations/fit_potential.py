"""Fit an ultra-fast potential."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec

from aiida_ufpnmr.calculations.fit import FitCalculation
from aiida_ufpnmr.data.potential import PotentialData


class FitPotentialCalculation(FitCalculation):
    """Fits an ultra-fast potential to DFT energies, forces and stresses (`ufpnmr fit-potential`)."""

    ENTRY_POINT = 'ufpnmr.fit_potential'
    COMMAND = 'fit-potential'
    SETTINGS = 'aiida_ufpnmr.engine.ufp:PotentialSettings'
    OUTPUT_FILE = 'potential.h5'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.output('potential', valid_type=PotentialData, required=False, help='The potential.')
