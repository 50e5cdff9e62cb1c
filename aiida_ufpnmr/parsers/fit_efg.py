"""Parser of ``ufpnmr fit-efg``."""

from __future__ import annotations

from pathlib import Path

from aiida_ufpnmr.calculations.fit_efg import FitEfgCalculation
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class FitEfgParser(UfpnmrParser):
    """Attaches the EFG model."""

    def nodes(self, folder: Path) -> dict[str, EfgModelData]:
        return {'efg_model': EfgModelData(existing(folder / FitEfgCalculation.OUTPUT_FILE))}
