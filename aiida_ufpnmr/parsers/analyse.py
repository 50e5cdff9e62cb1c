"""Parser of ``ufpnmr analyse``."""

from __future__ import annotations

from pathlib import Path

from aiida.orm import SinglefileData

from aiida_ufpnmr.calculations.analyse import AnalyseCalculation
from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class AnalyseParser(UfpnmrParser):
    """Attaches what was computed along time."""

    def nodes(self, folder: Path) -> dict[str, SinglefileData]:
        path = existing(folder / AnalyseCalculation.OUTPUT_FILE)
        open_hdf5(path).close()
        return {'functions': SinglefileData(path)}
