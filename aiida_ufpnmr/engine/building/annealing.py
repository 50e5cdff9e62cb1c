"""Simulated annealing of what sits where on the sites of a crystal."""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.building.ordered_cells import OrderSettings
from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.progress import progress

#: Random arrangements to begin with, and how many of these are annealed at least.
RANDOM_DRAWS, CHAINS = 2000, 20
#: Temperatures of a chain, the first and the last as k_B T: what most swaps of two ions cost, and far below.
TEMPERATURES, HOTTEST_EV, COLDEST_EV = 100, 2.0, 0.02
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


def arrangements(
    groups: np.ndarray,
    counts: np.ndarray,
    coulomb: np.ndarray,
    crowding: np.ndarray,
    charges: np.ndarray,
    settings: OrderSettings,
) -> np.ndarray:
    """Elements by number (n, n_sites), -1 for an empty site, of all arrangements that were met, lowest energy first.

    Args:
        groups: (n_sites,) group of each site.
        counts: (n_groups, n_elements) atoms to put there.
        coulomb: (n_sites, n_sites) in eV.
        crowding: the same of sites that are too close; arrangements that fill these are left out.
        charges: (n_elements + 1,) of the elements, and zero.
        settings: how many will be asked for, and the seed.
    """
    rng = np.random.default_rng(settings.seed)
    draws = np.empty((RANDOM_DRAWS, len(groups)), np.int8)
    swappable: list[int] = []
    start: list[tuple[int, int]] = []
    for group, count in enumerate(counts):
        members = np.flatnonzero(groups == group)
        content = np.full(len(members), -1, np.int8)
        content[: count.sum()] = np.repeat(np.arange(len(count)), count)
        draws[:, members] = rng.permuted(np.tile(content, (RANDOM_DRAWS, 1)), axis=1)
        if content.min() < content.max():
            start += [(len(swappable), len(swappable) + len(members))] * len(members)
            swappable += members.tolist()
    temperatures_eV = np.geomspace(HOTTEST_EV, COLDEST_EV, TEMPERATURES)
    met = [draws]
    seeds = rng.integers(2**31, size=max(CHAINS, 2 * settings.number) if swappable else 0)
    with progress(len(seeds), 'annealing', 'chain') as bar:
        for draw, seed in zip(draws, seeds):
            where = np.array(swappable), np.array(start)
            met.append(anneal(coulomb, crowding, charges, draw, *where, temperatures_eV, seed))
            bar.update()
    found = np.unique(np.concatenate(met), axis=0)
    found = found[energies(crowding, found >= 0) == 0]
    return found[np.argsort(energies(coulomb, charges[found]), kind='stable')]


def energies(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """xᵀ M x of each row x, rounded to 10⁻⁶ eV, so that arrangements which are equal by symmetry are exactly so."""
    values = values.astype(float)
    return np.round(((values @ matrix) * values).sum(axis=1), 6)
