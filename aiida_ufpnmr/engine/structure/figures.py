"""Figures of sites."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses.by_site import SiteDistributions
from aiida_ufpnmr.engine.figure_style import GREY, finish
from aiida_ufpnmr.engine.figure_style import SITE_COLOURS as COLOURS
from aiida_ufpnmr.engine.structure.sites import Sites

LABELS = {'c_q_khz': r'$|C_Q|$ (kHz)', 'eta': r'$\eta$', 'omega_q_khz': r'$\omega_Q$ (kHz)'}


def sites_figure(sites: Sites, found: SiteDistributions | None) -> Figure:
    """Distribution of the number of neighbours and, where there are EFG tensors, of |C_Q|, η and ω_Q by site."""
    panels = 1 if found is None else 4
    figure = Figure(figsize=(4.6 * min(panels, 2), 3.8 * (1 if panels == 1 else 2)), layout='constrained')
    axes = figure.subplots(1 if panels == 1 else 2, min(panels, 2), squeeze=False).ravel()
    plot_coordination(sites, axes[0])
    if found is not None:
        for axis, quantity in zip(axes[1:], LABELS):
            plot_distribution(found, quantity, axis)
    return figure


def plot_coordination(sites: Sites, axis: Axes) -> None:
    """Soft number of neighbours, coloured by the site assigned; the boundary is dotted."""
    edges = np.linspace(float(sites.coordination.min()), float(sites.coordination.max()) + 1e-6, 80)
    for number, (name, colour) in enumerate(zip(sites.names, COLOURS)):
        counts = np.histogram(sites.coordination[sites.site == number], edges)[0]
        density = counts / sites.coordination.size / np.diff(edges)
        axis.stairs(density, edges, color=colour, fill=True, alpha=0.3, lw=0)
        axis.stairs(density, edges, color=colour, lw=1.5, label=f'{name}, {(sites.site == number).mean():.0%}')
    axis.axvline(sites.settings.boundary, color=GREY, lw=0.8, ls=':')
    _finish(axis, f'soft number of {sites.settings.anion} neighbours')


def plot_distribution(found: SiteDistributions, quantity: str, axis: Axes) -> None:
    """Probability density of one quantity at each site, with its mean; Harper 2024, Fig. 4."""
    edges = found.edges[quantity]
    digits, unit = (2, '') if quantity == 'eta' else (1, ' kHz')
    for name, colour, values in zip(found.names, COLOURS, found.values[quantity]):
        if not np.isfinite(values.mean):
            continue
        axis.stairs(values.density, edges, color=colour, fill=True, alpha=0.3, lw=0)
        words = f'{name}: {values.mean:.{digits}f} ± {values.std:.{digits}f}{unit}'
        axis.stairs(values.density, edges, color=colour, lw=1.5, label=words)
    _finish(axis, LABELS[quantity])


def _finish(axis: Axes, words: str) -> None:
    axis.set_xlabel(words)
    axis.set_ylabel('probability density')
    axis.set_ylim(bottom=0)
    axis.margins(x=0)
    finish(axis)
