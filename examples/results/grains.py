"""Draw the decay of a polycrystal against the size of its grains, from the coldest runs of β, γ and glass.

::

    python examples/results/grains.py FOLDER/li3ps4-*.aiida -o grains.png
"""

from __future__ import annotations

from kept import NAMES, Runs, main
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.analyses.microstructure import plot_grain_sizes


def draw(runs: Runs) -> Figure:
    """A panel for each material; a line for each diffusion coefficient within grains."""
    figure = Figure(figsize=(5.0 * len(runs), 4.4), layout='constrained')
    for (name, some), axis in zip(runs.items(), figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]):
        plot_grain_sizes(some[0].result, axis)
        axis.set_title(f'{NAMES[name]}, {some[0].temperature_K:g} K')
    return figure


if __name__ == '__main__':
    main(__doc__, draw, 'microstructure')
