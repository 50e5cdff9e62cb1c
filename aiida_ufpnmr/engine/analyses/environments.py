"""NMR by the surroundings of the ions: decay of ω_Q, |C_Q| and η by anion cluster, coordination, and mobility."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from aiida_ufpnmr.engine.analyses.acf import CurveResult
from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.analyses.groups import find_run_hops, frames_of
from aiida_ufpnmr.engine.nmr.group_means import GroupMeans, group_means
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.environments import EnvironmentSettings, find_shells
from aiida_ufpnmr.engine.tables import with_interval
from aiida_ufpnmr.engine.timeseries.decay import DECAY
from aiida_ufpnmr.engine.timeseries.sums import Group, with_all_ions
from aiida_ufpnmr.engine.transport.mobility import chance_of_equal_mobility

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Groups with fewer origins of time than one ion has, whose correlation function is that of a few moments.
TOO_FEW = 'too few: less time in all than one ion has'
#: Ions differ in mobility where chance alone shows as much in fewer cases than this.
CHANCE = 0.01


@dataclass(frozen=True)
class EnvironmentsSettings(AcfSettings, EnvironmentSettings):
    """Surroundings, and the correlation functions of the ions in them."""

    by: Literal['all', 'cluster', 'coordination', 'mobility'] = setting(
        'all', 'What tells ions apart: units of anions, number of anions, or hops.'
    )


@dataclass(frozen=True)
class EnvironmentResult(GroupMeans):
    """Ions with one kind of surroundings."""

    by: str = quantity('', 'cluster, coordination or mobility')
    verdict: str = quantity('', 'of the decay of the powder-averaged ω_Q, or that there is too little time for one')
    observables: dict[str, CurveResult] = quantity('', 'correlation functions, as of acf')

    @property
    def row(self) -> tuple[str, ...]:
        """Cells of the table behind the name."""
        cells = (
            self.by,
            f'{self.share:.3f}',
            with_interval(self.c_q_mean_khz, self.c_q_mean_khz_ci95, '.1f'),
            with_interval(self.eta_mean, self.eta_mean_ci95, '.3f'),
            with_interval(self.omega_q_rms_khz, self.omega_q_rms_khz_ci95, '.1f'),
        )
        powder = self.observables.get('omega_q_powder')
        if powder is None:
            return (*cells, '-', self.verdict)
        if powder.verdict == DECAY:
            return (*cells, with_interval(powder.tau_ns, powder.tau_ns_ci95, '.4g'), powder.reason or powder.verdict)
        bound = f'> {powder.tau_ns_lower_bound:.4g}' if np.isfinite(powder.tau_ns_lower_bound) else '-'
        return (*cells, bound, f'{powder.verdict}: {powder.reason}')


@dataclass(frozen=True)
class EnvironmentsResult(Result):
    """Means and decay times by surroundings."""

    KIND = 'environments'

    environments: dict[str, EnvironmentResult] = quantity('', 'by name of the surroundings')
    hops_per_ion: np.ndarray | None = quantity('', 'number of hops of each ion', 'runs, ions', default=None)
    chance_of_equal_mobility: float | None = quantity(
        '', 'chance that ions of one mobility differ as much in both halves of the time', default=None
    )

    @property
    def headline(self) -> str:
        return f'{super().headline}: {len(self.environments)} surroundings'

    @property
    def remarks(self) -> list[str]:
        chance = self.chance_of_equal_mobility
        if chance is None:
            return []
        if chance < CHANCE:
            return [f'Some ions are more mobile than others for good (chance {chance:.1g} otherwise).']
        return ['Ions do not differ in mobility beyond chance: those that hop are those that happened to.']

    def table(self) -> Table:
        heading = ('environment', 'by', 'share', '|C_Q| (kHz)', 'η', 'rms ω_Q (kHz)', 'τ (ns)', 'verdict')
        return [heading, *((name, *one.row) for name, one in self.environments.items())]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(11.0, 7.6), layout='constrained')
        axes = figure.subplots(2, 2).ravel()
        for axis, quantity_name, words in zip(
            axes, ('c_q_mean_khz', 'eta_mean', 'tau_ns'), ('mean |C_Q| (kHz)', 'mean η', 'τ (ns)')
        ):
            plot_means(self, quantity_name, axis)
            axis.set_xlabel(words)
        plot_curves(self, axes[3])
        return figure


@analysis('environments', 'ufpnmr analyse environments run.h5 -o environments.h5 --plot environments.png')
def environments(source: TensorSource, settings: EnvironmentsSettings) -> EnvironmentsResult:
    """Decay time of ω_Q, |C_Q| and η by anion cluster, by coordination, and by mobility of the ion.

    A frame belongs to the surroundings that an ion has in it; a correlation function to those that the ion had at the
    origin of time, wherever it went. Several files are averaged as by "ufpnmr acf".
    """
    runs = source.runs
    groups = dict(surroundings(runs, settings))
    hops, chance = None, None
    if settings.by in ('all', 'mobility'):
        hops, chance, mobile = mobility(runs)
        groups |= mobile
    (everyone,) = with_all_ions((), runs.lengths, runs.n_ions)
    enough = [name for name, (group, _) in groups.items() if is_enough(group, runs)]
    judged = [groups[name][0] for name in enough if not all(member.all() for member in groups[name][0].members)]
    curves, results = correlation_functions(runs, settings, judged)
    suffixes = {**dict.fromkeys(['all ions', *enough], ''), **{group.name: f'_{group.name}' for group in judged}}
    observables = [key for key in curves if not key.endswith(tuple(f'_{group.name}' for group in judged))]
    groups = {'all ions': (everyone, ''), **groups}
    found = {}
    for (name, (_, by)), means in zip(
        groups.items(), group_means(runs, [group for group, _ in groups.values()], source.nuclide)
    ):
        keys = {one: f'{one}{suffixes[name]}' for one in observables} if name in suffixes else {}
        decays = {one: CurveResult.of(curves[key], results['observables'][key]) for one, key in keys.items()}
        verdict = decays['omega_q_powder'].verdict if decays else TOO_FEW
        found[name] = EnvironmentResult(**vars(means), by=by, verdict=verdict, observables=decays)
    return EnvironmentsResult(environments=found, hops_per_ion=hops, chance_of_equal_mobility=chance)


def is_enough(group: Group, runs: EfgRuns) -> bool:
    """Whether a group holds whole ions, or as many frames of ions as one whole ion has."""
    return group.members[0].ndim == 1 or group.origins() >= max(runs.lengths)


def surroundings(runs: EfgRuns, settings: EnvironmentsSettings) -> Iterator[tuple[str, tuple[Group, str]]]:
    """Groups of frames of ions by name, with what tells them apart: cluster, coordination, or both."""
    asked = ('cluster', 'coordination') if settings.by == 'all' else (settings.by,)
    if settings.by == 'mobility':
        return
    shells = [find_shells(frames_of(run), runs.species, runs.index, settings) for run in runs.runs]
    times = [runs.time_fs(run) for run in range(len(shells))]
    for by in asked:
        kinds = [one.clusters() if by == 'cluster' else one.coordination() for one in shells]
        at = [kind.at(time_fs) for kind, time_fs in zip(kinds, times)]
        for name in sorted({name for kind in kinds for name in kind.names}):
            members = tuple(
                there == kind.names.index(name) if name in kind.names else np.zeros(there.shape, bool)
                for there, kind in zip(at, kinds)
            )
            yield name, (Group(name, f'from {name}', members), by)


def mobility(runs: EfgRuns) -> tuple[np.ndarray, float, dict[str, tuple[Group, str]]]:
    """Hops of each ion (n_runs, n_ions), the chance that mobilities are equal, and groups of ions by their hops.

    Ions that hop are parted once more, at their mean number of hops, where mobilities are not equal.
    """
    found = find_run_hops(runs)
    counts = np.array([one.counts for one in found])
    halves = np.zeros((2, *counts.shape), int)
    for run, one in enumerate(found):
        known = one.column >= 0
        np.add.at(halves[:, run], (2 * one.hops.frame[known] // one.hops.n_frames, one.column[known]), 1)
    chance = chance_of_equal_mobility(*halves.reshape(2, -1))
    members = {'resting': counts == 0, 'hopping': counts > 0}
    if chance < CHANCE:
        mean = counts[counts > 0].mean()
        members |= {'hopping rarely': (counts > 0) & (counts < mean), 'hopping often': counts >= mean}
    groups = {name: (Group(name, f'{name} ions', tuple(of)), 'mobility') for name, of in members.items() if of.any()}
    return counts, chance, groups


def shown(one: EnvironmentResult, name: str) -> tuple[float, tuple[float, float] | None, float]:
    """Value, interval and lower bound of a quantity; NaN or ``None`` where there is none."""
    if name != 'tau_ns':
        return getattr(one, name), getattr(one, f'{name}_ci95'), np.nan
    powder = one.observables.get('omega_q_powder')
    return (np.nan, None, np.nan) if powder is None else (powder.tau_ns, powder.tau_ns_ci95, powder.tau_ns_lower_bound)


def plot_means(found: EnvironmentsResult, name: str, axis: Axes) -> None:
    """Draw one quantity with its interval for each kind of surroundings; a bound of τ as an arrow."""
    from aiida_ufpnmr.engine.figure_style import COLOURS, finish

    colours = dict(zip(dict.fromkeys(one.by for one in found.environments.values()), COLOURS))
    for row, one in enumerate(found.environments.values()):
        value, limits, bound = shown(one, name)
        if np.isfinite(value):
            axis.plot(value, row, 'o', color=colours[one.by])
            axis.plot(limits or (value, value), (row, row), color=colours[one.by], lw=1.5)
        elif np.isfinite(bound):
            axis.plot(bound, row, '>', color=colours[one.by], fillstyle='none')
    axis.set_yticks(range(len(found.environments)), list(found.environments))
    axis.invert_yaxis()
    if name == 'tau_ns':
        axis.set_xscale('log')
    elif name == 'eta_mean':
        axis.set_xlim(0, 1)
    finish(axis, legend=False)


def plot_curves(found: EnvironmentsResult, axis: Axes) -> None:
    """Draw the correlation function of ω_Q in a powder for each kind of surroundings."""
    from aiida_ufpnmr.engine.figure_style import GREY, POINTS, finish, time_unit

    unit = 'ps'
    for name, one in found.environments.items():
        curve = one.observables.get('omega_q_powder')
        if curve is not None:
            unit, factor = time_unit(curve.lag_ps[-1])
            stop = max(3, len(curve.lag_ps) // 2)
            shown = np.unique(np.geomspace(1, stop - 1, POINTS).astype(int))
            axis.plot(curve.lag_ps[shown] * factor, curve.c[shown], lw=1.2, label=name)
    axis.axhline(0.0, color=GREY, lw=0.8)
    axis.set(xscale='log', xlabel=f'lag time ({unit})', ylabel='normalised correlation of ω_Q')
    finish(axis)
