"""Correlation functions of ω_Q and C_Q along a trajectory, and their decay times; Harper 2024, Figs. 3 and 5."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.analyses.groups import first_sites, hopping_ions, starting_sites
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, Curve, WeightedTime, correlation_functions
from aiida_ufpnmr.engine.records import Record, quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.structure.sites import AnionSettings, SiteSettings
from aiida_ufpnmr.engine.timeseries.decay import CONSTANT, DECAY, LONGEST_BOUND

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3


@dataclass(frozen=True)
class AcfAnalysisSettings(AcfSettings, AnionSettings):
    """Correlation functions, and the ions over which they are averaged."""

    hopping: bool = setting(False, 'Also average over only the ions that hop, as "analyse hops" finds them.')
    by_site: bool = setting(False, 'Also average by the site at the start, as "analyse sites" finds them.')


@dataclass(frozen=True)
class CurveResult(Record):
    """A correlation function with its band and its fit."""

    label: str = quantity('', 'what is correlated, in words')
    lag_ps: np.ndarray = quantity('ps', 'lags', 'lags')
    c: np.ndarray = quantity('', 'the function, one at lag 0', 'lags')
    fit: np.ndarray = quantity('', 'the fitted curve', 'lags')
    band_lag_ps: np.ndarray = quantity('ps', 'centres of bins of lags', 'bins')
    band: np.ndarray = quantity('', '2.5 and 97.5 % of the bootstrap', 'bins, 2')
    per_ion: np.ndarray = quantity('', 'function of each ion, in units of the mean at lag 0', 'ions, bins')
    verdict: str = quantity('', 'decay, or why there is none')
    reason: str = quantity('', 'why, in words; empty where there is nothing to say')
    tau_ns: float = quantity('ns', 'decay time; of two decays the slow one')
    tau_ns_ci95: tuple[float, float] | None = quantity('ns', 'its 95 % interval', default=None)
    tau_ns_lower_bound: float = quantity(
        'ns',
        f'shortest time in which all of what is left could decay, at most {LONGEST_BOUND} lengths of the trajectory; '
        'where only some ions move, their own time can be far shorter',
        default=np.nan,
    )
    decay_rate_per_s: float = quantity('1/s', '1/τ', default=np.nan)
    decay_rate_per_s_ci95: tuple[float, float] | None = quantity('1/s', 'its 95 % interval', default=None)
    gamma: float = quantity('', 'stretching exponent', default=np.nan)
    plateau: float = quantity('', 'share of the slow part that stays', default=np.nan)
    amplitude: float = quantity('', 'share of the correlation that is left at the first lag', default=np.nan)
    first_lag_ps: float = quantity('ps', 'first lag of the fit', default=np.nan)
    follows_from_ps: float = quantity('ps', 'lag from which on all lags count fully in the fit', default=np.nan)
    last_lag_ps: float = quantity('ps', 'last lag of the fit', default=np.nan)
    independent_signals: float = quantity('', 'effective number of independent ions', default=np.nan)
    misfit: float = quantity('', 'departure of the curve from the fit, over what is allowed', default=np.nan)
    integral_time_ns: float = quantity('ns', 'integral correlation time of what decays, of no form', default=np.nan)
    integral_time_ns_ci95: tuple[float, float] | None = quantity('ns', 'its 95 % interval', default=None)
    time_to_1_over_e_ns: float = quantity('ns', 'lag at which 1/e of what decays is left, of no form', default=np.nan)
    time_to_1_over_e_ns_ci95: tuple[float, float] | None = quantity('ns', 'its 95 % interval', default=None)
    decays: int = quantity('', 'number of decays in the fit', default=0)
    components: tuple[WeightedTime, ...] = quantity('', 'fast and slow decay, where there are two', default=())
    origins_share: float | None = quantity('', 'share of origins that belong to the group', default=None)

    @classmethod
    def of(cls, curve: Curve, results: dict) -> CurveResult:
        """From a curve and the numbers of its decay."""
        curves = {name: getattr(curve, name) for name in ('label', 'c', 'band', 'per_ion')}
        curves |= {'lag_ps': curve.lag, 'band_lag_ps': curve.band_lag, 'fit': curve.fit.curve(curve.lag)}
        return cls(**results, **curves)

    @classmethod
    def read_first(cls, group: h5py.Group) -> CurveResult:
        """Read from a file of the first version, which held times in ps."""
        there = dict(group.attrs)
        found: dict[str, Any] = {'band_lag_ps': np.zeros(0), 'band': np.zeros((0, 2)), 'per_ion': np.zeros((0, 0))}
        found |= {one.name: group[one.name][...] for one in fields(cls) if one.name in group}
        found |= {name: str(there[name]) for name in ('label', 'verdict', 'reason')}
        numbers = 'gamma', 'plateau', 'amplitude', 'first_lag_ps', 'last_lag_ps'
        found |= {name: float(there[name]) for name in numbers}
        tau, interval = float(there['tau_ps']), tuple((1e-3 * there['tau_ps_ci95']).tolist())
        decays = found['verdict'] == DECAY
        if decays:
            found |= {'decay_rate_per_s_ci95': (1e9 / interval[1], 1e9 / interval[0]), 'tau_ns_ci95': interval}
        parts = tuple(
            WeightedTime(
                tau_ns=1e-3 * float(there[f'{speed}_tau_ps']),
                tau_ns_ci95=tuple((1e-3 * there[f'{speed}_tau_ps_ci95']).tolist()),
                weight=float(there[f'{speed}_weight']),
                weight_ci95=tuple(there[f'{speed}_weight_ci95'].tolist()),
            )
            for speed in ('fast', 'slow')
            if f'{speed}_tau_ps' in there
        )
        return cls(
            **found,
            tau_ns=1e-3 * tau,
            tau_ns_lower_bound=1e-3 * float(there['tau_lower_bound_ps']),
            decay_rate_per_s=1e12 / tau,
            independent_signals=float(there['signals']),
            decays=max(1, len(parts)) if decays else 0,
            components=parts,
        )

    def form_free_rows(self) -> Table:
        """The times that need no form, where the curve has them."""
        times = (
            ('  integral', self.integral_time_ns, self.integral_time_ns_ci95),
            ('  to 1/e', self.time_to_1_over_e_ns, self.time_to_1_over_e_ns_ci95),
        )
        shown = [(name, time, limits or (np.nan, np.nan)) for name, time, limits in times if np.isfinite(time)]
        return [
            (name, f'{time:.4g}', f'{low:.4g} to {high:.4g}', '', '', '', 'of no form')
            for name, time, (low, high) in shown
        ]

    def rows(self, name: str) -> Table:
        """A row for the table, and one for each of two decays."""
        if self.verdict != DECAY:
            bound = f'> {self.tau_ns_lower_bound:.4g}' if np.isfinite(self.tau_ns_lower_bound) else '-'
            return [(name, bound, '-', '-', '-', '-', f'{self.verdict}: {self.reason}'), *self.form_free_rows()]
        interval = '{:.4g} to {:.4g}'.format(*self.tau_ns_ci95 or ())
        words = f'{self.verdict}: {self.reason}' if self.reason else self.verdict
        numbers = f'{self.gamma:.2f}', f'{self.plateau:.2f}', f'{self.amplitude:.3f}'
        rows = [(name, f'{self.tau_ns:.4g}', interval, *numbers, words)]
        for speed, part in zip(('fast', 'slow'), self.components):
            interval = '{:.4g} to {:.4g}'.format(*part.tau_ns_ci95)
            amplitude = f'{self.amplitude * (1 - self.plateau) * part.weight:.3f}'
            share = 'share {:.2f} ({:.2f} to {:.2f}) of the decay'.format(part.weight, *part.weight_ci95)
            rows.append((f'  {speed}', f'{part.tau_ns:.4g}', interval, '', '', amplitude, share))
        return rows


@dataclass(frozen=True)
class AcfResult(Result):
    """Correlation functions of one species, with bands and fits; the results repeat those of the powder ω_Q."""

    KIND = 'acf'

    ion_index: np.ndarray = quantity('', 'indices of the ions', 'ions')
    observables: dict[str, CurveResult] = quantity('', 'omega_q_powder, c_q, …')
    c_q_mean_khz: float = quantity('kHz', 'mean |C_Q|', default=np.nan)
    c_q_std_khz: float = quantity('kHz', 'its standard deviation', default=np.nan)
    eta_mean: float = quantity('', 'mean η', default=np.nan)
    omega_q_mean_khz: float | None = quantity('kHz', 'mean ω_Q, for one direction of the field', default=None)
    omega_q_std_khz: float = quantity('kHz', 'standard deviation of ω_Q', default=np.nan)
    field: str = quantity('', 'powder, x, y, z, or vector', default='powder')
    field_direction: tuple[float, ...] | None = quantity('', 'unit vector of the field', default=None)
    sae_pulse_us: float | None = quantity('µs', 't_p of the echo', default=None)
    sae_decay_us: float | None = quantity('µs', 't_d of the echo', default=None)
    mean_subtracted: bool = quantity('', 'whether deviations from the mean were correlated', default=False)
    decays_asked: str = quantity('', 'one or two decays, or auto', default='auto')
    first_site: np.ndarray | None = quantity('', 'site of each ion in the first frame', 'ions', default=None)
    site_names: tuple[str, ...] = quantity('', 'names of the sites', default=())

    @property
    def powder(self) -> CurveResult:
        """The powder average of ω_Q."""
        return self.observables['omega_q_powder']

    @property
    def headline(self) -> str:
        return f'{super().headline}; mean |C_Q| {self.c_q_mean_khz:.1f} kHz, mean η {self.eta_mean:.2f}'

    @property
    def remarks(self) -> list[str]:
        runs, remarks = self.source.get('run_files', []), []
        if len(runs) > 1:
            remarks.append(f'averaged over {len(runs)} runs: ' + '; '.join(' + '.join(files) for files in runs))
        if self.powder.reason == CONSTANT and 'omega_q_powder_hopping' not in self.observables:
            remarks.append(
                'If only some ions move, their time can be far shorter: --hopping averages over those that hop.'
            )
        return remarks

    def to_dict(self) -> dict:
        values = super().to_dict()
        optional = 'omega_q_mean_khz', 'field_direction', 'sae_pulse_us', 'sae_decay_us'
        for one in values['observables'].values():
            if one['origins_share'] is None:
                del one['origins_share']
        there = {name: value for name, value in values.items() if name not in optional or value is not None}
        powder = {name: v for name, v in values['observables']['omega_q_powder'].items() if name != 'label'}
        return {**there, **powder}

    @classmethod
    def read_first(cls, file: h5py.File) -> AcfResult:
        curves = {name: CurveResult.read_first(group) for name, group in file['observables'].items()}
        ions, lag = file['ion_index'][...], next(iter(curves.values())).lag_ps
        length = {'frame_spacing_ps': float(lag[1]), 'trajectory_ps': float(lag[-1]), 'frames': len(lag)}
        source = {'species': str(file.attrs['species']), 'ions': len(ions), **length}
        return cls(ion_index=ions, observables=curves, source=source, settings=json.loads(file.attrs['settings']))

    def table(self) -> Table:
        heading = ('observable', 'τ (ns)', '95 % interval', 'γ', 'plateau', 'amplitude', 'verdict')
        return [heading, *(row for name, curve in self.observables.items() for row in curve.rows(name))]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        panels = len(self.observables) + (self.first_site is not None)
        columns = min(COLUMNS, panels)
        rows = -(-panels // columns)
        figure = Figure(figsize=(5.6 * columns, 4.4 * rows), layout='constrained')
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axis, curve in zip(axes, self.observables.values()):
            plot_acf(curve, axis)
        if self.first_site is not None:
            curve = self.observables.get('c_q_hopping', self.observables['c_q'])
            plot_single_ions(curve, self.first_site, self.site_names, axes[len(self.observables)])
        for axis in axes[panels:]:
            axis.set_visible(False)
        return figure


@analysis('acf', 'ufpnmr acf run.h5 -o acf.h5 --skip-ps 20 --plot acf.png --json acf.json')
def acf(source: TensorSource, settings: AcfAnalysisSettings) -> AcfResult:
    """Correlation functions of ω_Q and C_Q along a trajectory, and their decay times.

    Several files are averaged as runs of their own; files whose times go on from the one before are one run.

    The decay rate 1/τ is that of the correlation, not the hop rate of an ion: "ufpnmr analyse hops" counts hops.
    """
    runs = source.runs
    sites = starting_sites(runs, SiteSettings(anion=settings.anion)) if settings.by_site else []
    groups = [*([hopping_ions(runs)] if settings.hopping else []), *sites]
    curves, results = correlation_functions(runs, settings, groups)
    start, names = first_sites(sites)
    own = {one.name for one in fields(AcfResult)} - {'observables', 'source', 'settings'}
    return AcfResult(
        **{name: value for name, value in results.items() if name in own and name != 'decays_asked'},
        ion_index=runs.index,
        observables={name: CurveResult.of(curve, results['observables'][name]) for name, curve in curves.items()},
        decays_asked=str(settings.decays),
        first_site=start,
        site_names=names,
    )


def plot_acf(curve: CurveResult, axis: Axes) -> None:
    """Draw a correlation function against logarithmic lag: data, bootstrap band, fit with its τ, and the verdict."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, POINTS, finish, time_unit

    unit, factor = time_unit(curve.lag_ps[-1])
    # the second half of the lags has few pairs left; what it shows is noise
    stop = max(2, len(curve.lag_ps) // 2)
    shown = np.unique(np.geomspace(1, stop - 1, POINTS).astype(int)) if stop > 2 else np.array([1])
    known = (curve.band_lag_ps > 0) & (curve.band_lag_ps <= curve.lag_ps[stop - 1])
    time = curve.band_lag_ps[known] * factor
    if len(curve.band_lag_ps):
        axis.fill_between(time, *curve.band[known].T, color=BLUE, alpha=0.2, lw=0, label='95 % band (bootstrap)')
    axis.plot(curve.lag_ps[shown] * factor, curve.c[shown], color=BLUE, lw=0.7, alpha=0.45, label='trajectory')
    if len(curve.band_lag_ps):
        mean = np.nanmean(curve.per_ion, axis=0)[known]
        axis.plot(time, mean, color=BLUE, lw=1.8, label='averaged over lags')
    if curve.verdict == DECAY or curve.reason == CONSTANT:
        start = np.fmax(curve.first_lag_ps, curve.follows_from_ps)
        for low, high, style in ((curve.first_lag_ps, start, '--'), (start, curve.last_lag_ps, '-')):
            fitted = (curve.lag_ps >= max(low, curve.lag_ps[1])) & (curve.lag_ps <= high)
            label = _words(curve, unit, factor) if style == '-' else None
            axis.plot(curve.lag_ps[fitted] * factor, curve.fit[fitted], color=ORANGE, lw=2.0, ls=style, label=label)
        axis.axvline(curve.first_lag_ps * factor, color=GREY, lw=0.8, ls=':')
    axis.axhline(0.0, color=GREY, lw=0.8)
    axis.set(xscale='log', xlabel=f'lag time ({unit})', ylabel='normalised correlation')
    reason = '\n' + textwrap.fill(curve.reason, 60) if curve.reason else ''
    axis.set_title(f'{curve.label}:\n{curve.verdict}{reason}', fontsize=10)
    axis.margins(x=0.02)
    finish(axis)


def plot_single_ions(curve: CurveResult, start: np.ndarray, names: tuple[str, ...], axis: Axes) -> None:
    """Draw the function of each ion, coloured by the site at which it starts, and that of all; Harper 2024, Fig. 5.

    Args:
        curve: with ``per_ion``; ions that do not count there are not drawn.
        start: (n_ions,) number of the site of each ion in the first frame.
        names: of the sites.
        axis: to draw on.
    """
    from aiida_ufpnmr.engine.figure_style import SITE_COLOURS, finish, time_unit

    unit, factor = time_unit(curve.lag_ps[-1])
    known = curve.band_lag_ps > 0
    time = curve.band_lag_ps[known] * factor
    for site, (name, colour) in enumerate(zip(names, SITE_COLOURS)):
        lines = curve.per_ion[start == site][:, known]
        lines = lines[np.isfinite(lines).any(axis=1)]
        if len(lines):
            drawn = axis.plot(time, lines.T, color=colour, lw=0.7, alpha=0.5)
            drawn[0].set_label(f'{len(lines)} ions that start at {name}')
    axis.plot(time, np.nanmean(curve.per_ion, axis=0)[known], color='black', lw=2.0, label='mean')
    axis.set(xscale='log', xlabel=f'lag time ({unit})', ylabel='correlation (mean at lag 0 is 1)')
    axis.set_title(f'{curve.label}: single ions', fontsize=10)
    finish(axis)


def _words(curve: CurveResult, unit: str, factor: float) -> str:
    """Legend of a fit: τ with its interval, or the bound that there is."""
    scale = 1e3 * factor
    if curve.verdict != DECAY:
        bound = curve.tau_ns_lower_bound * scale
        return f'constant; τ above {bound:.3g} {unit}' if np.isfinite(bound) else 'constant'
    parts: list[tuple[WeightedTime | CurveResult, str]] = [(part, f', {part.weight:.0%}') for part in curve.components]
    lines = [
        f'τ = {one.tau_ns * scale:.3g} {unit} ({low * scale:.3g} to {high * scale:.3g}){share}'
        for one, share in parts or [(curve, '')]
        for low, high in [one.tau_ns_ci95 or (np.nan, np.nan)]
    ]
    gamma = '' if curve.components else f'γ = {curve.gamma:.2f}, '
    return '\n'.join([*lines, f'{gamma}plateau {curve.plateau:.2f}'])
