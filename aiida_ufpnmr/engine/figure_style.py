"""One look for all figures: colours that the colour-blind can tell apart, axes without a box, a unit of time."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib import figure
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

BLUE, ORANGE, GREEN, PURPLE, GREY = '#0072B2', '#D55E00', '#009E73', '#AA4499', '#7F7F7F'
#: In the order in which things that stand side by side are drawn.
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, '#E69F00', '#56B4E9')
#: Fourfold and sixfold sites.
SITE_COLOURS = (BLUE, ORANGE)
#: More points than a figure can show are thinned to this many.
POINTS = 1500


class Figure(figure.Figure):
    """A figure that a notebook shows, whatever the backend."""

    def _repr_png_(self) -> bytes:
        image = io.BytesIO()
        self.savefig(image, format='png', dpi=100)
        return image.getvalue()


def time_unit(longest_ps: float) -> tuple[str, float]:
    """A unit for times up to ``longest_ps`` that are drawn, and the factor from ps."""
    return ('ns', 1e-3) if longest_ps > 2000 else ('ps', 1.0)


def finish(axis: Axes, legend: bool = True, **options) -> None:
    """Take the box away and set the legend."""
    if legend:
        axis.legend(frameon=False, fontsize=9, **options)
    axis.spines[['top', 'right']].set_visible(False)


def plain_ticks(axis: Axes) -> None:
    """Plain numbers at 1, 2 and 5 of each decade of logarithmic axes."""
    for direction in (axis.xaxis, axis.yaxis):
        direction.set_major_locator(LogLocator(subs=(1, 2, 5)))
        direction.set_major_formatter(ScalarFormatter())
        direction.set_minor_formatter(NullFormatter())


def plot_calibration(coverage: dict[str, Any], axis: Axes, quantity: str, unit: str, label: str) -> None:
    """Real against expected errors of a quantity over bins of equal size; ``label`` says whose they are."""
    expected, real = np.array(coverage['bins']['expected']), np.array(coverage['bins']['real'])
    span = np.array([0.8 * min(expected.min(), real.min()), 1.2 * max(expected.max(), real.max())])
    axis.plot(span, span, color=GREY, lw=1.0, label='perfect')
    scatter = real / np.sqrt(2 * max(1, coverage['numbers'] / len(real)))  # relative error of an RMSE over m numbers
    axis.errorbar(expected, real, 2 * scatter, color=BLUE, marker='o', ms=5, lw=1.2, capsize=2, label=label)
    axis.set(xscale='log', yscale='log', xlim=span, ylim=span)
    plain_ticks(axis)
    axis.set_xlabel(f'expected error of {quantity} ({unit})')
    axis.set_ylabel(f'RMSE ({unit})')
    within = 100 * np.array([coverage['fraction_within_1_sigma'], coverage['fraction_within_2_sigma']])
    axis.set_title(f'within 1σ {within[0]:.0f} %, within 2σ {within[1]:.0f} %', fontsize=10)


def plot_learning_curve(curve: dict[str, Any], axis: Axes, size: str, error: str, training: str) -> None:
    """Withheld errors with their spread over folds, and training errors, by names of these lists in the curve."""
    sizes, withheld, spread = (np.array(curve[name], float) for name in (size, error, f'{error}_spread'))
    axis.fill_between(
        sizes, withheld - spread, withheld + spread, color=BLUE, alpha=0.2, lw=0, label='spread over folds'
    )
    axis.plot(sizes, withheld, color=BLUE, marker='o', ms=5, lw=1.8, label='withheld groups')
    axis.plot(sizes, curve[training], color=ORANGE, marker='s', ms=4, lw=1.4, label='training')
    axis.set(xscale='log', yscale='log')
    plain_ticks(axis)
