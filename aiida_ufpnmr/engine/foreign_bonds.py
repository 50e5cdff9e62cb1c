"""Bonds between like atoms that a compound of ions does not have, such as S–S and P–P in a thiophosphate.

Melts and fast quenches of a poor potential leave them behind. The rule knows elements and distances alone: two atoms of
one non-metal are bonded where they lie closer than 1.25 times the sum of their covalent radii (Cordero et al., Dalton
Trans. 2008, 2832). Carbon, metalloids and metals are left out: C–C bonds belong to organic ions, metalloids come as
close where their polyhedra share an edge, and metals have no such bonds. A structure of one element has none that are
foreign.
"""

from __future__ import annotations

from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from aiida_ufpnmr.engine.neighbours import neighbour_list

#: Elements whose bonds with themselves are foreign to a compound of ions.
NON_METALS = ('H', 'N', 'O', 'F', 'P', 'S', 'Cl', 'Se', 'Br', 'I')
#: Atoms are bonded up to this multiple of the sum of their covalent radii.
REACH = 1.25


def foreign_bonds(atoms: Atoms) -> dict[str, int]:
    """Number of foreign bonds of a structure by kind, such as ``S-S``; kinds without any are left out."""
    found: dict[str, int] = {}
    if len(set(atoms.numbers)) < 2:
        return found
    for symbol in NON_METALS:
        number = atomic_numbers[symbol]
        positions = atoms.positions[atoms.numbers == number]
        if len(positions):
            close = neighbour_list(positions, atoms.cell.array, atoms.pbc, 2 * REACH * covalent_radii[number])
            if len(close.index):
                found[f'{symbol}-{symbol}'] = len(close.index) // 2
    return found
