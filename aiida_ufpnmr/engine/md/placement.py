"""Random structures of given composition and density, with no two atoms too close: where a melt begins."""

from __future__ import annotations

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses, atomic_numbers
from ase.formula import Formula

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list

_SWEEPS = 2000


def random_structure(
    composition: str, n_atoms: int, density_g_per_cm3: float, least_distance: dict[tuple[str, str], float], seed: int
) -> Atoms:
    """A cubic cell of atoms at random places, pushed apart until each pair keeps its least distance.

    Args:
        composition: a formula, such as ``Li3PS4`` or ``(Li2S)7(P2S5)3``.
        n_atoms: how many; a multiple of the atoms in the formula, reduced to its smallest whole numbers.
        density_g_per_cm3: mass density.
        least_distance: Å, for each pair of chemical symbols in either order.
        seed: of the places.

    Raises:
        InputError: not a formula, an element without least distances, a number of atoms that does not fit the formula,
            or more atoms than fit into the cell.
    """
    symbols = _symbols(composition, n_atoms)
    known = {a for a, _ in least_distance}
    for symbol in symbols:
        if symbol not in known:
            raise InputError(
                f'{composition}: the potential does not know {symbol}; it was fitted to {", ".join(sorted(known))}'
            )
    masses = sum(atomic_masses[atomic_numbers[symbol]] for symbol in symbols)
    length = (masses * units._amu * 1e27 / density_g_per_cm3) ** (1 / 3)
    rng = np.random.default_rng(seed)
    atoms = Atoms(symbols, scaled_positions=rng.random((n_atoms, 3)), cell=[length] * 3, pbc=True)
    names, kinds = np.unique(symbols, return_inverse=True)
    least = np.array([[least_distance[a, b] for b in names] for a in names])
    for _ in range(_SWEEPS):
        pushes = _pushes(atoms, kinds, least)
        if pushes is None:
            atoms.wrap()
            return atoms
        # a little noise frees atoms that others hold from all sides; those that are free stay where they are, since in
        # a large cell noise on all of them would always bring some pair too close
        pushed = pushes.any(axis=1)
        atoms.positions[pushed] += pushes[pushed] + 0.01 * rng.standard_normal((pushed.sum(), 3))
    raise InputError(
        f'{n_atoms} atoms of {composition} with their least distances do not fit at {density_g_per_cm3:g} g/cm³; '
        'lower the density'
    )


def _symbols(composition: str, n_atoms: int) -> list[str]:
    try:
        reduced, _ = Formula(composition).reduce()
        counts = reduced.count()
    except ValueError:
        raise InputError(f'{composition!r} is no formula; give one like Li3PS4 or (Li2S)7(P2S5)3') from None
    unknown = sorted(set(counts) - set(atomic_numbers))
    if unknown or not counts:
        raise InputError(f'{composition!r} is no formula; give one like Li3PS4 or (Li2S)7(P2S5)3')
    size = sum(counts.values())
    if n_atoms % size:
        lower = max(size, n_atoms // size * size)
        raise InputError(
            f'{n_atoms} atoms are no multiple of the {size} atoms of {reduced}; take {lower} or {lower + size}'
        )
    in_order = sorted(counts, key=atomic_numbers.__getitem__)
    return [symbol for symbol in in_order for _ in range(counts[symbol] * n_atoms // size)]


def _pushes(atoms: Atoms, kinds: np.ndarray, least: np.ndarray) -> np.ndarray | None:
    """How far to move each atom so that pairs which are too close part, (n, 3) in Å; ``None`` where no pair is."""
    found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, float(least.max()))
    i, vector = found.centre, found.vectors(atoms.positions, atoms.cell.array)
    distance = np.linalg.norm(vector, axis=1)
    missing = least[kinds[i], kinds[found.index]] - distance
    close = missing > 0
    if not close.any():
        return None
    pushes = np.zeros((len(atoms), 3))
    # each of the two goes a little more than half of the way
    np.add.at(pushes, i[close], -(0.5 * missing[close] + 0.01)[:, None] * vector[close] / distance[close, None])
    return pushes
