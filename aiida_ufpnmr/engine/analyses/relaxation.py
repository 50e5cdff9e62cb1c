"""Distribution of relaxation times of the tensor correlation, and T1 from its spectral density."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.relaxation_times import RelaxationTimes, Rule, curve_points, inverse_laplace
from aiida_ufpnmr.engine.nmr.runs import TensorSettings
from aiida_ufpnmr.engine.nmr.spin_lattice import RESOLVED, SpinLattice, spin_lattice_relaxation
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.timeseries.decay import NO_DECAY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RelaxationSettings(TensorSettings):
    """Choices of the transform, and the Larmor frequencies."""

    non_negative: bool = setting(False, 'Allow no negative density.')
    rule: Rule = setting(
        'discrepancy', 'Choice of the penalty: deviations as large as their errors, or generalised cross-validation.'
    )
    strength: float | None = setting(None, 'Strength of the penalty; chosen by the rule where not given.', above=0)
    points: int = setting(60, 'Points of the distribution.', least=10, most=500)
    first_lag_ps: float | None = setting(None, 'First lag in ps; default where noise and vibrations are over.', least=0)
    larmor_MHz: tuple[float, ...] | None = setting(
        None, 'Larmor frequencies in MHz at which to give T1, such as 116.6.', above=0
    )
    bootstrap: int = setting(100, 'Resampled curves.', least=2)
    seed: int = setting(0, 'Seed of the resampling.', least=0)


@dataclass(frozen=True)
class RelaxationResult(Result, RelaxationTimes):
    """The distribution of relaxation times, the verdict on the decay, and T1."""

    KIND = 'relaxation-times'

    verdict: str = quantity('', 'of the decay: without one no times are named', kw_only=True)
    t1: tuple[SpinLattice, ...] = quantity('', 'at the Larmor frequencies', default=())

    @property
    def headline(self) -> str:
        return f'{super().headline}: {self.verdict}'

    @property
    def remarks(self) -> list[str]:
        if self.verdict == NO_DECAY:
            return ['Without a decay no times are named; the density is that of noise and of what is too slow.']
        if self.misfit > 2:
            words = 'no sum of decays, as where vibrations last; try a later first lag (--first-lag-ps).'
            return [f'Misfit {self.misfit:.1f}: {words}']
        return []

    def to_dict(self) -> dict:
        return {**super().to_dict(), 'first_lag_ps': float(self.lag_ps[0]), 'last_lag_ps': float(self.lag_ps[-1])}

    @classmethod
    def read_first(cls, file: h5py.File) -> RelaxationResult:
        found: dict[str, Any] = {
            **{name: file[name][...] for name in ('density', 'band', 'lag_ps', 'c', 'error', 'fitted')},
            **{name: float(file.attrs[name]) for name in ('plateau', 'misfit', 'strength')},
            **{name: str(file.attrs[name]) for name in ('verdict', 'rule')},
        }
        return cls(tau_axis_ns=file['tau_ps'][...] * 1e-3, **found)

    def table(self) -> Table:
        rows = [('quantity', 'value', '95 % interval', 'share or verdict')]
        for peak in self.peaks:
            interval = '{:.4g} to {:.4g}'.format(*peak.tau_ns_ci95)
            share = '{:.3f} ({:.3f} to {:.3f})'.format(peak.weight, *peak.weight_ci95)
            rows.append(('relaxation time (ns)', f'{peak.tau_ns:.4g}', interval, share))
        rows.append(('plateau', f'{self.plateau:.3f}', '', ''))
        for one in self.t1:
            value, interval = '-', '-'
            if one.verdict == RESOLVED:
                value, interval = f'{one.t1_s:.4g}', '{:.4g} to {:.4g}'.format(*one.t1_s_ci95)
            rows.append((f'T1 at {one.larmor_MHz:g} MHz (s)', value, interval, one.verdict))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(11.0, 4.4), layout='constrained')
        left, right = figure.subplots(1, 2)
        plot_points(self, left)
        plot_relaxation_times(self, right)
        return figure


@analysis(
    'relaxation',
    'ufpnmr analyse relaxation run.h5 --non-negative --larmor-mhz 116.6 --plot times.png --json times.json',
)
def relaxation(source: TensorSource, settings: RelaxationSettings) -> RelaxationResult:
    """Distribution of relaxation times of the tensor correlation, and T1 from its spectral density."""
    asked = AcfSettings(
        isotope=source.nuclide.name,
        first_lag_ps=settings.first_lag_ps,
        bootstrap=max(settings.bootstrap, 200),
        seed=settings.seed,
    )
    curve = correlation_functions(source.runs, asked)[0]['omega_q_powder']
    lag, c, samples = curve_points(curve, settings.bootstrap, settings.seed)
    if len(lag) < 8:
        raise InputError(f'{len(lag)} lags from the first lag to half of the run; a transform needs at least 8')
    error = samples.std(axis=0, ddof=1)
    error = np.maximum(error, 1e-3 * error.max() + 1e-12)
    found = inverse_laplace(
        lag,
        c,
        error,
        non_negative=settings.non_negative,
        rule=settings.rule,
        strength=settings.strength,
        points=settings.points,
        samples=samples,
    )
    rates = spin_lattice_relaxation(source.runs, source.nuclide, settings.larmor_MHz) if settings.larmor_MHz else []
    if curve.fit.verdict == NO_DECAY:
        found = replace(found, peaks=())
    return RelaxationResult(**vars(found), verdict=curve.fit.verdict, t1=tuple(rates))


def plot_points(found: RelaxationResult, axis: Axes) -> None:
    """Draw the points of the transform with their errors."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish, time_unit

    unit, factor = time_unit(found.lag_ps[-1])
    time = found.lag_ps * factor
    axis.errorbar(time, found.c, found.error, fmt='o', ms=3, lw=0.8, color=BLUE, label='trajectory')
    axis.plot(time, found.fitted, color=ORANGE, lw=2.0, label=f'transform, misfit {found.misfit:.2f}')
    axis.axhline(found.plateau, color=GREY, lw=0.8, ls=':', label=f'plateau {found.plateau:.2f}')
    axis.set(xscale='log', xlabel=f'lag time ({unit})', ylabel='normalised correlation')
    finish(axis)


def plot_relaxation_times(found: RelaxationResult, axis: Axes) -> None:
    """Draw the density of relaxation times over ln τ with its band."""
    from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish, time_unit

    unit, factor = time_unit(found.lag_ps[-1])
    tau = found.tau_axis_ns * 1e3 * factor
    if np.isfinite(found.band).all():
        axis.fill_between(tau, *found.band.T, color=BLUE, alpha=0.2, lw=0, label='95 % band (bootstrap)')
    axis.plot(tau, found.density, color=BLUE, lw=1.8, label=f'penalty by {found.rule}')
    axis.axhline(0.0, color=GREY, lw=0.8)
    for peak in found.peaks:
        at = peak.tau_ns * 1e3 * factor
        axis.axvline(at, color=ORANGE, lw=1.0, ls='--', label=f'{at:.3g} {unit}: {peak.weight:.2f}')
    axis.set(xscale='log', xlabel=f'relaxation time ({unit})', ylabel=r'density per $\ln\tau$')
    finish(axis)
