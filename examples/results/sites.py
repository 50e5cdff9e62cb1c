"""Draw the distributions of |C_Q| and η by site in the coldest runs of β, γ and glass.

::

    python examples/results/sites.py examples/archives/li3ps4.aiida sites.png
"""

from __future__ import annotations

from kept import NAMES, Runs, main, result, temperature
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses.sites import plot_distribution


def draw(runs: Runs) -> Figure:
    """A row for each quantity, a column for each material."""
    figure = Figure(figsize=(5.0 * len(runs), 7.6), layout='constrained')
    axes = figure.subplots(2, len(runs), squeeze=False)
    for (name, some), column in zip(runs.items(), axes.T):
        found = result(some[0], 'sites')
        for which, axis in zip(('c_q_khz', 'eta'), column):
            plot_distribution(found, which, axis)
        column[0].set_title(f'{NAMES[name]}, {temperature(some[0]):g} K')
    return figure


if __name__ == '__main__':
    main(__doc__, draw)
