"""Distributions of relaxation times."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish, time_unit
from aiida_ufpnmr.engine.nmr.relaxation_times import RelaxationTimes


def relaxation_figure(found: RelaxationTimes, c: np.ndarray, error: np.ndarray) -> Figure:
    """The points with the curve through them, and the distribution behind it."""
    figure = Figure(figsize=(11.0, 4.4), layout='constrained')
    left, right = figure.subplots(1, 2)
    plot_points(found, c, error, left)
    plot_relaxation_times(found, right)
    return figure


def plot_points(found: RelaxationTimes, c: np.ndarray, error: np.ndarray, axis: Axes) -> None:
    """The points of the transform with their errors; times in ps."""
    unit, factor = time_unit(found.lag[-1])
    axis.errorbar(found.lag * factor, c, error, fmt='o', ms=3, lw=0.8, color=BLUE, label='trajectory')
    axis.plot(found.lag * factor, found.fitted, color=ORANGE, lw=2.0, label=f'transform, misfit {found.misfit:.2f}')
    axis.axhline(found.plateau, color=GREY, lw=0.8, ls=':', label=f'plateau {found.plateau:.2f}')
    axis.set_xscale('log')
    axis.set_xlabel(f'lag time ({unit})')
    axis.set_ylabel('normalised correlation')
    finish(axis)


def plot_relaxation_times(found: RelaxationTimes, axis: Axes) -> None:
    """The density of relaxation times over ln τ with its band; τ in ps."""
    unit, factor = time_unit(found.lag[-1])
    if np.isfinite(found.band).all():
        axis.fill_between(found.tau * factor, *found.band.T, color=BLUE, alpha=0.2, lw=0, label='95 % band (bootstrap)')
    axis.plot(found.tau * factor, found.density, color=BLUE, lw=1.8, label=f'penalty by {found.rule}')
    axis.axhline(0.0, color=GREY, lw=0.8)
    for peak in found.peaks:
        words = f'{peak.tau * factor:.3g} {unit}: {peak.weight:.2f}'
        axis.axvline(peak.tau * factor, color=ORANGE, lw=1.0, ls='--', label=words)
    axis.set_xscale('log')
    axis.set_xlabel(f'relaxation time ({unit})')
    axis.set_ylabel(r'density per $\ln\tau$')
    finish(axis)
