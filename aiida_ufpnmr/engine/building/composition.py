"""Whole numbers of atoms for a cell of a crystal whose sites are filled in part."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from aiida_ufpnmr.engine.errors import InputError

#: A number of atoms this close to a whole one is meant to be it: files round occupancies to three or four digits.
ROUNDING = 0.02
#: A wrong composition weighs so much more than a wrong occupancy of a group.
COMPOSITION_WEIGHT = 100.0
#: How close to whole numbers those of a supercell must be that is called exact.
EXACT = 0.01
#: The largest supercell that is looked at for one that holds the composition exactly, in cells.
LARGEST_SUPERCELL = 64


def whole_numbers(sizes: np.ndarray, shares: np.ndarray, charges: np.ndarray, where: str) -> np.ndarray:
    """Whole numbers of atoms on each group, by element, closest to the shares: a controlled rounding.

    Each number is the one below or above what the share asks for, and so are the totals of the elements. Among such
    choices that of the nearest totals is taken, and of these that of the nearest numbers on each group; one that is
    neutral comes before all others.

    Args:
        sizes: (n_groups,) number of sites.
        shares: (n_groups, n_elements) share of the sites that each element fills.
        charges: (n_elements,) in elementary charges.
        where: what to call the crystal in the message.

    Raises:
        InputError: there is no such choice.
    """
    empty = np.clip(1 - shares.sum(axis=1, keepdims=True), 0, 1)
    wanted = sizes[:, None] * np.hstack([shares, empty])
    n_groups, n_columns = wanted.shape
    least, most, cost = _neighbouring(wanted.ravel())
    least_total, most_total, total_cost = _neighbouring(wanted.sum(axis=0))
    least_total[-1], most_total[-1], total_cost[-1] = 0, sizes.sum(), 0  # empty sites are no part of the composition
    cost += COMPOSITION_WEIGHT * np.tile(total_cost, n_groups)
    full = LinearConstraint(np.kron(np.eye(n_groups), np.ones(n_columns)), sizes, sizes)
    totals = LinearConstraint(np.tile(np.eye(n_columns), n_groups), least_total, most_total)
    neutral = LinearConstraint(np.tile(np.append(charges, 0.0), n_groups), 0, 0)
    for constraints in ((full, totals, neutral), (full, totals), (full,)):
        found = milp(cost, integrality=np.ones(wanted.size), bounds=Bounds(least, most), constraints=constraints)
        if found.success:
            return np.rint(found.x).astype(int).reshape(wanted.shape)[:, :-1]
    raise InputError(f'{where}: no whole numbers of atoms are near its occupancies; correct them, or take more cells')


def moved_shares(sizes: np.ndarray, shares: np.ndarray, blocked: np.ndarray, where: str) -> np.ndarray:
    """Shares (n_groups, n_elements) where some groups stay empty and others take their atoms, by the room they have.

    Args:
        sizes: (n_groups,) number of sites.
        shares: (n_groups, n_elements) share of the sites that each element fills.
        blocked: (n_groups,) whether it stays empty.
        where: what to call the crystal in the message.

    Raises:
        InputError: there is no room for an element on other groups that it fills in part.
    """
    moved = shares.copy()
    moved[blocked] = 0
    for element, number in enumerate(sizes[blocked] @ shares[blocked]):
        room = sizes * (1 - moved.sum(axis=1)) * (moved[:, element] > 0)
        if number > room.sum() + ROUNDING:
            raise InputError(
                f'{where}: sites filled in part are too close to full ones, and others have no room for their atoms; '
                'correct the sites, or let closer ones be filled (--closest-angstrom)'
            )
        if number:
            moved[:, element] += number * room / room.sum() / sizes
    return moved


def _neighbouring(wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whole numbers below and above, the same where one is meant, and how much worse the upper is, squared."""
    below, above = np.floor(wanted + ROUNDING), np.ceil(wanted - ROUNDING)
    return below, above, (above - wanted) ** 2 - (below - wanted) ** 2


def exact_supercell(totals: np.ndarray, cell: np.ndarray) -> tuple[int, int, int] | None:
    """The smallest supercell, as even in its edges as can be, that holds whole numbers of atoms; ``None`` if far.

    Args:
        totals: (n_elements,) number of atoms in one cell.
        cell: (3, 3) in Å.
    """
    lengths = np.linalg.norm(cell, axis=1)
    for n in range(1, LARGEST_SUPERCELL + 1):
        if (abs(n * totals - np.rint(n * totals)) <= EXACT).all():
            divisors = [d for d in range(1, n + 1) if n % d == 0]
            shapes = [(a, b, n // (a * b)) for a in divisors for b in divisors if n % (a * b) == 0]
            return min(shapes, key=lambda shape: np.ptp(np.log(shape * lengths)))
    return None


def formula(numbers: Mapping[str, float]) -> str:
    """Numbers of atoms as a formula, such as ``Li24 P4 S20 Cl4``."""
    return ' '.join(f'{element}{round(number, 2):g}' for element, number in numbers.items() if number)
