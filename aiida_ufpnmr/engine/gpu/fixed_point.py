"""Units of the integers in which positions, forces and sums are kept.

Sums of integers are the same in any order, so that a run has the same bits however its threads are scheduled.
"""

from __future__ import annotations

import numpy as np

#: Positions: 2⁻⁴⁴ of a cell vector, never wrapped, as 64 bits. Forces see the upper part, 2⁻²⁸ of a cell vector,
#: wrapped when the neighbour lists were made, as 32 bits: distances to other images of the cell fit in as well.
POSITION_BITS, PLACE_BITS = 44, 28
POSITION_UNIT, PLACE_UNIT = 2.0**-POSITION_BITS, 2.0**-PLACE_BITS
#: Forces: 2⁻²² eV/Å as 32 bits, up to 512 eV/Å.
FORCE_UNIT = 2.0**-22
#: Energies, virials and heat: 2⁻³² eV as 64 bits; momenta: 2⁻⁴⁰ amu Å/fs as 64 bits.
ENERGY_UNIT = 2.0**-32
MOMENTUM_UNIT = 2.0**-40


def to_positions(positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Positions (n, 3) in Å as integers."""
    return np.rint(np.linalg.solve(cell.T, positions.T).T / POSITION_UNIT).astype(np.int64)


def from_positions(fixed: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Integers (n, 3) as positions in Å."""
    return fixed * POSITION_UNIT @ cell
