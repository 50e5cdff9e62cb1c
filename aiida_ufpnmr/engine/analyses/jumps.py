"""Jumps of ions between the sites of a lattice: how many from each to each, rates, and residence times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.sites import AnionSettings, SiteSettings, find_sites
from aiida_ufpnmr.engine.tables import with_interval
from aiida_ufpnmr.engine.trajectories.paths import CHUNK_FRAMES, PathSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, regular_frames
from aiida_ufpnmr.engine.transport.hops import dispersion
from aiida_ufpnmr.engine.transport.jumps import Jumps, Stays, mean_time, rate_of, shared_frames, visited_sites
from aiida_ufpnmr.engine.transport.lattice_sites import LatticeSites, sites_by_density, sites_of_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ions that stay for fewer frames than this jump between frames, too.
FEWEST_FRAMES = 10
#: Shares of jumps straight back, and of the time of ions that share a site, above which a remark says so.
MANY_RETURNS, MANY_SHARED = 0.6, 0.05
#: Times at which survival is kept.
SURVIVAL_TIMES = 200


@dataclass(frozen=True)
class JumpsSettings(AnionSettings, PathSettings):
    """Sites, and when an ion is at one."""

    sites: str = setting(
        '',
        'Structure whose ions of the species lie on the sites, filled in part or not, in a cell that repeats to that '
        'of the run; by default sites are where the density of the ions is largest.',
        metavar='FILE',
    )
    separation_angstrom: float = setting(1.0, 'Least distance in Å between sites found by density.', above=0)
    least_occupation: float = setting(0.01, 'Ions on average that a site found by density holds.', least=0)
    core_angstrom: float = setting(
        1.0,
        'An ion comes to a site where it is nearer than this, in Å, and until then is at the one before; with a large '
        'value it is at the nearest site.',
        above=0,
    )
    residence_ps: float = setting(0.0, 'Shorter stays, in ps, do not count.', least=0)
    by_site: bool = setting(False, 'Tell sites apart as fourfold and sixfold, as "analyse sites" does.')


@dataclass(frozen=True)
class SiteKind(Record):
    """Sites of one kind."""

    number_of_sites: int = quantity('', 'number of sites')
    ions_per_site: float = quantity('', 'ions at a site, averaged over time')
    shared_share: float = quantity('', 'share of the time of ions that they are not alone at their site')
    leavings: int = quantity('', 'jumps away')
    residence_time_ps_low: float = quantity('ps', 'lower end of its 95 % interval')
    survival_time_ps: np.ndarray = quantity('ps', 'times since ions came', 'times')
    survival: np.ndarray = quantity('', 'share of them that are still there (Kaplan and Meier)', 'times')
    residence_time_ps: float | None = quantity('ps', 'time stayed by leavings; null without one', default=None)
    residence_time_ps_high: float | None = quantity('ps', 'upper end; null without a leaving', default=None)

    @property
    def occupation(self) -> str:
        """Words about how many sites there are, and how full."""
        words = f'{self.number_of_sites} sites with {self.ions_per_site:.3g} ions each.'
        if self.shared_share > MANY_SHARED:
            words += f' For {self.shared_share:.0%} of their time ions share one: there may be more sites.'
        return words

    @property
    def residence_time(self) -> str:
        """The residence time and its interval, or the lower limit that there is."""
        if self.residence_time_ps is None or self.residence_time_ps_high is None:
            return f'> {self.residence_time_ps_low:.3g}'
        limits = self.residence_time_ps_low, self.residence_time_ps_high
        return with_interval(self.residence_time_ps, limits, '.3g')


@dataclass(frozen=True)
class SitePair(Record):
    """Jumps from sites of one kind to sites of one kind."""

    number_of_jumps: int = quantity('', 'number of jumps')
    rate_per_s: float = quantity('1/s', 'jumps by the time that ions stay at the first kind')
    rate_per_s_ci95: tuple[float, float] = quantity('1/s', 'its 95 % interval')
    distance_angstrom: float = quantity('Å', 'mean distance of the two sites')


@dataclass(frozen=True)
class JumpsResult(Result):
    """Sites, all jumps between them, and rates and residence times by the kind of site."""

    KIND = 'jumps'

    number_of_jumps: int = quantity('', 'all jumps')
    jump_rate_per_s: float = quantity('1/s', 'jumps per ion and second')
    jump_rate_per_s_ci95: tuple[float, float] = quantity('1/s', 'its 95 % interval')
    jump_dispersion: float = quantity('', 'width of the intervals over those of Poisson counts')
    return_share: float = quantity('', 'share of jumps that lead back to the site before')
    kinds: dict[str, SiteKind] = quantity('', 'by name of the kind')
    pairs: dict[str, SitePair] = quantity('', 'by kinds, such as Li1_to_Li2; those with a jump')
    site_place: np.ndarray = quantity('', 'sites, in units of the cell vectors', 'sites, 3')
    site_kind: np.ndarray = quantity('', 'number of the kind of each', 'sites')
    site_ions: np.ndarray = quantity('', 'ions at each, averaged over time', 'sites')
    site_time_ps: np.ndarray = quantity('ps', 'time for which ions were seen to stay at each', 'sites')
    jumps: np.ndarray = quantity('', 'number of jumps from each site to each', 'sites, sites')
    atom: np.ndarray = quantity('', 'ion of each jump', 'jumps')
    time_ps: np.ndarray = quantity('ps', 'time after the first frame', 'jumps')
    from_site: np.ndarray = quantity('', 'site before', 'jumps')
    to_site: np.ndarray = quantity('', 'site after', 'jumps')

    @property
    def headline(self) -> str:
        return f'{super().headline}: {self.number_of_jumps} jumps between {len(self.site_place)} sites'

    @property
    def remarks(self) -> list[str]:
        words = [f'{name}: {one.occupation}' for name, one in self.kinds.items()]
        stays = [one.residence_time_ps for one in self.kinds.values() if one.residence_time_ps]
        if stays and min(stays) < FEWEST_FRAMES * self.source.get('frame_spacing_ps', 0.0):
            words.append('Ions stay for few frames: jumps between frames are missed, and rates are lower limits.')
        if self.return_share > MANY_RETURNS:
            words.append(
                f'{self.return_share:.0%} of jumps lead straight back: these sites may be one, or ions flicker at '
                'their border; lower --core-angstrom, or raise --residence-ps.'
            )
        return words

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('from', 'to', 'jumps', 'rate (1/s)', 'residence time (ps)', 'distance (Å)')]
        for name, one in self.kinds.items():
            rows.append((name, 'any', str(one.leavings), '', one.residence_time, ''))
        for name, pair in self.pairs.items():
            rate = with_interval(pair.rate_per_s, pair.rate_per_s_ci95, '.2e')
            rows.append((*name.split('_to_'), str(pair.number_of_jumps), rate, '', f'{pair.distance_angstrom:.2f}'))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(10.0, 4.4), layout='constrained')
        left, right = figure.subplots(1, 2)
        plot_matrix(self, left)
        plot_survival(self, right)
        return figure


@analysis('jumps', 'ufpnmr analyse jumps run.h5 --sites crystal.cif -o jumps.h5 --plot jumps.png')
def jumps(source: PathSource, settings: JumpsSettings) -> JumpsResult:
    """Jumps of ions between the sites of a lattice, their rates, and residence times.

    An ion jumps where it comes to another site, however near; "hops" counts displacements beyond a threshold instead,
    and needs no sites.
    """
    paths = source.paths
    with Trajectory(source.path) as trajectory:
        if not np.all(trajectory.pbc):
            raise InputError('not periodic in all directions; sites are those of a crystal')
        frames = regular_frames(trajectory.time_fs, source.skip_fs, trajectory.path)
        cells, first = trajectory.cells(frames.start, frames.stop), trajectory.atoms(frames.start)
    cell = cells.mean(axis=0)
    if settings.sites:
        sites = replace(sites_of_file(settings.sites, paths.species, first), cell=cell)
    else:
        least = settings.separation_angstrom, settings.least_occupation
        sites = sites_by_density(places(paths.positions, cells), paths.species, cell, *least)
    residence = round(settings.residence_ps / paths.step_ps)
    visited = visited_sites(
        places(paths.positions, cells), len(paths.positions), sites, settings.core_angstrom, residence
    )
    if settings.by_site:
        sites = by_coordination(source, sites, visited, SiteSettings(anion=settings.anion))
    stays = Stays.of(visited, paths.step_ps)
    found = stays.jumps()
    burst = dispersion(found)
    matrix = np.zeros(2 * sites.kind.shape, int)
    np.add.at(matrix, (found.origin, found.target), 1)
    time_ps = np.bincount(stays.site, stays.time_ps, len(matrix))
    rate, interval = rate_of(float(time_ps.sum()), len(found.ion), burst)
    return JumpsResult(
        number_of_jumps=len(found.ion),
        jump_rate_per_s=rate,
        jump_rate_per_s_ci95=interval,
        jump_dispersion=burst,
        return_share=found.return_share(),
        kinds=_kinds(sites, visited, stays, burst),
        pairs=_pairs(sites, time_ps, found, burst),
        site_place=sites.place,
        site_kind=sites.kind,
        site_ions=np.bincount(visited.ravel(), minlength=len(matrix)) / visited.shape[1],
        site_time_ps=time_ps,
        jumps=matrix,
        atom=paths.index[found.ion],
        time_ps=found.time_ps,
        from_site=found.origin,
        to_site=found.target,
    )


def places(positions: np.ndarray, cells: np.ndarray) -> Iterator[np.ndarray]:
    """Positions (frames, n_ions, 3) in Å in units of the cell vectors of their frame, some frames at a time."""
    for start in range(0, len(positions), CHUNK_FRAMES):
        part = slice(start, start + CHUNK_FRAMES)
        yield positions[part] @ np.linalg.inv(cells[part])


def by_coordination(
    source: PathSource, sites: LatticeSites, visited: np.ndarray, settings: SiteSettings
) -> LatticeSites:
    """The sites with kinds by where most of the ions are that sit at each: fourfold or sixfold."""
    with Trajectory(source.path) as trajectory:
        around = find_sites(trajectory, source.settings.species, settings, source.skip_fs)
    ions = np.bincount(visited.ravel(), minlength=len(sites.place))
    sixfold = np.bincount(visited.ravel(), around.site.T.ravel(), len(sites.place))
    return replace(sites, kind=(2 * sixfold > ions).astype(int), names=around.names)


def _kinds(sites: LatticeSites, visited: np.ndarray, stays: Stays, burst: float) -> dict[str, SiteKind]:
    n_sites, n_frames = len(sites.kind), visited.shape[1]
    ions, shared = np.bincount(visited.ravel(), minlength=n_sites), shared_frames(visited, n_sites)
    found = {}
    for number, name in enumerate(sites.names):
        here = sites.kind == number
        chosen = here[stays.site]
        if not chosen.any():
            continue
        leavings = int((chosen & stays.left).sum())
        mean, (low, high) = mean_time(float(stays.time_ps[chosen].sum()), leavings, burst)
        time, share = stays.survival(chosen)
        shown = np.unique(np.linspace(0, len(time) - 1, SURVIVAL_TIMES).astype(int))
        found[name] = SiteKind(
            number_of_sites=int(here.sum()),
            ions_per_site=float(ions[here].sum() / (n_frames * here.sum())),
            shared_share=float(shared[here].sum() / ions[here].sum()),
            leavings=leavings,
            residence_time_ps=mean,
            residence_time_ps_low=low,
            residence_time_ps_high=high,
            survival_time_ps=time[shown],
            survival=share[shown],
        )
    return found


def _pairs(sites: LatticeSites, time_ps: np.ndarray, found: Jumps, burst: float) -> dict[str, SitePair]:
    pairs = {}
    distance = sites.distances(found.origin, found.target)
    for one, origin in enumerate(sites.names):
        time = float(time_ps[sites.kind == one].sum())
        for other, target in enumerate(sites.names):
            chosen = (sites.kind[found.origin] == one) & (sites.kind[found.target] == other)
            if chosen.any():
                rate, interval = rate_of(time, int(chosen.sum()), burst)
                pairs[f'{origin}_to_{target}'] = SitePair(
                    number_of_jumps=int(chosen.sum()),
                    rate_per_s=rate,
                    rate_per_s_ci95=interval,
                    distance_angstrom=float(distance[chosen].mean()),
                )
    return pairs


def plot_matrix(found: JumpsResult, axis: Axes) -> None:
    """Draw the number of jumps from each site to each, sites of a kind side by side."""
    order = np.argsort(found.site_kind, kind='stable')
    shown = found.jumps[np.ix_(order, order)]
    origin, target = np.nonzero(shown)
    points = axis.scatter(target, origin, c=shown[origin, target], s=5, linewidths=0, cmap='viridis')
    axis.figure.colorbar(points, ax=axis, label='jumps', shrink=0.8)
    for border in np.flatnonzero(np.diff(found.site_kind[order])) + 0.5:
        axis.axhline(border, color='0.5', lw=0.6)
        axis.axvline(border, color='0.5', lw=0.6)
    n_sites = len(order)
    axis.set(xlabel='to site', ylabel='from site', xlim=(-1, n_sites), ylim=(n_sites, -1), aspect='equal')


def plot_survival(found: JumpsResult, axis: Axes) -> None:
    """Draw the share of ions still at their site against time, and the exponential of the mean residence time."""
    from aiida_ufpnmr.engine.figure_style import COLOURS, finish

    for (name, one), colour in zip(found.kinds.items(), COLOURS):
        axis.step(one.survival_time_ps, one.survival, where='post', color=colour, lw=1.6, label=name)
        if one.residence_time_ps:
            time = np.linspace(0, max(one.survival_time_ps[-1], 1e-9), 100)
            axis.plot(time, np.exp(-time / one.residence_time_ps), color=colour, lw=0.9, ls='--')
    axis.set(xlabel='time since the jump to the site (ps)', ylabel='share still there', ylim=(0, 1.02))
    finish(axis)
