"""Random walks of ions through grains of any shape: Monte Carlo on a lattice of voxels.

Hops between neighbouring voxels come at random times with symmetric rates, so that ions fill space evenly. A voxel
belongs to a grain or to glass; between two grains, or a grain and glass, there may be a barrier. Times are in units of
d²/D, lengths in units of d, where d³ is the mean volume of a grain and D the diffusion coefficient within grains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress

#: Label of voxels that are glass.
GLASS = -1
#: Voxels along the edge of a grain.
RESOLUTION = 16
#: Structures over which Monte Carlo averages, each with a share of the walkers.
STRUCTURES = 8


@dataclass(frozen=True)
class Voxels:
    """A periodic structure of grains.

    Attributes:
        labels: (m, m, m) grain of each voxel, ``GLASS`` for glass.
        images: (m, m, m, 3) int8: in which periodic image of the box the centre of that grain lies, so that a grain is
            told from its images.
        edge: edge of a voxel in units of d.
    """

    labels: np.ndarray
    images: np.ndarray
    edge: float

    @property
    def glass_fraction(self) -> float:
        """Share of the volume that is glass."""
        return float((self.labels == GLASS).mean())


def cubes(glass_fraction: float = 0.0, resolution: int = RESOLUTION) -> Voxels:
    """Cubes of edge d, with layers of glass between them."""
    layer, inside = 0, resolution
    if glass_fraction > 0:
        gap = (1 - glass_fraction) ** (-1 / 3) - 1
        layer = max(1, int(np.ceil(resolution * gap)))
        inside = max(1, round(layer / gap))
    # three cubes along an edge, so that neighbours differ; the fourth is an image of the first
    period = inside + layer
    x, y, z = np.indices(3 * (3 * period,))
    labels = x // period * 9 + y // period * 3 + z // period
    glass = np.maximum(np.maximum(x % period, y % period), z % period) >= inside
    labels = np.where(glass, GLASS, labels).astype(np.int32)
    return Voxels(labels, np.zeros((*labels.shape, 3), np.int8), 1.0 / inside)


def voronoi(
    rng: np.random.Generator, glass_fraction: float = 0.0, grains: int = 64, resolution: int = RESOLUTION
) -> Voxels:
    """Poisson–Voronoi grains: space belongs to the nearest of random points; glass is what lies nearly between two."""
    m = int(round(resolution * grains ** (1 / 3)))
    seeds = rng.random((grains, 3))
    shifts = np.indices((3, 3, 3)).reshape(3, -1).T - 1
    tree = cKDTree((seeds[None] + shifts[:, None]).reshape(-1, 3))
    points = (np.indices((m, m, m)).reshape(3, -1).T + 0.5) / m
    distance, nearest = map(np.asarray, tree.query(points, k=2))
    labels = (nearest[:, 0] % grains).astype(np.int32)
    images = shifts[nearest[:, 0] // grains].astype(np.int8)
    edge = grains ** (1 / 3) / m
    if glass_fraction > 0:
        gap = distance[:, 1] - distance[:, 0]
        labels[gap < np.quantile(gap, glass_fraction)] = GLASS
        edge /= (1 - glass_fraction) ** (1 / 3)  # d³ is the volume of what is left of a grain
    return Voxels(labels.reshape(m, m, m), images.reshape(m, m, m, 3), edge)


@njit()
def _walk(labels, images, inside, across, outside, entering, times, walkers, seed):
    """Number of walkers that are in the grain in which they began, at each time.

    inside, outside: rates of a hop within grains and within glass; across: between grains; entering: between both.
    """
    np.random.seed(seed)
    m = labels.shape[0]
    same = np.zeros(len(times), np.int64)
    rate = np.empty(6)
    for _ in range(walkers):
        x, y, z = np.random.randint(m), np.random.randint(m), np.random.randint(m)
        while labels[x, y, z] < 0:
            x, y, z = np.random.randint(m), np.random.randint(m), np.random.randint(m)
        start = labels[x, y, z]
        home = images[x, y, z].astype(np.int64)
        box = np.zeros(3, np.int64)
        t, i = 0.0, 0
        while i < len(times):
            here = labels[x, y, z]
            total = 0.0
            for direction in range(6):
                axis, step = direction // 2, 2 * (direction % 2) - 1
                a = (x + step) % m if axis == 0 else x
                b = (y + step) % m if axis == 1 else y
                c = (z + step) % m if axis == 2 else z
                there = labels[a, b, c]
                if here < 0 and there < 0:
                    k = outside
                elif here < 0 or there < 0:
                    k = entering
                elif here != there:
                    k = across
                else:
                    k = inside
                rate[direction] = k
                total += k
            t += np.random.exponential() / total
            back = here == start
            for axis in range(3):
                back = back and box[axis] + images[x, y, z, axis] == home[axis]
            while i < len(times) and times[i] < t:
                if back:
                    same[i] += 1
                i += 1
            pick = np.random.random() * total
            direction = 0
            while direction < 5 and pick >= rate[direction]:
                pick -= rate[direction]
                direction += 1
            axis, step = direction // 2, 2 * (direction % 2) - 1
            if axis == 0:
                x += step
                box[0] += x // m
                x %= m
            elif axis == 1:
                y += step
                box[1] += y // m
                y %= m
            else:
                z += step
                box[2] += z // m
                z %= m
    return same


def walk(
    structures: list[Voxels],
    times: np.ndarray,
    *,
    permeability: float = np.inf,
    glass_ratio: float = 1.0,
    walkers: int = 4000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Chance to be in the grain in which an ion of a grain began, and its standard error, (n_times,) each.

    Args:
        structures: walkers are shared out among them; their spread, where there are several, makes the error.
        times: rising, in units of d²/D.
        permeability: h = κ d/D of the faces of grains, towards other grains and towards glass.
        glass_ratio: diffusion coefficient in glass over that in grains.
        walkers: number of ions in all.
        seed: of the walks.

    Raises:
        InputError: walls that nothing passes, glass in which nothing moves, or fewer walkers than structures.
    """
    if not (permeability > 0 and glass_ratio > 0):
        raise InputError('the permeability of boundaries and the diffusion in glass must be above zero')
    if walkers < len(structures):
        raise InputError(f'{walkers} walkers are fewer than the {len(structures)} structures; take more')
    each, times = walkers // len(structures), np.ascontiguousarray(times, float)
    shares = []
    with progress(len(structures), 'random walks', 'structure') as bar:
        for number, structure in enumerate(structures):
            rates = _rates(structure.edge, 1 / permeability, glass_ratio)
            counts = _walk(structure.labels, structure.images, *rates, times, each, seed + number)
            shares.append(counts / each)
            bar.update()
    chance = np.mean(shares, axis=0)
    error = np.sqrt(np.maximum(chance * (1 - chance), 0.25 / (each * len(shares))) / (each * len(shares)))
    if len(shares) > 1:
        error = np.maximum(error, np.std(shares, axis=0, ddof=1) / np.sqrt(len(shares)))
    return chance, error


def _rates(edge: float, barrier: float, glass_ratio: float) -> tuple[float, float, float, float]:
    """Rates of hops over the edge of a voxel within grains, between grains, within glass, and between grain and glass.

    Resistances of half voxels and of the barrier between them add up.
    """
    return (
        1 / edge**2,
        1 / (edge * (edge + barrier)),
        glass_ratio / edge**2,
        1 / (edge * (0.5 * edge * (1 + 1 / glass_ratio) + barrier)),
    )
