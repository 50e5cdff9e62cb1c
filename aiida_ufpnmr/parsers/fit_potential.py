"""Parser of ``ufpnmr fit-potential``."""

from __future__ import annotations

from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.parsers.base import UfpnmrParser


class FitPotentialParser(UfpnmrParser):
    """Attaches the potential."""

    OUTPUT = 'potential'
    KIND = PotentialData
