"""Units that a structure had and has no more, and foreign bonds that it did not have."""

from __future__ import annotations

from collections import Counter

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.structure.units import Units


def broken_units(before: Units, after: Units) -> list[np.ndarray]:
    """Atoms of each whole unit that is no longer there with the same atoms and name, in the order of the units.

    Those with centres that have other than four neighbours, such as PS3[3], have broken before.
    """
    there = set(zip(after.names, after.members))
    whole = [(name, atoms) for name, atoms in zip(before.names, before.members) if '[' not in name]
    return [np.array(atoms) for name, atoms in whole if (name, atoms) not in there]


def new_foreign_bonds(before: Units, after: Units) -> np.ndarray:
    """Foreign bonds (n_bonds, 2) of two atoms that had none with each other."""
    known = set(map(tuple, before.foreign.tolist()))
    return np.array([bond for bond in after.foreign.tolist() if tuple(bond) not in known], int).reshape(-1, 2)


def describe_changes(atoms: Atoms, before: Units, after: Units) -> str:
    """The first broken unit and the first new foreign bond in words; empty where nothing has changed."""
    words = []
    for members in broken_units(before, after)[:1]:
        now = Counter(after.names[unit] for unit in np.unique(after.unit[members]))
        pieces = ' and '.join(f'{number} {name}' if number > 1 else name for name, number in now.items())
        words.append(f'the unit {before.names[before.unit[members[0]]]} of {_named(atoms, members[0])} became {pieces}')
    for bond in new_foreign_bonds(before, after)[:1]:
        words.append(f'a foreign bond formed between {" and ".join(_named(atoms, atom) for atom in bond)}')
    return '; '.join(words)


def _named(atoms: Atoms, atom: int) -> str:
    return f'{atoms.symbols[atom]} {atom}'
