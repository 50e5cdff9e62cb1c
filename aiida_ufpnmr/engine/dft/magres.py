"""EFG tensors from and to .magres files, the format of CASTEP (Green et al., CCP-NC), on top of ASE."""

from __future__ import annotations

import os

import ase.io
import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input, whole_file

#: How files of this package say who wrote them.
CODE = 'aiida-ufpnmr'


def read_magres(path: str | os.PathLike) -> Atoms:
    """Read structure and EFG tensors.

    Contributions to the tensor (``efg_local``, ``efg_nonlocal``) are left out; ``efg`` is their sum already.

    Returns:
        atoms with ``arrays['efg']``, (n, 3, 3) in a.u.; NaN for atoms that :func:`write_magres` had no tensor of.

    Raises:
        ValueError: no magres file, no atoms in it, no EFG tensors, of some atoms only, or not in atomic units; in fact
            an :class:`InputError`.
    """
    path = check_input(path, '.magres file')
    try:
        atoms = ase.io.read(path, format='magres')
    except Exception as error:  # ASE raises many kinds for a malformed file
        raise InputError(f'{path}: cannot be read as .magres ({" ".join(str(error).split())})') from error
    if 'efg' not in atoms.arrays:
        raise InputError(f'{path}: holds no EFG tensors; run CASTEP with "magres_task : efg" (or nmr)')
    unit = atoms.info['magres_units']['efg']
    if unit != 'au':
        raise InputError(f'{path}: EFG in {unit!r}; atomic units ("au") are expected')
    if atoms.info.get('magresblock_calculation', {}).get('calc_code') == [[CODE]]:
        atoms.arrays['efg'][(atoms.arrays['efg'] == 0).all(axis=(1, 2))] = np.nan
    return atoms


def write_magres(path: str | os.PathLike, atoms: Atoms) -> None:
    """Write structure and EFG tensors, whole or not at all.

    Atoms with NaN get a zero tensor, and a comment says so: the readers of ASE and Soprano take neither a file with
    tensors of some atoms only nor NaN.

    Args:
        path: the file.
        atoms: with ``arrays['efg']``, (n, 3, 3) in a.u.
    """
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    efg = atoms.arrays['efg']
    missing = np.isnan(efg).any(axis=(1, 2))
    copy.new_array('efg', np.where(missing[:, None, None], 0.0, efg))
    copy.info['magres_units'] = {'efg': 'au'}
    calculation = {'calc_code': [[CODE]]}
    if missing.any():
        calculation['calc_comment'] = [['Tensors that are zero stand for atoms without one.']]
    copy.info['magresblock_calculation'] = calculation
    with whole_file(path) as partial:
        ase.io.write(partial, copy, format='magres')
