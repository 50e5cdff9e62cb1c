"""Draw where the field lies in the axes of the tensors, in the coldest runs of β, γ and glass.

::

    python examples/results/orientations.py FOLDER/li3ps4-*.aiida -o orientations.png
"""

from __future__ import annotations

from kept import NAMES, Runs, main
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses.orientations import plot_orientations


def draw(runs: Runs) -> Figure:
    """A column for each material."""
    figure = Figure(figsize=(5.0 * len(runs), 4.4), layout='constrained')
    for (name, some), axis in zip(runs.items(), figure.subplots(1, len(runs), squeeze=False)[0]):
        title = f'{NAMES[name]}, {some[0].temperature_K:g} K'
        plot_orientations(some[0].result.maps['all'].field_in_axes, axis, title)
    return figure


if __name__ == '__main__':
    main(__doc__, draw, 'orientations')
