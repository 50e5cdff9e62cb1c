"""Units of a structure along a trajectory: how many there are of each kind, and how long they live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.structure.units import Units, find_units
from aiida_ufpnmr.engine.timeseries.sums import poisson_limits
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots

#: A unit is the atoms that make it, by number.
Members = tuple[int, ...]


@dataclass(frozen=True)
class Stay:
    """A time in which the same atoms are a unit of the same kind.

    Attributes:
        name: of the unit.
        members: its atoms.
        first, stop: the first frame, and the first one after it.
    """

    name: str
    members: Members
    first: int
    stop: int


@dataclass(frozen=True)
class UnitHistory:
    """Units in each frame.

    Attributes:
        counts: (n_frames,) how many there are of each kind, by name.
        stays: each time of each unit, as seen frame by frame.
        bridging, free: (n_atoms,) share of the frames in which an atom is a bridging ligand, and a ligand without a
            centre.
        foreign: (n_frames,) number of foreign bonds.
    """

    counts: dict[str, np.ndarray]
    stays: list[Stay]
    bridging: np.ndarray
    free: np.ndarray
    foreign: np.ndarray

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.foreign)


def each_structure(snapshots: Snapshots) -> Iterator[Atoms]:
    """The frames as ASE atoms, one object whose positions and cell change."""
    atoms = snapshots.atoms.copy()
    for positions, cells in snapshots.parts():
        for atoms.positions, cell in zip(positions, cells):
            atoms.cell[:] = cell
            yield atoms


def unit_history(snapshots: Snapshots) -> UnitHistory:
    """Find the units in all frames; those whose atoms stay together are one."""
    n_frames, n_atoms = len(snapshots.frames), len(snapshots.atoms)
    counts: dict[str, np.ndarray] = {}
    foreign = np.zeros(n_frames, int)
    bridging, free = np.zeros(n_atoms, int), np.zeros(n_atoms, int)
    stays: list[Stay] = []
    present: dict[tuple[str, Members], int] = {}
    before: Units | None = None
    for frame, atoms in enumerate(each_structure(snapshots)):
        units = find_units(atoms)
        for name, count in units.counts.items():
            counts.setdefault(name, np.zeros(n_frames, int))[frame] = count
        foreign[frame] = len(units.foreign)
        bridging[units.bridging] += 1
        free[units.free] += 1
        if before is None or before.names != units.names or not np.array_equal(before.unit, units.unit):
            now = set(zip(units.names, units.members))
            for key in present.keys() - now:
                stays.append(Stay(*key, present.pop(key), frame))
            present |= dict.fromkeys(now - present.keys(), frame)
        before = units
    stays += [Stay(*key, first, n_frames) for key, first in present.items()]
    stays.sort(key=lambda stay: (stay.members, stay.first, stay.name))
    return UnitHistory(dict(sorted(counts.items())), stays, bridging / n_frames, free / n_frames, foreign)


def lasting(stays: list[Stay], residence: int) -> list[Stay]:
    """Stays without flicker: breaks shorter than ``residence`` frames are none, then stays as short do not count."""
    joined: dict[tuple[str, Members], list[Stay]] = {}
    for stay in stays:
        earlier = joined.setdefault((stay.name, stay.members), [])
        if earlier and stay.first - earlier[-1].stop < residence:
            stay = Stay(stay.name, stay.members, earlier.pop().first, stay.stop)
        earlier.append(stay)
    return [stay for found in joined.values() for stay in found if stay.stop - stay.first >= residence]


@dataclass(frozen=True)
class Lifetime:
    """Mean lifetime of units that end at random.

    Attributes:
        ends: how many ended within the trajectory.
        mean: time lived over ends, in frames; ``None`` where none ended.
        low, high: 95 % interval, of a Poisson count; no upper end where none ended.
    """

    ends: int
    mean: float | None
    low: float
    high: float | None


def lifetime(stays: list[Stay], n_frames: int) -> Lifetime:
    """Lifetime by maximum likelihood: time that all stays last, those cut off by the end, too, over those that end."""
    lived = float(sum(stay.stop - stay.first for stay in stays))
    ends = sum(stay.stop < n_frames for stay in stays)
    fewest, most = poisson_limits(ends)
    if not ends:
        return Lifetime(0, None, lived / most, None)
    return Lifetime(ends, lived / ends, lived / most, lived / fewest)
