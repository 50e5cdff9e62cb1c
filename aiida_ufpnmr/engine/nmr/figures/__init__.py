"""Figures of what NMR sees, each drawn by one function of results and an axis, as in Harper 2024, Figs. 3 to 7."""

from aiida_ufpnmr.engine.nmr.figures.correlation import acf_figure, fit_in_words, plot_acf, plot_single_ions
from aiida_ufpnmr.engine.nmr.figures.microstructure import microstructure_figure, plot_grain_sizes, plot_polycrystals
from aiida_ufpnmr.engine.nmr.figures.orientations import orientations_figure, plot_orientations
from aiida_ufpnmr.engine.nmr.figures.relaxation import plot_points, plot_relaxation_times, relaxation_figure
from aiida_ufpnmr.engine.nmr.figures.spectra import plot_spectrum, spectra_figure

__all__ = [
    'acf_figure',
    'fit_in_words',
    'microstructure_figure',
    'orientations_figure',
    'plot_acf',
    'plot_grain_sizes',
    'plot_orientations',
    'plot_points',
    'plot_polycrystals',
    'plot_relaxation_times',
    'plot_single_ions',
    'plot_spectrum',
    'relaxation_figure',
    'spectra_figure',
]
