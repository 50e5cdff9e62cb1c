"""Draw where the field lies in the axes of the tensors, in the coldest and hottest runs of β, γ and glass.

::

    python examples/results/orientations.py examples/archives/li3ps4.aiida orientations.png
"""

from __future__ import annotations

from kept import NAMES, Runs, main, result, temperature
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses.orientations import plot_orientations


def draw(runs: Runs) -> Figure:
    """A column for each material, cold above hot."""
    figure = Figure(figsize=(5.0 * len(runs), 8.4), layout='constrained')
    for (name, some), column in zip(runs.items(), figure.subplots(2, len(runs), squeeze=False).T):
        for run, axis in zip((some[0], some[-1]), column):
            maps = result(run, 'orientations').maps['all']
            plot_orientations(maps.field_in_axes, axis, f'{NAMES[name]}, {temperature(run):g} K')
    return figure


if __name__ == '__main__':
    main(__doc__, draw)
