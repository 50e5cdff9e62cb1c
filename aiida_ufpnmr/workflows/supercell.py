"""Repetitions of a cell that leave no side too short."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from aiida_ufpnmr.workflows.protocols import merged


def repetitions(cell: np.ndarray, min_height: float) -> list[int]:
    """Repetitions along each cell vector that make every height of the cell at least ``min_height``.

    Args:
        cell: (3, 3) cell vectors in Å, as rows.
        min_height: Å, between opposite faces.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return [max(1, math.ceil(min_height / height - 1e-9)) for height in heights]


def with_supercell(inputs: dict[str, Any], cell: np.ndarray) -> dict[str, Any]:
    """Inputs whose entry ``min_cell_height_angstrom`` has become the supercell of ``md``, if they do not name one."""
    height = inputs.pop('min_cell_height_angstrom')
    return merged({'md': {'parameters': {'supercell': repetitions(cell, height)}}}, inputs)
