"""Fourfold and sixfold sites of ions, and the EFG at each; Harper 2024, Fig. 4."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.analyses.by_site import Densities, by_site
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, field_direction
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.sites import SiteSettings, find_sites, not_counted_line
from aiida_ufpnmr.engine.trajectories.paths import PathSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Quantities by site: name, symbol, unit and decimals for tables and figures.
QUANTITIES = {'c_q_khz': ('|C_Q|', 'kHz', 1), 'eta': ('η', '', 2), 'omega_q_khz': ('ω_Q', 'kHz', 1)}


@dataclass(frozen=True)
class SitesSettings(SiteSettings, PathSettings):
    """Definition of a site, and the field and nuclide for which the EFG is averaged."""

    isotope: str = setting('', 'Nuclide, such as 6Li; default the common one of the species.')
    field: str | tuple[float, float, float] = setting(
        'powder', 'Direction of the magnetic field.', parse=field_direction, metavar='powder|x|y|z|bx,by,bz'
    )


@dataclass(frozen=True)
class SiteSummary(Record):
    """Means over the ions at one site; without EFG tensors only the first two."""

    share: float = quantity('', 'share of frames of ions')
    coordination_mean: float | None = quantity('', 'mean number of neighbours', default=None)
    c_q_mean_khz: float | None = quantity('kHz', 'mean |C_Q|', default=None)
    c_q_std_khz: float | None = quantity('kHz', 'its standard deviation', default=None)
    eta_mean: float | None = quantity('', 'mean η', default=None)
    eta_std: float | None = quantity('', 'its standard deviation', default=None)
    omega_q_mean_khz: float | None = quantity('kHz', 'mean ω_Q', default=None)
    omega_q_std_khz: float | None = quantity('kHz', 'its standard deviation', default=None)

    @classmethod
    def at(
        cls, number: int, site: np.ndarray, coordination: np.ndarray, densities: dict[str, Densities]
    ) -> SiteSummary:
        """Of the site with this number."""
        here = site == number
        means: dict[str, float] = {}
        for name, one in densities.items():
            stem, unit = name.removesuffix('_khz'), '_khz' if name.endswith('_khz') else ''
            means |= {f'{stem}_mean{unit}': float(one.mean[number]), f'{stem}_std{unit}': float(one.std[number])}
        neighbours = float(coordination[here].mean()) if here.any() else None
        return cls(share=float(here.mean()), coordination_mean=neighbours, **means)


@dataclass(frozen=True)
class SitesResult(Result):
    """Sites of the ions along the trajectory, and averages over each kind."""

    KIND = 'sites'

    atom: np.ndarray = quantity('', 'indices of the ions', 'ions')
    time_ps: np.ndarray = quantity('ps', 'times of the frames', 'frames')
    site: np.ndarray = quantity('', '0 for the fourfold and 1 for the sixfold site', 'frames, ions')
    coordination: np.ndarray = quantity('', 'soft number of neighbours', 'frames, ions')
    sites: dict[str, SiteSummary] = quantity('', 'by name of the site')
    distributions: dict[str, Densities] = quantity('', 'of c_q_khz, eta, omega_q_khz', 'by quantity')
    site_changes: int = quantity('', 'how many times an ion changes its site')
    site_change_rate_per_s: float = quantity('1/s', 'per ion and second')
    isotope: str = quantity('', 'nuclide of |C_Q| and ω_Q', default='')
    not_counted: str | None = quantity('', 'other anions in the file; left out where there are none', default=None)

    @property
    def headline(self) -> str:
        return f'{super().headline}: {self.site_changes} changes of site'

    @property
    def remarks(self) -> list[str]:
        found = []
        if self.not_counted:
            found.append(not_counted_line(self.settings['anion'], self.not_counted))
        if not self.distributions:
            found.append(f'No EFG tensors of {self.source["species"]} in the file: sites only.')
        return found

    def to_dict(self) -> dict:
        found = super().to_dict()
        del found['distributions']
        if self.not_counted is None:
            del found['not_counted']
        return found if isinstance(found.get('field', ''), str) else {**found, 'field': 'vector'}

    @classmethod
    def read_first(cls, file: h5py.File) -> SitesResult:
        names, site, coordination = list(map(str, file.attrs['sites'])), file['site'][...], file['coordination'][...]
        densities = {}
        for which, group in file.get('distributions', {}).items():
            means = [[group[name].attrs[key] for name in names] for key in ('mean', 'std')]
            rows = [group[name][...] for name in names]
            densities[which] = Densities(group['edges'][...], *map(np.array, (rows, *means)))
        times = file['time_ps'][...]
        changes = int((np.diff(site, axis=0) != 0).sum())
        return cls(
            atom=file['atom'][...],
            time_ps=times,
            site=site,
            coordination=coordination,
            sites={name: SiteSummary.at(n, site, coordination, densities) for n, name in enumerate(names)},
            distributions=densities,
            site_changes=changes,
            site_change_rate_per_s=_rate(changes, site, times),
            source=_source(str(file.attrs['species']), file['atom'][...], times),
            settings=json.loads(file.attrs['settings']),
        )

    def table(self) -> Table:
        rows: list[tuple[str, ...]] = [('site', 'share', 'neighbours', '|C_Q| (kHz)', 'η', 'ω_Q (kHz)')]
        for number, (name, one) in enumerate(self.sites.items()):
            neighbours = '-' if one.coordination_mean is None else f'{one.coordination_mean:.2f}'
            at = [self.distributions.get(which) for which in QUANTITIES]
            means = [(np.nan, np.nan) if there is None else (there.mean[number], there.std[number]) for there in at]
            cells = [f'{mean:.3g} ± {spread:.3g}' if np.isfinite(mean) else '-' for mean, spread in means]
            rows.append((name, f'{one.share:.3f}', neighbours, *cells))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        rows = columns = 2 if self.distributions else 1
        figure = Figure(figsize=(4.6 * columns, 3.8 * rows), layout='constrained')
        first, *others = figure.subplots(rows, columns, squeeze=False).ravel()
        plot_coordination(self, first)
        for axis, which in zip(others, QUANTITIES):
            plot_distribution(self, which, axis)
        return figure


@analysis('sites', 'ufpnmr analyse sites run.h5 -o sites.h5 --plot sites.png')
def sites(source: PathSource, settings: SitesSettings) -> SitesResult:
    """Fourfold and sixfold sites of the ions, and |C_Q|, η and ω_Q by site where there are EFG tensors."""
    nuclide = get_isotope(settings.isotope or settings.species)
    with Trajectory(source.path) as trajectory:
        there = find_sites(trajectory, settings.species, settings, source.skip_fs)
        has_tensors = settings.species in trajectory.efg_species
    densities = {}
    if has_tensors:
        runs = EfgRuns.open([source.path], settings.species, source.skip_fs)
        densities = by_site(runs, there, nuclide, AcfSettings(field=settings.field).direction)
    times, changes = there.time_fs * 1e-3, there.changes()
    return SitesResult(
        atom=there.index,
        time_ps=times,
        site=there.site,
        coordination=there.coordination,
        sites={
            name: SiteSummary.at(n, there.site, there.coordination, densities) for n, name in enumerate(there.names)
        },
        distributions=densities,
        site_changes=changes,
        site_change_rate_per_s=_rate(changes, there.site, times),
        isotope=nuclide.name,
        not_counted=','.join(there.not_counted) or None,
    )


def _rate(changes: int, site: np.ndarray, time_ps: np.ndarray) -> float:
    return changes / (site.size * float(time_ps[1] - time_ps[0]) * 1e-12)


def _source(species: str, atom: np.ndarray, time_ps: np.ndarray) -> dict:
    step = float(time_ps[1] - time_ps[0])
    length = {'frame_spacing_ps': step, 'trajectory_ps': (len(time_ps) - 1) * step}
    return {'species': species, 'ions': len(atom), 'frames': len(time_ps), **length}


def plot_coordination(found: SitesResult, axis: Axes) -> None:
    """Draw the soft number of neighbours, coloured by the site assigned; the boundary is dotted."""
    from aiida_ufpnmr.engine.figure_style import GREY, SITE_COLOURS

    edges = np.linspace(float(found.coordination.min()), float(found.coordination.max()) + 1e-6, 80)
    for number, (name, colour) in enumerate(zip(found.sites, SITE_COLOURS)):
        counts = np.histogram(found.coordination[found.site == number], edges)[0]
        density = counts / found.coordination.size / np.diff(edges)
        _stairs(axis, density, edges, colour, f'{name}, {found.sites[name].share:.0%}')
    axis.axvline(found.settings['boundary'], color=GREY, lw=0.8, ls=':')
    _finish(axis, f'soft number of {found.settings["anion"]} neighbours')


def plot_distribution(found: SitesResult, which: str, axis: Axes) -> None:
    """Draw the probability density of one quantity, such as ``c_q_khz``, at each site, with its mean."""
    from aiida_ufpnmr.engine.figure_style import SITE_COLOURS

    symbol, unit, digits = QUANTITIES[which]
    at = found.distributions[which]
    for name, colour, density, mean, spread in zip(found.sites, SITE_COLOURS, at.density, at.mean, at.std):
        if np.isfinite(mean):
            words = f'{name}: {mean:.{digits}f} ± {spread:.{digits}f} {unit}'.rstrip()
            _stairs(axis, density, at.edges, colour, words)
    _finish(axis, f'{symbol} ({unit})' if unit else symbol)


def _stairs(axis: Axes, density: np.ndarray, edges: np.ndarray, colour: str, label: str) -> None:
    axis.stairs(density, edges, color=colour, fill=True, alpha=0.3, lw=0)
    axis.stairs(density, edges, color=colour, lw=1.5, label=label)


def _finish(axis: Axes, words: str) -> None:
    from aiida_ufpnmr.engine.figure_style import finish

    axis.set(xlabel=words, ylabel='probability density')
    axis.set_ylim(bottom=0)
    axis.margins(x=0)
    finish(axis)
