"""The arrays that a GPU works on: state, control and lists of all replicas, and what they share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class State(NamedTuple):
    """R replicas of n atoms, sorted by species; units as in :mod:`~aiida_ufpnmr.engine.gpu.fixed_point`."""

    position: np.ndarray  # (R, n, 3) int64, never wrapped
    velocity: np.ndarray  # (R, n, 3) float64, Å/fs
    force: np.ndarray  # (R, n, 3) int32
    reference: np.ndarray  # (R, n, 3) int64 positions at which the lists were made
    place: np.ndarray  # (R, n, 4) int32 upper part of the positions, wrapped when the lists were made; species
    mass: np.ndarray  # (n,) float64, amu
    cell: np.ndarray  # (R, 3, 3) float64, Å
    edges: np.ndarray  # (R, 3, 3) float32 cell vectors, Å per unit of place
    inverse_cell: np.ndarray  # (R, 3, 3) float64, 1/Å
    bath: np.ndarray  # (R, 2) float64 k_B T at step 0 and at the end of the ramp, eV
    seed: np.ndarray  # (R,) int64
    noise: np.ndarray  # (R, 3, 3) int64 momentum of the noise at a step, one before and one after it, by step modulo 3
    heat: np.ndarray  # (R,) int64 energy that the thermostat took out
    kinetic: np.ndarray  # (R,) int64 kinetic energy
    control: np.ndarray  # (R, CONTROLS) int64
    trouble: np.ndarray  # (R,) int64 the first limit that was broken, see packed_trouble()


#: Columns of ``State.control``: the present step; the step to stop at; whether lists are out of date, an array was too
#: small (see SHORT_...), this call is over, and a step is to be finished that an array too small had held up.
STEP, LAST, STALE, SHORT, DONE, HELD_UP = range(6)
CONTROLS = 6
#: What was too small: rows of the lists, neighbours in triplets, members of a bin.
SHORT_LIST, SHORT_NEAR, SHORT_BIN = 1, 2, 4
#: ``State.trouble`` where there is none.
NO_TROUBLE = np.iinfo(np.int64).max


class Lists(NamedTuple):
    """Neighbours of each atom, packed as in :mod:`~aiida_ufpnmr.engine.gpu.lists`."""

    length: np.ndarray  # (R, n) int32
    entry: np.ndarray  # (R, n, capacity) int32


class Bins(NamedTuple):
    """Boxes that divide each cell, no narrower than lists reach, with the atoms in them; for large replicas."""

    filled: np.ndarray  # (R, boxes) int32 number of atoms
    member: np.ndarray  # (R, boxes, capacity) int32, in no order
    spare: np.ndarray  # (R, n, capacity) int32 entries of the lists before they are sorted
    number: tuple[int, int, int]  # of boxes along each axis, three or more


class Rule(NamedTuple):
    """Numbers that all replicas share."""

    timestep: float  # fs
    memory: float  # exp(−timestep / relaxation time); 1 without a thermostat
    ramp: float  # steps to the final temperature
    total_mass: float  # amu; 0 for a single atom, which may drift
    list_square: float  # Å², of the lists' reach
    allowance_square: float  # Å², by how far an atom may move before new lists are made
    force_square: float  # (eV/Å)², limit
    speed_square: float  # (Å/fs)², limit
    reach: tuple[int, int, int]  # images beside the nearest one that may be neighbours


class Observed(NamedTuple):
    """What is computed for rows of the log alone."""

    energy: np.ndarray  # (R, n) int64, of each atom but for one-body terms
    virial: np.ndarray  # (R, 6) int64 xx, xy, xz, yy, yz, zz


def packed_trouble(code: int, first: int = 0, second: int = 0) -> int:
    """A code of :mod:`~aiida_ufpnmr.engine.md.guards` and two atoms, so that the least is the one to report."""
    return code << 56 | first << 28 | second


def unpacked_trouble(packed: int) -> tuple[int, int, int]:
    """What :func:`packed_trouble` packed."""
    return packed >> 56, packed >> 28 & 0xFFFFFFF, packed & 0xFFFFFFF
