"""Structures that DFT would choke on, told before anything runs."""

from __future__ import annotations

from ase import Atoms

from aiida_ufpnmr.engine.dataset import check_bonds, check_geometry
from aiida_ufpnmr.engine.errors import InputError


def unsuitable(atoms: Atoms) -> str | None:
    """Reason for not giving this structure to a plane-wave code, in one line, or ``None``."""
    try:
        check_geometry(atoms, '')
        check_bonds(atoms, '')
    except InputError as error:
        return str(error).lstrip(',: ')
    if not atoms.pbc.all():
        return 'not periodic in all three directions; put it into a cell that is, with vacuum around it'
    return None
