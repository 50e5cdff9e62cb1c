"""Fit a model of EFG tensors."""

from __future__ import annotations

from aiida_ufpnmr.calculations.fit import FitCalculation
from aiida_ufpnmr.data.efg_model import EfgModelData


class FitEfgCalculation(FitCalculation):
    """Fits a symmetry-adapted model of the EFG of one species (`ufpnmr fit-efg`)."""

    ENTRY_POINT = 'ufpnmr.fit_efg'
    COMMAND = 'fit-efg'
    PARAMETERS_REQUIRED = True
    SETTINGS = 'aiida_ufpnmr.engine.efg:EfgSettings'
    OUTPUT_FILE = 'efg-model.h5'
    OUTPUT = ('efg_model', EfgModelData, 'The EFG model.')
