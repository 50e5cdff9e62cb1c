"""Fit a model of EFG tensors."""

from __future__ import annotations

from aiida.engine import CalcJobProcessSpec

from aiida_ufpnmr.calculations.fit import FitCalculation
from aiida_ufpnmr.data.efg_model import EfgModelData


class FitEfgCalculation(FitCalculation):
    """Fits a symmetry-adapted model of the EFG of one species (`ufpnmr fit-efg`)."""

    ENTRY_POINT = 'ufpnmr.fit_efg'
    COMMAND = 'fit-efg'
    PARAMETERS_REQUIRED = True
    SETTINGS = 'aiida_ufpnmr.engine.efg:EfgSettings'
    OUTPUT_FILE = 'efg-model.h5'

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.output('efg_model', valid_type=EfgModelData, required=False, help='The EFG model.')
