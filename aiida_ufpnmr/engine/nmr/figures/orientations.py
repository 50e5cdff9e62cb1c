"""Maps of orientations on the sphere: Harper 2024, Fig. 6."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aiida_ufpnmr.engine.nmr.orientations import OrientationMap, Orientations

LATITUDES = (0, 30, 60, 90, 120, 150, 180)


def orientations_figure(found: Sequence[Orientations]) -> Figure:
    """Both maps of all ions and of each group of them, a row each."""
    figure = Figure(figsize=(11.0, 0.6 + 3.2 * len(found)), layout='constrained')
    panels = figure.subplots(len(found), 2, squeeze=False)
    for row, maps in zip(panels, found):
        for axis, one in zip(row, (maps.field_in_axes, maps.axis_in_cell)):
            plot_orientations(one, axis, maps.name)
    return figure


def plot_orientations(found: OrientationMap, axis: Axes, name: str = '') -> None:
    """Density of directions in a projection of equal areas (cos θ against φ), 1 where isotropic.

    What is a quarter of a turn in φ, because axes have no sign, is drawn with its mirror images.
    """
    cosine, phi, density = found.cos_edges, np.degrees(found.phi_edges), found.density
    if phi[-1] < 91:
        density = np.hstack([density[:, ::-1], density])
        phi = np.concatenate([-phi[:0:-1], phi])
        density = np.vstack([density[::-1], density])
        cosine = np.concatenate([-cosine[:0:-1], cosine])
    mesh = axis.pcolormesh(phi, cosine, density, cmap='viridis', vmin=0.0, rasterized=True)
    bar = axis.figure.colorbar(mesh, ax=axis, fraction=0.05, pad=0.02)
    bar.set_label('density (isotropic = 1)')
    bar.outline.set_visible(False)
    shown = [degrees for degrees in LATITUDES if cosine[0] - 1e-9 <= np.cos(np.radians(degrees))]
    axis.set_yticks(np.cos(np.radians(shown)), [str(degrees) for degrees in shown])
    axis.set_xticks(np.arange(phi[0], phi[-1] + 1, 45 if phi[-1] < 91 else 90))
    axis.set_xlabel('φ (°)')
    axis.set_ylabel('θ (°), areas to scale')
    axis.set_title(f'{name}: {found.label}' if name else found.label, fontsize=10)
