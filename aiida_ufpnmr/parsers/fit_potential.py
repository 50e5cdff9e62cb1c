"""Parser of ``ufpnmr fit-potential``."""

from __future__ import annotations

from pathlib import Path

from aiida_ufpnmr.calculations.fit_potential import FitPotentialCalculation
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class FitPotentialParser(UfpnmrParser):
    """Attaches the potential."""

    def nodes(self, folder: Path) -> dict[str, PotentialData]:
        return {'potential': PotentialData(existing(folder / FitPotentialCalculation.OUTPUT_FILE))}
