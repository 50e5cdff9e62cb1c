"""Parser of ``ufpnmr acf``."""

from __future__ import annotations

from pathlib import Path

from aiida.orm import SinglefileData

from aiida_ufpnmr.calculations.acf import AcfCalculation
from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class AcfParser(UfpnmrParser):
    """Attaches what was computed along time."""

    def nodes(self, folder: Path) -> dict[str, SinglefileData]:
        path = existing(folder / AcfCalculation.OUTPUT_FILE)
        open_hdf5(path).close()
        return {'functions': SinglefileData(path)}
