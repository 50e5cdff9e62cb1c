"""Units of a network former and its ligands, such as PS4 and P2S7, known by their bonds alone.

Two atoms are bound where they are closer than :data:`BOND` times the sum of their covalent radii (Cordero et al.,
Dalton Trans. 2832 (2008)): P–S 2.59, S–S 2.56, P–P 2.61 Å. Bonds are looked for across all faces of the cell, whatever
its shape, and where atoms lie outside of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aiida_ufpnmr.engine.neighbours import NeighbourList, neighbour_list

#: The longest bond as a share of the sum of covalent radii: bonds of tetrahedra vibrate by a tenth at 1000 K, and
#: atoms that are not bound are 1.5 times as far apart.
BOND = 1.22
#: Elements at the centre of units, and elements around them. All others are ions outside of units.
CENTRES = ('B', 'Al', 'Si', 'P', 'Ga', 'Ge', 'As', 'In', 'Sn', 'Sb')
LIGANDS = ('H', 'N', 'O', 'F', 'S', 'Cl', 'Se', 'Br', 'Te', 'I')
#: Largest number of neighbours of a centre that is told from larger ones.
_MOST = 12


@dataclass(frozen=True)
class Units:
    """Units of a structure, in the order of their first atoms.

    A unit in which each centre has four neighbours is called by its formula: ``PS4``; ``P2S7``, two tetrahedra with a
    corner in common; ``P2S6``, two centres bound to each other. Others have the numbers of neighbours of their centres
    behind it, as ``PS3[3]`` and ``P2S7[3+5]``, and a ring of bonds is said: ``P2S6 ring``, two tetrahedra with an edge
    in common. A ligand that is bound to no centre is a unit of its own, ``S``.

    Attributes:
        names: (n_units,) name of each unit.
        unit: (n_atoms,) number of the unit of each atom, -1 for ions.
        bridging: (n_bridging,) ligands with two or more bonds to centres.
        free: (n_free,) ligands bound to no centre.
        foreign: (n_foreign, 2) atoms of each bond that no unit has, lower number first: between two ligands, and
            between two centres other than those of a unit A2X6.
    """

    names: tuple[str, ...]
    unit: np.ndarray
    bridging: np.ndarray
    free: np.ndarray
    foreign: np.ndarray

    @property
    def members(self) -> list[tuple[int, ...]]:
        """Atoms of each unit, in order."""
        order = np.argsort(self.unit, kind='stable')
        ends = np.searchsorted(self.unit[order], np.arange(len(self.names) + 1))
        return [tuple(order[first:stop].tolist()) for first, stop in zip(ends, ends[1:])]

    @property
    def counts(self) -> dict[str, int]:
        """How many units there are of each name, by name."""
        return dict(sorted(Counter(self.names).items()))


def find_units(atoms: Atoms) -> Units:
    """Tell units by their bonds; for any cell, periodic or not."""
    is_centre, is_ligand = _roles(atoms)
    members = np.flatnonzero(is_centre | is_ligand)
    if not len(members):
        none = np.zeros(0, int)
        return Units((), np.full(len(atoms), -1), none, none, none.reshape(0, 2))
    centre, number = is_centre[members], atoms.numbers[members]
    near, bound = _bonds(atoms[members])
    i, j = near.centre[bound], near.index[bound]
    foreign = ~centre[i] & ~centre[j]
    inner_i, inner_j = i[~foreign], j[~foreign]
    n = len(members)
    n_units, component = connected_components(coo_array((np.ones(len(inner_i)), (inner_i, inner_j)), shape=(n, n)))
    first = np.unique(component, return_index=True)[1]
    label = np.argsort(np.argsort(first))[component]
    neighbours = np.bincount(inner_i, minlength=n)
    names, is_pair = _names(label, n_units, number, centre, neighbours)
    foreign |= centre[i] & centre[j] & ~is_pair[label[i]]
    foreign &= i <= j
    unit = np.full(len(atoms), -1)
    unit[members] = label
    return Units(
        names=names,
        unit=unit,
        bridging=members[~centre & (neighbours >= 2)],
        free=members[~centre & (neighbours == 0)],
        foreign=np.column_stack([members[i[foreign]], members[j[foreign]]]),
    )


def _roles(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Which atoms may be centres and which ligands, (n_atoms,) booleans each."""
    centres, ligands = ([atomic_numbers[symbol] for symbol in kind] for kind in (CENTRES, LIGANDS))
    return np.isin(atoms.numbers, centres), np.isin(atoms.numbers, ligands)


def _bonds(atoms: Atoms) -> tuple[NeighbourList, np.ndarray]:
    """Neighbours of all atoms, and which of them are bound, (n_neighbours,); a bond is seen from both ends."""
    radii = covalent_radii[atoms.numbers]
    near = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, 2 * BOND * radii.max())
    distance = np.linalg.norm(near.vectors(atoms.positions, atoms.cell.array), axis=1)
    return near, distance < BOND * (radii[near.centre] + radii[near.index])


class LigandBonds(NamedTuple):
    """Bonds from centres to ligands, sorted by centre.

    Attributes:
        centre, ligand: (n_bonds,) atoms.
        shift: (n_bonds, 3) cells by which the ligand is away from where it is written.
    """

    centre: np.ndarray
    ligand: np.ndarray
    shift: np.ndarray

    def of(self, chosen: np.ndarray) -> LigandBonds:
        """Those that are chosen by booleans or numbers."""
        return LigandBonds(*(part[chosen] for part in self))


def ligand_bonds(atoms: Atoms) -> LigandBonds:
    """Bonds of all centres to their ligands; for any cell, periodic or not."""
    is_centre, is_ligand = _roles(atoms)
    members = np.flatnonzero(is_centre | is_ligand)
    if not len(members):
        return LigandBonds(members, members, np.zeros((0, 3), int))
    near, bound = _bonds(atoms[members])
    i, j = members[near.centre], members[near.index]
    chosen = bound & is_centre[i] & is_ligand[j]
    return LigandBonds(i[chosen], j[chosen], near.shift[chosen])


def _names(
    label: np.ndarray, n_units: int, number: np.ndarray, centre: np.ndarray, neighbours: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    """Name of each unit, and whether it is an A2X6 with a bond between its centres, (n_units,) booleans.

    Args:
        label: (n,) unit of each atom.
        number: (n,) atomic numbers.
        centre: (n,) whether an atom is a centre.
        neighbours: (n,) bonds of an atom, those between ligands left out.
    """
    symbols = [symbol for symbol in CENTRES + LIGANDS if atomic_numbers[symbol] in number]
    column = np.zeros(len(chemical_symbols), int)
    column[[atomic_numbers[symbol] for symbol in symbols]] = np.arange(len(symbols))
    composition = np.zeros((n_units, len(symbols)), int)
    np.add.at(composition, (label, column[number]), 1)
    coordination = np.zeros((n_units, _MOST + 1), int)
    np.add.at(coordination, (label[centre], np.minimum(neighbours[centre], _MOST)), 1)
    bonds = np.bincount(label, neighbours, n_units).astype(int) // 2
    rings = bonds - composition.sum(axis=1) + 1
    # counted from the centres, a bond between two of them comes twice
    between_centres = coordination @ np.arange(_MOST + 1) - bonds
    kinds, kind = np.unique(np.column_stack([rings, composition, coordination]), axis=0, return_inverse=True)
    known = [_name(symbols, row[0], row[1 : len(symbols) + 1], row[len(symbols) + 1 :]) for row in kinds]
    two_fourfold = (coordination[:, 4] == 2) & (coordination.sum(axis=1) == 2)
    pair = two_fourfold & (rings == 0) & (between_centres == 1)
    return tuple(known[k] for k in kind.ravel()), pair


def _name(symbols: list[str], rings: int, composition: np.ndarray, coordination: np.ndarray) -> str:
    formula = ''.join(f'{symbol}{"" if n == 1 else n}' for symbol, n in zip(symbols, composition) if n)
    if coordination.sum() != coordination[4]:
        formula += f'[{"+".join(str(k) for k, n in enumerate(coordination) for _ in range(n))}]'
    return formula if rings == 0 else f'{formula} ring'
