"""Rigid units that glasses are packed from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import read_structure
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.units import find_units

TETRAHEDRAL_DEG = float(np.degrees(np.arccos(-1 / 3)))


@dataclass(frozen=True)
class RigidUnit:
    """A unit that keeps its shape while it is packed.

    Attributes:
        atoms: its atoms, without a cell.
        charge: in elementary charges.
        kind: what its bonds make of it, see :class:`~aiida_ufpnmr.engine.structure.units.Units`.
    """

    atoms: Atoms
    charge: int
    kind: str


def rigid_unit(atoms: Atoms, charge: int, source: str) -> RigidUnit:
    """A rigid unit of atoms that bonds hold together.

    Raises:
        InputError: a cell that is periodic, an ion among the atoms, several units, or a foreign bond.
    """
    if atoms.pbc.any():
        raise InputError(f'{source}: is periodic; give one unit without a cell')
    found = find_units(atoms)
    if len(found.names) != 1 or (found.unit < 0).any() or len(found.foreign):
        parts = ', '.join([*found.names, *atoms.symbols[found.unit < 0]])
        raise InputError(f'{source}: is not one unit that bonds hold together, but {parts}')
    return RigidUnit(Atoms(atoms.numbers, atoms.positions), charge, found.names[0])


def parse_unit(text: str) -> tuple[str, Path, int]:
    """Name, file and charge of a unit from a text like ``SiS4=sis4.xyz:-4``; :class:`InputError` where it is not."""
    name, _, value = text.partition('=')
    path, _, charge = value.rpartition(':')
    if not (name and path and re.fullmatch(r'[+-]?\d+', charge)):
        raise InputError(f'unit {text!r}: write NAME=FILE.xyz:CHARGE, such as SiS4=sis4.xyz:-4')
    return name, Path(path), int(charge)


def read_unit(path: Path, charge: int) -> RigidUnit:
    """The :func:`rigid_unit` of a file."""
    return rigid_unit(read_structure(path), charge, str(path))


def _tripod(centre: np.ndarray, axis: np.ndarray, length: float, angle_deg: float, turn_deg: float) -> np.ndarray:
    """Ends (3, 3) of three bonds of ``length`` (Å) from ``centre``, at an angle to ``axis`` and turned about it."""
    axis = axis / np.linalg.norm(axis)
    across = np.cross(axis, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    angle, turns = np.radians(angle_deg), np.radians(turn_deg + np.array([[0.0], [120.0], [240.0]]))
    around = np.cos(turns) * across + np.sin(turns) * np.cross(axis, across)
    return centre + length * (np.cos(angle) * axis + np.sin(angle) * around)


def _ps4() -> RigidUnit:
    phosphorus, apex = np.zeros(3), np.array([0.0, 0.0, 2.05])
    base = _tripod(phosphorus, apex, 2.05, TETRAHEDRAL_DEG, 0.0)
    return RigidUnit(Atoms('PS4', [phosphorus, apex, *base]), -3, 'PS4')


def _p2s7() -> RigidUnit:
    """Two tetrahedra with a corner in common: P–S 2.13 Å there and 2.02 Å elsewhere, P–S–P 110°."""
    half = np.radians(110.0 / 2)
    first = 2.13 * np.array([np.sin(half), 0.0, np.cos(half)])
    second = first * [-1, 1, 1]
    # the two are turned so that one S of each points away from the other tetrahedron, in the plane of P–S–P
    ends = [*_tripod(first, -first, 2.02, 105.0, 0.0), *_tripod(second, -second, 2.02, 105.0, 180.0)]
    return RigidUnit(Atoms('P2S7', [first, second, np.zeros(3), *ends]), -4, 'P2S7')


def _p2s6() -> RigidUnit:
    """Two PS3, staggered, with a bond of 2.26 Å between the P."""
    first, second = np.zeros(3), np.array([0.0, 0.0, 2.26])
    ends = [*_tripod(first, second, 2.03, 106.0, 0.0), *_tripod(second, -second, 2.03, 106.0, 0.0)]
    return RigidUnit(Atoms('P2S6', [first, second, *ends]), -4, 'P2S6')


#: Units of lithium thiophosphates by name, with bonds and angles as PBE has them in crystals.
RIGID_UNITS = {'PS4': _ps4(), 'P2S7': _p2s7(), 'P2S6': _p2s6()}
