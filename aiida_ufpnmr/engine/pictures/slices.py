"""Slices of a structure as figures, coloured by element or by a number of each atom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import cell_heights
from aiida_ufpnmr.engine.pictures.atom_values import AtomValues
from aiida_ufpnmr.engine.settings import Settings, setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Radii of the discs over covalent radii.
DISC = 0.55


@dataclass(frozen=True)
class SliceSettings(Settings):
    """Place of a slice between two planes that two cell vectors span."""

    slice_across: Literal['a', 'b', 'c'] = setting('c', 'The slice lies across this cell vector.')
    slice_centre: float = setting(0.5, 'Middle of the slice as a fraction of that vector.', least=0, most=1)
    slice_angstrom: float = setting(5.0, 'Thickness of the slice in Å.', above=0)


def plot_slice(atoms: Atoms, values: AtomValues | None = None, settings: SliceSettings = SliceSettings()) -> Figure:
    """Draw the atoms of a slice as discs, those behind first; with numbers, atoms that have none are pale.

    Args:
        atoms: a structure in a periodic cell.

    Raises:
        InputError: not periodic in all directions, or no atom within the slice.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import EllipseCollection
    from matplotlib.colors import Normalize, to_rgba

    from aiida_ufpnmr.engine.figure_style import GREY, Figure

    if not atoms.pbc.all():
        raise InputError('a slice is one of a cell that is periodic in all directions')
    across = 'abc'.index(settings.slice_across)
    first, second = (atoms.cell.array[(across + step) % 3] for step in (1, 2))
    x_axis = first / np.linalg.norm(first)
    y_axis = second - (second @ x_axis) * x_axis
    y_axis /= np.linalg.norm(y_axis)
    fractional = atoms.get_scaled_positions()
    depth = (fractional[:, across] - settings.slice_centre + 0.5) % 1 - 0.5
    inside = np.flatnonzero(np.abs(depth) * cell_heights(atoms.cell.array)[across] <= settings.slice_angstrom / 2)
    if not len(inside):
        raise InputError('no atom lies within the slice; raise --slice-angstrom')
    inside = inside[np.argsort(depth[inside], kind='stable')]
    fractional[:, across] = 0.0
    place = (fractional @ atoms.cell.array)[inside] @ np.stack([x_axis, y_axis], axis=1)
    width = 2 * DISC * covalent_radii[atoms.numbers[inside]]
    colours = np.column_stack([jmol_colors[atoms.numbers[inside]], np.ones(len(inside))])
    figure = Figure(figsize=(6.4, 5.2), layout='constrained')
    axis = figure.subplots()
    if values is not None:
        scale = ScalarMappable(Normalize(*values.span), colormaps[values.colours])
        known = values.known[inside]
        colours[~known] = to_rgba(GREY, 0.25)
        colours[known] = scale.to_rgba(values.values[inside][known])
        bar = figure.colorbar(scale, ax=axis, fraction=0.05, pad=0.02)
        bar.set_label(values.label)
        bar.outline.set_visible(False)
    discs = EllipseCollection(
        width, width, np.zeros(len(width)), units='xy', offsets=place, offset_transform=axis.transData,
        facecolors=colours, edgecolors=GREY, linewidths=0.4,
    )  # fmt: skip
    axis.add_collection(discs)
    if values is None:
        for number in np.unique(atoms.numbers[inside]):
            axis.scatter([], [], color=jmol_colors[number], edgecolors=GREY, label=chemical_symbols[number])
        axis.legend(frameon=False, fontsize=9, loc='upper left', bbox_to_anchor=(1.0, 1.0))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) @ np.stack([first, second])
    axis.plot(corners @ x_axis, corners @ y_axis, color=GREY, lw=0.8)
    axis.set(xlabel=f'along {"abc"[(across + 1) % 3]} (Å)', ylabel='across (Å)', aspect='equal')
    axis.set_title(f'{settings.slice_angstrom:g} Å around {settings.slice_centre:g} {settings.slice_across}',
                   fontsize=10, loc='left')  # fmt: skip
    axis.spines[['top', 'right']].set_visible(False)
    return figure
