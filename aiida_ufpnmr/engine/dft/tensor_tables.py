"""EFG tensors in the outputs of VASP (LEFG) and of GIPAW for Quantum ESPRESSO.

Both print second derivatives of the electrostatic potential, with the sign of this package: C_Q = e Q V_zz / h.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree

from aiida_ufpnmr.engine.dft.refusals import MissingLabel, TruncatedOutput
from aiida_ufpnmr.engine.errors import InputError

#: V/Å² in an atomic unit of the EFG.
VOLT_PER_SQUARE_ANGSTROM = Hartree / Bohr**2

_VASP = re.compile(r'^\s*Electric field gradients \(V/A\^2\)\s*$')
_VASP_ROW = re.compile(r'^\s*\d+((?:\s+[-+]?\d+\.\d+){6})\s*$')
_VASP_IONS = re.compile(r'number of ions\s+NIONS\s*=\s*(\d+)')
_GIPAW = '----- total EFG (symmetrized) -----'
_GIPAW_ROW = re.compile(r'^\s*([A-Z][a-z]?)\w*?\s*\d+((?:\s+[-+]?\d+\.\d+){3})\s*$')


def vasp_tensors(text: str, source: str) -> list[np.ndarray]:
    """EFG tensors in an OUTCAR, (n, 3, 3) in a.u. for each table in it.

    Raises:
        TruncatedOutput: a table ends before its last ion.
    """
    lines, found = text.splitlines(), _VASP_IONS.search(text)
    tables = []
    for number, line in enumerate(lines):
        if _VASP.match(line):
            rows = _rows(_VASP_ROW, lines[number + 4 :])
            if found is None or len(rows) != int(found[1]):
                raise TruncatedOutput(f'{source}: the table of EFG tensors holds {len(rows)} ions only (truncated)')
            six = _numbers(row[1] for row in rows)  # xx yy zz xy xz yz
            tables.append(six[:, [0, 3, 4, 3, 1, 5, 4, 5, 2]].reshape(-1, 3, 3) / VOLT_PER_SQUARE_ANGSTROM)
    return tables


def is_gipaw(head: str) -> bool:
    """Whether a file that begins so is the output of gipaw.x."""
    return re.search(r'Program \S*GIPAW', head) is not None


def gipaw_tensors(text: str, structure: Atoms, source: str) -> np.ndarray:
    """EFG tensors in the output of gipaw.x, (n, 3, 3) in a.u., the last ones in it.

    Args:
        text: of the file.
        structure: what it was computed for, in the order of the input of pw.x.
        source: the file.

    Raises:
        MissingLabel: it holds no tensors.
        TruncatedOutput: it ends inside them.
        InputError: its atoms are others than those of the structure.
    """
    if _GIPAW not in text:
        raise MissingLabel(f'{source}: holds no EFG tensors; run gipaw.x with "job = \'efg\'"')
    lines = [line for line in text.rpartition(_GIPAW)[2].splitlines() if line.strip()]
    rows = _rows(_GIPAW_ROW, lines)
    symbols = [row[1] for row in rows[::3]]
    if len(rows) < 3 * len(structure) and len(rows) == len(lines):
        raise TruncatedOutput(f'{source}: the file ends inside its EFG tensors (truncated)')
    if len(rows) != 3 * len(structure) or symbols != structure.get_chemical_symbols():
        raise InputError(
            f'{source}: holds tensors of other atoms than the structure; give that of its run with --structure'
        )
    return _numbers(row[2] for row in rows).reshape(-1, 3, 3)


def _rows(row: re.Pattern, lines: Iterable[str]) -> list[re.Match]:
    """The rows that a table begins with."""
    rows = []
    for line in lines:
        if (match := row.match(line)) is None:
            break
        rows.append(match)
    return rows


def _numbers(rows: Iterable[str]) -> np.ndarray:
    return np.array([[float(word) for word in row.split()] for row in rows])
