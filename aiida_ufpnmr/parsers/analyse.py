"""Parser of ``ufpnmr analyse`` and ``ufpnmr acf``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiida.orm import Data

from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class AnalyseParser(UfpnmrParser):
    """Attaches the arrays of an analysis, if they can be read."""

    def nodes(self, folder: Path) -> Mapping[str, Data]:
        open_hdf5(existing(folder / self.calculation.OUTPUT_FILE)).close()
        return super().nodes(folder)
