"""Repetitions of a cell that leave no side too short."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from aiida_ufpnmr.engine.building.supercells import repetitions
from aiida_ufpnmr.workflows.protocols import merged


def with_supercell(inputs: dict[str, Any], cell: ArrayLike) -> dict[str, Any]:
    """Inputs whose entry ``min_cell_height_angstrom`` has become the supercell of ``md``, if they do not name one."""
    height = inputs.pop('min_cell_height_angstrom')
    return merged({'md': {'parameters': {'supercell': repetitions(cell, height)}}}, inputs)
