"""Interaction lists that stay good for a while: they reach a skin beyond the cut-offs, which motion may use up.

A pair that is missing from the lists was at least cut-off + skin apart when they were made. Since then the cell
strained space by F, and atoms moved by at most u beyond that, so the pair is at least σ (cut-off + skin) − 2 u apart,
where σ is the smallest singular value of F. Lists are good as long as that is no less than the cut-off.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.md.system import System
from aiida_ufpnmr.engine.simd import MATH
from aiida_ufpnmr.engine.ufp.lists import InteractionLists, interaction_lists, move_images
from aiida_ufpnmr.engine.ufp.tables import Tables


class Allowance(NamedTuple):
    """How far atoms may move before new lists are needed."""

    strain: np.ndarray  # (3, 3) F, with cell = reference cell · F
    distance: float  # Å, beyond the strain; negative where that alone is too much


@njit()
def make_lists(system, tables, skin):
    """New lists at the present positions, which become the reference."""
    for i in range(len(system.positions)):
        for a in range(3):
            system.reference[i, a] = system.positions[i, a]
    for a in range(3):
        for b in range(3):
            system.reference_cell[a, b] = system.cell[a, b]
    return interaction_lists(system.positions, system.types, system.cell, system.pbc, tables, skin)


@njit(fastmath=MATH, forceinline=True)
def used_up(system, allowance):
    """Has an atom moved further than allowed? Yes if a position is NaN."""
    if allowance.distance < 0.0:
        return True
    strain, limit = allowance.strain, allowance.distance * allowance.distance
    for i in range(len(system.positions)):
        square = 0.0
        for a in range(3):
            d = system.positions[i, a] - (
                system.reference[i, 0] * strain[0, a]
                + system.reference[i, 1] * strain[1, a]
                + system.reference[i, 2] * strain[2, a]
            )
            square += d * d
        if not square < limit:
            return True
    return False


def allowance(system: System, cutoff: float, skin: float) -> Allowance:
    """Part of the skin that the cell has left (Å)."""
    if (system.cell == system.reference_cell).all():
        return Allowance(np.eye(3), 0.5 * skin)
    strain = np.linalg.solve(system.reference_cell, system.cell)
    shrunk = min(1.0, np.linalg.svd(strain, compute_uv=False)[2])
    return Allowance(strain, float(0.5 * (shrunk * (cutoff + skin) - cutoff)))


def follow_cell(system: System, lists: InteractionLists, tables: Tables, skin: float) -> InteractionLists:
    """Lists that fit the present cell: the same ones with their images moved, or new ones if the skin is used up."""
    if used_up(system, allowance(system, tables.cutoff, skin)):
        return make_lists(system, tables, skin)
    move_images(lists, system.cell)
    return lists
