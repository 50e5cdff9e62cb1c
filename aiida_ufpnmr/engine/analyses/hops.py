"""Hops of single ions and their rate; Harper 2024, Fig. 2 right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.analyses.site_sequence import site_agreement
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.sites import AnionSettings, SiteSettings, find_sites, not_counted_line
from aiida_ufpnmr.engine.trajectories.paths import PathSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport.hops import RATTLING, HopRate, Hops, HopSettings, find_hops, hop_rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ions whose displacement is kept and drawn: those that hop most, in panels of their own.
PANELS = 4


@dataclass(frozen=True)
class HopsSettings(HopSettings, AnionSettings, PathSettings):
    """Definition of a hop, and the comparison with sites."""

    by_site: bool = setting(False, 'Compare with the sites that "analyse sites" finds, of these anions.')


def no_ions() -> np.ndarray:
    """What a file of the first version holds of the ions to show."""
    return np.zeros(0, dtype=int)


@dataclass(frozen=True)
class HopsResult(Result, HopRate):
    """Hops, sorted by ion, then time, and the hop rate."""

    KIND = 'hops'

    atom: np.ndarray = quantity('', 'index of the ion', 'hops', kw_only=True)
    frame: np.ndarray = quantity('', 'frame in which the threshold was passed', 'hops', kw_only=True)
    time_ps: np.ndarray = quantity('ps', 'its time after the first frame', 'hops', kw_only=True)
    from_angstrom: np.ndarray = quantity('Å', 'place before', 'hops, 3', kw_only=True)
    to_angstrom: np.ndarray = quantity('Å', 'place after', 'hops, 3', kw_only=True)
    distance_angstrom: np.ndarray = quantity('Å', 'length', 'hops', kw_only=True)
    hops: int = quantity('', 'number of hops', default=0)
    hopping_ions: int = quantity('', 'number of ions that hop at least once', default=0)
    hop_distance_mean_angstrom: float | None = quantity('Å', 'mean length; null without a hop', default=None)
    hops_between_sites: dict | None = quantity('', 'hops by site before and after', default=None)
    site_changes: int | None = quantity('', 'changes of site', default=None)
    site_changes_with_hop: int | None = quantity('', 'of these, with a hop of the same ion', default=None)
    not_counted: str | None = quantity('', 'other anions in the file, which no site counts', default=None)
    shown_atom: np.ndarray = quantity('', 'ions that hop most', 'shown', default_factory=no_ions)
    shown_time_ps: np.ndarray = quantity('ps', 'times of their displacement', 'times', default_factory=no_ions)
    shown_displacement_angstrom: np.ndarray = quantity(
        'Å', 'distance from the start, averaged over the window', 'shown, times', default_factory=no_ions
    )

    @property
    def too_fast(self) -> bool:
        """Whether so many stays are missed that the rate is only a lower limit."""
        return self.hops > 0 and self.verdict != RATTLING and not self.hop_rate_corrected

    @property
    def headline(self) -> str:
        ions = f'{self.hopping_ions} out of {self.source["ions"]} {self.source["species"]} ions'
        return f'{self.hops} hops of {ions} in {self.source["trajectory_ps"]:.4g} ps'

    @property
    def remarks(self) -> list[str]:
        found = [not_counted_line(self.settings['anion'], self.not_counted)] if self.not_counted else []
        if self.verdict == RATTLING:
            words = f'Ions that only rattle would seem to hop {self.hops_by_chance:.2g} times: no hop is certain.'
            return [*found, f'{words} Raise --threshold-angstrom.']
        if not self.too_fast:
            return found
        return [*found, 'Hops follow one another too fast for the residence time: the rate is a lower limit.']

    @classmethod
    def read_first(cls, file: h5py.File) -> HopsResult:
        found = cls.read(file)
        counts = {'hops': len(found.frame), 'hopping_ions': len(np.unique(found.atom))}
        source = {name: file.attrs[name] for name in ('species', 'reference', 'ions', 'trajectory_ps')}
        return cls(**{**vars(found), **counts, 'source': source})

    def table(self) -> Table:
        low, high = self.hop_rate_per_s_ci95
        interval = f'{low:.3e} to {high:.3e}' if self.hop_rate_corrected and self.verdict != RATTLING else ''
        rows = [
            ('quantity', 'value', '95 % interval'),
            ('hop rate per ion (1/s)', f'{"> " if self.too_fast else ""}{self.hop_rate_per_s:.3e}', interval),
            ('as counted (1/s)', f'{self.hop_rate_counted_per_s:.3e}', ''),
            ('share that leads back', f'{self.return_fraction:.2f}', ''),
            ('cosine to the next hop', f'{self.successive_hop_cosine:.2f}', ''),
            ('width against a Poisson count', f'{self.hop_dispersion:.1f}', ''),
        ]
        if self.hops_between_sites is None:
            return rows
        rows += [
            (f'hops from {" to ".join(pair.split("_to_"))}', str(count), '')
            for pair, count in self.hops_between_sites.items()
        ]
        changes = f'{self.site_changes}, {self.site_changes_with_hop}'
        return [*rows, ('changes of site, of them with a hop', changes, '')]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        shown = len(self.shown_atom)
        figure = Figure(figsize=(7.0, 1.0 + 2.0 * max(shown, 1)), layout='constrained')
        panels = figure.subplots(max(shown, 1), 1, sharex=True, squeeze=False)[:, 0]
        for number, axis in enumerate(panels[:shown]):
            plot_hops(self, number, axis)
        if not shown:
            panels[0].plot(self.time_ps, self.atom, '|')
            panels[0].set(xlabel='time (ps)', ylabel='atom')
        return figure


@analysis('hops', 'ufpnmr analyse hops run.h5 -o hops.h5 --plot hops.png --json hops.json')
def hops(source: PathSource, settings: HopsSettings) -> HopsResult:
    """Hops of single ions and the hop rate per ion.

    The rate counts every hop. 1/τ of a correlation function is another quantity: with two sites it is twice this rate.
    """
    paths = source.paths
    found = find_hops(paths.positions, paths.step_ps, settings)
    sites: dict[str, Any] = {}
    if settings.by_site:
        with Trajectory(source.path) as trajectory:
            there = find_sites(trajectory, paths.species, SiteSettings(anion=settings.anion), source.skip_fs)
        agreement = site_agreement(found, there)
        sites = {
            'not_counted': ','.join(there.not_counted) or None,
            'hops_between_sites': {
                f'{origin}_to_{target}': int(count)
                for origin, row in zip(agreement.names, agreement.hops)
                for target, count in zip(agreement.names, row)
            },
            'site_changes': agreement.changes,
            'site_changes_with_hop': agreement.changes_with_hop,
        }
    busiest = busiest_ions(np.bincount(found.ion, minlength=found.n_ions))
    time_ps, displacement = displacements(paths.positions[:, busiest], found)
    return HopsResult(
        atom=paths.index[found.ion] if len(found.ion) else np.zeros(0, int),
        frame=found.frame,
        time_ps=found.time_ps,
        from_angstrom=found.origin,
        to_angstrom=found.target,
        distance_angstrom=found.distance,
        hops=len(found.frame),
        hopping_ions=len(np.unique(found.ion)),
        hop_distance_mean_angstrom=float(found.distance.mean()) if len(found.frame) else None,
        shown_atom=paths.index[busiest],
        shown_time_ps=time_ps,
        shown_displacement_angstrom=displacement,
        **sites,
        **vars(hop_rate(found)),
    )


def busiest_ions(counts: np.ndarray) -> list[int]:
    """Positions of the ions that hop most, of the hops of each (n_ions,); that of the first ion where none hops."""
    return [int(ion) for ion in np.argsort(-counts, kind='stable')[:PANELS] if counts[ion]] or [0]


def displacements(positions: np.ndarray, found: Hops) -> tuple[np.ndarray, np.ndarray]:
    """Times and distances from the start, averaged over the window and thinned to what a figure shows.

    Args:
        positions: (n_frames, n_ions, 3) in Å.
        found: hops of the same trajectory, for window, residence time and frame spacing.

    Returns:
        times (n,) in ps and distances (n_ions, n) in Å.
    """
    from aiida_ufpnmr.engine.figure_style import POINTS

    window = found.window
    start = positions[: found.residence].mean(axis=0)
    total = np.concatenate([np.zeros((1, *positions.shape[1:])), np.cumsum(positions - start, axis=0)])
    distance = np.linalg.norm(np.diff(total[::window], axis=0) / window, axis=2)
    every = max(1, len(distance) // POINTS)
    time_ps = (np.arange(len(distance)) + 0.5) * window * found.step_ps
    return time_ps[::every], distance[::every].T


def plot_hops(found: HopsResult, number: int, axis: Axes) -> None:
    """Draw the distance of one of the shown ions from its start against time, with its hops marked."""
    atom, longest_ps = found.shown_atom[number], found.source.get('trajectory_ps', found.shown_time_ps[-1])
    ion, hops_ps = f'{found.source.get("species", "")} atom {atom}', found.time_ps[found.atom == atom]
    distance = found.shown_displacement_angstrom[number]
    plot_with_hops(axis, ion, found.shown_time_ps, distance, hops_ps, longest_ps, 'displacement (Å)')
    axis.set_ylim(bottom=0)


def plot_with_hops(
    axis: Axes, ion: str, time_ps: np.ndarray, values: np.ndarray, hops_ps: np.ndarray, longest_ps: float, label: str
) -> None:
    """Draw values of one ion against time, with its hops marked; times up to ``longest_ps`` choose the unit."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREEN, finish, time_unit

    unit, factor = time_unit(longest_ps)
    for n, time in enumerate(hops_ps * factor):
        axis.axvline(time, color=GREEN, lw=1.2, alpha=0.7, zorder=1, label='hop' if n == 0 else None)
    axis.plot(time_ps * factor, values, color=BLUE, lw=0.9)
    axis.set(xlabel=f'time ({unit})', ylabel=label)
    axis.label_outer()
    axis.set_title(f'{ion}: {len(hops_ps)} hops', fontsize=10, loc='left')
    finish(axis, legend=len(hops_ps) > 0, loc='lower right', bbox_to_anchor=(1.0, 1.0), borderpad=0.0)
