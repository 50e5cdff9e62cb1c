"""Parser of ``ufpnmr analyse`` and ``ufpnmr acf``."""

from __future__ import annotations

from pathlib import Path

from aiida.orm import SinglefileData

from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class AnalyseParser(UfpnmrParser):
    """Attaches the arrays of an analysis."""

    def nodes(self, folder: Path) -> dict[str, SinglefileData]:
        path = existing(folder / self.node.process_class.OUTPUT_FILE)
        open_hdf5(path).close()
        return {'functions': SinglefileData(path)}
