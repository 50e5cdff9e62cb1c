"""Figures of a potential: predictions against labels, real against expected errors, learning curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine import figure_style
from aiida_ufpnmr.engine.figure_style import BLUE, GREY, ORANGE, finish
from aiida_ufpnmr.engine.ufp.front import by_centre
from aiida_ufpnmr.engine.ufp.metrics import Predictions

#: Of the species, as many as the eye tells apart (Okabe and Ito).
COLOURS = (BLUE, ORANGE, '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
#: More points than this hide one another.
MOST_POINTS = 20_000


def fit_figure(results: dict) -> Figure:
    """Calibration and, where it was made, the learning curve of a fit, by its results."""
    panels = []
    if results['calibration'] is not None:
        panels.append(lambda axis: plot_calibration(results['calibration']['forces'], axis))
    if 'front' in results:
        panels.append(lambda axis: plot_front(results['front'], axis, results.get('tuning')))
    if 'learning_curve' in results:
        panels.append(lambda axis: plot_learning_curve(results['learning_curve'], axis))
    figure = Figure(figsize=(5.2 * max(1, len(panels)), 4.4), layout='constrained')
    for axis, plot in zip(figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels):
        plot(axis)
    return figure


def parity_figure(predictions: Predictions) -> Figure:
    """Predictions against labels, and their differences: energies, and force components by species."""
    figure = Figure(figsize=(9.6, 6.4), layout='constrained')
    upper, lower = figure.subplots(2, 2, sharex='col', height_ratios=(2, 1))
    _plot_energies(predictions, upper[0], lower[0])
    _plot_forces(predictions, upper[1], lower[1])
    for axis in (*upper, *lower):
        axis.margins(0.04)
        finish(axis, legend=False)
    return figure


def _plot_energies(predictions: Predictions, parity: Axes, difference: Axes) -> None:
    label = predictions.energy_label - predictions.energy_label.mean()
    error = 1000 * (predictions.energy - predictions.energy_label)
    found = predictions.energy - predictions.energy_label.mean()
    parity.plot(label, label, color=GREY, lw=1.0, zorder=0)
    style: dict[str, Any] = {'ls': 'none', 'marker': 'o', 'ms': 4.5, 'alpha': 0.7, 'mew': 0, 'color': BLUE}
    parity.plot(label, found, **style)
    difference.axhline(0, color=GREY, lw=1.0)
    difference.plot(label, error, **style)
    parity.set_title(
        f'energies of {len(error)} structures, RMSE {np.sqrt(np.mean(error**2)):.1f} meV/atom', fontsize=10
    )
    parity.set_ylabel('predicted (eV/atom)')
    difference.set_xlabel('energy less the mean of the labels, DFT (eV/atom)')
    difference.set_ylabel('error (meV/atom)')


def _plot_forces(predictions: Predictions, parity: Axes, difference: Axes) -> None:
    span = np.array([predictions.forces_label.min(), predictions.forces_label.max()])
    parity.plot(span, span, color=GREY, lw=1.0, zorder=0)
    difference.axhline(0, color=GREY, lw=1.0)
    # a random order, so that no species covers another, and few enough points to see
    order = np.random.default_rng(0).permutation(len(predictions.species))[: MOST_POINTS // 3]
    names, kind = np.unique(predictions.species, return_inverse=True)
    colours = np.array([COLOURS[k % len(COLOURS)] for k in range(len(names))])
    label, found = predictions.forces_label[order].ravel(), predictions.forces[order].ravel()
    style: dict[str, Any] = {'s': 5, 'lw': 0, 'alpha': 0.5, 'rasterized': True, 'zorder': 2}
    style['c'] = np.repeat(colours[kind[order]], 3)
    parity.scatter(label, found, **style)
    difference.scatter(label, 1000 * (found - label), **style)
    error = 1000 * (predictions.forces - predictions.forces_label)
    for name, colour, k in zip(names, colours, range(len(names))):
        text = f'{name}: {np.sqrt(np.mean(error[kind == k] ** 2)):.0f} meV/Å'
        parity.plot([], [], ls='none', marker='o', ms=5, color=colour, label=text)
    parity.legend(frameon=False, fontsize=9, handletextpad=0.2)
    parity.set_title(f'force components, RMSE {np.sqrt(np.mean(error**2)):.0f} meV/Å', fontsize=10)
    parity.set_ylabel('predicted (eV/Å)')
    difference.set_xlabel('force component, DFT (eV/Å)')
    difference.set_ylabel('error (meV/Å)')


def plot_calibration(coverage: dict, axis: Axes) -> None:
    """Real against expected errors of withheld force components."""
    figure_style.plot_calibration(
        coverage, axis, quantity='a force component', unit='meV/Å', label='withheld structures'
    )
    finish(axis)


def front_figure(results: dict) -> Figure:
    """Withheld errors against the cost of dynamics, with the error of the chosen point once all settings are tuned."""
    figure = Figure(figsize=(7.2, 5.0), layout='constrained')
    axis = figure.subplots()
    plot_front(results['front'], axis, results.get('tuning'))
    return figure


def plot_front(front: dict, axis: Axes, tuning: dict | None = None) -> None:
    """Withheld errors of the forces against the cost of dynamics, of all that was tried.

    Cost is the time of a step where the points of the front were measured. That of all others then follows from their
    count of triplets, as that of the front does in the mean.
    """
    points = front['points']
    on_front = np.array([point['on_front'] for point in points])
    error = np.array([point['forces_rmse_meV_per_angstrom'] for point in points])
    cost = np.array([point['cost_relative_to_4_angstrom'] for point in points])
    measured = np.array([1e6 / (point.get('atom_steps_per_second') or np.nan) for point in points])
    if there := np.isfinite(measured).any():
        cost = np.where(np.isfinite(measured), measured, np.nanmean(measured / cost) * cost)
    axis.plot(cost[~on_front], error[~on_front], ls='none', marker='o', ms=4, color=GREY, label='tried')
    axis.plot(cost[on_front], error[on_front], marker='o', ms=6, color=BLUE, label='front')
    for point, x, y in zip(points, cost, error):
        if point['protocols']:
            lines = [', '.join(point['protocols']), f'{by_centre(point["triplet_cutoff_angstrom"])} Å']
            lines += [f'{by_centre(point["bond_intervals"])} intervals'] if 'bond_intervals' in point else []
            # away from the nearer side of the figure
            shift, side = (6, 'left') if 2 * x < cost.min() + cost.max() else (-6, 'right')
            text: dict[str, Any] = {'textcoords': 'offset points', 'fontsize': 8, 'color': ORANGE, 'ha': side}
            axis.annotate('\n'.join(lines), (x, y), (shift, 8), **text)
        if front['protocol'] in point['protocols']:
            axis.plot(
                x, y, ls='none', marker='o', ms=12, mfc='none', color=ORANGE, label=f'chosen: {front["protocol"]}'
            )
            if tuning is not None:
                before, after = (tuning[f'energy_rmse_meV_per_atom{when}'] for when in ('_before', ''))
                label = f'other settings tuned: energies {before:.0f} → {after:.0f} meV/atom'
                tuned = tuning['forces_rmse_meV_per_angstrom']
                axis.plot(x, tuned, ls='none', marker='*', ms=12, color=ORANGE, label=label)
    axis.set_xlabel('time of a step on one core (µs per atom)' if there else 'cost of a step (4 Å for all = 1)')
    axis.set_ylabel('withheld RMSE of force components (meV/Å)')
    finish(axis)


def plot_learning_curve(curve: dict, axis: Axes) -> None:
    """RMSE of the forces against the number of structures."""
    error = 'forces_rmse_meV_per_angstrom'
    figure_style.plot_learning_curve(curve, axis, size='structures', error=error, training=f'train_{error}')
    axis.set_xlabel('structures')
    axis.set_ylabel('RMSE of force components (meV/Å)')
    if curve['forces_exponent'] is not None:
        axis.set_title(f'withheld error ∝ structures$^{{{curve["forces_exponent"]:.2f}}}$ at the end', fontsize=10)
    finish(axis)
