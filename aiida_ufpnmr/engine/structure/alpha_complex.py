"""Weighted alpha complexes of points in space or in any periodic cell.

The triangulation is that of Delaunay where all weights are equal, and the regular one (Edelsbrunner & Shah,
Algorithmica 15, 223 (1996)) otherwise. It is the lower hull of the points lifted by |x|² − w. A simplex is there from
the square α on of the smallest sphere orthogonal to the balls at its corners, |x − c|² = α + w; where another corner of
the simplices around lies deeper in that sphere, from that on of the lowest of these (Edelsbrunner, Discrete Comput.
Geom. 13, 415 (1995)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import cell_heights

#: Weights are moved at random by so much, Å², for the triangulation alone: it chooses one triangulation where more than
#: four atoms lie on a sphere, the same in all images. Radii change by less than 1e-5 Å.
TIE_BREAK_ANGSTROM2 = 1e-5
#: Images are taken within this multiple of the cube root of the volume by atom, and farther where spheres are larger.
FIRST_MARGIN, FARTHER = 2.5, 1.4
#: A cell is repeated while it has no more points than this.
MOST_POINTS = 20_000
#: Facets of the hull that are steeper than this are none of the triangulation.
_VERTICAL = 1e-10
#: Two images of an edge are the same within this.
_SAME_ANGSTROM = 1e-6


@dataclass(frozen=True)
class AlphaComplex:
    """Simplices and the squares of the radii from which on they are there.

    Attributes:
        points: (n_points, 3) in Å, within the cell where there is one.
        cell: (3, 3) of the points in Å; ``None`` in open space.
        atom: (n_points,) the atom that each point is; a small cell is repeated.
        repeats: how often the cell is repeated along each of its vectors.
        simplices: by dimension 0 to 3, (n, dimension + 1) points of each, ascending, in ascending order.
        alpha: by dimension, (n,) in Å²; below zero within the balls of weighted points.
        shift: (n_edges, 3) image of the second point of each edge, in cell vectors.
    """

    points: np.ndarray
    cell: np.ndarray | None
    atom: np.ndarray
    repeats: tuple[int, int, int]
    simplices: tuple[np.ndarray, ...]
    alpha: tuple[np.ndarray, ...]
    shift: np.ndarray

    def rows(self, simplices: np.ndarray) -> np.ndarray:
        """(n,) rows of simplices, given by their points (n, dimension + 1) in any order."""
        known = self.simplices[simplices.shape[1] - 1]
        n_points = len(self.points)
        return np.searchsorted(_key(known, n_points), _key(np.sort(simplices, axis=1), n_points))


def alpha_complex(positions: np.ndarray, weights: np.ndarray, cell: np.ndarray | None = None) -> AlphaComplex:
    """Alpha complex of atoms.

    A cell in which two atoms are joined through two different images is repeated until none are.

    Args:
        positions: (n_atoms, 3) in Å.
        weights: (n_atoms,) squares of the radii, Å².
        cell: (3, 3) in Å, periodic in all directions; ``None`` for open space.

    Raises:
        InputError: too few atoms, all in one plane, or a cell that is too narrow.
    """
    if cell is None:
        return _with_faces(positions, weights, None, np.arange(len(positions)), np.ones(3, int))
    repeats = np.ones(3, int)
    while len(positions) * repeats.prod() <= MOST_POINTS:
        blocks = np.array(list(np.ndindex(*repeats)))
        large = cell * repeats[:, None]
        points = (positions + (blocks @ cell)[:, None]).reshape(-1, 3)
        points = points - np.floor(points @ np.linalg.inv(large)) @ large
        atom = np.tile(np.arange(len(positions)), len(blocks))
        try:
            return _with_faces(points, weights[atom], large, atom, repeats)
        except _SeveralImages:
            repeats[np.argmin(cell_heights(large))] += 1
    raise InputError(f'the cell is too narrow for {len(positions)} atoms; give a larger one')


class _SeveralImages(Exception):
    """Two points are joined through more than one image."""


def _with_faces(
    points: np.ndarray, weights: np.ndarray, cell: np.ndarray | None, atom: np.ndarray, repeats: np.ndarray
) -> AlphaComplex:
    """The complex of points that are joined through one image each; :class:`_SeveralImages` otherwise."""
    simplices, place = _tetrahedra(points, weights, cell)
    alpha = _orthogonal_spheres(place, weights[simplices])[1]
    order = np.argsort(_key(simplices, len(points)))
    simplices, place, alpha = simplices[order], place[order], alpha[order]
    levels = [(simplices, alpha)]
    for size in (3, 2, 1):
        simplices, place, alpha = _facets(simplices, place, alpha, weights)
        levels.insert(0, (simplices, alpha))
        if size == 2:
            shift = _shifts(place[:, 1] - place[:, 0] - points[simplices[:, 1]] + points[simplices[:, 0]], cell)
    return AlphaComplex(
        points=points,
        cell=cell,
        atom=atom,
        repeats=(int(repeats[0]), int(repeats[1]), int(repeats[2])),
        simplices=tuple(one for one, _ in levels),
        alpha=tuple(one for _, one in levels),
        shift=shift,
    )


def _tetrahedra(points: np.ndarray, weights: np.ndarray, cell: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 4) of each tetrahedron, ascending, one of all its images, and their places (n, 4, 3) in Å."""
    lifted = weights + TIE_BREAK_ANGSTROM2 * np.random.default_rng(0).random(len(weights))
    if cell is None:
        corners = np.sort(_lower_hull(points, lifted), axis=1)
        return corners, points[corners]
    heights = cell_heights(cell)
    margin = FIRST_MARGIN * (abs(np.linalg.det(cell)) / len(points)) ** (1 / 3)
    while True:
        shift, image = _images(points @ np.linalg.inv(cell), margin / heights)
        place = points[image] + shift @ cell
        corners = _lower_hull(place, lifted[image])
        inside = np.all(shift == 0, axis=1)
        corners = corners[inside[corners].any(axis=1)]
        corners = np.take_along_axis(corners, np.argsort(image[corners], axis=1), axis=1)
        if not len(corners) or np.any(np.diff(image[corners], axis=1) == 0):
            raise _SeveralImages
        corners = corners[inside[corners[:, 0]]]
        centre, alpha = _orthogonal_spheres(place[corners], weights[image[corners]])
        middle = centre @ np.linalg.inv(cell) - 0.5
        reach = np.sqrt(np.maximum(alpha + weights.max(), 0))[:, None]
        # no point beyond the images that were taken lies in a sphere
        if np.all(np.abs(middle) * heights + reach < heights / 2 + margin):
            return image[corners], place[corners]
        margin *= FARTHER


def _images(fractional: np.ndarray, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shifts (n, 3) and points (n,) of all images within a margin around the cell, in fractions of it."""
    reach = np.ceil(margin).astype(int)
    shifts = np.array(list(np.ndindex(*(2 * reach + 1)))) - reach
    place = fractional + shifts[:, None]
    block, image = np.nonzero(np.all((place >= -margin) & (place <= 1 + margin), axis=2))
    return shifts[block], image


def _lower_hull(place: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rows (n, 4) of the corners of each tetrahedron of the regular triangulation."""
    centred = place - place.mean(axis=0)
    try:
        hull = ConvexHull(np.column_stack([centred, (centred**2).sum(axis=1) - weights]))
    except (QhullError, ValueError) as error:
        raise InputError('fewer than five atoms, or all in one plane, have no triangulation') from error
    return hull.simplices[hull.equations[:, 3] < -_VERTICAL].astype(np.int64)


def _orthogonal_spheres(place: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (n, 3) and α (n,) of the smallest spheres orthogonal to the balls at ``place`` (n, corners, 3)."""
    edge = place[:, 1:] - place[:, :1]
    half = ((edge**2).sum(axis=2) - weights[:, 1:] + weights[:, :1]) / 2
    along = np.linalg.solve(edge @ edge.swapaxes(1, 2), half[:, :, None])
    centre = (along * edge).sum(axis=1)
    return place[:, 0] + centre, (centre**2).sum(axis=1) - weights[:, 0]


def _facets(
    simplices: np.ndarray, place: np.ndarray, alpha: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Facets of simplices: their points (n, corners) in ascending order, places (n, corners, 3) and α (n,)."""
    size = simplices.shape[1]
    kept = np.array([[j for j in range(size) if j != i] for i in range(size)])
    facets, places = simplices[:, kept].reshape(-1, size - 1), place[:, kept].reshape(-1, size - 1, 3)
    centre, own = _orthogonal_spheres(places, weights[facets])
    opposite = ((place.reshape(-1, 3) - centre) ** 2).sum(axis=1) - weights[simplices].ravel()
    _, first, facet = np.unique(_key(facets, len(weights)), return_index=True, return_inverse=True)
    edge = places[:, 1:] - places[:, :1]
    if np.any(np.abs(edge - edge[first][facet]) > _SAME_ANGSTROM):
        raise _SeveralImages
    lowest, covered = np.full(len(first), np.inf), np.zeros(len(first), bool)
    np.minimum.at(lowest, facet, np.repeat(alpha, size))
    covered[facet[opposite < own]] = True
    return facets[first], places[first], np.where(covered, lowest, own[first])


def _shifts(vectors: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
    """Whole numbers of cell vectors (n, 3) in vectors in Å."""
    return np.zeros(vectors.shape, int) if cell is None else np.rint(vectors @ np.linalg.inv(cell)).astype(int)


def _key(simplices: np.ndarray, n_points: int) -> np.ndarray:
    """One number for each row of points, in the order of the rows."""
    return np.ravel_multi_index(tuple(simplices.T), (n_points,) * simplices.shape[1])
