"""Figures of displacements and hops: Harper 2024, Fig. 2."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.figure_style import BLUE, GREEN, ORANGE, POINTS, finish, time_unit
from aiida_ufpnmr.engine.transport.hops import Hops
from aiida_ufpnmr.engine.transport.msd import DIFFUSION, Diffusion

#: Ions whose displacement is drawn: those that hop most, in panels of their own.
PANELS = 4


def msd_figure(found: Diffusion, species: str) -> Figure:
    """The mean square displacement with its band and the fitted line."""
    figure = Figure(figsize=(6.0, 4.6), layout='constrained')
    plot_msd(found, species, figure.subplots())
    return figure


def plot_msd(found: Diffusion, species: str, axis: Axes) -> None:
    """Mean square displacement against lag on logarithmic axes: data, bootstrap band, and the line that gives D."""
    unit, factor = time_unit(found.lag_ps[-1])
    stop = max(3, len(found.lag_ps) // 2)
    shown = np.unique(np.geomspace(1, stop - 1, POINTS).astype(int))
    known = (found.band_lag_ps > 0) & (found.band[:, 0] > 0)
    time = found.band_lag_ps[known] * factor
    axis.fill_between(time, *found.band[known].T, color=BLUE, alpha=0.2, lw=0, label='95 % band (bootstrap)')
    axis.plot(found.lag_ps[shown] * factor, found.msd[shown], color=BLUE, lw=0.7, alpha=0.45, label=species)
    axis.plot(time, found.binned[known], color=BLUE, lw=1.8, label='averaged over lags')
    fitted = np.linspace(*found.window_ps, 100)
    low, high = found.ci95_cm2_per_s
    words = f'D = {found.coefficient_cm2_per_s:.2e} cm²/s\n({low:.1e} to {high:.1e})'
    if found.verdict != DIFFUSION:
        words = f'no diffusion: D below {max(high, 0.0):.1e} cm²/s'
    line = found.offset + found.slope * fitted
    if (line > 0).all():
        axis.plot(fitted * factor, line, color=ORANGE, lw=2.2, label=words)
    axis.set_xscale('log')
    axis.set_yscale('log')
    axis.set_xlabel(f'lag time ({unit})')
    axis.set_ylabel('mean square displacement (Å²)')
    axis.set_title(found.verdict, fontsize=11)
    finish(axis)


def hops_figure(positions: np.ndarray, hops: Hops, index: np.ndarray, species: str) -> Figure:
    """Displacements of the ions that hop most, one panel each, and of the first ion where none hops."""
    counts = np.bincount(hops.ion, minlength=hops.n_ions)
    busiest = [ion for ion in np.argsort(-counts, kind='stable')[:PANELS] if counts[ion]] or [0]
    figure = Figure(figsize=(7.0, 1.0 + 2.0 * len(busiest)), layout='constrained')
    panels = figure.subplots(len(busiest), 1, sharex=True, squeeze=False)[:, 0]
    for axis, ion in zip(panels, busiest):
        plot_hops(positions[:, ion], hops, ion, axis)
        axis.set_title(f'{species} atom {index[ion]}: {counts[ion]} hops', fontsize=10, loc='left')
        axis.set_xlabel('')
    panels[-1].set_xlabel(f'time ({time_unit(hops.n_frames * hops.step_ps)[0]})')
    return figure


def plot_hops(path: np.ndarray, hops: Hops, ion: int, axis: Axes) -> None:
    """Distance of one ion from its start against time, averaged over the window, with its hops marked."""
    unit, factor = time_unit(hops.n_frames * hops.step_ps)
    start = path[: hops.residence].mean(axis=0)
    smooth = np.diff(np.vstack([np.zeros(3), np.cumsum(path - start, axis=0)])[:: hops.window], axis=0) / hops.window
    distance = np.linalg.norm(smooth, axis=1)
    time_ps = (np.arange(len(distance)) + 0.5) * hops.window * hops.step_ps
    every = max(1, len(distance) // POINTS)
    for n, hop in enumerate(hops.time_ps[hops.ion == ion]):
        axis.axvline(hop * factor, color=GREEN, lw=1.2, alpha=0.7, zorder=1, label='hop' if n == 0 else None)
    axis.plot(time_ps[::every] * factor, distance[::every], color=BLUE, lw=0.9)
    axis.set_xlabel(f'time ({unit})')
    axis.set_ylabel('displacement (Å)')
    axis.set_ylim(bottom=0)
    finish(axis, legend=bool((hops.ion == ion).any()), loc='lower right', bbox_to_anchor=(1.0, 1.0), borderpad=0.0)
