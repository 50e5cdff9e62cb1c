"""A grid of k-points that follows the cell."""

from __future__ import annotations

import numpy as np
from aiida.engine import calcfunction
from aiida.orm import Float, KpointsData, StructureData

from aiida_ufpnmr.engine.dft.kpoints import kpoint_grid, needs_gamma


@calcfunction
def castep_kpoints(structure: StructureData, distance: Float) -> KpointsData:
    """The smallest grid whose points lie nowhere farther apart than ``distance`` (1/Å, with the factor 2π).

    A Monkhorst–Pack grid as CASTEP makes it, which leaves Γ out where a number is even; moved onto Γ where a shifted
    grid would break the symmetry of the lattice.
    """
    grid, offset = castep_grid(np.array(structure.cell), distance.value)
    kpoints = KpointsData()
    kpoints.set_kpoints_mesh(grid, offset=offset)
    return kpoints


def castep_grid(cell: np.ndarray, distance: float) -> list[list]:
    """Numbers of points and offset of the grid of :func:`castep_kpoints`, for a (3, 3) cell in Å."""
    grid = kpoint_grid(cell, distance)
    onto_gamma = needs_gamma(cell)
    return [list(grid), [0.5 / n if onto_gamma and n % 2 == 0 else 0.0 for n in grid]]
