"""The two ends of a hop, quenched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from aiida_ufpnmr.engine.barriers.band import Calculators, quench
from aiida_ufpnmr.engine.barriers.cutting import Hop
from aiida_ufpnmr.engine.barriers.settings import BarrierSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

#: A place of a trajectory, Å.
Place = tuple[float, float, float]
#: An atom nearer than this to a place is on it: no two atoms bind at such a distance but hydrogen.
CLOSEST_ANGSTROM = 1.0


@dataclass(frozen=True)
class Ends:
    """Both ends of a hop.

    Attributes:
        start, end: structures, with calculators.
        quenched: whether both are.
        surroundings: when the other atoms were where they are: ``before`` the hop, ``after`` it, or ``both``.
    """

    start: Atoms
    end: Atoms
    quenched: bool
    surroundings: str


def ends_of(hop: Hop, trajectory: Trajectory, calculators: Calculators, settings: BarrierSettings) -> Iterator[Ends]:
    """Ends to try, one pair after another until there is a hop between them.

    The ion alone is moved, among the atoms as they are before the hop; where it falls back, among those after it. A
    place with another atom on it is left out. With ``frame`` the ends are the frames before and after.
    """
    if settings.end == 'frame':
        start, start_is_quenched = quench(hop.before(trajectory), calculators(), settings)
        end, end_is_quenched = quench(hop.after(trajectory), calculators(), settings)
        yield Ends(start, end, start_is_quenched and end_is_quenched, 'both')
        return
    start, is_quenched = quench(hop.before(trajectory), calculators(), settings)
    if _is_free(start, hop.ion, hop.target):
        end, moved_is_quenched = _moved(start, hop.ion, hop.target, calculators, settings)
        yield Ends(start, end, is_quenched and moved_is_quenched, 'before')
    end, is_quenched = quench(hop.after(trajectory), calculators(), settings)
    if _is_free(end, hop.ion, hop.origin):
        start, moved_is_quenched = _moved(end, hop.ion, hop.origin, calculators, settings)
        yield Ends(start, end, is_quenched and moved_is_quenched, 'after')


def _is_free(atoms: Atoms, ion: int, place: Place) -> bool:
    """Whether no other atom is where the ion shall go."""
    others = np.delete(atoms.positions, ion, axis=0)
    _, distances = find_mic(others - np.array(place), atoms.cell, atoms.pbc)
    return bool(distances.min(initial=np.inf) > CLOSEST_ANGSTROM)


def _moved(
    atoms: Atoms, ion: int, place: Place, calculators: Calculators, settings: BarrierSettings
) -> tuple[Atoms, bool]:
    """The quenched structure with one ion at another place, and whether it was quenched."""
    moved = atoms.copy()
    moved.positions[ion] = place
    return quench(moved, calculators(), settings)
