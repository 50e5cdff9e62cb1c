"""Repetitions of a cell that leave no side too short."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from ase.geometry.minkowski_reduction import minkowski_reduce
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


def number_of_shapes(number: int) -> int:
    """How many supercells of so many cells there are that differ in shape: sublattices of that index."""
    divisors = [a for a in range(1, number + 1) if number % a == 0]
    return sum(a * a * b for a in divisors for b in divisors if number % (a * b) == 0)


def compact_supercell(cell: ArrayLike, number: int) -> tuple[tuple[int, int, int], np.ndarray]:
    """Of all supercells of so many cells, whatever their shape, one whose least height is the greatest.

    Every sublattice has one basis of the lower triangular Hermite normal form (Hart & Forcade, Phys. Rev. B 77, 224115
    (2008)).

    Args:
        cell: (3, 3) cell vectors in Å, as rows.
        number: of cells in it.

    Returns:
        times: repetitions along the cell vectors that hold each site of the supercell once, in another shape.
        cell: (3, 3) its vectors in Å, Minkowski-reduced.
    """
    found = [
        ((a, b, c), minkowski_reduce(np.array([[a, 0, 0], [d, b, 0], [e, f, c]]) @ np.asarray(cell, float))[0])
        for a, b, c in product(range(1, number + 1), repeat=3)
        if a * b * c == number
        for d, e, f in product(range(a), range(a), range(b))
    ]
    least = [min(heights(reduced)) for _, reduced in found]
    return found[int(np.argmax(np.array(least) > max(least) - 1e-6))]  # the first of those that are equal
