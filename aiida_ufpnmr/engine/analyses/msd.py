"""Mean square displacement and diffusion coefficient of one species; Harper 2024, Fig. 2 left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.trajectories.paths import PathSettings
from aiida_ufpnmr.engine.transport.msd import DIFFUSION, NO_DIFFUSION, RETURN, SLOWER, TOO_LITTLE, Diffusion, diffusion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DiffusionSettings(PathSettings):
    """Times that count for a diffusion coefficient."""

    window: tuple[float, float] = setting(
        (0.05, 0.25),
        'Two shares of the trajectory: the shortest period that counts for D, and the lag of the verdict.',
        least=0,
        most=1,
    )


@dataclass(frozen=True)
class MsdSettings(DiffusionSettings):
    """Choices of the fit."""

    bootstrap: int = setting(500, 'Resampled curves, for the band and the exponent.', least=2)
    seed: int = setting(0, 'Seed of the resampling.', least=0)


@dataclass(frozen=True)
class MsdResult(Result, Diffusion):
    """Mean square displacement of the ions, and D = slope/6."""

    KIND = 'msd'

    atom: np.ndarray = quantity('', 'indices of the ions', 'ions', kw_only=True)

    @property
    def diffusive(self) -> bool:
        """Whether D is that of diffusion."""
        return self.verdict == DIFFUSION

    @property
    def headline(self) -> str:
        return f'{super().headline}: {self.verdict}'

    @property
    def remarks(self) -> list[str]:
        remarks = []
        if self.source.get('reference') == 'none':
            remarks.append('Nothing was held still: the drift of the crystal is part of the displacement.')
        if self.diffusive and self.msd_exponent_ci95[1] < 1:
            remarks.append(self._why_below_one())
        if self.verdict == SLOWER and self.chance_of_return < RETURN:
            chance = f'{self.chance_of_return:.1%}'
            remarks.append(f'Ions that walk would end as near to where they began as these in {chance} of runs.')
        return remarks

    def _why_below_one(self) -> str:
        """Whether rattling, which D leaves out, explains an exponent below that of diffusion."""
        first, last = (self.offset_angstrom2 + self.slope_angstrom2_per_ps * lag for lag in self.window_ps)
        of_line = np.log(last / first) / np.log(self.window_ps[1] / self.window_ps[0])
        if of_line < self.msd_exponent_ci95[1]:
            offset = f'{self.offset_angstrom2:.2g} Å²'
            return f'The exponent is below 1 since {offset} of rattling, which D leaves out, are in the displacement.'
        return 'The exponent is below 1: the displacement still bends, and D is that of the longest times there are.'

    def to_dict(self) -> dict:
        at_end = self.offset_angstrom2 + self.slope_angstrom2_per_ps * self.window_ps[1]
        return {**super().to_dict(), 'diffusive': self.diffusive, 'msd_at_window_end_angstrom2': at_end}

    def table(self) -> Table:
        low, high = self.diffusion_coefficient_cm2_per_s_ci95
        name, interval = ('D (cm²/s)', f'{low:.3e} to {high:.3e}') if self.diffusive else ('slope/6 (cm²/s), no D', '')
        along = [
            (f'D along {axis} (cm²/s)', f'{value:.3e}', f'{lower:.3e} to {upper:.3e}')
            for axis, value, (lower, upper) in zip(
                'xyz', self.diffusion_coefficient_xyz_cm2_per_s, self.diffusion_coefficient_xyz_cm2_per_s_ci95
            )
        ]
        return [
            ('quantity', 'value', '95 % interval'),
            (name, f'{self.diffusion_coefficient_cm2_per_s:.3e}', interval),
            *(along if self.diffusive else []),
            ('exponent of the MSD', f'{self.msd_exponent:.2f}', '{:.2f} to {:.2f}'.format(*self.msd_exponent_ci95)),
            ('slowest motion over faster', f'{self.slow_motion_ratio:.2f}', f'± {self.slow_motion_ratio_error:.2f}'),
        ]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(6.0, 4.6), layout='constrained')
        plot_msd(self, figure.subplots())
        return figure


@analysis('msd', 'ufpnmr analyse msd run.h5 --skip-ps 20 --plot msd.png --json msd.json')
def msd(source: PathSource, settings: MsdSettings) -> MsdResult:
    """Mean square displacement and diffusion coefficient, also along each axis."""
    paths = source.paths
    found = diffusion(
        paths.positions, paths.step_ps, window=settings.window, bootstrap=settings.bootstrap, seed=settings.seed
    )
    return MsdResult(**vars(found), atom=paths.index)


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
    line = found.offset_angstrom2 + found.slope_angstrom2_per_ps * fitted
    if (line > 0).all():
        axis.plot(fitted * factor, line, color=ORANGE, lw=2.2, label=_words(found))
    axis.set(xscale='log', yscale='log', xlabel=f'lag time ({unit})', ylabel='mean square displacement (Å²)')
    axis.set_title(found.verdict, fontsize=11)
    finish(axis)


def _words(found: MsdResult) -> str:
    """Legend of the line: D with its interval, or the bound that there is."""
    low, high = found.diffusion_coefficient_cm2_per_s_ci95
    if found.diffusive:
        return f'D = {found.diffusion_coefficient_cm2_per_s:.2e} cm²/s\n({low:.1e} to {high:.1e})'
    if found.verdict in (NO_DIFFUSION, TOO_LITTLE) and high > 0:
        return f'slope/6, no certain diffusion: below {high:.1e} cm²/s'
    return 'slope/6, no D'
