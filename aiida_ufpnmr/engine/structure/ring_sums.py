"""Persistent homology and rings of some atoms, summed over the frames of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aiida_ufpnmr.engine.structure.alpha_complex import alpha_complex
from aiida_ufpnmr.engine.structure.persistence import HomologyClasses, homology_classes
from aiida_ufpnmr.engine.structure.rings import MOST_ATOMS, pairs_within, shortest_rings
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots


@dataclass(frozen=True)
class StrongRing:
    """One of the most persistent rings of a frame.

    Attributes:
        frame: counted from 0 among those that were taken.
        birth, death: Å.
        atoms: (MOST_ATOMS,) their places among the chosen ones, in their order along the ring, then −1.
    """

    frame: int
    birth: float
    death: float
    atoms: np.ndarray


@dataclass(frozen=True)
class RingSums:
    """Numbers of one cell, also where it was repeated.

    Attributes:
        maps: (3, n_bins, n_bins) classes of H0, H1 and H2 by birth and death, summed over frames.
        numbers: (n_frames, 3) classes that are persistent enough.
        births, deaths: (n_frames, 3) their sums, Å.
        sizes: (n_frames, MOST_ATOMS + 1) rings by number of atoms; zero for those that are too long.
        through: (2, n_chosen) rings through each atom, and the large ones of them, summed over frames.
        pairs: (2, n_kinds, n_kinds, n_r) pairs by kind of both and distance that lie within a ring that is not large,
            and within large ones alone, summed over frames; each from both ends.
        strongest: the most persistent rings of each frame.
        repeats: how often the cell was repeated along its vectors, at most.
    """

    maps: np.ndarray
    numbers: np.ndarray
    births: np.ndarray
    deaths: np.ndarray
    sizes: np.ndarray
    through: np.ndarray
    pairs: np.ndarray
    strongest: list[StrongRing]
    repeats: tuple[int, int, int]


def ring_sums(
    snapshots: Snapshots,
    chosen: np.ndarray,
    weights: np.ndarray,
    kind: np.ndarray,
    least_persistence: float,
    large: int,
    most_persistent: int,
    radius_edges: np.ndarray,
    r_edges: np.ndarray,
) -> RingSums:
    """Classes and rings of the chosen atoms in every frame.

    Args:
        chosen: (n_chosen,) atom indices.
        weights: (n_chosen,) squares of their radii, Å².
        kind: (n_atoms,) number of the element of each atom.
        least_persistence: Å; classes that live shorter are in the maps alone.
        large: number of atoms from which on a ring is large.
        most_persistent: how many rings of each frame to keep.
        radius_edges, r_edges: of bins of births and deaths, and of distances from zero on, Å; what lies outside is
            left out.

    Raises:
        InputError: a direction that is not periodic, a position that is not finite, or GUDHI is not installed.
    """
    n_frames, n_radii = len(snapshots.frames), len(radius_edges) - 1
    sums = RingSums(
        maps=np.zeros((3, n_radii, n_radii)),
        numbers=np.zeros((n_frames, 3)),
        births=np.zeros((n_frames, 3)),
        deaths=np.zeros((n_frames, 3)),
        sizes=np.zeros((n_frames, MOST_ATOMS + 1)),
        through=np.zeros((2, len(chosen))),
        pairs=np.zeros((2, kind.max() + 1, kind.max() + 1, len(r_edges) - 1)),
        strongest=[],
        repeats=(1, 1, 1),
    )
    repeats, frame = np.ones(3, int), 0
    for positions, cells in snapshots.periodic('S(q)').parts():
        for place, cell in zip(positions[:, chosen], cells):
            there = alpha_complex(place, weights, cell)
            copies = int(np.prod(there.repeats))
            repeats = np.maximum(repeats, there.repeats)
            classes = homology_classes(there)
            lasting = [one.lasting(least_persistence) for one in classes]
            for dimension, (every, strong) in enumerate(zip(classes, lasting)):
                sums.maps[dimension] += np.histogram2d(every.birth, every.death, radius_edges)[0] / copies
                sums.numbers[frame, dimension] = len(strong.born) / copies
                sums.births[frame, dimension] = strong.birth.sum() / copies
                sums.deaths[frame, dimension] = strong.death.sum() / copies
            found = shortest_rings(there, lasting[1].born)
            sums.sizes[frame] = np.bincount(found.size, minlength=MOST_ATOMS + 1) / copies
            atoms = np.where(found.points >= 0, there.atom[found.points], -1)
            for which, rows in enumerate((found.size > 0, found.size >= large)):
                on_ring = atoms[rows][atoms[rows] >= 0]
                sums.through[which] += np.bincount(on_ring, minlength=len(chosen)) / copies
            pair, distance, size = pairs_within(found, there)
            bin_ = (distance / r_edges[1]).astype(int)
            first, second = kind[chosen[there.atom[pair]]].T
            for a, b in ((first, second), (second, first)):
                within = bin_ < len(r_edges) - 1
                where = (size >= large).astype(int)[within], a[within], b[within], bin_[within]
                np.add.at(sums.pairs, where, 1 / copies)
            sums.strongest.extend(_strongest(frame, lasting[1], atoms, most_persistent, copies))
            frame += 1
    return replace(sums, repeats=(int(repeats[0]), int(repeats[1]), int(repeats[2])))


def _strongest(frame: int, classes: HomologyClasses, atoms: np.ndarray, most: int, copies: int) -> list[StrongRing]:
    """The first rings, those of the same atoms once."""
    first: dict[tuple[int, ...], StrongRing] = {}
    for birth, death, ring in zip(classes.birth, classes.death, atoms[: most * copies]):
        first.setdefault(tuple(np.sort(ring)), StrongRing(frame, float(birth), float(death), ring))
    return list(first.values())[:most]
