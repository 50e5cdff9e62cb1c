"""Ions over which a correlation function is averaged by itself: those that hop, those with the same surroundings.

Harper 2024 averages the correlation function of C_Q over the ions that hop, and colours those of single ions by their
sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.runs import EfgRuns, Segment
from aiida_ufpnmr.engine.structure.sites import SiteSettings, find_sites
from aiida_ufpnmr.engine.timeseries.sums import Group
from aiida_ufpnmr.engine.trajectories.run_frames import RunFrames
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.hops import HopFinder, Hops, HopSettings


@dataclass(frozen=True)
class RunHops:
    """Hops of the ions of one run, also over the seams of its files.

    Attributes:
        hops: of all ions of the species, in the frames with positions.
        column: (n_hops,) position of the ion among those with tensors; -1 for one that has none.
        time_fs: (n_hops,) times.
        counts: (n_ions,) number of hops of each ion with tensors.
    """

    hops: Hops
    column: np.ndarray
    time_fs: np.ndarray
    counts: np.ndarray


def frames_of(run: Sequence[Segment]) -> RunFrames:
    """Frames with positions of one run.

    Raises:
        InputError: the run is not in files.
    """
    return RunFrames.open([_file(segment) for segment in run], run[0].time_fs[0])


def find_run_hops(runs: EfgRuns, settings: HopSettings = HopSettings()) -> list[RunHops]:
    """The hops of each run; positions are read some frames at a time."""
    found = []
    for run in runs.runs:
        frames = frames_of(run)
        ions = frames.atoms_of(runs.species)
        finder = HopFinder(len(ions), frames.step_ps, settings)
        for part in frames.paths(ions):
            finder.add(part)
        hops = finder.hops()
        column = np.full(len(ions), -1)
        column[np.searchsorted(ions, runs.index)] = np.arange(runs.n_ions)
        column = column[hops.ion]
        counts = np.bincount(column[column >= 0], minlength=runs.n_ions)
        found.append(RunHops(hops, column, frames.time_fs[hops.frame], counts))
    return found


def hopping_ions(runs: EfgRuns, settings: HopSettings = HopSettings()) -> Group:
    """The ions that hop at least once, in each run by itself."""
    members = tuple(one.counts > 0 for one in find_run_hops(runs, settings))
    return Group('hopping', 'hopping ions', members)


def starting_sites(runs: EfgRuns, settings: SiteSettings = SiteSettings()) -> list[Group]:
    """For each kind of site, the frames in which an ion sits there: the origins of time of its correlation function."""
    sites = []
    for run in runs.runs:
        parts = []
        for segment in run:
            with Trajectory(_file(segment)) as source:
                found = find_sites(source, runs.species, settings)
            parts.append(found.at(segment.time_fs)[:, np.searchsorted(found.index, runs.index)])
        sites.append(np.concatenate(parts))
    return [
        Group(name, f'from {name}', tuple(site == number for site in sites))
        for number, name in enumerate(settings.names(runs.species))
    ]


def first_sites(sites: Sequence[Group]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Number of the site of each ion (n_ions,) in the first frame of the first run, and the names of the sites.

    ``None`` without sites.
    """
    if not sites:
        return None, ()
    return np.argmax([group.members[0][0] for group in sites], axis=0), tuple(group.name for group in sites)


def _file(segment: Segment) -> Path:
    if segment.path is None:
        raise InputError('hops and sites need a trajectory in a file')
    return segment.path
