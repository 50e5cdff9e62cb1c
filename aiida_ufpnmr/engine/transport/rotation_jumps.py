"""Jumps of tetrahedra from one orientation to another, and whether ions hop when they do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.structure.tetrahedra import IDEAL
from aiida_ufpnmr.engine.transport.hops import MOST_BY_CHANCE, HopFinder, HopSettings

#: Random shifts in time that tell what chance would make.
SHIFTS = 1000
JUMPS = 'jumps'
NO_JUMPS = 'no jump within the trajectory'
LIBRATION = 'not told apart from libration: the threshold is within its reach'


@dataclass(frozen=True)
class RotationJumps:
    """Jumps, sorted by tetrahedron, then time.

    Attributes:
        unit: (n_jumps,) number of the tetrahedron.
        frame: (n_jumps,) frame in the middle of the jump.
        angle_deg: (n_jumps,) angle between the mean orientations before and after it.
        verdict: jumps, or what speaks against them.
    """

    unit: np.ndarray
    frame: np.ndarray
    angle_deg: np.ndarray
    verdict: str


class JumpFinder:
    """Finds jumps in rotations that come some frames at a time.

    A corner of the tetrahedron, at a distance of one from its middle, jumps as an ion hops: its direction, averaged
    over a window and over the residence time after it, is farther from where it pointed than the threshold. Corners
    that do so within a residence time of each other make one jump.

    Args:
        n_units: number of tetrahedra.
        step_ps: time between frames.
        settings: window and residence time of a jump.
        threshold_deg: angle by which a corner turns.
    """

    def __init__(self, n_units: int, step_ps: float, settings: HopSettings, threshold_deg: float):
        self.n_units = n_units
        chord = 2 * np.sin(np.radians(threshold_deg) / 2)
        self._corners = HopFinder(4 * n_units, step_ps, replace(settings, threshold_angstrom=chord))

    def add(self, rotations: np.ndarray) -> None:
        """Take the rotations of the next frames, (frames, n_units, 3, 3)."""
        corners = np.einsum('fnxy,ky->fnkx', rotations, IDEAL)
        self._corners.add(corners.reshape(len(rotations), -1, 3))

    def jumps(self, rotations: np.ndarray) -> RotationJumps:
        """All jumps of the frames so far, whose rotations (n_frames, n_units, 3, 3) give their angles.

        Raises:
            InputError: the frames are too few.
        """
        turned = self._corners.hops()
        unit, frame = turned.ion // 4, turned.frame
        order = np.lexsort((frame, unit))
        unit, frame = unit[order], frame[order]
        begins = np.ones(len(unit), bool)
        begins[1:] = (np.diff(unit) != 0) | (np.diff(frame) > turned.residence)
        groups = np.split(np.arange(len(unit)), np.flatnonzero(begins)[1:]) if len(unit) else []
        units = np.array([unit[group[0]] for group in groups], int)
        frames = np.array([int(np.median(frame[group])) for group in groups], int)
        angles = [self._angle(rotations[:, i], f, turned.residence) for i, f in zip(units, frames)]
        verdict = NO_JUMPS if not len(units) else JUMPS
        if len(unit) and turned.by_chance > MOST_BY_CHANCE * len(unit):
            verdict = LIBRATION
        return RotationJumps(units, frames, np.array(angles, float), verdict)

    @staticmethod
    def _angle(rotations: np.ndarray, frame: int, residence: int) -> float:
        """Angle in ° between the mean orientations over a residence time before and after a frame."""
        half = residence // 2
        before = rotations[max(0, frame - half - residence) : max(1, frame - half)]
        after = rotations[min(frame + half, len(rotations) - 1) : frame + half + residence]
        first, second = (Rotation.from_matrix(part).mean() for part in (before, after))
        return float(np.degrees((second * first.inv()).magnitude()))


@dataclass(frozen=True)
class Coincidence:
    """How many events have another one near in time.

    Attributes:
        share: share of the events.
        expected: mean share where the others come at other times, by cyclic shifts.
        p_value: chance that a shift makes a share as large.
    """

    share: float
    expected: float
    p_value: float


def coincidence(
    frame: np.ndarray, near: np.ndarray, jumps: RotationJumps, n_frames: int, within: int, seed: int
) -> Coincidence:
    """Share of events with a jump of a tetrahedron near them, at most ``within`` frames before or after.

    All jumps are shifted by one random time, which keeps how they follow each other, to tell what chance makes.

    Args:
        frame: (n_events,) their frames.
        near: (n_events, n_units) which tetrahedra are near.
        n_frames: of the trajectory.
        seed: of the shifts.
    """
    busy = np.zeros((near.shape[1], n_frames), bool)
    busy[jumps.unit, jumps.frame] = True
    busy = binary_dilation(busy, np.ones((1, 2 * within + 1), bool))

    def share(shift: int) -> float:
        return float((near & busy[:, (frame - shift) % n_frames].T).any(axis=1).mean())

    found = share(0)
    shifts = np.random.default_rng(seed).integers(1, n_frames, SHIFTS)
    by_chance = np.array([share(shift) for shift in shifts])
    return Coincidence(found, float(by_chance.mean()), float((1 + (by_chance >= found).sum()) / (1 + SHIFTS)))
