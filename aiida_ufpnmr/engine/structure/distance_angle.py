"""Distances of ions from ligands against the angle centre–ligand–ion, counted over frames; Miyagawa 2024, Fig. 7."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.neighbours import packed_atom, packed_neighbours, set_vector
from aiida_ufpnmr.engine.structure.units import LigandBonds
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots


@dataclass(frozen=True)
class DistanceAngleCounts:
    """Ions about bonds from ligands to their centres.

    Attributes:
        r_edges: (n_r + 1,) in Å, and angle_edges: (n_angles + 1,) in °.
        counts: (n_r, n_angles).
        independent: (n_r, n_angles) what ions that are anywhere would give on the average.
    """

    r_edges: np.ndarray
    angle_edges: np.ndarray
    counts: np.ndarray
    independent: np.ndarray


def count_distance_angle(
    snapshots: Snapshots, bonds: LigandBonds, ions: np.ndarray, r_edges: np.ndarray, angle_edges: np.ndarray
) -> DistanceAngleCounts:
    """Count ions by their distance from the ligand and by the angle at it, over all bonds and frames.

    Args:
        bonds: of the first frame; followed by their atoms.
        ions: (n_ions,) atom indices.
        r_edges, angle_edges: of bins of one width, from zero on; in Å, and in ° up to 180.

    Raises:
        InputError: a direction that is not periodic, or a position that is not finite.
    """
    is_ion = np.zeros(len(snapshots.atoms), bool)
    is_ion[ions] = True
    counts, per_volume = np.zeros((len(r_edges) - 1, len(angle_edges) - 1), np.int64), 0.0
    for positions, cells in snapshots.periodic('the map').parts():
        _count(positions, cells, *bonds, is_ion, float(r_edges[-1]), counts, np.bool_(False))
        per_volume += (1 / np.abs(np.linalg.det(cells))).sum()
    shells = 2 * np.pi / 3 * np.outer(np.diff(r_edges**3), -np.diff(np.cos(np.radians(angle_edges))))
    return DistanceAngleCounts(r_edges, angle_edges, counts, shells * len(bonds.centre) * len(ions) * per_volume)


@njit(nogil=True)
def _count(positions, cells, centre, ligand, shift, is_ion, r_max, counts, half):
    n_r, n_angles = counts.shape
    is_ligand = np.zeros(len(is_ion), np.bool_)
    is_ligand[ligand] = True
    periodic = np.ones(3, np.bool_)
    bond, vector = np.empty(3), np.empty(3)
    for f in range(len(positions)):
        place, cell = positions[f], cells[f]
        wrap, start, keys = packed_neighbours(place, cell, periodic, r_max, is_ligand, half)
        for b in range(len(centre)):
            i = ligand[b]
            for x in range(3):
                bond[x] = place[centre[b], x] - place[i, x]
                for a in range(3):
                    bond[x] -= shift[b, a] * cell[a, x]
            length = np.sqrt(bond[0] ** 2 + bond[1] ** 2 + bond[2] ** 2)
            for q in range(start[i], start[i + 1]):
                if not is_ion[packed_atom(keys[q])]:
                    continue
                set_vector(vector, place, cell, wrap, i, keys[q])
                r = np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
                cosine = (vector[0] * bond[0] + vector[1] * bond[1] + vector[2] * bond[2]) / (r * length)
                angle = np.arccos(min(1.0, max(-1.0, cosine)))
                bin_r = int(r / r_max * n_r)
                if bin_r < n_r:
                    counts[bin_r, min(int(angle / np.pi * n_angles), n_angles - 1)] += 1
