"""Repetitions of a cell that leave no side too short."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def heights(cell: ArrayLike) -> np.ndarray:
    """Heights (3,) of a cell (3, 3) between opposite faces, in its unit."""
    return 1 / np.linalg.norm(np.linalg.inv(np.asarray(cell, float)), axis=0)


def repetitions(cell: ArrayLike, min_height: float) -> list[int]:
    """Repetitions along each cell vector that make every height of the cell at least ``min_height``.

    Args:
        cell: (3, 3) cell vectors in Å, as rows.
        min_height: Å, between opposite faces.
    """
    return [max(1, math.ceil(min_height / height - 1e-9)) for height in heights(cell)]
