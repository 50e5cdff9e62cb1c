"""Parser of ``ufpnmr select``."""

from __future__ import annotations

from pathlib import Path

from aiida_ufpnmr.calculations.select import SelectCalculation
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class SelectParser(UfpnmrParser):
    """Attaches what was chosen."""

    def nodes(self, folder: Path) -> dict[str, DatasetData]:
        return {'dataset': DatasetData(existing(folder / SelectCalculation.OUTPUT_FILE))}
