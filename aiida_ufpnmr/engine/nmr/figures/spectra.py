"""Spectra."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.figure_style import COLOURS, finish
from aiida_ufpnmr.engine.nmr.spectra import Spectrum


def spectra_figure(found: Sequence[Spectrum], title: str) -> Figure:
    """A panel for each spinning frequency."""
    figure = Figure(figsize=(6.4, 0.8 + 2.6 * len(found)), layout='constrained')
    panels = figure.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for number, (axis, spectrum) in enumerate(zip(panels, found)):
        plot_spectrum(spectrum, axis, COLOURS[number % len(COLOURS)])
        axis.label_outer()
    panels[0].set_title(title, fontsize=10)
    return figure


def plot_spectrum(spectrum: Spectrum, axis: Axes, colour: str = COLOURS[0]) -> None:
    """Intensity against the frequency from the Larmor frequency, which rises to the left as spectroscopists draw it.

    The central line is cut off where it is far higher than the satellites.
    """
    words = f'MAS at {spectrum.mas_khz:g} kHz' if spectrum.mas_khz else 'static'
    axis.plot(spectrum.frequency_khz, spectrum.intensity, color=colour, lw=1.2, label=words)
    away = abs(spectrum.frequency_khz) > 0.06 * spectrum.frequency_khz[-1]
    axis.set_ylim(0, min(spectrum.intensity.max() * 1.05, 3 * spectrum.intensity[away].max()))
    axis.set_xlim(spectrum.frequency_khz[-1], spectrum.frequency_khz[0])
    axis.set_xlabel('frequency (kHz)')
    axis.set_ylabel('intensity')
    axis.set_yticks([])
    finish(axis)
