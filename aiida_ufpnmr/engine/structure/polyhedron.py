"""A convex polyhedron around the origin, cut by one plane after another.

It is held by its half-edges (de Berg et al., Computational Geometry, ch. 2). Three leave each corner ``v``, numbers
``3 * v`` to ``3 * v + 2``; where more than three faces meet, as in crystals, corners lie on one another. ``twin`` holds
the half-edge that comes back and ``face`` the number of the face on the left, seen from outside. Who comes back into
number ``3 * v + s`` goes on along the same face by ``3 * v + (s + 1) % 3``.

Coordinates decide which corners are cut off, and nothing else: rounding moves corners but tears no polyhedron.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.compiled import njit

#: The number of the faces of the cube that all begins with.
WALL = -1


@njit()
def set_cube(half_width, corner, twin, face):
    """Write a cube to ``corner`` (3, most), ``twin`` and ``face`` (3 * most,); return its number of corners."""
    for v in range(8):
        for axis in range(3):
            corner[axis, v] = half_width if v >> axis & 1 else -half_width
            other = v ^ (1 << axis)
            twin[3 * v + _slot(v, axis)] = 3 * other + _slot(other, axis)
            face[3 * v + axis] = WALL
    return 8


@njit(inline='always')
def _slot(v, axis):
    """Which of the three half-edges of a corner of the cube runs along an axis; each corner mirrors its neighbours."""
    return (3 - axis) % 3 if (v ^ v >> 1 ^ v >> 2) & 1 else axis


@njit(inline='always')
def _after(half_edge):
    """The half-edge that goes on along the same face where one came back into ``half_edge``."""
    return half_edge + 1 if half_edge % 3 < 2 else half_edge - 2


@njit()
def is_cut(plane, corner, size, height):
    """Write the heights of the corners above a plane to ``height`` (most,); return whether any lies beyond.

    Args:
        plane: (4,) unit normal and distance from the origin.
        size: number of corners.
    """
    beyond = False
    for v in range(size):
        height[v] = corner[0, v] * plane[0] + corner[1, v] * plane[1] + corner[2, v] * plane[2] - plane[3]
        beyond |= height[v] > 0
    return beyond


@njit(error_model='numpy')
def cut(number, corner, twin, face, size, height):
    """Take away what lies beyond a plane; return how many corners there are then.

    Args:
        number: of the face that the plane makes.
        size: number of corners.
        height: (most,) those of the corners above the plane, from :func:`is_cut`.
    """
    old = size
    for w in range(old):
        if not height[w] > 0:
            continue
        for back in range(3 * w, 3 * w + 3):
            out = twin[back]
            v = out // 3
            if height[v] > 0:
                continue
            # a new corner: its first half-edge leads to v, the second on along the face left of v -> w, the third along
            # that left of w -> v, with the new face on its left
            share = height[v] / (height[v] - height[w])
            for x in range(3):
                corner[x, size] = corner[x, v] + share * (corner[x, w] - corner[x, v])
            new = 3 * size
            twin[out], twin[new], twin[back], twin[new + 1] = new, out, new, back
            face[new], face[new + 1], face[new + 2] = face[back], face[out], number
            height[size] = 0.0
            size += 1
    for v in range(old, size):
        # go along the face through what is cut off, until it comes out at another new corner
        out = _after(twin[3 * v + 1])
        while twin[out] < 3 * old:
            out = _after(twin[out])
        other = twin[out] + 2
        twin[3 * v + 1], twin[other] = other, 3 * v + 1
    return _without_cut(corner, twin, face, size, height)


@njit()
def _without_cut(corner, twin, face, size, height):
    """Fill the places of corners that were cut off with the last ones; return how many corners are left."""
    v = 0
    while v < size:
        if not height[v] > 0:
            v += 1
            continue
        size -= 1
        if height[size] > 0:
            continue
        for x in range(3):
            corner[x, v] = corner[x, size]
            twin[3 * v + x], face[3 * v + x] = twin[3 * size + x], face[3 * size + x]
            twin[twin[3 * v + x]] = 3 * v + x
        height[v] = height[size]
    return size


@njit()
def farthest_corner(corner, size):
    """Distance of the farthest corner from the origin."""
    square = 0.0
    for v in range(size):
        square = max(square, corner[0, v] ** 2 + corner[1, v] ** 2 + corner[2, v] ** 2)
    return np.sqrt(square)


@njit()
def add_areas(plane, corner, twin, face, size, area):
    """Add to ``area`` (n_planes,) those of the faces, whose numbers are the rows of their planes (n_planes, 4)."""
    for out in range(3 * size):
        f = face[out]
        if f == WALL:
            continue
        v, w = out // 3, twin[out] // 3
        for x in range(3):
            y, z = (x + 1) % 3, (x + 2) % 3
            area[f] += plane[f, x] * (corner[y, v] * corner[z, w] - corner[z, v] * corner[y, w]) / 2
