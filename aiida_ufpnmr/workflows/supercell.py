"""Repetitions of a cell that leave no side too short."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_ufpnmr.engine.building.label_cells import repetitions
from aiida_ufpnmr.workflows.protocols import merged


def with_supercell(inputs: dict[str, Any], cell: np.ndarray) -> dict[str, Any]:
    """Inputs whose entry ``min_cell_height_angstrom`` has become the supercell of ``md``, if they do not name one."""
    height = inputs.pop('min_cell_height_angstrom')
    return merged({'md': {'parameters': {'supercell': repetitions(cell, height)}}}, inputs)
