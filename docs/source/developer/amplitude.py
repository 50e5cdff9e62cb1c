"""Vibrational amplitude of ions about their mean places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aiida_ufpnmr.engine.analyses.base import PathSource, Result, Table, analysis
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting
from aiida_ufpnmr.engine.trajectories.paths import PathSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class AmplitudeSettings(PathSettings):
    """Time over which a mean place is taken."""

    window_ps: float = setting(2.0, 'Take the mean place over this time, in ps, so that hops do not count.', above=0)


@dataclass(frozen=True)
class AmplitudeResult(Result):
    """Mean square of the displacement from the mean place."""

    KIND = 'amplitude'

    atom: np.ndarray = quantity('', 'indices of the ions', 'ions')
    square_angstrom2: np.ndarray = quantity('Å²', 'mean square displacement of each ion along an axis', 'ions')
    mean_angstrom2: float = quantity('Å²', 'its mean over the ions')
    b_factor_angstrom2: float = quantity('Å²', '8π² times it, as crystallographers write it')

    def table(self) -> Table:
        return [('quantity', 'value'), ('B factor (Å²)', f'{self.b_factor_angstrom2:.2f}')]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(layout='constrained')
        axis = figure.subplots()
        axis.plot(self.atom, self.square_angstrom2, 'o')
        axis.set(xlabel='atom', ylabel='mean square displacement (Å²)')
        return figure


@analysis('amplitude', 'ufpnmr analyse amplitude run.h5 --plot amplitude.png')
def amplitude(source: PathSource, settings: AmplitudeSettings) -> AmplitudeResult:
    """Mean square amplitude of the vibrations of ions, and the B factor of X-ray diffraction."""
    paths = source.paths
    frames = max(2, round(settings.window_ps / paths.step_ps))
    whole = len(paths.positions) // frames * frames or len(paths.positions)
    parts = np.split(paths.positions[:whole], max(1, whole // frames))
    square = np.mean([part.var(axis=0, ddof=1).mean(axis=1) for part in parts], axis=0)
    return AmplitudeResult(paths.index, square, float(square.mean()), float(8 * np.pi**2 * square.mean()))
