"""Structures that stand twice in labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from aiida_ufpnmr.engine.dataset import Dataset, energy

#: Atoms of a copy lie within this distance (Å) of those of its original, and so do the cell vectors.
SAME_PLACE = 1e-4
#: Energies of a copy that differ by more than this (eV/atom) contradict those of its original.
SAME_ENERGY = 1e-3


def find_copies(structures: Sequence[Atoms]) -> np.ndarray:
    """First structure (n,) that each structure equals; its own index where there is none before it.

    Equal are structures of the same atoms in the same order and places, whichever cell an atom was wrapped into. Labels
    and groups do not count. Structures that were turned, shifted or sorted anew are not recognised.
    """
    first = np.arange(len(structures))
    kinds: dict[bytes, list[int]] = {}
    for number, atoms in enumerate(structures):
        kinds.setdefault(atoms.numbers.tobytes() + atoms.pbc.tobytes(), []).append(number)
    for members in kinds.values():
        fingerprints = np.array([_fingerprint(structures[number]) for number in members])
        for a, b in sorted(cKDTree(fingerprints).query_pairs(_REACH * SAME_PLACE)):
            if _same_places(structures[members[a]], structures[members[b]]):
                first[members[b]] = min(first[members[b]], first[members[a]])
    return first


#: Most that a fingerprint moves when all atoms and cell vectors move by one Å, in cells of the usual width.
_REACH = 20.0


def _fingerprint(atoms: Atoms) -> np.ndarray:
    """Six smooth functions of places and cell that do not care into which cell an atom is wrapped."""
    n = len(atoms)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (6, n + 1, 3)) / (n + 1)
    places = atoms.positions
    if atoms.pbc.any():
        # the slope of the sine is one at most, so that atoms that move little move it little
        phases = np.sin(2 * np.pi * atoms.cell.scaled_positions(atoms.positions)) / (2 * np.pi)
        places = np.where(atoms.pbc, phases, places)
    return np.einsum('fia,ia->f', signs, np.vstack([places, atoms.cell.lengths()]))


def _same_places(a: Atoms, b: Atoms) -> bool:
    if abs(a.cell.array - b.cell.array).max() > SAME_PLACE:
        return False
    difference = b.positions - a.positions
    if a.pbc.any():
        cell = a.cell.complete().array
        difference -= np.where(a.pbc, np.round(difference @ np.linalg.inv(cell)), 0.0) @ cell
    return bool((np.linalg.norm(difference, axis=1) < SAME_PLACE).all())


@dataclass(frozen=True)
class Copies:
    """The copies in a data set, and structures of a test set that are copies of them.

    Attributes:
        rows: (copy, original) in the data set.
        contradicting: how many of them have another energy than the original.
        across_groups: how many of them lie in another group, so that withholding groups does not withhold them.
        test_rows: (structure of the test set, equal structure of the data set).
        source, test_source: what to call the sets in messages.
    """

    rows: tuple[tuple[int, int], ...]
    contradicting: int
    across_groups: int
    test_rows: tuple[tuple[int, int], ...]
    source: str
    test_source: str

    @classmethod
    def of(cls, dataset: Dataset, test: Dataset | None = None) -> Copies:
        """Search a data set and a test set."""
        n, groups = len(dataset), dataset.groups
        everything = (*dataset, *(() if test is None else test))
        first = find_copies(everything)
        rows = [(int(copy), int(first[copy])) for copy in range(n) if first[copy] < copy]
        test_rows = ((number - n, int(first[number])) for number in range(n, len(everything)) if first[number] < n)
        return cls(
            rows=tuple(rows),
            contradicting=sum(_contradict(everything[copy], everything[original]) for copy, original in rows),
            across_groups=sum(groups[copy] != groups[original] for copy, original in rows),
            test_rows=tuple(test_rows),
            source=dataset.source,
            test_source='' if test is None else test.source,
        )

    def results(self) -> dict:
        """For a report."""
        return {
            'structures': len(self.rows),
            'contradicting': self.contradicting,
            'across_groups': self.across_groups,
            'rows': self.rows,
            'test_structures': len(self.test_rows),
            'test_rows': self.test_rows,
        }

    def warnings(self) -> list[str]:
        """A line for each set that holds copies, with a remedy."""
        lines = []
        if self.rows:
            copy, original = self.rows[0]
            what = [
                f'{_count(len(self.rows), "copy", "copies")} of structures (structure {copy} is structure {original})'
            ]
            if self.contradicting:
                what.append(f'{self.contradicting} with another energy')
            if self.across_groups:
                what.append(f'{self.across_groups} in another group, which makes withheld errors too small')
            lines.append(f'{self.source}: {", ".join(what)}; remove them, since each counts once more in the fit')
        if self.test_rows:
            number, original = self.test_rows[0]
            copies = f'{_count(len(self.test_rows), "structure", "structures")} of {self.source}'
            lines.append(
                f'{self.test_source}: holds {copies} (structure {number} is structure {original} there), which makes '
                'the errors too small; remove them'
            )
        return lines


def _contradict(a: Atoms, b: Atoms) -> bool:
    one, other = energy(a), energy(b)
    return one is not None and other is not None and abs(one - other) > SAME_ENERGY * len(a)


def _count(number: int, one: str, many: str) -> str:
    return f'{number} {one if number == 1 else many}'
