"""Draw the distributions of |C_Q| and η by site in the coldest runs of β, γ and glass.

::

    python examples/results/sites.py FOLDER/li3ps4-*.aiida -o sites.png
"""

from __future__ import annotations

from kept import NAMES, Runs, main
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses.sites import plot_distribution


def draw(runs: Runs) -> Figure:
    """A row for each quantity, a column for each material."""
    figure = Figure(figsize=(5.0 * len(runs), 7.6), layout='constrained')
    axes = figure.subplots(2, len(runs), squeeze=False)
    for (name, some), column in zip(runs.items(), axes.T):
        for which, axis in zip(('c_q_khz', 'eta'), column):
            plot_distribution(some[0].result, which, axis)
        column[0].set_title(f'{NAMES[name]}, {some[0].temperature_K:g} K')
    return figure


if __name__ == '__main__':
    main(__doc__, draw, 'sites')
