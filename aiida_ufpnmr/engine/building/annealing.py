"""Simulated annealing of what sits where on the sites of a crystal."""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit

#: Swaps that are tried at each temperature, for each site.
SWEEPS = 50


@njit(nogil=True, inline='always')
def _change(matrix, potential, a, b, step):
    """Change of xᵀ M x where ``step`` is added to x at a and taken from x at b; ``potential`` is M x."""
    return 2 * step * (potential[a] - potential[b]) + step * step * (matrix[a, a] + matrix[b, b] - 2 * matrix[a, b])


@njit(nogil=True, inline='always')
def _update(matrix, potential, a, b, step):
    for i in range(len(potential)):
        potential[i] += step * (matrix[a, i] - matrix[b, i])


@njit(nogil=True)
def anneal(coulomb, crowding, charges, occupants, swappable, start, temperatures_eV, seed):
    """Swap what sits on two sites of a group, by the rule of Metropolis, while the temperature falls.

    Args:
        coulomb: (n, n) in eV, see :func:`~aiida_ufpnmr.engine.building.ewald.ewald_matrix`.
        crowding: (n, n) energy in eV of two sites that should not both be filled.
        charges: (n_elements + 1,) in elementary charges, the last of an empty site.
        occupants: (n,) element on each site, -1 for none; unchanged.
        swappable: (m,) sites, ordered by group.
        start: (m, 2) where the group of each of these begins and ends in ``swappable``.
        temperatures_eV: (n_temperatures,) k_B T; at each of them ``SWEEPS`` swaps a site are tried.
        seed: of the swaps.

    Returns:
        (n_temperatures, n) occupants at the end of each temperature.
    """
    np.random.seed(seed)
    occupants = occupants.copy()
    n = len(occupants)
    potential, crowd = np.zeros(n), np.zeros(n)
    for i in range(n):
        for j in range(n):
            potential[i] += coulomb[i, j] * charges[occupants[j]]
            crowd[i] += crowding[i, j] * (occupants[j] >= 0)
    visited = np.empty((len(temperatures_eV), n), occupants.dtype)
    for t in range(len(temperatures_eV)):
        for _ in range(SWEEPS * len(swappable)):
            k = np.random.randint(0, len(swappable))
            a, b = swappable[k], swappable[np.random.randint(start[k, 0], start[k, 1])]
            if occupants[a] == occupants[b]:
                continue
            charge = charges[occupants[b]] - charges[occupants[a]]
            filled = 1.0 * (occupants[b] >= 0) - 1.0 * (occupants[a] >= 0)
            change = _change(coulomb, potential, a, b, charge) + _change(crowding, crowd, a, b, filled)
            if change <= 0 or np.random.random() < np.exp(-change / temperatures_eV[t]):
                _update(coulomb, potential, a, b, charge)
                _update(crowding, crowd, a, b, filled)
                occupants[a], occupants[b] = occupants[b], occupants[a]
        visited[t] = occupants
    return visited
