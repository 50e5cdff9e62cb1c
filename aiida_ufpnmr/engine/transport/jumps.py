"""Stays of ions at the sites of a lattice, the jumps between them, and their rates.

An ion that leaves at random after a mean time τ makes as many jumps as a Poisson process of the time for which it was
seen to stay. So rates and residence times count the time of all stays, those cut off by an end of the run, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.stats import CensoredData, ecdf

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.structure.sites import join_short_stays
from aiida_ufpnmr.engine.timeseries.sums import poisson_limits
from aiida_ufpnmr.engine.transport.hops import Events
from aiida_ufpnmr.engine.transport.lattice_sites import LatticeSites

#: Frames whose sites are counted at a time.
CHUNK_FRAMES = 512


def visited_sites(
    parts: Iterable[np.ndarray], n_frames: int, sites: LatticeSites, core_angstrom: float, residence: int
) -> np.ndarray:
    """Site of each ion in each frame, (n_ions, n_frames) int32.

    An ion comes to a site where it is nearer than ``core_angstrom`` to it, and to no other; until then it is still at
    the one before, and at first at the nearest one. Stays shorter than ``residence`` frames belong to the one before,
    at the start to the next.

    Args:
        parts: places of the ions (frames, n_ions, 3) in units of the cell vectors, some frames at a time.
        n_frames: number of frames in all.
        sites: the sites.
        core_angstrom: distance in Å.
        residence: frames.
    """
    found: np.ndarray | None = None
    done = 0
    for part in parts:
        number, distance = sites.nearest(part)
        before = number[0] if found is None else found[:, done - 1]
        within = distance < core_angstrom
        number = np.concatenate([before[None], number])
        # the latest frame in which the ion was within a core; row 0 is the site before
        latest = np.maximum.accumulate(np.where(within, np.arange(1, len(part) + 1)[:, None], 0), axis=0)
        if found is None:
            found = np.empty((part.shape[1], n_frames), np.int32)
        found[:, done : done + len(part)] = np.take_along_axis(number, latest, axis=0).T
        done += len(part)
    assert found is not None  # a run has frames
    if residence > 1:
        _join_short_stays(found, residence)
    return found


def shared_frames(visited: np.ndarray, n_sites: int) -> np.ndarray:
    """Frames of ions (n_sites,) in which they are not alone at their site, of the sites (n_ions, n_frames) of ions."""
    shared = np.zeros(n_sites, int)
    for start in range(0, visited.shape[1], CHUNK_FRAMES):
        part = visited[:, start : start + CHUNK_FRAMES]
        size = part.shape[1] * n_sites
        counts = np.bincount((part + n_sites * np.arange(part.shape[1])).ravel(), minlength=size).reshape(-1, n_sites)
        shared += np.where(counts > 1, counts, 0).sum(axis=0)
    return shared


@njit()
def _join_short_stays(site, residence):
    for ion in range(len(site)):
        join_short_stays(site[ion], residence)


@dataclass(frozen=True)
class Stays:
    """Times that ions spend at sites, sorted by ion, then time.

    Attributes:
        ion, site: (n_stays,) position in the list of ions, and number of the site.
        first: (n_stays,) first frame.
        frames: (n_stays,) number of frames.
        n_ions, n_frames: of the run.
        step_ps: time between frames.
    """

    ion: np.ndarray
    site: np.ndarray
    first: np.ndarray
    frames: np.ndarray
    n_ions: int
    n_frames: int
    step_ps: float

    @classmethod
    def of(cls, site: np.ndarray, step_ps: float) -> Stays:
        """Of the sites (n_ions, n_frames) of ions."""
        n_ions, n_frames = site.shape
        begins = np.ones(site.shape, bool)
        begins[:, 1:] = site[:, 1:] != site[:, :-1]
        ion, first = np.nonzero(begins)
        frames = np.diff(np.append(ion * n_frames + first, site.size))
        return cls(ion, site[ion, first], first, frames, n_ions, n_frames, step_ps)

    @property
    def left(self) -> np.ndarray:
        """(n_stays,) whether the ion left within the run."""
        return self.first + self.frames < self.n_frames

    @property
    def time_ps(self) -> np.ndarray:
        """(n_stays,) time during which a jump would have been seen: until it, or until the last frame."""
        return self.step_ps * (self.frames - ~self.left)

    def jumps(self) -> Jumps:
        """The ends of the stays that end within the run."""
        left = self.left
        return Jumps(
            ion=self.ion[left],
            frame=(self.first + self.frames)[left],
            n_ions=self.n_ions,
            n_frames=self.n_frames,
            step_ps=self.step_ps,
            origin=self.site[left],
            target=np.append(self.site[1:], -1)[left],
        )

    def survival(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Share of ions that are still there, against time in ps since they came, both (n_times,).

        It is the estimate of Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958), from the chosen stays that begin
        within the run.
        """
        begun = chosen & (self.first > 0)
        if not begun.any():
            return np.zeros(1), np.ones(1)
        time, left = self.time_ps[begun], self.left[begun]
        sf = ecdf(CensoredData(uncensored=time[left], right=time[~left])).sf
        return np.append(0.0, sf.quantiles), np.append(1.0, sf.probabilities)


@dataclass(frozen=True)
class Jumps(Events):
    """Jumps between sites; their frame is the first at the new site.

    Attributes:
        origin, target: (n_jumps,) numbers of the sites before and after.
    """

    origin: np.ndarray
    target: np.ndarray

    def return_share(self) -> float:
        """Share of jumps, among those with one before, that lead back to where that one began; NaN without any."""
        follows = self.ion[1:] == self.ion[:-1]
        return float((self.target[1:] == self.origin[:-1])[follows].mean()) if follows.any() else np.nan


def mean_time(time_ps: float, count: int, burst: float) -> tuple[float | None, tuple[float, float | None]]:
    """Mean time before an event by maximum likelihood, time over events, and its 95 % interval, ps.

    Args:
        time_ps: time during which events would have been seen.
        count: number of events.
        burst: width of the interval of a count over that of a Poisson process; see
            :func:`~aiida_ufpnmr.engine.transport.hops.dispersion`.

    Returns:
        ``None`` for the mean and the upper end where there was no event.
    """
    low, high = (burst**2 * limit for limit in poisson_limits(count / burst**2))
    return (time_ps / count if count else None), (time_ps / high, time_ps / low if low else None)


def rate_of(time_ps: float, count: int, burst: float) -> tuple[float, tuple[float, float]]:
    """Events per second and its 95 % interval; arguments as in :func:`mean_time`."""
    mean, (low, high) = mean_time(time_ps, count, burst)
    return (1e12 / mean if mean else 0.0), (1e12 / high if high else 0.0, 1e12 / low)
