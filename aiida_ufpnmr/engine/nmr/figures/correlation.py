"""Correlation functions: Harper 2024, Figs. 3 and 5."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, POINTS, SITE_COLOURS, finish, time_unit
from aiida_ufpnmr.engine.nmr.observables import Curve
from aiida_ufpnmr.engine.timeseries.decay import CONSTANT, DECAY, DecayFit

COLUMNS = 3


def acf_figure(curves: dict[str, Curve], start: np.ndarray | None = None, names: Sequence[str] = ()) -> Figure:
    """One panel for each correlation function and, where the sites at the start are known, one for single ions.

    Args:
        curves: by name.
        start: (n_ions,) site of each ion in the first frame.
        names: of the sites.
    """
    panels = len(curves) + (start is not None)
    columns = min(COLUMNS, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(5.6 * columns, 4.4 * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, curve in zip(axes, curves.values()):
        plot_acf(curve, axis)
    if start is not None:
        plot_single_ions(curves.get('c_q_hopping', curves['c_q']), start, names, axes[len(curves)])
    for axis in axes[panels:]:
        axis.set_visible(False)
    return figure


def plot_acf(curve: Curve, axis: Axes) -> None:
    """A correlation function against logarithmic lag: data, bootstrap band, fit with its τ, and the verdict."""
    fit = curve.fit
    unit, factor = time_unit(curve.lag[-1])
    # the second half of the lags has few pairs left; what it shows is noise
    stop = max(2, len(curve.lag) // 2)
    shown = np.unique(np.geomspace(1, stop - 1, POINTS).astype(int)) if stop > 2 else np.array([1])
    if len(curve.band_lag):
        known = (curve.band_lag > 0) & (curve.band_lag <= curve.lag[stop - 1])
        time = curve.band_lag[known] * factor
        axis.fill_between(time, *curve.band[known].T, color=BLUE, alpha=0.2, lw=0, label='95 % band (bootstrap)')
    axis.plot(curve.lag[shown] * factor, curve.c[shown], color=BLUE, lw=0.7, alpha=0.45, label='trajectory')
    if len(curve.band_lag):
        axis.plot(time, np.nanmean(curve.per_ion, axis=0)[known], color=BLUE, lw=1.8, label='averaged over lags')
    if fit.verdict == DECAY or fit.reason == CONSTANT:
        fitted = np.geomspace(max(fit.first_lag, curve.lag[1]), fit.last_lag, 300)
        axis.plot(fitted * factor, fit.curve(fitted), color=ORANGE, lw=2.0, label=fit_in_words(fit, unit, factor))
        axis.axvline(fit.first_lag * factor, color=GREY, lw=0.8, ls=':')
    axis.axhline(0.0, color=GREY, lw=0.8)
    axis.set_xscale('log')
    axis.set_xlabel(f'lag time ({unit})')
    axis.set_ylabel('normalised correlation')
    reason = '\n' + textwrap.fill(fit.reason, 60) if fit.reason else ''
    axis.set_title(f'{curve.label}:\n{fit.verdict}{reason}', fontsize=10)
    axis.margins(x=0.02)
    finish(axis)


def plot_single_ions(curve: Curve, start: np.ndarray, names: Sequence[str], axis: Axes) -> None:
    """The function of each ion, coloured by the site at which it starts, and that of all; Harper 2024, Fig. 5.

    Args:
        curve: with ``per_ion``; ions that do not count there are not drawn.
        start: (n_ions,) number of the site of each ion in the first frame.
        names: of the sites.
        axis: to draw on.
    """
    unit, factor = time_unit(curve.lag[-1])
    known = curve.band_lag > 0
    time = curve.band_lag[known] * factor
    for site, (name, colour) in enumerate(zip(names, SITE_COLOURS)):
        lines = curve.per_ion[start == site][:, known]
        lines = lines[np.isfinite(lines).any(axis=1)]
        if len(lines):
            drawn = axis.plot(time, lines.T, color=colour, lw=0.7, alpha=0.5)
            drawn[0].set_label(f'{len(lines)} ions that start at {name}')
    axis.plot(time, np.nanmean(curve.per_ion, axis=0)[known], color='black', lw=2.0, label='mean')
    axis.set_xscale('log')
    axis.set_xlabel(f'lag time ({unit})')
    axis.set_ylabel('correlation (mean at lag 0 is 1)')
    axis.set_title(f'{curve.label}: single ions', fontsize=10)
    finish(axis)


def fit_in_words(fit: DecayFit, unit: str, factor: float) -> str:
    """Legend of a fit: τ with its interval, or the bound that there is."""
    if fit.verdict == DECAY:
        low, high = fit.tau_ci95
        if fit.components:
            words = [
                f'τ = {part.tau * factor:.3g} {unit} '
                f'({part.tau_ci95[0] * factor:.3g} to {part.tau_ci95[1] * factor:.3g}), {part.weight:.0%}'
                for part in fit.components
            ]
            return '\n'.join([*words, f'plateau {fit.plateau:.2f}'])
        return (
            f'τ = {fit.tau * factor:.3g} {unit} ({low * factor:.3g} to {high * factor:.3g})\n'
            f'γ = {fit.gamma:.2f}, plateau {fit.plateau:.2f}'
        )
    if np.isfinite(fit.tau_lower_bound):
        return f'constant; τ above {fit.tau_lower_bound * factor:.3g} {unit}'
    return 'constant'
