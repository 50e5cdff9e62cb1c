"""Decay of the correlation by grains and their boundaries, from ns to s; Harper 2024, Fig. 7."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.nmr.microstructure import (
    MEASURED_MS,
    GrainSettings,
    Polycrystal,
    diffusion_at,
    grains_of_decay,
    polycrystals,
)
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.residual import RESIDUAL, ResidualCoupling, residual_coupling
from aiida_ufpnmr.engine.nmr.runs import EfgRuns, TensorSettings
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.trajectories.paths import ion_paths
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory
from aiida_ufpnmr.engine.transport import msd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = ('-', '--', ':', '-.')


@dataclass(frozen=True)
class MicrostructureSettings(GrainSettings, TensorSettings):
    """Grains, diffusion within them, and the decay times to compare with."""

    grain_nm: tuple[float, ...] = setting((10.0, 100.0, 1000.0), 'Grain sizes in nm.', above=0)
    diffusion: tuple[float, ...] | None = setting(
        None,
        'Diffusion coefficients within grains in cm²/s; default that of the trajectory, where it shows one.',
        above=0,
    )
    temperature: float = setting(300.0, 'Temperature of --diffusion in K.', above=0)
    activation_energy_eV: float | None = setting(None, 'Of the diffusion, in eV; for --temperatures.', least=0)
    temperatures: tuple[float, ...] | None = setting(
        None, 'Temperatures in K to which the diffusion is carried.', above=0
    )
    measured_ms: tuple[float, float] = setting(
        MEASURED_MS, 'Measured range of decay times in ms, to compare with.', above=0
    )

    def __post_init__(self):
        super().__post_init__()
        if self.measured_ms[0] > self.measured_ms[1]:
            raise InputError('--measured-ms takes the lower end first')
        if self.temperatures and (self.activation_energy_eV is None or len(self.diffusion or [0]) > 1):
            raise InputError('--temperatures needs --activation-energy-ev and one diffusion coefficient')


@dataclass(frozen=True)
class MicrostructureResult(Result):
    """Correlation functions of polycrystals, and the grain sizes that would make what was measured."""

    KIND = 'microstructure'

    mean_tensor_khz: np.ndarray | None = quantity('kHz', 'mean EFG times eQ/h of the first run', '3, 3')
    polycrystals: tuple[Polycrystal, ...] = quantity('', 'by diffusion coefficient, then grain size')
    verdict: str = quantity('', 'residual coupling, or none beyond chance')
    residual: ResidualCoupling | None = quantity('', 'partially averaged tensors', default=None)
    grain_nm_for_measured: np.ndarray | None = quantity(
        'nm', 'grain sizes that make the measured range', 'diffusion coefficients, 2', default=None
    )
    diffusion_from_trajectory: bool = quantity('', 'whether D is that of the trajectory', default=False)

    @property
    def headline(self) -> str:
        if self.residual is None:
            return super().headline
        return (
            f'{super().headline}; residual ω_Q {self.residual.omega_q_rms_cell_mean_khz:.3g} kHz out of '
            f'{self.residual.omega_q_rms_khz:.3g} kHz (rms), |C_Q| of the mean tensor '
            f'{self.residual.c_q_of_mean_tensor_khz:.3g} kHz'
        )

    @property
    def measured_ms(self) -> tuple[float, float]:
        """The measured range."""
        return tuple(self.settings.get('measured_ms', MEASURED_MS))

    @property
    def remarks(self) -> list[str]:
        lines = []
        if self.grain_nm_for_measured is not None:
            rates = dict.fromkeys(one.diffusion_coefficient_cm2_per_s for one in self.polycrystals)
            words = '; '.join(
                f'{low:.3g} to {high:.3g} nm for D = {d:.3g} cm²/s'
                for (low, high), d in zip(self.grain_nm_for_measured, rates)
            )
            low, high = self.measured_ms
            lines.append(f'Grains that would make {low:g} to {high:g} ms: {words}.')
        if self.verdict != RESIDUAL:
            lines.append(f'{self.verdict.capitalize()}: in a glass there is nothing for grains to keep.')
        if min(one.grain_nm for one in self.polycrystals) < 5 * self.settings['mixing_nm']:
            lines.append('Grains of less than five mixing lengths: ions leave before they have met all sites.')
        return lines

    def to_dict(self) -> dict:
        found, (low, high) = super().to_dict(), self.measured_ms
        for one in found['polycrystals']:
            one['within_measured'] = low <= one['tau_ms'] <= high
        return {**found, 'grain_nm_for_measured': np.asarray(self.grain_nm_for_measured).tolist()}

    @classmethod
    def read_first(cls, file: h5py.File) -> MicrostructureResult:
        names = 'grain_nm', 'diffusion_coefficient_cm2_per_s', 'temperature_K', 'tau_ms', 'residual_share'
        columns, lags = zip(*(file[name][...].tolist() for name in names)), file['lag_ns'][...]
        found = [Polycrystal(lag_ns=lags, c=c, **dict(zip(names, row))) for c, row in zip(file['c'][...], columns)]
        return cls(
            mean_tensor_khz=file['mean_tensor_khz'][...],
            polycrystals=tuple(found),
            verdict=str(file.attrs['verdict']),
            settings=json.loads(file.attrs['settings']),
        )

    def table(self) -> Table:
        rows = [('T (K)', 'D (cm²/s)', 'grains (nm)', 'τ (ms)', 'fitted τ (ms)', 'γ', 'by')]
        for one in self.polycrystals:
            rate = f'{one.diffusion_coefficient_cm2_per_s:.3g}'
            times = f'{one.tau_ms:.4g}', f'{one.fit_tau_ms:.4g}', f'{one.fit_gamma:.2f}'
            rows.append((f'{one.temperature_K:g}', rate, f'{one.grain_nm:g}', *times, one.method))
        return rows

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(11.0, 4.6), layout='constrained')
        left, right = figure.subplots(1, 2)
        plot_polycrystals(self, left)
        plot_grain_sizes(self, right)
        return figure


@analysis(
    'microstructure', 'ufpnmr analyse microstructure run.h5 --grain-nm 10,100,1000 --diffusion 1e-10 --plot grains.png'
)
def microstructure(source: TensorSource, settings: MicrostructureSettings) -> MicrostructureResult:
    """Decay of the correlation by grains and their boundaries: the correlation from ns to s.

    The trajectory is that of one crystal. The coupling that it leaves decays as ions move to grains that lie otherwise.
    """
    diffusion = settings.diffusion or (_own_diffusion(source.runs),)
    at = (settings.temperature,) * len(diffusion)
    if settings.temperatures:
        at = settings.temperatures
        energy = settings.activation_energy_eV or 0.0
        diffusion = tuple(diffusion_at(diffusion[0], settings.temperature, energy, other) for other in at)
    asked = AcfSettings(isotope=source.nuclide.name, seed=settings.seed)
    curves, _ = correlation_functions(source.runs, asked)
    residual = residual_coupling(source.runs, source.nuclide)
    found = polycrystals(curves['omega_q_powder'], residual, settings.grain_nm, diffusion, settings, at)
    needed = [[grains_of_decay(tau, one, settings) for tau in settings.measured_ms] for one in diffusion]
    return MicrostructureResult(
        mean_tensor_khz=residual.mean_tensor_khz,
        polycrystals=tuple(found),
        verdict=residual.verdict,
        residual=residual,
        grain_nm_for_measured=np.array(needed),
        diffusion_from_trajectory=settings.diffusion is None,
    )


def _own_diffusion(runs: EfgRuns) -> float:
    """D of the first run, from its positions, in cm²/s."""
    path = runs.runs[0][0].path
    if path is None:
        raise InputError('tensors without a file have no positions; give the coefficient with --diffusion')
    with Trajectory(path) as source:
        if not source.n_frames:
            raise InputError(f'{path}: holds no positions to tell the diffusion coefficient; give --diffusion')
        paths = ion_paths(source, runs.species, runs.runs[0][0].time_fs[0] - source.time_fs[0])
    found = msd.diffusion(paths.positions, paths.step_ps)
    if found.verdict != msd.DIFFUSION:
        raise InputError(f'{path}: {found.verdict}; give the coefficient with --diffusion')
    return found.diffusion_coefficient_cm2_per_s


def plot_polycrystals(found: MicrostructureResult, axis: Axes) -> None:
    """Draw the functions from ns to s: a colour for each grain size, a line style for each diffusion coefficient."""
    from aiida_ufpnmr.engine.figure_style import COLOURS, GREY, finish

    sizes = list(dict.fromkeys(one.grain_nm for one in found.polycrystals))
    rates = list(dict.fromkeys(one.diffusion_coefficient_cm2_per_s for one in found.polycrystals))
    for one in found.polycrystals:
        style = LINES[rates.index(one.diffusion_coefficient_cm2_per_s) % len(LINES)]
        colour = COLOURS[sizes.index(one.grain_nm) % len(COLOURS)]
        axis.plot(
            found.polycrystals[0].lag_ns,
            one.c,
            color=colour,
            ls=style,
            lw=1.8,
            label=f'{one.grain_nm:g} nm, {_words(one)}',
        )
    low, high = found.measured_ms
    axis.axvspan(1e6 * low, 1e6 * high, color=GREY, alpha=0.25, lw=0, label=f'measured: {low:g} to {high:g} ms')
    axis.axhline(0.0, color=GREY, lw=0.8)
    axis.set(xscale='log', xlabel='mixing time (ns)', ylabel=r'$\omega_Q$ correlation, 1 at the first lag')
    axis.set_xlim(found.polycrystals[0].lag_ns[0], max(found.polycrystals[0].lag_ns[-1], 2e6 * high))
    first = found.polycrystals[0].c
    finish(axis, loc='upper right' if first[len(first) // 4] < 0.5 else 'best')


def plot_grain_sizes(found: MicrostructureResult, axis: Axes) -> None:
    """Draw the decay time by exchange of grains against their size, a line for each diffusion coefficient."""
    from aiida_ufpnmr.engine.figure_style import COLOURS, GREY, finish

    rates = dict.fromkeys(one.diffusion_coefficient_cm2_per_s for one in found.polycrystals)
    for number, rate in enumerate(rates):
        chosen = [one for one in found.polycrystals if one.diffusion_coefficient_cm2_per_s == rate]
        chosen.sort(key=lambda one: one.grain_nm)
        sizes, times = [one.grain_nm for one in chosen], [one.tau_ms for one in chosen]
        colour, line = COLOURS[number % len(COLOURS)], LINES[number % len(LINES)]
        axis.plot(sizes, times, 'o', color=colour, ls=line, lw=1.8, label=_words(chosen[0]))
    low, high = found.measured_ms
    axis.axhspan(low, high, color=GREY, alpha=0.25, lw=0, label=f'measured: {low:g} to {high:g} ms')
    axis.set(xscale='log', yscale='log', xlabel='grain size (nm)', ylabel=r'$\tau_\mathrm{SAE}$ (ms)')
    finish(axis)


def _words(one: Polycrystal) -> str:
    rate = f'D = {one.diffusion_coefficient_cm2_per_s:.2g} cm²/s'
    return f'{one.temperature_K:g} K, {rate}' if np.isfinite(one.temperature_K) else rate
