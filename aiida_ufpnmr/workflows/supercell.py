"""How often to repeat a cell so that no side is too short."""

from __future__ import annotations

import math

import numpy as np


def repetitions(cell: np.ndarray, min_height: float) -> list[int]:
    """Repetitions along each cell vector that make every height of the cell at least ``min_height``.

    Args:
        cell: (3, 3) cell vectors in Å, as rows.
        min_height: Å, between opposite faces.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return [max(1, math.ceil(min_height / height - 1e-9)) for height in heights]
