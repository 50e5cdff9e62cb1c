"""Parser of ``ufpnmr predict-efg``."""

from __future__ import annotations

from pathlib import Path

from aiida.orm import Data, SinglefileData

from aiida_ufpnmr.calculations.predict_efg import PredictEfgCalculation
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class PredictEfgParser(UfpnmrParser):
    """Attaches the predicted tensors."""

    def nodes(self, folder: Path) -> dict[str, Data]:
        if 'trajectory' in self.node.inputs:
            return {'trajectory': TrajectoryData(existing(folder / PredictEfgCalculation.TRAJECTORY_FILE))}
        path = existing(folder / PredictEfgCalculation.OUTPUT_FILE)
        read_dataset(path, require=('efg',))
        return {'predictions': SinglefileData(path)}
