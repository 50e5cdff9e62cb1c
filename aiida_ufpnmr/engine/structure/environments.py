"""Surroundings of ions along a run: the number of anions around an ion, and the units which these belong to.

The number of anions is the soft one of :mod:`sites`, counted by the kind of unit, such as PS4 or P2S7, that
an anion belongs to. It is averaged over a window. An ion is at the whole number of anions that is nearest, and at the
kind of unit that gives most of them; it changes where another one is nearer, or gives more, by a margin, and stays for
a residence time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.sites import (
    BLOCK_BYTES,
    ShellSettings,
    join_short_stays,
    latest_frames,
    running_mean,
    soft_coordination_by_kind,
)
from aiida_ufpnmr.engine.structure.units import find_units
from aiida_ufpnmr.engine.trajectories.run_frames import RunFrames

#: Units whose centres do not have four neighbours each, which are many kinds in a melt and few of each.
OTHER = 'other units'


@dataclass(frozen=True)
class EnvironmentSettings(ShellSettings):
    """Definition of the surroundings of an ion."""

    units_every_ps: float = setting(10.0, 'Look for the units of the anions anew after this time, in ps.', above=0)


@dataclass(frozen=True)
class Environment:
    """Surroundings of ions of one sort, by number.

    Attributes:
        names: of the surroundings that occur.
        time_fs: (n_frames,) equally spaced times.
        kind: (n_frames, n_ions) int8, positions in ``names``.
    """

    names: tuple[str, ...]
    time_fs: np.ndarray
    kind: np.ndarray

    def at(self, time_fs: np.ndarray) -> np.ndarray:
        """The surroundings at other times, (n_times, n_ions): those in the latest frame."""
        return self.kind[latest_frames(self.time_fs, time_fs)]

    @classmethod
    def of(cls, names: Sequence[str], time_fs: np.ndarray, kind: np.ndarray) -> Environment:
        """With the names of those alone that occur."""
        there, number = np.unique(kind, return_inverse=True)
        return cls(tuple(names[k] for k in there), time_fs, number.reshape(kind.shape).astype(np.int8))


@dataclass(frozen=True)
class Shells:
    """Anions around ions along a run.

    Attributes:
        species, time_fs: chemical symbol of the ions; (n_frames,) equally spaced times.
        units: kinds of units.
        counts: (n_frames, n_ions, n_units) soft number of anions that belong to each kind, float32.
        settings: as given.
    """

    species: str
    time_fs: np.ndarray
    units: tuple[str, ...]
    counts: np.ndarray
    settings: EnvironmentSettings

    def coordination(self) -> Environment:
        """Surroundings by the number of anions, such as LiS4."""
        kind = self._settled(lambda counts, margin: whole_numbers(counts.sum(axis=2), margin))
        names = [f'{self.species}{self.settings.shell}{n}' for n in range(int(kind.max()) + 1)]
        return Environment.of(names, self.time_fs, kind)

    def clusters(self) -> Environment:
        """Surroundings by the kind of unit that gives most of the anions."""
        return Environment.of(self.units, self.time_fs, self._settled(largest))

    def _settled(self, states) -> np.ndarray:
        """States of the averaged numbers without short stays, (n_frames, n_ions) int8; some ions at a time."""
        n_frames, n_ions, n_units = self.counts.shape
        window, residence = self.settings.in_frames(float(self.time_fs[1] - self.time_fs[0]) * 1e-3)
        kind = np.empty((n_frames, n_ions), np.int8)
        size = max(1, int(BLOCK_BYTES // (32 * n_frames * n_units)))
        for start in range(0, n_ions, size):
            part = self.counts[:, start : start + size]
            mean = running_mean(part.reshape(n_frames, -1), window).reshape(part.shape)
            found = states(mean, self.settings.margin)
            for ion in range(found.shape[1]):
                join_short_stays(found[:, ion], residence)
            kind[:, start : start + size] = found
        return kind


def find_shells(
    frames: RunFrames, species: str, ions: np.ndarray, settings: EnvironmentSettings = EnvironmentSettings()
) -> Shells:
    """Count the anions around ions along a run, by the kind of unit that they belong to.

    Args:
        frames: of the run.
        species, ions: chemical symbol and indices of the ions.
        settings: definition of the surroundings.

    Raises:
        InputError: no such anion.
    """
    anions = np.sort(np.concatenate([frames.atoms_of(anion, 'anion') for anion in settings.anions]))
    every = max(1, round(settings.units_every_ps / frames.step_ps))
    names: dict[str, int] = {}
    kind = np.zeros(len(anions), int)
    counted, frame = [], 0
    for positions, cells in frames.parts():
        stop = frame + len(positions)
        edges = sorted({frame, stop, *range(-(-frame // every) * every, stop, every)})
        for begin, end in zip(edges, edges[1:]):
            part = slice(begin - frame, end - frame)
            if begin % every == 0:
                atoms = Atoms(frames.numbers, positions[part.start], cell=cells[part.start], pbc=frames.pbc)
                kind = np.array([names.setdefault(name, len(names)) for name in _units_of(atoms, anions)])
            counts = soft_coordination_by_kind(
                positions[part],
                cells[part],
                frames.pbc,
                ions,
                anions,
                kind,
                settings.radius_angstrom,
                settings.width_angstrom,
            )
            counted.append(counts.astype(np.float32))
        frame = stop
    counts = np.zeros((frame, len(ions), len(names)), np.float32)
    frame = 0
    for one in counted:
        counts[frame : frame + len(one), :, : one.shape[2]] = one
        frame += len(one)
    return Shells(species, frames.time_fs, tuple(names), counts, settings)


def _units_of(atoms: Atoms, anions: np.ndarray) -> list[str]:
    """Kind of the unit of each anion."""
    units = find_units(atoms)
    return [OTHER if number < 0 or '[' in units.names[number] else units.names[number] for number in units.unit[anions]]


@njit()
def whole_numbers(x, margin):
    """The nearest whole number for each ion, int8; another one follows where x (n_frames, n_ions) is nearer to it by
    more than ``margin`` beyond the middle."""
    n_frames, n_ions = x.shape
    state = np.empty((n_frames, n_ions), np.int8)
    for i in range(n_ions):
        now = np.round(x[0, i])
        for f in range(n_frames):
            if abs(x[f, i] - now) > 0.5 + margin:
                now = np.round(x[f, i])
            state[f, i] = now
    return state


@njit()
def largest(counts, margin):
    """The largest of the numbers (n_frames, n_ions, n_kinds) for each ion, int8; another one follows where it exceeds
    the one before by more than ``margin``."""
    n_frames, n_ions, n_kinds = counts.shape
    state = np.empty((n_frames, n_ions), np.int8)
    for i in range(n_ions):
        now = np.argmax(counts[0, i])
        for f in range(n_frames):
            best = np.argmax(counts[f, i])
            if counts[f, i, best] > counts[f, i, now] + margin:
                now = best
            state[f, i] = now
    return state
