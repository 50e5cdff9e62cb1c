"""Rings of atoms: the shortest cycles that make classes of persistent homology, and the pairs within them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.structure.alpha_complex import AlphaComplex

#: Longest ring that is followed, in atoms.
MOST_ATOMS = 64
#: Images of each point that rings may pass: one step along each cell vector and back.
_IMAGES = 27
#: Edges with an α that is larger by no more than this, Å², are there at the birth: rounding parts equal ones.
_SAME_ANGSTROM2 = 1e-9


@dataclass(frozen=True)
class Rings:
    """A ring of points for each class.

    Attributes:
        size: (n_rings,) number of points; zero where none of up to :data:`MOST_ATOMS` was found.
        points: (n_rings, MOST_ATOMS) in their order along the ring, then −1.
        shift: (n_rings, MOST_ATOMS, 3) images of the points, in cell vectors.
    """

    size: np.ndarray
    points: np.ndarray
    shift: np.ndarray


def shortest_rings(complex_: AlphaComplex, born: np.ndarray) -> Rings:
    """The shortest closed path through each edge along edges that are there when it comes.

    Of several with as few edges, the one of the smallest length. Paths that close through the periodic boundary alone
    are none.

    Args:
        born: (n_rings,) rows of the edges.
    """
    edges, alpha, shift = complex_.simplices[1], complex_.alpha[1], complex_.shift
    vector = complex_.points[edges[:, 1]] - complex_.points[edges[:, 0]]
    if complex_.cell is not None:
        vector = vector + shift @ complex_.cell
    length = np.linalg.norm(vector, axis=1)
    ends = np.concatenate([edges, edges[:, ::-1]])
    order = np.argsort(ends[:, 0], kind='stable')
    start = np.searchsorted(ends[order, 0], np.arange(len(complex_.points) + 1))
    step = np.concatenate([shift, -shift])[order]
    state = np.full((len(born), MOST_ATOMS), -1, np.int64)
    _follow(
        edges[born], shift[born], alpha[born], start, ends[order, 1], step, np.tile(alpha, 2)[order],
        np.tile(length, 2)[order], state,
    )  # fmt: skip
    there = state >= 0
    image = np.stack(np.unravel_index(np.where(there, state % _IMAGES, 0), (3, 3, 3)), axis=-1) - 1
    return Rings(there.sum(axis=1), np.where(there, state // _IMAGES, -1), np.where(there[..., None], image, 0))


@njit(nogil=True)
def _follow(edges, shifts, alphas, start, neighbour, step, alpha, length, state):
    """Breadth-first search, by layers, from the second to the first point of each edge; see :func:`shortest_rings`.

    ``state`` (n_rings, most) becomes point * 27 + image of each point of the ring, from the first point on.
    """
    n_states, most = _IMAGES * (len(start) - 1), state.shape[1]
    hops, reached, previous = np.zeros(n_states, np.int64), np.zeros(n_states), np.empty(n_states, np.int64)
    visited, queue = np.full(n_states, -1, np.int64), np.empty(n_states, np.int64)
    for ring in range(len(edges)):
        limit = alphas[ring] + _SAME_ANGSTROM2
        goal = edges[ring, 0] * _IMAGES + 13
        first = edges[ring, 1] * _IMAGES + _image(shifts[ring, 0], shifts[ring, 1], shifts[ring, 2])
        visited[first], hops[first], reached[first], queue[0] = ring, 1, 0.0, first
        done, size = 0, 1
        while done < size and hops[queue[done]] < most and (visited[goal] != ring or hops[queue[done]] < hops[goal]):
            here = queue[done]
            done += 1
            point, image = here // _IMAGES, here % _IMAGES
            x, y, z = image // 9 - 1, image // 3 % 3 - 1, image % 3 - 1
            for k in range(start[point], start[point + 1]):
                u, v, w = x + step[k, 0], y + step[k, 1], z + step[k, 2]
                if alpha[k] > limit or max(abs(u), abs(v), abs(w)) > 1:
                    continue
                there = neighbour[k] * _IMAGES + _image(u, v, w)
                if here == first and there == goal:
                    continue  # the edge itself
                far = reached[here] + length[k]
                if visited[there] != ring:
                    visited[there], hops[there], queue[size] = ring, hops[here] + 1, there
                    size += 1
                elif hops[there] != hops[here] + 1 or far >= reached[there]:
                    continue
                reached[there], previous[there] = far, here
        if visited[goal] == ring:
            here = goal
            for k in range(hops[goal]):
                state[ring, k] = here
                here = previous[here] if here != first else here


@njit()
def _image(x, y, z):
    """Number of an image, 13 for that in the cell."""
    return 9 * (x + 1) + 3 * (y + 1) + z + 1


def pairs_within(rings: Rings, complex_: AlphaComplex) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of points that lie in one ring, each pair once.

    Returns:
        points (n_pairs, 2), distance (n_pairs,) in Å, and the number of points of the smallest ring that holds each.
    """
    found = [np.empty((0, 6), int)]
    for size in np.unique(rings.size[rings.size > 0]):
        points, shift = rings.points[rings.size == size], rings.shift[rings.size == size]
        first, second = np.triu_indices(size, 1)
        pair = np.stack([points[:, first], points[:, second]], axis=-1)
        turned = pair[..., 0] > pair[..., 1]
        apart = np.where(turned[..., None], -1, 1) * (shift[:, second] - shift[:, first])
        sizes = np.full((*turned.shape, 1), size)
        found.append(np.concatenate([np.sort(pair, axis=-1), apart, sizes], axis=-1).reshape(-1, 6))
    every = np.concatenate(found)
    one = every[np.unique(every[:, :5], axis=0, return_index=True)[1]]
    vector = complex_.points[one[:, 1]] - complex_.points[one[:, 0]]
    if complex_.cell is not None:
        vector = vector + one[:, 2:5] @ complex_.cell
    return one[:, :2], np.linalg.norm(vector, axis=1), one[:, 5]
