"""Voronoi cells of chosen atoms in any periodic cell: volumes and faces.

A face lies in the plane half-way to a neighbour; it is what the planes of all other neighbours leave of it. The cell is
complete when neighbours up to twice the distance of its farthest corner were taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.neighbours import packed_atom, packed_neighbours, set_vector
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots

#: Neighbours are taken up to this multiple of the cube root of the volume by atom, and farther where a cell needs it.
FIRST_REACH, FARTHER = 2.6, 1.05
#: Most corners of a face while it is cut.
_CORNERS = 64


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
    vector, distance, plane = np.empty((most, 3)), np.empty(most), np.empty((most, 4))
    corners, others = np.empty((_CORNERS, 3)), np.empty((_CORNERS, 3))
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
        for k in range(n):
            for x in range(3):
                plane[k, x] = vector[order[k], x] / distance[order[k]]
            plane[k, 3] = distance[order[k]] / 2
        farthest = 0.0
        for face in range(n):
            # faces hang together: one beyond all corners of those that are nearer would touch none of them
            if 0.0 < farthest < plane[face, 3]:
                break
            size = _square(plane[face], 2 * reach, corners)
            radius = 4 * reach
            for k in range(n):
                if plane[k, 3] > radius or size == 0:
                    break
                if k == face:
                    continue
                cut, radius = _is_cut(corners, size, plane[k])
                if cut:
                    size, radius = _cut(corners, size, plane[k], others)
                    corners, others = others, corners
            if size > 2:
                at = start[i] + order[face]
                area[at] = _area(corners, size, plane[face])
                volume[i] += area[at] * plane[face, 3] / 3
                farthest = max(farthest, radius)
        needed = max(needed, 2 * farthest if n else 2 * reach)
    return volume, area, start, index, needed


@njit(error_model='numpy')
def _square(plane, half_edge, corners):
    """Write the corners of a square in a plane (unit normal and height above the origin); return their number."""
    least = 0
    for x in range(1, 3):
        if abs(plane[x]) < abs(plane[least]):
            least = x
    one, other = (least + 1) % 3, (least + 2) % 3
    # two unit vectors in the plane, the first of which has no component along `least`
    length = np.sqrt(plane[one] ** 2 + plane[other] ** 2)
    for n in range(4):
        u, v = (half_edge if n in (0, 3) else -half_edge), (half_edge if n < 2 else -half_edge)
        corners[n, least] = plane[least] * plane[3] + v * length
        corners[n, one] = plane[one] * plane[3] + (u * plane[other] - v * plane[least] * plane[one]) / length
        corners[n, other] = plane[other] * plane[3] - (u * plane[one] + v * plane[least] * plane[other]) / length
    return 4


@njit()
def _is_cut(corners, size, plane):
    """Whether a corner lies beyond a plane, and the distance of the farthest corner from the origin."""
    cut, farthest = False, 0.0
    for n in range(size):
        x, y, z = corners[n, 0], corners[n, 1], corners[n, 2]
        cut |= x * plane[0] + y * plane[1] + z * plane[2] > plane[3]
        farthest = max(farthest, x * x + y * y + z * z)
    return cut, np.sqrt(farthest)


@njit(error_model='numpy')
def _cut(corners, size, plane, kept):
    """Write to ``kept`` what a plane leaves of a polygon on the side of the origin (Sutherland & Hodgman 1974).

    Returns the number of corners, and the distance of the farthest from the origin.
    """
    left, farthest, last = 0, 0.0, size - 1
    beyond = corners[last, 0] * plane[0] + corners[last, 1] * plane[1] + corners[last, 2] * plane[2] - plane[3]
    for n in range(size):
        above = corners[n, 0] * plane[0] + corners[n, 1] * plane[1] + corners[n, 2] * plane[2] - plane[3]
        if (above > 0) != (beyond > 0):
            share = beyond / (beyond - above)
            for x in range(3):
                kept[left, x] = corners[last, x] + share * (corners[n, x] - corners[last, x])
            left += 1
        if above <= 0:
            for x in range(3):
                kept[left, x] = corners[n, x]
            left += 1
        last, beyond = n, above
    for n in range(left):
        farthest = max(farthest, kept[n, 0] ** 2 + kept[n, 1] ** 2 + kept[n, 2] ** 2)
    return left, np.sqrt(farthest)


@njit()
def _area(corners, size, plane):
    """Area of a flat polygon."""
    total = 0.0
    for n in range(1, size - 1):
        for x in range(3):
            y, z = (x + 1) % 3, (x + 2) % 3
            total += plane[x] * (
                (corners[n, y] - corners[0, y]) * (corners[n + 1, z] - corners[0, z])
                - (corners[n, z] - corners[0, z]) * (corners[n + 1, y] - corners[0, y])
            )
    return abs(total) / 2


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
