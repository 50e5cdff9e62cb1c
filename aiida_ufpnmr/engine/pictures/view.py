"""A structure in three dimensions, as one HTML page that needs nothing but a browser."""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from markupsafe import Markup

from aiida_ufpnmr.engine.pictures.atom_values import AtomValues
from aiida_ufpnmr.engine.pictures.slices import DISC

#: Colours of a scale.
SHADES = 64


def view_page(atoms: Atoms, values: AtomValues | None = None, title: str = '') -> str:
    """The page: atoms as shaded discs and the cell, turned with the mouse, by touch or with the arrow keys.

    Atoms are wrapped into the cell along periodic directions.

    Args:
        values: colours them, with a scale beside; atoms without a number are grey.
        title: above the picture; the formula where there is none.
    """
    shown = atoms.copy()
    shown.wrap()
    kinds, kind = np.unique(atoms.numbers, return_inverse=True)
    scene = {
        'places': shown.positions.round(3).tolist(),
        'kind': kind.tolist(),
        'kinds': [
            {'symbol': chemical_symbols[z], 'colour': _hex(jmol_colors[z]), 'radius': float(DISC * covalent_radii[z])}
            for z in kinds
        ],
        'cell': atoms.cell.array.round(3).tolist(),
    }
    if values is not None:
        from matplotlib import colormaps  # takes a while to import

        scene['values'] = [float(f'{value:.6g}') if np.isfinite(value) else None for value in values.values]
        scene['span'] = values.span
        scene['label'] = values.label
        scene['shades'] = [_hex(colour) for colour in colormaps[values.colours](np.linspace(0, 1, SHADES))]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template('view.html').render(
        title=title or atoms.get_chemical_formula('hill'),
        n_atoms=len(atoms),
        # within a script no tag may begin
        scene=Markup(json.dumps(scene, ensure_ascii=True).replace('<', '\\u003c')),
    )


def _hex(colour: np.ndarray) -> str:
    """Red, green and blue from 0 to 1 as a browser reads them."""
    return '#' + ''.join(f'{round(255 * part):02x}' for part in colour[:3])
