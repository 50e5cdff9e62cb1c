"""Figures of a fit: do the expected errors hold, and what would more data bring."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

BLUE, ORANGE, GREY = '#0072B2', '#D55E00', '#7F7F7F'


def fit_figure(results: dict) -> Figure:
    """Calibration and, where it was made, the learning curve of a fit, by its results."""
    panels = []
    if results['calibration'] is not None:
        panels.append(lambda axis: plot_calibration(results['calibration']['forces'], axis))
    if 'learning_curve' in results:
        panels.append(lambda axis: plot_learning_curve(results['learning_curve'], axis))
    figure = Figure(figsize=(5.2 * max(1, len(panels)), 4.4), layout='constrained')
    for axis, plot in zip(figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels):
        plot(axis)
        axis.spines[['top', 'right']].set_visible(False)
    return figure


def plot_calibration(coverage: dict, axis: Axes) -> None:
    """Real against expected error of withheld force components, over bins of equal size."""
    expected, real = np.array(coverage['bins']['expected']), np.array(coverage['bins']['real'])
    span = np.array([0.8 * min(expected.min(), real.min()), 1.2 * max(expected.max(), real.max())])
    axis.plot(span, span, color=GREY, lw=1.0, label='perfect')
    # relative error of an RMSE over m components
    scatter = real / np.sqrt(2 * max(1, coverage['numbers'] / len(real)))
    axis.errorbar(expected, real, 2 * scatter, color=BLUE, marker='o', ms=5, lw=1.2, capsize=2, label='withheld structures')
    axis.set(xscale='log', yscale='log', xlim=span, ylim=span)
    _plain_ticks(axis)
    axis.set_xlabel('expected error of a force component (meV/Å)')
    axis.set_ylabel('RMSE (meV/Å)')
    within = 100 * np.array([coverage['fraction_within_1_sigma'], coverage['fraction_within_2_sigma']])
    axis.set_title(f'within 1σ {within[0]:.0f} %, within 2σ {within[1]:.0f} %', fontsize=10)
    axis.legend(frameon=False, fontsize=9)


def plot_learning_curve(curve: dict, axis: Axes) -> None:
    """RMSE of the forces against the number of structures."""
    structures = np.array(curve['structures'], float)
    withheld, spread = (np.array(curve[f'forces_rmse_meV_per_angstrom{end}'], float) for end in ('', '_spread'))
    band = {'color': BLUE, 'alpha': 0.2, 'lw': 0, 'label': 'spread over folds'}
    axis.fill_between(structures, withheld - spread, withheld + spread, **band)
    axis.plot(structures, withheld, color=BLUE, marker='o', ms=5, lw=1.8, label='withheld groups')
    axis.plot(
        structures, curve['train_forces_rmse_meV_per_angstrom'], color=ORANGE, marker='s', ms=4, lw=1.4, label='training'
    )
    axis.set(xscale='log', yscale='log')
    _plain_ticks(axis)
    axis.set_xlabel('structures')
    axis.set_ylabel('RMSE of force components (meV/Å)')
    if curve['forces_exponent'] is not None:
        axis.set_title(f'withheld error ∝ structures$^{{{curve["forces_exponent"]:.2f}}}$ at the end', fontsize=10)
    axis.legend(frameon=False, fontsize=9)


def _plain_ticks(axis: Axes) -> None:
    """Plain numbers at 1, 2 and 5 of each decade of logarithmic axes."""
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_locator(LogLocator(subs=(1, 2, 5)))
        direction.set_major_formatter(ScalarFormatter())
        direction.set_minor_formatter(NullFormatter())
