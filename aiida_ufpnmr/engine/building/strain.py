"""Cells that are compressed, stretched and sheared: labels of these teach a model the response to stress."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import Settings, setting

#: The planes in which a cell can be sheared, by the axes that span them.
PLANES = {'yz': (1, 2), 'xz': (0, 2), 'xy': (0, 1)}


@dataclass(frozen=True)
class StrainSettings(Settings):
    """The strains of a cell, each of which gives one structure, or three."""

    volume_percent: tuple[float, ...] | None = setting(
        None, 'Changes of the volume in percent, alike in all directions: -6,-3,3,6.', least=-60, most=200
    )
    shear_percent: tuple[float, ...] | None = setting(
        None, 'Shears in percent, each in the planes yz, xz and xy at constant volume: 2,4.', least=-50, most=50
    )

    def __post_init__(self):
        super().__post_init__()
        if not self.volume_percent and not self.shear_percent:
            raise InputError('no strain; give volume_percent, shear_percent or both')


def strained_cells(atoms: Atoms, settings: StrainSettings, source: str = 'structure') -> list[Atoms]:
    """A cell for each change of volume, then one for each shear in each plane, without labels.

    Atoms keep their places in units of the cell vectors. A shear γ is the strain ε_ij = ε_ji = γ/2. What was done is
    in ``info``: ``volume_percent``, or ``shear_percent`` and ``shear_plane``.

    Raises:
        InputError: not periodic along all directions.
    """
    if not atoms.pbc.all():
        raise InputError(f'{source}: only a cell that is periodic along all directions can be strained')
    cells = []
    for percent in settings.volume_percent or ():
        cells.append(strained_cell(atoms, volume_percent=percent))
        cells[-1].info = {'volume_percent': percent}
    for percent in settings.shear_percent or ():
        for plane in PLANES:
            cells.append(strained_cell(atoms, shear_percent=percent, plane=plane))
            cells[-1].info = {'shear_percent': percent, 'shear_plane': plane}
    return cells


def strained_cell(atoms: Atoms, volume_percent: float = 0.0, shear_percent: float = 0.0, plane: str = 'yz') -> Atoms:
    """A cell that is sheared in one of the :data:`PLANES` at constant volume, and whose volume is then changed.

    Atoms keep their places in units of the cell vectors.
    """
    a, b = PLANES[plane]
    deformation = np.eye(3)
    deformation[a, b] = deformation[b, a] = shear_percent / 200
    deformation /= np.cbrt(np.linalg.det(deformation))
    deformation *= np.cbrt(1 + volume_percent / 100)
    deformed = bare(atoms)
    deformed.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return deformed
