"""Draw the quadrupolar frequency of the ion that hops most against time, in the coldest runs of β, γ and glass.

::

    python examples/results/frequency.py FOLDER/li3ps4-*.aiida -o frequency.png
"""

from __future__ import annotations

from kept import NAMES, Runs, main
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses.frequency import plot_frequency


def draw(runs: Runs) -> Figure:
    """A row for each material."""
    figure = Figure(figsize=(8.0, 0.8 + 2.2 * len(runs)), layout='constrained')
    axes = figure.subplots(len(runs), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for (name, some), axis in zip(runs.items(), axes):
        plot_frequency(some[0].result, 0, axis)
        axis.set_title(f'{NAMES[name]}, {some[0].temperature_K:g} K')
    return figure


if __name__ == '__main__':
    main(__doc__, draw, 'frequency')
