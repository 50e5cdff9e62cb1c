"""Voronoi cells of chosen atoms in any periodic cell: volumes and faces.

A face lies in the plane half-way to a neighbour; it is what the planes of all other neighbours leave of it. The cell is
complete when neighbours up to twice the distance of its farthest corner were taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.neighbours import packed_atom, packed_neighbours, set_vector
from aiida_ufpnmr.engine.structure.polyhedron import add_areas, cut, farthest_corner, is_cut, set_cube
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots

#: Neighbours are taken up to this multiple of the cube root of the volume by atom, and farther where a cell needs it.
FIRST_REACH, FARTHER = 2.6, 1.05
#: Room for corners by face: a polyhedron of n faces has up to 2n - 4, twice as many while it is cut, and rounding may
#: leave a face in pieces.
_ROOM = 8


@dataclass(frozen=True)
class VoronoiSums:
    """Voronoi cells of chosen atoms, summed over frames.

    Attributes:
        volume, volume_square: (n_chosen,) sums of the volumes and of their squares, Å³ and Å⁶.
        volume_counts: (n_chosen, n_bins) how often a volume is in a bin.
        faces: (n_chosen, n_elements) sums of the numbers of faces that count, by the element of the neighbour.
        coordination: (n_chosen, n_numbers) how often a cell has so many such faces; the last also stands for more.
        n_frames: number of frames.
    """

    volume: np.ndarray
    volume_square: np.ndarray
    volume_counts: np.ndarray
    faces: np.ndarray
    coordination: np.ndarray
    n_frames: int


def voronoi_sums(
    snapshots: Snapshots,
    chosen: np.ndarray,
    kind: np.ndarray,
    least_face_share: float,
    volume_edges: np.ndarray,
    most_faces: int,
) -> VoronoiSums:
    """Volumes and faces of the Voronoi cells of some atoms among all.

    Args:
        chosen: (n_chosen,) atom indices.
        kind: (n_atoms,) number of the element of each atom.
        least_face_share: faces with less than this share of the surface of a cell do not count.
        volume_edges: of bins of one width, Å³; what lies beyond is in the last.
        most_faces: largest number of faces that is told from more.

    Raises:
        InputError: a direction that is not periodic, or a position that is not finite.
    """
    n, low, width = len(chosen), float(volume_edges[0]), float(volume_edges[1] - volume_edges[0])
    volume, square = np.zeros(n), np.zeros(n)
    counts = np.zeros((n, len(volume_edges) - 1), np.int64)
    faces, coordination = np.zeros((n, kind.max() + 1), np.int64), np.zeros((n, most_faces + 1), np.int64)
    wanted = np.zeros(len(kind), bool)
    wanted[chosen] = True
    reach = 0.0
    for positions, cells in snapshots.periodic('a Voronoi cell').parts():
        for place, cell in zip(positions, cells):
            volumes, areas, start, index, reach = cells_of(place, cell, wanted, reach)
            volume += volumes[chosen]
            square += volumes[chosen] ** 2
            bin_ = np.clip(((volumes[chosen] - low) / width).astype(int), 0, counts.shape[1] - 1)
            counts[np.arange(n), bin_] += 1
            _add_faces(areas, start, index, chosen, kind, least_face_share, faces, coordination)
    return VoronoiSums(volume, square, counts, faces, coordination, len(snapshots.frames))


def cells_of(
    positions: np.ndarray, cell: np.ndarray, wanted: np.ndarray, reach: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Voronoi cells of one structure that is periodic in all directions.

    Args:
        positions: (n_atoms, 3) and cell: (3, 3) in Å.
        wanted: (n_atoms,) booleans, the atoms whose cells are wanted.
        reach: distance in Å up to which neighbours are taken at first, where it is known from a frame before.

    Returns:
        volume (n_atoms,) in Å³, zero for others; area (m,) in Å² of the face towards each neighbour, zero where there
        is none; start (n_atoms + 1,) where those of an atom begin; index (m,) which atom the neighbour is; the reach
        that was enough.
    """
    reach = max(reach, FIRST_REACH * (abs(np.linalg.det(cell)) / len(positions)) ** (1 / 3))
    while True:
        volume, area, start, index, needed = _cells(positions, cell, wanted, reach, np.bool_(False))
        if needed <= reach:
            return volume, area, start, index, reach
        reach = min(FARTHER * needed, 2 * reach)


@njit(nogil=True, error_model='numpy')
def _cells(positions, cell, wanted, reach, half):
    """Compiled part of :func:`cells_of`, with the reach that the cells need."""
    wrap, start, keys = packed_neighbours(positions, cell, np.ones(3, np.bool_), reach, wanted, half)
    volume, area, index = np.zeros(len(positions)), np.zeros(len(keys)), np.empty(len(keys), np.int64)
    most = (start[1:] - start[:-1]).max()
    vector, distance, plane, areas = np.empty((most, 3)), np.empty(most), np.empty((most, 4)), np.empty(most)
    room = _ROOM * (most + 6)
    corner, height = np.empty((3, room)), np.empty(room)
    twin, face = np.empty(3 * room, np.int64), np.empty(3 * room, np.int64)
    needed = 0.0
    for i in range(len(positions)):
        if not wanted[i]:
            continue
        n = start[i + 1] - start[i]
        for q in range(n):
            key = keys[start[i] + q]
            index[start[i] + q] = packed_atom(key)
            set_vector(vector[q], positions, cell, wrap, i, key)
            distance[q] = np.sqrt(vector[q, 0] ** 2 + vector[q, 1] ** 2 + vector[q, 2] ** 2)
        order = np.argsort(distance[:n])
        size = set_cube(2 * reach, corner, twin, face)
        farthest = farthest_corner(corner, size)
        n_planes = 0
        while n_planes < n and distance[order[n_planes]] <= 2 * farthest:
            q = order[n_planes]
            for x in range(3):
                plane[n_planes, x] = vector[q, x] / distance[q]
            plane[n_planes, 3] = distance[q] / 2
            if is_cut(plane[n_planes], corner, size, height):
                size = cut(n_planes, corner, twin, face, size, height)
                farthest = farthest_corner(corner, size)
            n_planes += 1
        areas[:n_planes] = 0.0
        add_areas(plane, corner, twin, face, size, areas)
        for k in range(n_planes):
            area[start[i] + order[k]] = max(0.0, areas[k])
            volume[i] += areas[k] * plane[k, 3] / 3
        needed = max(needed, 2 * farthest)
    return volume, area, start, index, needed


@njit()
def _add_faces(areas, start, index, chosen, kind, least_share, faces, coordination):
    """Count the faces of chosen atoms that have more than a share of the surface."""
    for row in range(len(chosen)):
        i = chosen[row]
        surface, count = areas[start[i] : start[i + 1]].sum(), 0
        for q in range(start[i], start[i + 1]):
            if areas[q] > 0 and areas[q] >= least_share * surface:
                faces[row, kind[index[q]]] += 1
                count += 1
        coordination[row, min(count, coordination.shape[1] - 1)] += 1
