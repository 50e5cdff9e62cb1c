"""Mean square displacement and diffusion coefficient of one species; Harper 2024, Fig. 2 left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.trajectories.paths import PathSettings
from aiida_ufpnmr.engine.transport.msd import DIFFUSION, diffusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class MsdSettings(PathSettings):
    """Choices of the fit."""

    window: tuple[float, float] = setting(
        (0.05, 0.25), 'Lags of the straight-line fit, as two shares of the trajectory.', least=0, most=1
    )
    bootstrap: int = setting(500, 'Resampled curves.', least=2)
    seed: int = setting(0, 'Seed of the resampling.', least=0)


@dataclass(frozen=True)
class MsdResult(Result):
    """Mean square displacement of the ions, and D = slope/6."""

    KIND = 'msd'

    lag_ps: np.ndarray = quantity('ps', 'lags', 'lags')
    msd_angstrom2: np.ndarray = quantity('Å²', 'mean square displacement over ions and origins', 'lags')
    band_lag_ps: np.ndarray = quantity('ps', 'centres of bins of lags', 'bins')
    band_angstrom2: np.ndarray = quantity('Å²', '2.5 and 97.5 % of the bootstrap', 'bins, 2')
    atom: np.ndarray = quantity('', 'indices of the ions', 'ions')
    slope_angstrom2_per_ps: float = quantity('Å²/ps', 'slope of the fitted line')
    offset_angstrom2: float = quantity('Å²', 'its value at lag 0')
    window_ps: tuple[float, float] = quantity('ps', 'lags between which it was fitted')
    diffusion_coefficient_cm2_per_s: float = quantity('cm²/s', 'slope/6')
    diffusion_coefficient_cm2_per_s_ci95: tuple[float, float] = quantity('cm²/s', 'its 95 % interval')
    verdict: str = quantity('', 'diffusion, or what speaks against it')
    msd_exponent: float = quantity('', 'd ln MSD / d ln t over the window', default=np.nan)
    msd_exponent_ci95: tuple[float, float] = quantity('', 'its 95 % interval', default=(np.nan, np.nan))
    confinement: float = quantity('', 'pull towards the mean place: 1 for diffusion, more in a cage', default=np.nan)
    confinement_ci95: tuple[float, float] = quantity('', 'its 95 % interval', default=(np.nan, np.nan))
    binned_angstrom2: np.ndarray | None = quantity('Å²', 'averages over the bins', 'bins', default=None)

    @property
    def diffusive(self) -> bool:
        """Whether D is that of diffusion."""
        return self.verdict == DIFFUSION

    @property
    def headline(self) -> str:
        return f'{super().headline}: {self.verdict}'

    def to_dict(self) -> dict:
        at_end = self.offset_angstrom2 + self.slope_angstrom2_per_ps * self.window_ps[1]
        return {**super().to_dict(), 'diffusive': self.diffusive, 'msd_at_window_end_angstrom2': at_end}

    def table(self) -> Table:
        low, high = self.diffusion_coefficient_cm2_per_s_ci95
        rows = [('exponent of the MSD', self.msd_exponent, self.msd_exponent_ci95)]
        rows.append(('confinement (1: free)', self.confinement, self.confinement_ci95))
        value = f'{self.diffusion_coefficient_cm2_per_s:.3e}' if self.diffusive else '-'
        return [
            ('quantity', 'value', '95 % interval'),
            ('D (cm²/s)', value, f'{low:.3e} to {high:.3e}' if self.diffusive else f'below {max(high, 0.0):.1e}'),
            *((words, f'{value:.2f}', '{:.2f} to {:.2f}'.format(*limits)) for words, value, limits in rows),
        ]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(6.0, 4.6), layout='constrained')
        plot_msd(self, figure.subplots())
        return figure


@analysis('msd', 'ufpnmr analyse msd run.h5 --skip-ps 20 --plot msd.png --json msd.json')
def msd(source: PathSource, settings: MsdSettings) -> MsdResult:
    """Mean square displacement and diffusion coefficient, D = slope/6."""
    paths = source.paths
    found = diffusion(
        paths.positions, paths.step_ps, window=settings.window, bootstrap=settings.bootstrap, seed=settings.seed
    )
    return MsdResult(
        lag_ps=found.lag_ps,
        msd_angstrom2=found.msd,
        band_lag_ps=found.band_lag_ps,
        band_angstrom2=found.band,
        binned_angstrom2=found.binned,
        atom=paths.index,
        slope_angstrom2_per_ps=found.slope,
        offset_angstrom2=found.offset,
        window_ps=found.window_ps,
        diffusion_coefficient_cm2_per_s=found.coefficient_cm2_per_s,
        diffusion_coefficient_cm2_per_s_ci95=found.ci95_cm2_per_s,
        verdict=found.verdict,
        msd_exponent=found.exponent,
        msd_exponent_ci95=found.exponent_ci95,
        confinement=found.confinement,
        confinement_ci95=found.confinement_ci95,
    )


def plot_msd(found: MsdResult, axis: Axes) -> None:
    """Draw the displacement against lag on logarithmic axes: data, bootstrap band, and the line that gives D."""
    from aiida_ufpnmr.engine.figure_style import BLUE, ORANGE, POINTS, finish, time_unit

    unit, factor = time_unit(found.lag_ps[-1])
    stop = max(3, len(found.lag_ps) // 2)
    shown = np.unique(np.geomspace(1, stop - 1, POINTS).astype(int))
    known = (found.band_lag_ps > 0) & (found.band_angstrom2[:, 0] > 0)
    time = found.band_lag_ps[known] * factor
    label = found.source.get('species', 'ions')
    axis.fill_between(time, *found.band_angstrom2[known].T, color=BLUE, alpha=0.2, lw=0, label='95 % band (bootstrap)')
    axis.plot(found.lag_ps[shown] * factor, found.msd_angstrom2[shown], color=BLUE, lw=0.7, alpha=0.45, label=label)
    if found.binned_angstrom2 is not None:
        axis.plot(time, found.binned_angstrom2[known], color=BLUE, lw=1.8, label='averaged over lags')
    fitted = np.linspace(*found.window_ps, 100)
    low, high = found.diffusion_coefficient_cm2_per_s_ci95
    words = f'D = {found.diffusion_coefficient_cm2_per_s:.2e} cm²/s\n({low:.1e} to {high:.1e})'
    if not found.diffusive:
        words = f'no diffusion: D below {max(high, 0.0):.1e} cm²/s'
    line = found.offset_angstrom2 + found.slope_angstrom2_per_ps * fitted
    if (line > 0).all():
        axis.plot(fitted * factor, line, color=ORANGE, lw=2.2, label=words)
    axis.set(xscale='log', yscale='log', xlabel=f'lag time ({unit})', ylabel='mean square displacement (Å²)')
    axis.set_title(found.verdict, fontsize=11)
    finish(axis)
