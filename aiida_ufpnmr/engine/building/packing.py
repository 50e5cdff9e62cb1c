"""Rigid bodies in a periodic cell, pushed apart until their atoms keep their distances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.progress import progress

#: Pushes before a packing is given up; dense ones need some hundreds.
SWEEPS = 5000
#: A body moves by this times the sum of its pushes over the root of their number: between their mean, which is slow,
#: and their sum, which goes too far where several point the same way.
STEP = 1.5
#: Each of two atoms goes this much further than half of the way, Å.
MARGIN = 0.01
#: Random part of the move of a body as a share of what its worst pair lacks, and of its turn per Å of that: it frees
#: bodies that others hold from all sides, and leaves alone those that have room.
MOVE_NOISE, TURN_NOISE_PER_ANGSTROM = 0.2, 0.1


class Contacts(NamedTuple):
    """Pairs of atoms of different bodies, or of a body and its own image, each seen from both ends."""

    i: np.ndarray  # (m,) first atoms
    j: np.ndarray  # (m,) second atoms
    vector: np.ndarray  # (m, 3) Å, from the first to the second
    distance: np.ndarray  # (m,) Å

    def shortest(self, kind: np.ndarray, n_kinds: int) -> np.ndarray:
        """Shortest distance (n_kinds, n_kinds) in Å by the kinds (n,) of both atoms; infinite where there is none."""
        found = np.full((n_kinds, n_kinds), np.inf)
        np.minimum.at(found, (kind[self.i], kind[self.j]), self.distance)
        return found


def contacts(positions: np.ndarray, cell: np.ndarray, body: np.ndarray, cutoff: float) -> Contacts:
    """Contacts within ``cutoff`` (Å) in a periodic cell.

    Args:
        positions: (n, 3) in Å; atoms of a body in one piece, not wrapped into the cell.
        cell: (3, 3) in Å.
        body: (n,) number of the body of each atom.
    """
    near = neighbour_list(positions, cell, True, cutoff)
    i, j = near.centre, near.index
    outside = (body[i] != body[j]) | near.shift.any(axis=1)
    vector = near.vectors(positions, cell)[outside]
    return Contacts(i[outside], j[outside], vector, np.linalg.norm(vector, axis=1))


def pack(
    local: np.ndarray, body: np.ndarray, least: np.ndarray, kind: np.ndarray, cell: np.ndarray, seed: int
) -> np.ndarray | None:
    """Positions (n, 3) in Å, bodies in one piece, of bodies packed at random; ``None`` where they do not fit.

    Bodies begin at random places and orientations and may overlap. Pairs of atoms that are too close push each other
    away along the line between them, which moves and turns their bodies, until there is no such pair.

    Args:
        local: (n, 3) positions in Å relative to the centre of the body.
        body: (n,) number of the body of each atom.
        least: (n_kinds, n_kinds) least distance in Å of two atoms of different bodies.
        kind: (n,) row of each atom in ``least``.
        cell: (3, 3) in Å, periodic.
        seed: of places, orientations and the noise.
    """
    rng = np.random.default_rng(seed)
    n_bodies = body[-1] + 1
    centre, orientation = rng.random((n_bodies, 3)) @ cell, Rotation.random(n_bodies, rng)
    with progress(SWEEPS, 'packing', 'sweep') as bar:
        for _ in range(SWEEPS):
            arms = orientation[body].apply(local)
            positions = centre[body] + arms
            found = contacts(positions, cell, body, float(least.max()))
            missing = least[kind[found.i], kind[found.j]] - found.distance
            close = missing > 0
            if not close.any():
                return positions
            missing, pushed = missing[close], body[found.i[close]]
            push = -((0.5 * missing + MARGIN) / found.distance[close])[:, None] * found.vector[close]
            move, turn = _motion(push, arms[found.i[close]], pushed, n_bodies)
            worst = np.zeros((n_bodies, 1))
            np.maximum.at(worst[:, 0], pushed, missing)
            centre = centre + move + MOVE_NOISE * worst * rng.standard_normal(move.shape)
            turn = turn + TURN_NOISE_PER_ANGSTROM * worst * rng.standard_normal(turn.shape)
            orientation = Rotation.from_rotvec(turn) * orientation
            bar.update()
    return None


def _motion(push: np.ndarray, arm: np.ndarray, body: np.ndarray, n_bodies: int) -> tuple[np.ndarray, np.ndarray]:
    """Move (n_bodies, 3) in Å and rotation vector (n_bodies, 3) of bodies whose atoms are pushed.

    Args:
        push: (m, 3) in Å.
        arm: (m, 3) from the centre of the body to the atom, Å.
        body: (m,) body of the atom.
    """

    def summed(values: np.ndarray) -> np.ndarray:
        return np.column_stack([np.bincount(body, column, n_bodies) for column in values.T])

    root = np.sqrt(np.maximum(np.bincount(body, minlength=n_bodies), 1))[:, None]
    inertia = np.bincount(body, (arm**2).sum(axis=1), n_bodies)[:, None]
    turn = np.divide(summed(np.cross(arm, push)), inertia, where=inertia > 0, out=np.zeros((n_bodies, 3)))
    return STEP * summed(push) / root, STEP * root * turn
