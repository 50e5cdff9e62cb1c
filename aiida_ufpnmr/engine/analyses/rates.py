"""Hop rate, diffusion and decay of the frequency side by side, with the factors that lead from one to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.analyses.groups import find_run_hops, frames_of
from aiida_ufpnmr.engine.analyses.silent_hops import WindowSettings, projection_of, windows_of
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.hop_changes import hop_change
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions, decay_results
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.timeseries.decay import CONSTANT, DECAY
from aiida_ufpnmr.engine.timeseries.sums import mean_with_interval
from aiida_ufpnmr.engine.transport.hops import HOPS, HopSettings, hop_rate
from aiida_ufpnmr.engine.transport.msd import CM2_PER_S, DIFFUSION, diffusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Interval = tuple[float, float]
#: 1 cm²/s in Å²/s.
ANGSTROM2_PER_CM2 = 1e12 / CM2_PER_S
#: 1/ns in 1/s.
PER_NS = 1e9


@dataclass(frozen=True)
class RatesSettings(AcfSettings, WindowSettings, HopSettings):
    """Definition of a hop, windows on both its sides, and the fit of the decay."""


@dataclass(frozen=True)
class RatesResult(Result):
    """Rates of one run, each with its verdict, and the factors between them where the verdicts allow."""

    KIND = 'rates'

    msd_lag_ps: np.ndarray = quantity('ps', 'lags of the mean square displacement', 'msd lags')
    msd_angstrom2: np.ndarray = quantity('Å²', 'mean square displacement', 'msd lags')
    band_lag_ps: np.ndarray = quantity('ps', 'centres of bins of lags of the correlation', 'bins')
    correlation: np.ndarray = quantity('', 'correlation of ω_Q, one at lag 0, averaged over the ions', 'bins')
    correlation_fit: np.ndarray = quantity('', 'its fit', 'bins')
    hop_rate_per_s: float = quantity('1/s', 'Γ: hops per ion and second')
    hop_rate_per_s_ci95: Interval = quantity('1/s', 'its 95 % interval')
    hop_rate_corrected: bool = quantity('', 'whether Γ is more than a lower limit')
    hops_verdict: str = quantity('', 'hops, or what speaks against them')
    hop_square_angstrom2: float = quantity('Å²', 'ℓ²: mean squared length of a hop')
    hop_square_angstrom2_ci95: Interval = quantity('Å²', 'its 95 % interval')
    diffusion_coefficient_cm2_per_s: float = quantity('cm²/s', 'D, as of msd')
    diffusion_coefficient_cm2_per_s_ci95: Interval = quantity('cm²/s', 'its 95 % interval')
    msd_verdict: str = quantity('', 'diffusion, or what speaks against it')
    tau_ns: float = quantity('ns', 'τ of ω_Q, as of acf')
    tau_ns_ci95: Interval | None = quantity('ns', 'its 95 % interval')
    decay_verdict: str = quantity('', 'decay, or why there is none')
    decay_reason: str = quantity('', 'why, in words')
    decay_rate_per_s: float = quantity('1/s', '1/τ')
    decay_rate_per_s_ci95: Interval | None = quantity('1/s', 'its 95 % interval')
    plateau: float = quantity('', 'b²: share of the slow part of the correlation that stays')
    plateau_error: float = quantity('', 'its standard error')
    decays: int = quantity('', 'number of decays in the fit')
    change_verdict: str = quantity('', 'whether hops change the frequency, as of silent-hops')
    loss_per_hop: float = quantity('', 'λ: share of the correlation of mean tensors that a hop destroys')
    loss_per_hop_ci95: Interval = quantity('', 'its 95 % interval')
    correlation_factor: float = quantity('', 'f = 6D/Γℓ²: 1 for hops without memory, less where they lead back')
    correlation_factor_ci95: Interval = quantity('', 'its 95 % interval')
    geometry_factor: float = quantity('', 'g = 1/τΓ, as measured')
    geometry_factor_ci95: Interval = quantity('', 'its 95 % interval')
    geometry_factor_of_hops: float = quantity('', 'λ/(1 − b²): what it would be for hops without memory')
    geometry_factor_of_hops_ci95: Interval = quantity('', 'its 95 % interval')
    memory_factor: float = quantity('', 'g over that for hops without memory')
    memory_factor_ci95: Interval = quantity('', 'its 95 % interval')
    fit_range_ps: Interval = quantity('ps', 'lags between which the fit of the decay holds', default=(0.0, np.inf))

    @property
    def remarks(self) -> list[str]:
        against = {
            'hops': '' if self.hops_verdict == HOPS and self.hop_rate_corrected else _hops_word(self),
            'D': '' if self.msd_verdict == DIFFUSION else self.msd_verdict,
            'τ': '' if self.decay_verdict == DECAY else f'{self.decay_verdict}: {self.decay_reason}',
            'change at hops': '' if np.isfinite(self.loss_per_hop) else self.change_verdict,
        }
        remarks = [f'No factor with {name}: {words}.' for name, words in against.items() if words]
        if self.decays > 1:
            remarks.append('Two decays: τ is the slow one, and the fast one has a share in what hops destroy.')
        return remarks

    def table(self) -> Table:
        rows = (
            ('hop rate Γ (1/s)', self.hop_rate_per_s, self.hop_rate_per_s_ci95, '.3e'),
            ('decay rate 1/τ (1/s)', self.decay_rate_per_s, self.decay_rate_per_s_ci95, '.3e'),
            ('D or slope/6 (cm²/s)', self.diffusion_coefficient_cm2_per_s, self._diffusion_interval, '.3e'),
            ('squared length of a hop ℓ² (Å²)', self.hop_square_angstrom2, self.hop_square_angstrom2_ci95, '.2f'),
            ('loss per hop λ', self.loss_per_hop, self.loss_per_hop_ci95, '.2f'),
            ('correlation factor 6D/Γℓ²', self.correlation_factor, self.correlation_factor_ci95, '.2f'),
            ('geometry factor 1/τΓ', self.geometry_factor, self.geometry_factor_ci95, '.2f'),
            ('without memory, λ/(1 − b²)', self.geometry_factor_of_hops, self.geometry_factor_of_hops_ci95, '.2f'),
            ('memory factor', self.memory_factor, self.memory_factor_ci95, '.2f'),
        )  # fmt: skip
        return [('quantity', 'value', '95 % interval'), *(_row(*row) for row in rows)]

    @property
    def _diffusion_interval(self) -> Interval | None:
        return self.diffusion_coefficient_cm2_per_s_ci95 if self.msd_verdict == DIFFUSION else None

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, Figure, finish, time_unit

        figure = Figure(figsize=(10.0, 7.0), layout='constrained')
        moved, remembered, rates, factors = figure.subplots(2, 2).ravel()
        unit, factor = time_unit(self.band_lag_ps[-1])
        lag, known = self.band_lag_ps * factor, self.band_lag_ps > 0
        shown = slice(1, max(3, len(self.msd_lag_ps) // 2))  # what comes later has few pairs
        moved.plot(self.msd_lag_ps[shown] * factor, self.msd_angstrom2[shown], color=BLUE, lw=1.4)
        moved.set(xscale='log', yscale='log', ylabel='mean square displacement (Å²)')
        remembered.plot(lag[known], self.correlation[known], color=BLUE, lw=1.4, label='trajectory')
        if self.decay_verdict == DECAY or self.decay_reason == CONSTANT:
            low, high = self.fit_range_ps
            held = known & (self.band_lag_ps >= low) & (self.band_lag_ps <= high)
            remembered.plot(lag[held], self.correlation_fit[held], color=ORANGE, lw=1.4, label='fit')
        remembered.set(xscale='log', ylabel='correlation of ω_Q')
        for axis in (moved, remembered):
            axis.set_xlabel(f'lag time ({unit})')
            finish(axis, legend=axis is remembered)
        hops_and_decay = (
            ('hops Γ', self.hop_rate_per_s, self.hop_rate_per_s_ci95),
            ('decay 1/τ', self.decay_rate_per_s, self.decay_rate_per_s_ci95),
        )
        numbers = (
            ('correlation, 6D/Γℓ²', self.correlation_factor, self.correlation_factor_ci95),
            ('geometry, 1/τΓ', self.geometry_factor, self.geometry_factor_ci95),
            ('without memory, λ/(1 − b²)', self.geometry_factor_of_hops, self.geometry_factor_of_hops_ci95),
            ('memory', self.memory_factor, self.memory_factor_ci95),
        )
        plot_numbers(hops_and_decay, rates, 'rate (1/s)')
        if self.hop_rate_per_s > 0:
            rates.set_xscale('log')
        plot_numbers(numbers, factors, 'factor')
        factors.axvline(1.0, color=GREY, lw=0.8, ls=':')
        return figure


def plot_numbers(rows: Sequence[tuple[str, float, Interval | None]], axis: Axes, words: str) -> None:
    """Draw numbers with their intervals, one below the other."""
    from aiida_ufpnmr.engine.figure_style import BLUE, finish

    for row, (_, value, limits) in enumerate(rows):
        if np.isfinite(value):
            axis.plot(value, row, 'o', color=BLUE)
            axis.plot(limits or (value, value), (row, row), color=BLUE, lw=1.5)
    axis.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axis.set(xlabel=words, ylim=(len(rows) - 0.5, -0.5))
    finish(axis, legend=False)


@analysis('rates', 'ufpnmr analyse rates run.h5 -o rates.h5 --plot rates.png')
def rates(source: TensorSource, settings: RatesSettings) -> RatesResult:
    """Hop rate, diffusion coefficient and decay rate of ω_Q side by side, with the factors between them.

    The geometry factor 1/τΓ is measured, and told beforehand from the change of the tensor at hops; where the two
    differ, hops have a memory. One run, in one file or several that go on from one another.
    """
    runs = source.runs
    if len(runs.runs) > 1:
        raise InputError(f'rates takes one run, not {len(runs.runs)}; compare the rates of each')
    (found,) = find_run_hops(runs, settings)
    hops, rate = found.hops, hop_rate(found.hops)
    frames = frames_of(runs.runs[0])
    ions = frames.atoms_of(runs.species)
    moved = diffusion(np.concatenate(list(frames.paths(ions))), frames.step_ps, seed=settings.seed)
    windows = windows_of(source, [found], settings)
    change = hop_change(windows.hops, windows.stays, projection_of(settings))
    curves, _ = correlation_functions(runs, settings)
    curve = curves[f'omega_q_{settings.field_name}']
    fit, decay = curve.fit, decay_results(curve.fit)
    counts = np.bincount(hops.ion, minlength=len(ions)).astype(float)
    square, square_limits = mean_with_interval(np.bincount(hops.ion, hops.distance**2, len(ions)), counts)

    hop_limits = rate.hop_rate_per_s_ci95 if rate.verdict == HOPS and rate.hop_rate_corrected else None
    tau_limits = decay['tau_ns_ci95']
    gamma, tau, loss = rate.hop_rate_per_s, decay['tau_ns'], change.loss_per_hop
    d_limits = moved.diffusion_coefficient_cm2_per_s_ci95 if moved.verdict == DIFFUSION else None
    d = moved.diffusion_coefficient_cm2_per_s
    correlation = _product(
        6 * ANGSTROM2_PER_CM2, [(d, d_limits, 1), (gamma, hop_limits, -1), (square, square_limits, -1)]
    )
    times = [(tau, tau_limits, -1), (gamma, hop_limits, -1)]
    geometry = _product(PER_NS, times)
    of_hops, memory = _NONE, _NONE
    if decay['decays'] == 1:
        decaying = 1 - fit.plateau
        limits = decaying - 1.96 * fit.plateau_error, min(decaying + 1.96 * fit.plateau_error, 1.0)
        of_hops = _product(1.0, [(loss, change.loss_per_hop_ci95, 1), (decaying, limits, -1)])
        # τ and the plateau of one fit err together, and what the curve loses first hardly does
        memory = _product(PER_NS * decaying, [*times, (loss, change.loss_per_hop_ci95, -1)])
    return RatesResult(
        msd_lag_ps=moved.lag_ps,
        msd_angstrom2=moved.msd_angstrom2,
        band_lag_ps=curve.band_lag,
        correlation=np.nanmean(curve.per_ion, axis=0),
        correlation_fit=fit.curve(curve.band_lag),
        hop_rate_per_s=gamma,
        hop_rate_per_s_ci95=rate.hop_rate_per_s_ci95,
        hop_rate_corrected=rate.hop_rate_corrected,
        hops_verdict=rate.verdict,
        hop_square_angstrom2=square,
        hop_square_angstrom2_ci95=square_limits,
        diffusion_coefficient_cm2_per_s=d,
        diffusion_coefficient_cm2_per_s_ci95=moved.diffusion_coefficient_cm2_per_s_ci95,
        msd_verdict=moved.verdict,
        decay_verdict=decay['verdict'],
        decay_reason=decay['reason'],
        **{key: decay[key] for key in _DECAY},
        plateau_error=fit.plateau_error,
        change_verdict=change.verdict,
        loss_per_hop=loss,
        loss_per_hop_ci95=change.loss_per_hop_ci95,
        correlation_factor=correlation[0],
        correlation_factor_ci95=correlation[1],
        geometry_factor=geometry[0],
        geometry_factor_ci95=geometry[1],
        geometry_factor_of_hops=of_hops[0],
        geometry_factor_of_hops_ci95=of_hops[1],
        memory_factor=memory[0],
        memory_factor_ci95=memory[1],
        fit_range_ps=(float(np.fmax(fit.first_lag, fit.follows_from)), float(fit.last_lag)),
    )


_DECAY = ('tau_ns', 'tau_ns_ci95', 'decay_rate_per_s', 'decay_rate_per_s_ci95', 'plateau', 'decays')
_NONE = np.nan, (np.nan, np.nan)


def _product(scale: float, factors: Sequence[tuple[float, Interval | None, int]]) -> tuple[float, Interval]:
    """Product of numbers to the power of 1 or −1, with a 95 % interval; NaN where one has no interval above zero.

    Relative errors are added as squares, on each side by itself, as those of independent numbers: numbers of one
    run share part of their errors, which mostly makes such an interval wider than need be.

    Args:
        scale: a factor without error.
        factors: value, interval (``None`` where there is none that holds) and power of each.
    """
    value, below, above = scale, 0.0, 0.0
    for number, limits, power in factors:
        low, high = limits or (np.nan, np.nan)
        if not (0 < low <= number <= high < np.inf):
            return _NONE
        value *= number**power
        sides = np.log(number / low) ** 2, np.log(high / number) ** 2
        down, up = sides if power > 0 else sides[::-1]
        below, above = below + down, above + up
    return float(value), (float(value * np.exp(-np.sqrt(below))), float(value * np.exp(np.sqrt(above))))


def _row(name: str, value: float, limits: Interval | None, form: str) -> tuple[str, str, str]:
    low, high = limits or (np.nan, np.nan)
    known = np.isfinite(low) and np.isfinite(high)
    return name, f'{value:{form}}' if np.isfinite(value) else '-', f'{low:{form}} to {high:{form}}' if known else ''


def _hops_word(found: RatesResult) -> str:
    return found.hops_verdict if found.hops_verdict != HOPS else 'the hop rate is a lower limit'
