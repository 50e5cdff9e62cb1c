"""The moving parts: the arrays of a simulation, which compiled steps change in place.

Velocities are in Å/fs, masses in amu, energies in eV.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import units

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.simd import MATH

#: Acceleration in Å/fs² of one amu under one eV/Å; its inverse turns amu Å²/fs² into eV.
ACCELERATION = units.fs**2


class System(NamedTuple):
    """Atoms, sorted by species, and what goes on from step to step beside them."""

    positions: np.ndarray  # (n, 3) Å, never wrapped
    velocities: np.ndarray  # (n, 3) Å/fs
    forces: np.ndarray  # (n, 3) eV/Å
    energies: np.ndarray  # (n,) eV
    virial: np.ndarray  # (3, 3) derivative of the energy by strain, eV
    cell: np.ndarray  # (3, 3) Å
    reference: np.ndarray  # (n, 3) positions at which the interaction lists were made
    reference_cell: np.ndarray  # (3, 3) the cell then
    chain: np.ndarray  # (3,) velocities of a Nosé–Hoover chain, 1/fs
    heat: np.ndarray  # (1,) eV that thermostat and barostat have taken out
    masses: np.ndarray  # (n,) amu
    types: np.ndarray  # (n,) species numbers
    pbc: np.ndarray  # (3,) booleans


#: Arrays that the future of a run depends on; the others never change.
STATE_ARRAYS = System._fields[:-3]


@njit(forceinline=True)  # in strict order: what a compiler makes of the code around must not change a run
def kinetic_energy(velocities, masses):
    """Kinetic energy in eV."""
    total = 0.0
    for i in range(len(masses)):
        total += masses[i] * (velocities[i, 0] ** 2 + velocities[i, 1] ** 2 + velocities[i, 2] ** 2)
    return 0.5 * total / ACCELERATION


@njit(fastmath=MATH, forceinline=True)
def kinetic_tensor(velocities, masses):
    """Σ m v⊗v in eV, (3, 3); half its trace is the kinetic energy."""
    total = np.zeros((3, 3))
    for i in range(len(masses)):
        for a in range(3):
            for b in range(3):
                total[a, b] += masses[i] * velocities[i, a] * velocities[i, b]
    return total / ACCELERATION


@njit(forceinline=True)  # in strict order, too
def remove_drift(velocities, masses):
    """Take away the velocity of the centre of mass.

    Forces keep it at zero but for rounding, and what rounding leaves a thermostat multiplies: after billions of steps
    all kinetic energy could be in it (Harvey, Tan & Cheatham, J. Comput. Chem. 19, 726 (1998)).
    """
    total = px = py = pz = 0.0
    for i in range(len(masses)):
        total += masses[i]
        px += masses[i] * velocities[i, 0]
        py += masses[i] * velocities[i, 1]
        pz += masses[i] * velocities[i, 2]
    for i in range(len(masses)):
        velocities[i, 0] -= px / total
        velocities[i, 1] -= py / total
        velocities[i, 2] -= pz / total
