"""Grids on which the density of plane waves has no aliases."""

from __future__ import annotations

import math

import numpy as np
from ase.units import Bohr, Hartree


def exact_grid(cell: np.ndarray, cutoff_ev: float) -> tuple[int, int, int]:
    """The smallest even grid, quick for Fourier transforms, that holds all components of the density.

    The density of waves up to the wave number g has components up to 2g; a grid of n points along a vector of length a
    tells apart those up to π n / a.

    Args:
        cell: cell vectors, (3, 3) in Å.
        cutoff_ev: kinetic energy of the highest plane wave, eV.
    """
    highest = 2 * math.sqrt(2 * cutoff_ev / Hartree)
    a, b, c = (_quick(highest * float(np.linalg.norm(vector)) / Bohr / math.pi + 1) for vector in cell)
    return a, b, c


def _quick(least: float) -> int:
    """The smallest even number not below ``least`` without prime factors above 7."""
    n = 2 * math.ceil(least / 2)
    while True:
        rest = n
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 2
