"""Grids of k-points that follow the cell."""

from __future__ import annotations

import math

import numpy as np

#: Lengths (relative) and angles (degrees) that differ by less count as equal.
EQUAL_LENGTHS, EQUAL_ANGLES = 0.01, 1.0


def kpoint_grid(cell: np.ndarray, spacing_per_angstrom: float) -> tuple[int, int, int]:
    """The smallest grid whose points are nowhere further apart than the spacing.

    Args:
        cell: cell vectors, (3, 3) in Å.
        spacing_per_angstrom: largest distance of neighbouring points along a reciprocal lattice vector, 1/Å, 2π
            included.
    """
    lengths = 2 * np.pi * np.linalg.norm(np.linalg.inv(cell), axis=0)
    # a cell that is what the spacing asks for but for its last digit must not jump to the next grid
    a, b, c = (max(1, math.ceil(length / spacing_per_angstrom - 1e-6)) for length in lengths)
    return a, b, c


def needs_gamma(cell: np.ndarray) -> bool:
    """Test for a lattice whose symmetry a shifted grid would break: two equal vectors at 60° or 120°.

    So in hexagonal cells and in primitive cells of face-centred and rhombohedral lattices (Γ-centred grids keep the
    symmetry there).
    """
    lengths = np.linalg.norm(cell, axis=1)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        product = lengths[first] * lengths[second]
        angle = math.degrees(math.acos(np.clip(cell[first] @ cell[second] / product, -1.0, 1.0)))
        alike = abs(lengths[first] - lengths[second]) < EQUAL_LENGTHS * lengths[first]
        if alike and min(abs(angle - 60), abs(angle - 120)) < EQUAL_ANGLES:
            return True
    return False
