"""Ions over which a correlation function is averaged by itself: those that hop, those that start at one kind of site.

Harper 2024 averages the correlation function of C_Q over the ions that hop, and colours those of single ions by their
sites.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.runs import EfgRuns, Segment
from aiida_ufpnmr.engine.structure.sites import SiteSettings, find_sites
from aiida_ufpnmr.engine.timeseries.sums import Group
from aiida_ufpnmr.engine.trajectories.paths import path_parts
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.hops import HopFinder, HopSettings


def hopping_ions(runs: EfgRuns, settings: HopSettings = HopSettings()) -> Group:
    """The ions that hop at least once, in each run by itself; positions are read some frames at a time."""
    members = []
    for run in runs.runs:
        hops_somewhere = np.zeros(runs.n_ions, bool)
        for segment in run:
            with Trajectory(_file(segment)) as source:
                paths = path_parts(source, runs.species, segment.time_fs[0] - source.time_fs[0])
                finder = HopFinder(len(paths.index), paths.step_ps, settings)
                for part in paths.parts:
                    finder.add(part)
            hops = finder.hops()
            hops_somewhere |= np.isin(runs.index, paths.index[np.unique(hops.ion)])
        members.append(hops_somewhere)
    return Group('hopping', 'hopping ions', tuple(members))


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


def _file(segment: Segment):
    if segment.path is None:
        raise InputError('hops and sites need a trajectory in a file')
    return segment.path
