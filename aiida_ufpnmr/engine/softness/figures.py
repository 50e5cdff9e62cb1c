"""Figures of the fit of a softness model: ROC, learning curve, softness by label, weights of the shells."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from aiida_ufpnmr.engine.figure_style import BLUE, COLOURS, GREY, ORANGE, Figure, finish
from aiida_ufpnmr.engine.softness.structure_functions import RADIAL


def fit_figure(results: dict[str, Any]) -> Figure:
    """All panels; that of the weights where there are radial functions."""
    panels = [plot_roc, plot_learning_curve, plot_histogram]
    if any(name.startswith(f'{RADIAL} ') for name in results['weights']):
        panels.append(plot_weights)
    figure = Figure(figsize=(4.4 * len(panels), 4.0), layout='constrained')
    for axis, plot in zip(figure.subplots(1, len(panels)), panels):
        plot(results, axis)
    return figure


def plot_roc(results: dict[str, Any], axis: Axes) -> None:
    """Mobile ions that are found against immobile ones that are taken for mobile."""
    axis.plot([0, 1], [0, 1], color=GREY, lw=1.0)
    label = f'withheld, area {results["roc_auc"]:.3f}'
    axis.plot(
        results['roc']['false_positive_rate'], results['roc']['true_positive_rate'], color=BLUE, lw=1.8, label=label
    )
    axis.set(xlabel='immobile taken for mobile', ylabel='mobile found', xlim=(0, 1), ylim=(0, 1))
    finish(axis, loc='lower right')


def plot_learning_curve(results: dict[str, Any], axis: Axes) -> None:
    """Balanced accuracy against the number of training samples."""
    size, withheld, spread, training = (np.array(values, float) for values in results['learning_curve'].values())
    axis.fill_between(size, withheld - spread, withheld + spread, color=BLUE, alpha=0.2, lw=0)
    axis.plot(size, withheld, 'o-', color=BLUE, ms=5, lw=1.8, label='withheld')
    axis.plot(size, training, 's-', color=ORANGE, ms=4, lw=1.4, label='training')
    axis.set(xscale='log', xlabel='ions and windows', ylabel='balanced accuracy')
    axis.xaxis.set_minor_formatter(NullFormatter())
    finish(axis)


def plot_histogram(results: dict[str, Any], axis: Axes) -> None:
    """Softness of withheld ions by their label."""
    found = results['histogram']
    for name, colour in (('immobile', BLUE), ('undecided', GREY), ('mobile', ORANGE)):
        counts = np.array(found[name], float)
        axis.stairs(counts / max(counts.sum(), 1), found['softness_edges'], color=colour, lw=1.6, label=name)
    axis.axvline(0.0, color=GREY, lw=0.8)
    axis.set(xlabel='softness', ylabel='share')
    finish(axis)


def plot_weights(results: dict[str, Any], axis: Axes) -> None:
    """Weights of the radial functions by the middle of their shell."""
    shells: dict[str, list[tuple[float, float]]] = {}
    for name, weight in results['weights'].items():
        if name.startswith(f'{RADIAL} '):
            _, partner, middle = name.split()
            shells.setdefault(partner, []).append((float(middle), weight))
    for (partner, points), colour in zip(shells.items(), COLOURS):
        axis.plot(*np.transpose(points), 'o-', color=colour, ms=3, lw=1.2, label=partner)
    axis.axhline(0.0, color=GREY, lw=0.8)
    axis.set(xlabel='middle of the shell (Å)', ylabel='weight')
    finish(axis)
