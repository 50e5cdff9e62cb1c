"""Vibrational density of states, from positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.integrate import trapezoid

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.trajectories.paths import PathSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: 1 THz in cm⁻¹.
PER_CM = 33.35641


@dataclass(frozen=True)
class VdosSettings(PathSettings):
    """Resolution of the spectrum."""

    width_per_cm: float = setting(15.0, 'Width of the Gaussian that smooths the spectrum, in cm⁻¹.', above=0)


@dataclass(frozen=True)
class VdosResult(Result):
    """Density of states of one species."""

    KIND = 'vdos'

    wavenumber_per_cm: np.ndarray = quantity('cm⁻¹', 'wavenumbers', 'points')
    density: np.ndarray = quantity('cm', 'density of states, with area 1', 'points')
    centre_per_cm: float = quantity('cm⁻¹', 'mean wavenumber')

    def table(self) -> Table:
        return [('quantity', 'value'), ('centre (cm⁻¹)', f'{self.centre_per_cm:.0f}')]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(layout='constrained')
        axis = figure.subplots()
        axis.plot(self.wavenumber_per_cm, self.density)
        axis.set(xlabel='wavenumber (cm⁻¹)', ylabel='density of states (cm)')
        return figure


@analysis('vdos', 'ufpnmr analyse vdos run.h5 --plot vdos.png')
def vdos(source: PathSource, settings: VdosSettings) -> VdosResult:
    """Vibrational density of states: the power spectrum of the velocities."""
    velocity = np.gradient(source.paths.positions, axis=0)
    window = np.hanning(len(velocity))[:, None, None]
    power = (np.abs(np.fft.rfft(velocity * window, axis=0)) ** 2).sum(axis=(1, 2))
    wavenumber = PER_CM * np.fft.rfftfreq(len(velocity), source.paths.step_ps)
    distance = (wavenumber[:, None] - wavenumber) / settings.width_per_cm
    density = np.exp(-0.5 * (2.3548 * distance) ** 2) @ power
    density /= trapezoid(density, wavenumber)
    return VdosResult(wavenumber, density, float(trapezoid(density * wavenumber, wavenumber)))
