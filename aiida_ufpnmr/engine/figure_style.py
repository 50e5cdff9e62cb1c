"""One look for all figures: colours that the colour-blind can tell apart, axes without a box, a fitting unit of time."""

from __future__ import annotations

from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PURPLE, GREY = '#0072B2', '#D55E00', '#009E73', '#AA4499', '#7F7F7F'
#: In the order in which things that stand side by side are drawn.
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, '#E69F00', '#56B4E9')
#: Fourfold and sixfold sites.
SITE_COLOURS = (BLUE, ORANGE)
#: More points than a figure can show are thinned to this many.
POINTS = 1500


def time_unit(longest_ps: float) -> tuple[str, float]:
    """A unit for times up to ``longest_ps`` that are drawn, and the factor from ps."""
    return ('ns', 1e-3) if longest_ps > 2000 else ('ps', 1.0)


def finish(axis: Axes, legend: bool = True, **options) -> None:
    """Take the box away and set the legend."""
    if legend:
        axis.legend(frameon=False, fontsize=9, **options)
    axis.spines[['top', 'right']].set_visible(False)
