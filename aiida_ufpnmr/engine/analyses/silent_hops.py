"""Which hops change the quadrupolar frequency, and which are motion that NMR does not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.analyses.groups import RunHops, find_run_hops, frames_of
from aiida_ufpnmr.engine.nmr.hop_changes import (
    FALSE_ALARMS,
    HopChange,
    HopWindows,
    Projection,
    change_limit,
    hop_change,
    hop_windows,
)
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, field_direction
from aiida_ufpnmr.engine.nmr.runs import EfgRuns, TensorSettings
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.structure.environments import EnvironmentSettings, find_shells
from aiida_ufpnmr.engine.structure.sites import AnionSettings
from aiida_ufpnmr.engine.tables import with_interval
from aiida_ufpnmr.engine.transport.hops import HopSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Changes without a hop that are kept for the figure.
KEPT = 2000


@dataclass(frozen=True)
class WindowSettings(Settings):
    """Windows over which tensors are averaged on both sides of a hop."""

    average_ps: float = setting(1.0, 'Average tensors over this time, in ps, before and after a hop.', above=0)
    gap_ps: float = setting(0.5, 'Leave out this time, in ps, on either side of a hop.', least=0)
    field: str | tuple[float, float, float] = setting(
        'powder',
        'Direction of the magnetic field along which ω_Q changes.',
        parse=field_direction,
        metavar='powder|x|y|z|bx,by,bz',
    )


@dataclass(frozen=True)
class SilentHopsSettings(WindowSettings, HopSettings, AnionSettings, TensorSettings):
    """Definition of a hop, the windows on both its sides, and the sites between which it leads."""

    by: Literal['coordination', 'cluster', 'none'] = setting(
        'coordination', 'Tell hops apart by the number of anions before and after, by their units, or not.'
    )


@dataclass(frozen=True)
class SilentHopsResult(Result, HopChange):
    """Hops with the change of the mean tensor at each, and how many of them change ω_Q."""

    KIND = 'silent-hops'

    hops: int = quantity('', 'all hops', kw_only=True)
    limit_khz: float = quantity('kHz', 'change of ω_Q that one in twenty stays exceeds without a hop', kw_only=True)
    coupling_changed_hops: int = quantity('', 'judged hops that change |C_Q|, likewise', kw_only=True)
    by_sites: dict[str, HopChange] = quantity('', 'by the surroundings before and after', kw_only=True)
    run: np.ndarray = quantity('', 'number of the run', 'judged', kw_only=True)
    atom: np.ndarray = quantity('', 'index of the ion', 'judged', kw_only=True)
    time_ps: np.ndarray = quantity('ps', 'time after the first frame of the run', 'judged', kw_only=True)
    distance_angstrom: np.ndarray = quantity('Å', 'length', 'judged', kw_only=True)
    change_khz: np.ndarray = quantity('kHz', 'change of ω_Q; rms over directions in a powder', 'judged', kw_only=True)
    seen: np.ndarray = quantity('', 'whether the change is above the limit', 'judged', kw_only=True)
    c_q_before_khz: np.ndarray = quantity('kHz', '|C_Q| of the mean tensor before', 'judged', kw_only=True)
    c_q_after_khz: np.ndarray = quantity('kHz', 'and after', 'judged', kw_only=True)
    eta_before: np.ndarray = quantity('', 'η of the mean tensor before', 'judged', kw_only=True)
    eta_after: np.ndarray = quantity('', 'and after', 'judged', kw_only=True)
    stay_change_khz: np.ndarray = quantity('kHz', 'changes without a hop, sorted and thinned', 'stays', kw_only=True)

    @property
    def headline(self) -> str:
        return f'{super().headline}: {self.hops} hops, {self.hops_judged} judged: {self.verdict}'

    @property
    def remarks(self) -> list[str]:
        if not self.hops_judged or np.isnan(self.limit_khz):
            return []
        return [
            f'A change below {self.limit_khz:.3g} kHz is not told from vibration and noise '
            f'({FALSE_ALARMS:.0%} of stays exceed it).'
        ]

    def table(self) -> Table:
        heading = ('hops', 'judged', 'change ω_Q', 'rms change (kHz)', 'loss per hop', 'verdict')
        rows = [('all', self), *((pair.replace('_to_', ' to '), one) for pair, one in self.by_sites.items())]
        return [heading, *((name, *_cells(one)) for name, one in rows)]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        panels = 2 + bool(self.by_sites)
        figure = Figure(figsize=(5.0 * panels, 4.2), layout='constrained')
        axes = figure.subplots(1, panels)
        plot_changes(self, axes[0])
        plot_couplings(self, axes[1])
        if self.by_sites:
            plot_shares(self, axes[2])
        return figure


def _cells(one: HopChange) -> tuple[str, ...]:
    numbers = (
        (one.changed_share, one.changed_share_ci95, '.2f'),
        (one.change_rms_khz, one.change_rms_khz_ci95, '.1f'),
        (one.loss_per_hop, one.loss_per_hop_ci95, '.2f'),
    )
    return (str(one.hops_judged), *(with_interval(*number) for number in numbers), one.verdict)


@analysis('silent-hops', 'ufpnmr analyse silent-hops run.h5 -o silent.h5 --plot silent.png')
def silent_hops(source: TensorSource, settings: SilentHopsSettings) -> SilentHopsResult:
    """Hops that change the quadrupolar frequency, and hops that NMR does not see.

    The mean tensor over a window before a hop is compared with that after it, and pairs of windows without a hop show
    what vibration and noise do. Hops that follow one another too fast for a window between them are not judged.
    """
    runs = source.runs
    found = find_run_hops(runs, settings)
    windows = windows_of(source, found, settings)
    projection = projection_of(settings)
    pairs = windows.hops
    order = np.argsort(pairs.hop, kind='stable')
    pairs = pairs.take(order)
    run = np.repeat(np.arange(len(found)), [len(one.column) for one in found])[pairs.hop]
    column, time_fs, distance = (
        np.concatenate([one.column for one in found])[pairs.hop],
        np.concatenate([one.time_fs - runs.time_fs(number)[0] for number, one in enumerate(found)])[pairs.hop],
        np.concatenate([one.hops.distance for one in found])[pairs.hop],
    )
    change = np.sqrt(projection.squares(pairs))
    stay_change = np.sort(np.sqrt(projection.squares(windows.stays)))
    limit = change_limit(stay_change)
    c_q_before, eta_before, c_q_after, eta_after = pairs.coupling()
    stay_before, _, stay_after, _ = windows.stays.coupling()
    coupling_limit = change_limit(np.abs(stay_after - stay_before))
    by_sites = {}
    if settings.by != 'none':
        names, number = sites_of(runs, found, settings)
        by_sites = {
            name: hop_change(pairs.take(number[pairs.hop] == n), windows.stays, projection)
            for n, name in enumerate(names)
            if (number[pairs.hop] == n).any()
        }
    return SilentHopsResult(
        **vars(hop_change(pairs, windows.stays, projection)),
        hops=sum(len(one.column) for one in found),
        limit_khz=limit,
        coupling_changed_hops=int((np.abs(c_q_after - c_q_before) > coupling_limit).sum()),
        by_sites=by_sites,
        run=run,
        atom=runs.index[column],
        time_ps=1e-3 * time_fs,
        distance_angstrom=distance,
        change_khz=change,
        seen=change > limit,
        c_q_before_khz=c_q_before,
        c_q_after_khz=c_q_after,
        eta_before=eta_before,
        eta_after=eta_after,
        stay_change_khz=stay_change[:: max(1, -(-len(stay_change) // KEPT))],
    )


def projection_of(settings: WindowSettings) -> Projection:
    """The part of a tensor that the field of the settings sees."""
    return Projection.along(AcfSettings(field=settings.field).direction)


def windows_of(source: TensorSource, found: list[RunHops], settings: WindowSettings) -> HopWindows:
    """Mean tensors on both sides of the hops of each run, and in stays."""
    return hop_windows(
        source.runs,
        source.nuclide,
        [one.column for one in found],
        [one.time_fs for one in found],
        settings.average_ps,
        settings.gap_ps,
    )


def sites_of(runs: EfgRuns, found: list[RunHops], settings: SilentHopsSettings) -> tuple[list[str], np.ndarray]:
    """Names of pairs of surroundings, and for each hop of all runs the number of its pair (n_hops,).

    The surroundings of a hop are those a residence time before, and after: in between an ion is nowhere.
    """
    named = []
    for run, one in zip(runs.runs, found):
        frames, hops = frames_of(run), one.hops
        ions = frames.atoms_of(runs.species)
        shells = find_shells(frames, runs.species, ions, EnvironmentSettings(anion=settings.anion))
        where = shells.clusters() if settings.by == 'cluster' else shells.coordination()
        before = where.kind[np.maximum(hops.frame - hops.residence, 0), hops.ion]
        after = where.kind[np.minimum(hops.frame + hops.residence, hops.n_frames - 1), hops.ion]
        named += [f'{where.names[a]}_to_{where.names[b]}' for a, b in zip(before, after)]
    names, number = np.unique(np.array(named, dtype=str), return_inverse=True)
    return names.tolist(), number


def plot_changes(found: SilentHopsResult, axis: Axes) -> None:
    """Draw the distribution of the change of ω_Q at hops and without them; the limit is dotted."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish

    for changes, colour, words in (
        (found.stay_change_khz, GREY, 'within stays'),
        (found.change_khz, ORANGE, f'at {len(found.change_khz)} hops'),
    ):
        if len(changes):
            axis.hist(changes, bins=40, density=True, histtype='stepfilled', alpha=0.4, color=colour, label=words)
    if np.isfinite(found.limit_khz):
        axis.axvline(found.limit_khz, color=BLUE, lw=1.0, ls=':', label='limit')
    axis.set(xlabel='change of ω_Q (kHz)', ylabel='probability density')
    finish(axis, legend=bool(len(found.change_khz) or len(found.stay_change_khz)))


def plot_couplings(found: SilentHopsResult, axis: Axes) -> None:
    """Draw |C_Q| of the mean tensors after each hop against that before."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish

    for seen, colour, words in ((True, ORANGE, 'change ω_Q'), (False, BLUE, 'within the limit')):
        chosen = found.seen == seen
        axis.plot(found.c_q_before_khz[chosen], found.c_q_after_khz[chosen], '.', color=colour, alpha=0.6, label=words)
    axis.axline((0, 0), slope=1, color=GREY, lw=0.8)
    axis.set(xlabel='|C_Q| before (kHz)', ylabel='|C_Q| after (kHz)')
    finish(axis)


def plot_shares(found: SilentHopsResult, axis: Axes) -> None:
    """Draw the share of hops that change ω_Q, with its interval, for each pair of surroundings."""
    from aiida_ufpnmr.engine.figure_style import BLUE, finish

    for row, one in enumerate(found.by_sites.values()):
        axis.plot(one.changed_share, row, 'o', color=BLUE)
        axis.plot(one.changed_share_ci95, (row, row), color=BLUE, lw=1.5)
    labels = [f'{pair.replace("_to_", " to ")} ({one.hops_judged})' for pair, one in found.by_sites.items()]
    axis.set_yticks(range(len(labels)), labels)
    axis.invert_yaxis()
    axis.set(xlabel='share of hops that change ω_Q', xlim=(-0.02, 1.02))
    finish(axis, legend=False)
