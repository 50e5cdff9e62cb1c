"""Compiled time steps: velocity Verlet, and stochastic velocity rescaling for constant temperature.

Velocities are in Å/fs, masses in amu, energies in eV.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from ase import units

from aiida_ufpnmr.engine.ufp.kernels import MATH, compute
from aiida_ufpnmr.engine.ufp.lists import interaction_lists

#: Acceleration in Å/fs² of one amu under one eV/Å; its inverse turns amu Å²/fs² into eV.
ACCELERATION = units.fs**2

FINISHED, TOO_CLOSE, TOO_HOT = 0, 1, 2


@nb.njit(cache=True, fastmath=MATH)
def kinetic_energy(velocities, masses):
    """Kinetic energy in eV."""
    total = 0.0
    for i in range(len(masses)):
        total += masses[i] * (velocities[i, 0] ** 2 + velocities[i, 1] ** 2 + velocities[i, 2] ** 2)
    return 0.5 * total / ACCELERATION


@nb.njit(cache=True)
def rescaling_factor(kinetic, target, degrees, memory, rng):
    """Factor of the velocities in a step of stochastic velocity rescaling.

    Bussi, Donadio & Parrinello, J. Chem. Phys. 126, 014101 (2007), eqn (A7). It samples the canonical ensemble exactly,
    keeps the total momentum, and disturbs single-particle dynamics least of all thermostats.

    Args:
        kinetic: kinetic energy, eV.
        target: its canonical mean, eV.
        degrees: degrees of freedom.
        memory: exp(−timestep / relaxation time).
        rng: source of random numbers.
    """
    first = rng.standard_normal()
    others = 2.0 * rng.standard_gamma(0.5 * (degrees - 1))
    ratio = target / (degrees * kinetic)
    square = (
        memory
        + (1.0 - memory) * ratio * (first * first + others)
        + 2.0 * first * np.sqrt(memory * (1.0 - memory) * ratio)
    )
    return np.sqrt(max(square, 0.0))


@nb.njit(cache=True, fastmath=MATH)
def _moved_too_far(positions, reference, skin):
    limit = 0.25 * skin * skin
    for i in range(len(positions)):
        d = (
            (positions[i, 0] - reference[i, 0]) ** 2
            + (positions[i, 1] - reference[i, 1]) ** 2
            + (positions[i, 2] - reference[i, 2]) ** 2
        )
        if not d < limit:  # also true for NaN
            return True
    return False


@nb.njit(cache=True, fastmath=MATH, error_model='numpy')
def advance(
    n_steps, timestep, memory, target, degrees, limit, rng, heat, positions, velocities, forces, energies, virial, masses,
    types, cell, pbc, tables, closest, skin, lists, reference,
):  # fmt: skip
    """Take up to ``n_steps`` steps in place.

    Args:
        timestep: fs.
        memory: of the thermostat, see :func:`rescaling_factor`; 1 for none.
        limit: kinetic energy (eV) at which to stop.
        heat: what the thermostat took out before, eV; summed step by step, so that it does not matter where a run is cut.
        closest: (s, s) distances (Å) at which to stop.
        skin: Å beyond the cut-offs that the lists hold; they are made anew when an atom has moved half of it.
        lists: interaction lists, made at the positions ``reference``.

    Returns:
        Steps taken, reason to stop, the pair of atoms that came too close, heat that the thermostat took out so far (eV),
        the lists.
    """
    n = len(positions)
    for step in range(1, n_steps + 1):
        for i in range(n):
            kick = 0.5 * timestep * ACCELERATION / masses[i]
            for a in range(3):
                velocities[i, a] += kick * forces[i, a]
                positions[i, a] += timestep * velocities[i, a]
        if _moved_too_far(positions, reference, skin):
            for i in range(n):
                if not np.isfinite(positions[i, 0] + positions[i, 1] + positions[i, 2]):
                    return step, TOO_HOT, -1, -1, heat, lists
            lists = interaction_lists(positions, cell, pbc, tables, skin)
            reference[:] = positions
        i, j = compute(positions, types, lists, tables, forces, energies, virial, closest, step == n_steps)
        for k in range(n):
            kick = 0.5 * timestep * ACCELERATION / masses[k]
            for a in range(3):
                velocities[k, a] += kick * forces[k, a]
        kinetic = kinetic_energy(velocities, masses)
        if memory < 1.0 and kinetic > 0.0:
            factor = rescaling_factor(kinetic, target, degrees, memory, rng)
            velocities *= factor
            heat += kinetic * (1.0 - factor * factor)
        if i >= 0:
            return step, TOO_CLOSE, i, j, heat, lists
        if not kinetic < limit:
            return step, TOO_HOT, -1, -1, heat, lists
    return n_steps, FINISHED, -1, -1, heat, lists
