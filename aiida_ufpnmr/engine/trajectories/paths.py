"""Paths of chosen ions relative to the framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase.data import atomic_masses

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, finite_positions, regular_frames

CHUNK_FRAMES = 2048
Reference = Literal['framework', 'cell', 'none']


@dataclass(frozen=True)
class PathSettings(Settings):
    """Choice of the ions to follow."""

    species: str = setting('Li', 'Element whose ions to follow.')
    skip_ps: float = setting(0.0, 'Leave out the first ps.', least=0)
    reference: Reference = setting(
        'framework', 'Whose mass centre is held still: all other atoms, all atoms, or nothing.'
    )


@dataclass(frozen=True)
class IonPaths:
    """Unwrapped positions of the ions of one species.

    Attributes:
        species: chemical symbol.
        index: (n_ions,) atom indices.
        step_ps: time between frames.
        positions: (n_frames, n_ions, 3) in Å, relative to the reference.
        reference: the part that was held still: ``framework`` (all other atoms), ``cell`` (all atoms), or ``none``.
    """

    species: str
    index: np.ndarray
    step_ps: float
    positions: np.ndarray
    reference: str


@dataclass(frozen=True)
class PathParts:
    """The same, some frames at a time.

    Attributes:
        species, index, step_ps, reference: as in :class:`IonPaths`.
        n_frames: number of frames in all.
        parts: positions (frames, n_ions, 3) in Å, relative to the reference, in the order of time; once.
    """

    species: str
    index: np.ndarray
    step_ps: float
    reference: str
    n_frames: int
    parts: Iterator[np.ndarray]


def ion_paths(
    trajectory: Trajectory, species: str = 'Li', skip_fs: float = 0.0, reference: str = 'framework'
) -> IonPaths:
    """Read the paths of all ions of ``species``, with the drift of the mass centre of the reference taken away.

    Where there is no atom but those of the species, nothing is a framework, and nothing is taken away.

    Raises:
        InputError: no positions, no such species, too few frames, frames not equally spaced, or positions not finite.
    """
    found = path_parts(trajectory, species, skip_fs, reference)
    positions = np.empty((found.n_frames, len(found.index), 3))
    frame = 0
    for part in found.parts:
        positions[frame : frame + len(part)] = part
        frame += len(part)
    return IonPaths(species, found.index, found.step_ps, positions, found.reference)


def path_parts(
    trajectory: Trajectory, species: str = 'Li', skip_fs: float = 0.0, reference: str = 'framework'
) -> PathParts:
    """As :func:`ion_paths`, for trajectories larger than memory; positions are read, and checked, when asked for."""
    if trajectory.n_frames == 0:
        raise InputError(f'{trajectory.path}: holds no positions; give the trajectory that "ufpnmr md" wrote')
    chosen = np.array([symbol == species for symbol in trajectory.symbols])
    if not chosen.any():
        there = ', '.join(sorted(set(trajectory.symbols)))
        raise InputError(f'{trajectory.path}: holds no {species}, only {there}; choose one with --species')
    if reference == 'framework' and chosen.all():
        reference = 'none'
    time_fs = trajectory.time_fs
    frames = regular_frames(time_fs, skip_fs, trajectory.path)
    masses = atomic_masses[trajectory.numbers] * (~chosen if reference == 'framework' else 1.0)
    step_ps = float(time_fs[frames.start + 1] - time_fs[frames.start]) * 1e-3
    parts = _parts(trajectory, frames, chosen, masses if reference != 'none' else None)
    return PathParts(species, np.flatnonzero(chosen), step_ps, reference, frames.stop - frames.start, parts)


def _parts(
    trajectory: Trajectory, frames: slice, chosen: np.ndarray, masses: np.ndarray | None
) -> Iterator[np.ndarray]:
    with progress(frames.stop - frames.start, 'positions', 'frame') as bar:
        for ions in without_drift(position_blocks(trajectory, frames), chosen, masses):
            yield ions
            bar.update(len(ions))


def position_blocks(trajectory: Trajectory, frames: slice) -> Iterator[np.ndarray]:
    """Positions (frames, n_atoms, 3) in Å, some frames at a time; :class:`InputError` where one is not finite."""
    for start in range(frames.start, frames.stop, CHUNK_FRAMES):
        yield finite_positions(trajectory, start, min(start + CHUNK_FRAMES, frames.stop))


def without_drift(parts: Iterable[np.ndarray], chosen: np.ndarray, masses: np.ndarray | None) -> Iterator[np.ndarray]:
    """Positions of the chosen atoms (frames, n_ions, 3), with a mass centre held where it was in the first frame.

    Args:
        parts: positions of all atoms (frames, n_atoms, 3), in the order of time.
        chosen: (n_atoms,) booleans.
        masses: (n_atoms,) of what is held still; ``None`` for nothing.
    """
    origin = None
    for part in parts:
        ions = part[:, chosen]
        if masses is not None:
            centre = np.einsum('fax,a->fx', part, masses) / masses.sum()
            origin = centre[0] if origin is None else origin
            ions = ions - (centre - origin)[:, None]
        yield ions
