"""Single hops cut out of a trajectory: which ion, from which frame to which, and the two structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.barriers.settings import BarrierSettings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.paths import IonPaths, ion_paths
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, regular_frames
from aiida_ufpnmr.engine.transport.hops import Hops, find_hops

#: An ion is still, or already, at a place in frames in which it is nearer than this share of the threshold of a hop.
AT_PLACE = 0.5


@dataclass(frozen=True)
class Hop:
    """A hop of one ion along a trajectory.

    Attributes:
        ion: index of the atom.
        frame_before, frame_after: last frame at the place before, first frame at the place after.
        time_ps: of the frame before, from the first frame of the file.
        length_angstrom: distance between the two places, each a mean over time.
        origin: (3,) the place before in Å, in the coordinates of the frame after.
        target: (3,) the place after in Å, in the coordinates of the frame before.
    """

    ion: int
    frame_before: int
    frame_after: int
    time_ps: float
    length_angstrom: float
    origin: tuple[float, float, float]
    target: tuple[float, float, float]

    def before(self, trajectory: Trajectory) -> Atoms:
        """The frame before."""
        return trajectory.atoms(self.frame_before)

    def after(self, trajectory: Trajectory) -> Atoms:
        """The frame after, in the cell of the frame before.

        Positions of trajectories are unwrapped, so that the way between the two is the one that the ion took.
        """
        atoms = trajectory.atoms(self.frame_after)
        atoms.set_cell(trajectory.cells(self.frame_before, self.frame_before + 1)[0], scale_atoms=True)
        return atoms


def cut_hops(trajectory: Trajectory, settings: BarrierSettings) -> tuple[list[Hop], int]:
    """Hops whose length is in the range asked for, sorted by ion and time, and how many there were to draw from.

    Raises:
        InputError: no positions, no such species, too few frames, or no hop of such a length.
    """
    paths = ion_paths(trajectory, settings.species, 1000 * settings.skip_ps, settings.reference)
    found = find_hops(paths.positions, paths.step_ps, settings)
    fitting = np.flatnonzero(
        (found.distance >= settings.min_length_angstrom) & (found.distance <= settings.max_length_angstrom)
    )
    if not len(fitting):
        raise InputError(
            f'{trajectory.path}: none of its {len(found.frame)} hops is {settings.min_length_angstrom:g} to '
            f'{settings.max_length_angstrom:g} Å long; change --min-length and --max-length, or give a longer run'
        )
    chosen = fitting
    if len(fitting) > settings.max_hops:
        chosen = np.sort(np.random.default_rng(settings.seed).choice(fitting, settings.max_hops, replace=False))
    time_ps = 1e-3 * trajectory.time_fs
    first = regular_frames(trajectory.time_fs, 1000 * settings.skip_ps, trajectory.path).start
    return [_cut(trajectory, time_ps, first, paths, found, int(number)) for number in chosen], len(fitting)


def _cut(trajectory: Trajectory, time_ps: np.ndarray, first: int, paths: IonPaths, found: Hops, number: int) -> Hop:
    """One hop; its frames are looked for within a residence time of where the threshold was passed.

    Args:
        time_ps: (n_frames,) of the file.
        first: frame of the file with which the paths begin.
        number: of the hop among those that were found.
    """
    path, frame = paths.positions[:, found.ion[number]], int(found.frame[number])
    near = AT_PLACE * found.settings.threshold_angstrom
    earlier = np.arange(max(0, frame - found.residence), frame + 1)
    later = np.arange(frame, min(len(path), frame + found.residence + 1))
    before = earlier[::-1][_first_near(path[earlier[::-1]], found.origin[number], near)]
    after = later[_first_near(path[later], found.target[number], near)]
    ion = int(paths.index[found.ion[number]])

    def in_frame(place: np.ndarray, at: int) -> tuple[float, float, float]:
        """The place with what was taken away as drift until that frame."""
        x, y, z = place + trajectory.positions(first + at, first + at + 1)[0, ion] - path[at]
        return float(x), float(y), float(z)

    return Hop(
        ion=ion,
        frame_before=int(first + before),
        frame_after=int(first + after),
        time_ps=float(time_ps[first + before] - time_ps[0]),
        length_angstrom=float(found.distance[number]),
        origin=in_frame(found.origin[number], after),
        target=in_frame(found.target[number], before),
    )


def _first_near(path: np.ndarray, place: np.ndarray, near: float) -> int:
    """Number of the first position (n, 3) that is ``near`` a place, or of the nearest one where none is."""
    distance = np.linalg.norm(path - place, axis=1)
    close = np.flatnonzero(distance < near)
    return int(close[0] if len(close) else np.argmin(distance))
