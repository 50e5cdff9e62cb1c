"""The barrier between two structures, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.geometry import find_mic

from aiida_ufpnmr.engine.barriers.band import Band, Calculators, quench, relax_band
from aiida_ufpnmr.engine.barriers.settings import BandSettings
from aiida_ufpnmr.engine.records import Record, quantity

CONVERGED = 'converged'
QUENCH = 'an end was not quenched in {steps} steps'
TAKEN = 'another atom is where the ion goes'
TOGETHER = 'both ends fell together'
STAYED = 'the ion is where it was, though other atoms have moved'
BAND = 'the band did not converge in {steps} steps'
NO_SADDLE = 'no image is higher than both ends'
INTERMEDIATE = 'there is a minimum between the ends'
#: How the reason of a hop begins that ended in an error.
FAILED = 'failed: '
#: Of ends between which there is no hop.
NO_HOP = (TOGETHER, STAYED)
#: A minimum between the ends that is deeper, eV, makes two hops of one: half of what heat gives at room temperature.
DEEP_EV = 0.0125


@dataclass(frozen=True)
class Barrier(Record):
    """What a band between two quenched structures came to."""

    status: str = quantity('', 'converged, or why there is no barrier that counts')
    collective: bool | None = quantity(
        '', 'whether others moved with the ion; null where nothing was quenched', default=None
    )
    moved: tuple[int, ...] = quantity('', 'atoms that moved from one quenched end to the other', default=())
    ion_moved_angstrom: float | None = quantity('Å', 'displacement of the ion between the ends', default=None)
    others_moved_angstrom: float | None = quantity('Å', 'largest displacement of another atom', default=None)
    forward_eV: float | None = quantity('eV', 'highest energy of the path above that of its start', default=None)
    backward_eV: float | None = quantity('eV', 'and above that of its end', default=None)
    intermediate_depth_eV: float | None = quantity('eV', 'depth of a minimum between the ends', default=None)
    path_angstrom: tuple[float, ...] = quantity('Å', 'way along the path, in the space of all atoms', default=())
    energies_eV: tuple[float, ...] = quantity('eV', 'energies along the path, above that of its start', default=())
    force_eV_per_angstrom: float | None = quantity('eV/Å', 'largest force that is left on the path', default=None)
    steps: int | None = quantity('', 'steps of the band', default=None)

    @property
    def counts(self) -> bool:
        """Whether the path is that of a single ion, and has converged."""
        return self.status == CONVERGED and not self.collective


@dataclass(frozen=True)
class BarrierPath:
    """A barrier and the structures it was found with.

    Attributes:
        barrier: the numbers.
        images: both ends, and what is between them where there is a band.
    """

    barrier: Barrier
    images: tuple[Atoms, ...]


def barrier_between(
    start: Atoms, end: Atoms, ion: int, calculators: Calculators, settings: BandSettings = BandSettings()
) -> BarrierPath:
    """The barrier of a hop of an ion.

    Args:
        start, end: structures near two minima, in equal cells and with atoms in equal order. Each atom goes to its
            nearest periodic image.
        ion: the atom that hops.
        calculators: makes an ASE calculator for each structure.
        settings: how ends are quenched and the band relaxed.
    """
    step, _ = find_mic(end.positions - start.positions, start.cell, start.pbc)
    end = _at(end, start.positions + step)
    start, start_is_quenched = quench(start, calculators(), settings)
    end, end_is_quenched = quench(end, calculators(), settings)
    return climb(start, end, ion, start_is_quenched and end_is_quenched, calculators, settings)


def climb(
    start: Atoms, end: Atoms, ion: int, quenched: bool, calculators: Calculators, settings: BandSettings
) -> BarrierPath:
    """The same of two structures that were quenched, or where ``quenched`` is false did not come to rest.

    Each atom goes to its position in the end as it is, without regard to periodic images: a long hop may be longer than
    half a cell.
    """
    end = _at(end, end.positions, end.calc)
    step = end.positions - start.positions
    # what all atoms do alike costs no energy, and frames may have drifted apart
    step -= np.median(np.delete(step, ion, axis=0), axis=0) if len(step) > 1 else 0.0
    end.positions = start.positions + step
    distance = np.linalg.norm(step, axis=1)
    moved = np.flatnonzero(distance > settings.moved_angstrom)
    others = np.delete(distance, ion)
    found: dict[str, Any] = {
        'moved': tuple(map(int, moved)),
        'collective': bool((others > settings.moved_angstrom).any()),
        'ion_moved_angstrom': float(distance[ion]),
        'others_moved_angstrom': float(others.max(initial=0.0)),
    }
    reason = None
    if not quenched:
        reason = QUENCH.format(steps=settings.quench_steps)
    elif not len(moved):
        reason = TOGETHER
    elif ion not in moved:
        reason = STAYED
    if reason is not None:
        return BarrierPath(Barrier(status=reason, **found), (start, end))
    band = relax_band(start, end, ion, calculators, settings)
    return BarrierPath(
        Barrier(
            status=_status(band, settings),
            **found,
            forward_eV=band.forward_eV,
            backward_eV=band.backward_eV,
            intermediate_depth_eV=band.intermediate_depth_eV,
            path_angstrom=tuple(map(float, band.path_angstrom)),
            energies_eV=tuple(map(float, band.energies_eV - band.energies_eV[0])),
            force_eV_per_angstrom=band.force_eV_per_angstrom,
            steps=band.steps,
        ),
        tuple(_at(start, positions) for positions in band.positions),
    )


def _status(band: Band, settings: BandSettings) -> str:
    if not band.converged:
        return BAND.format(steps=settings.steps)
    if not band.has_saddle:
        return NO_SADDLE
    return INTERMEDIATE if band.intermediate_depth_eV > DEEP_EV else CONVERGED


def _at(atoms: Atoms, positions: np.ndarray, calculator: Calculator | None = None) -> Atoms:
    placed = atoms.copy()
    placed.positions = positions
    placed.calc = calculator
    return placed
