"""Limits beyond which a run is no longer physics, looked at in every step, and what is said when one is broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.simd import MATH

FINISHED, TOO_CLOSE, TOO_HOT, TOO_STRONG, TOO_FAST = range(5)


@dataclass(frozen=True)
class Stop:
    """Why a run ended before its last step.

    Attributes:
        reason: a guard (``closest_approach``, ``force``, ``displacement``, ``temperature``, ``extrapolation``,
            ``units``), ``wall_time`` or ``interrupted``.
        message: the same in words.
    """

    reason: str
    message: str

    @property
    def is_guard(self) -> bool:
        """Whether the physics, not the world around it, ended the run."""
        return self.reason not in ('wall_time', 'interrupted')


class Limits(NamedTuple):
    """What a run may not exceed."""

    closest: np.ndarray  # (s, s) Å, distances below which the potential knows nothing
    force: float  # eV/Å
    speed: float  # Å/fs
    kinetic: float  # eV


@njit(fastmath=MATH, forceinline=True)
def broken_limit(system, limits, close_atom, kinetic):
    """The code of the first limit that is broken, or ``FINISHED``; NaN breaks a limit, too.

    Args:
        close_atom: an atom that came too close to another, or -1.
        kinetic: kinetic energy, eV.
    """
    if close_atom >= 0:
        return TOO_CLOSE
    if not kinetic <= limits.kinetic:
        return TOO_HOT
    for i in range(len(system.forces)):
        square = system.forces[i, 0] ** 2 + system.forces[i, 1] ** 2 + system.forces[i, 2] ** 2
        if not square <= limits.force * limits.force:
            return TOO_STRONG
    for i in range(len(system.velocities)):
        square = system.velocities[i, 0] ** 2 + system.velocities[i, 1] ** 2 + system.velocities[i, 2] ** 2
        if not square <= limits.speed * limits.speed:
            return TOO_FAST
    return FINISHED
