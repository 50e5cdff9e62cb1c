"""The order of numbers in a design row: what one column of the linear problem adds to a structure."""

from __future__ import annotations

from aiida_ufpnmr.engine.compiled import njit

#: Rows before the forces: the energy, then the virial as xx, yy, zz, yz, xz, xy.
N_LEADING = 7


@njit(nogil=True, inline='always')
def add_gradient(row, atom, centre, vector, gx, gy, gz):
    """Enter the gradient by the vector from ``centre`` to ``atom`` into virial and forces of one column."""
    row[1] += vector[0] * gx
    row[2] += vector[1] * gy
    row[3] += vector[2] * gz
    row[4] += vector[1] * gz
    row[5] += vector[0] * gz
    row[6] += vector[0] * gy
    row[7 + 3 * atom] -= gx
    row[8 + 3 * atom] -= gy
    row[9 + 3 * atom] -= gz
    row[7 + 3 * centre] += gx
    row[8 + 3 * centre] += gy
    row[9 + 3 * centre] += gz
