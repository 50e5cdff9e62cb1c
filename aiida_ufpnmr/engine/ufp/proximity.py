"""Atoms closer to each other than any in training: there the potential is its wall, not its data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Distances may fall short by this share, so that the training set itself has none, whatever the last digit.
_SLACK = 1e-6


@dataclass(frozen=True)
class Contact:
    """The pair of a structure that lies farthest below the closest distance in training.

    Attributes:
        atoms: the two, counted from 0.
        species: their elements.
        distance: Å.
        closest_distance: the shortest distance of such a pair in training, Å.
        pairs: how many pairs of the structure lie below theirs.
    """

    atoms: tuple[int, int]
    species: tuple[str, str]
    distance: float
    closest_distance: float
    pairs: int


def close_contact(potential: UltraFastPotential, atoms: Atoms) -> Contact | None:
    """The worst pair that is closer than any of its kind in training; ``None`` where there is none.

    Raises:
        InputError: an element that the potential does not know.
    """
    types, limit = potential.types(atoms), potential.closest_distance
    found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, max(float(limit.max()), 0.1))
    centre, vectors = found.centre, found.vectors(atoms.positions, atoms.cell.array)
    distance, least = np.linalg.norm(vectors, axis=1), limit[types[centre], types[found.index]]
    # each pair is seen from both ends, that of an atom with its own image, too
    below = np.flatnonzero((distance < (1 - _SLACK) * least) & (centre <= found.index))
    if not len(below):
        return None
    worst = below[(distance / least)[below].argmin()]
    pair = int(centre[worst]), int(found.index[worst])
    own = int((centre[below] == found.index[below]).sum())
    return Contact(
        atoms=pair,
        species=(atoms.symbols[pair[0]], atoms.symbols[pair[1]]),
        distance=float(distance[worst]),
        closest_distance=float(least[worst]),
        pairs=len(below) - own // 2,
    )


def close_contacts(potential: UltraFastPotential, dataset: Dataset) -> list[dict]:
    """The structures with atoms closer than any in training, as rows for a report."""
    rows = []
    for number, (atoms, group) in enumerate(zip(dataset, dataset.groups)):
        contact = close_contact(potential, atoms)
        if contact is not None:
            rows.append(
                {
                    'structure': number,
                    'group': group,
                    'atoms': list(contact.atoms),
                    'species': '-'.join(contact.species),
                    'distance_angstrom': contact.distance,
                    'closest_in_training_angstrom': contact.closest_distance,
                    'pairs': contact.pairs,
                }
            )
    return rows
