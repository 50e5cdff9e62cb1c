"""Parser of ``ufpnmr fit-efg``."""

from __future__ import annotations

from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.parsers.base import UfpnmrParser


class FitEfgParser(UfpnmrParser):
    """Attaches the EFG model."""

    OUTPUT = 'efg_model'
    KIND = EfgModelData
