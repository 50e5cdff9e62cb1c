"""Static and MAS line shapes of partially averaged tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np

from aiida_ufpnmr.engine.analyses.base import Result, Table, TensorSource, analysis
from aiida_ufpnmr.engine.nmr.runs import TensorSettings
from aiida_ufpnmr.engine.nmr.spectra import Average, Spectrum, averaged_tensors, quadrupolar_spectra, sites_of
from aiida_ufpnmr.engine.records import quantity
from aiida_ufpnmr.engine.settings import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SpectrumSettings(TensorSettings):
    """Averaging of the tensors, and the spectrometer."""

    average: Average = setting(
        'ion', 'Tensors averaged for each ion over the run, over all ions (fast exchange), or not at all (no motion).'
    )
    field_tesla: float = setting(7.05, 'Magnetic field in T.', above=0)
    mas_khz: tuple[float, ...] = setting((0.0,), 'Spinning frequencies in kHz; 0 is static.', least=0)
    broadening_khz: float = setting(0.5, 'Gaussian width at half height, in kHz.', least=0)


@dataclass(frozen=True)
class SpectrumResult(Result):
    """Spectra of a powder, one for each spinning frequency."""

    KIND = 'spectra'

    spectra: tuple[Spectrum, ...] = quantity('', 'in the order of the spinning frequencies')
    c_q_mean_khz: float = quantity('kHz', 'mean |C_Q| of the averaged tensors', default=np.nan)
    eta_mean: float = quantity('', 'their mean η', default=np.nan)

    @property
    def headline(self) -> str:
        if 'isotope' not in self.source:
            return super().headline
        field, average = self.settings['field_tesla'], self.settings['average']
        means = f'mean |C_Q| {self.c_q_mean_khz:.1f} kHz, mean η {self.eta_mean:.2f}'
        return f'{self.source["isotope"]} at {field:g} T, {means}; tensors averaged over: {average}'

    @classmethod
    def read_first(cls, file: h5py.File) -> SpectrumResult:
        frequency, rows = file['frequency_khz'][...], zip(file['mas_khz'][...], file['intensity_per_khz'][...])
        return cls(tuple(Spectrum(float(mas), frequency, intensity) for mas, intensity in rows))

    def table(self) -> Table:
        rows = [(f'{one.mas_khz:g}', f'{one.rms_width_khz:.3f}') for one in self.spectra]
        return [('spinning (kHz)', 'rms width (kHz)'), *rows]

    def plot(self) -> Figure:
        from aiida_ufpnmr.engine.figure_style import Figure

        figure = Figure(figsize=(6.4, 0.8 + 2.6 * len(self.spectra)), layout='constrained')
        panels = figure.subplots(len(self.spectra), 1, sharex=True, squeeze=False)[:, 0]
        for number, axis in enumerate(panels):
            plot_spectrum(self.spectra[number], axis, number)
            axis.label_outer()
        panels[0].set_title(self.headline.split(';')[0], fontsize=10)
        return figure


@analysis('spectrum', 'ufpnmr analyse spectrum run.h5 --mas-khz 0,10 --plot spectrum.png -o spectrum.h5')
def spectrum(source: TensorSource, settings: SpectrumSettings) -> SpectrumResult:
    """Static and MAS line shapes of partially averaged tensors in a powder; needs mrsimulator."""
    tensors = averaged_tensors(source.runs, settings.average)
    found = quadrupolar_spectra(
        tensors,
        source.nuclide,
        field_tesla=settings.field_tesla,
        mas_khz=settings.mas_khz,
        broadening_khz=settings.broadening_khz,
    )
    coupling, eta, share = sites_of(tensors, source.nuclide)
    return SpectrumResult(spectra=tuple(found), c_q_mean_khz=float(coupling @ share), eta_mean=float(eta @ share))


def plot_spectrum(found: Spectrum, axis: Axes, number: int = 0) -> None:
    """Draw intensity against the frequency from the Larmor frequency, which rises to the left as spectroscopists draw
    it.

    The central line is cut off where it is far higher than the satellites.
    """
    from aiida_ufpnmr.engine.figure_style import COLOURS, finish

    frequency, intensity, mas = found.frequency_khz, found.intensity_per_khz, found.mas_khz
    words = f'MAS at {mas:g} kHz' if mas else 'static'
    axis.plot(frequency, intensity, color=COLOURS[number % len(COLOURS)], lw=1.2, label=words)
    away = abs(frequency) > 0.06 * frequency[-1]
    axis.set_ylim(0, min(intensity.max() * 1.05, 3 * intensity[away].max()))
    axis.set_xlim(frequency[-1], frequency[0])
    axis.set(xlabel='frequency (kHz)', ylabel='intensity')
    axis.set_yticks([])
    finish(axis)
