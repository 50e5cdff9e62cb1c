"""EFG tensors from and to .magres files, the format of CASTEP (Green et al., CCP-NC)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import ase.io
import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.dft.refusals import MissingLabel, TruncatedOutput
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input, whole_file

#: How files of this package say who wrote them.
CODE = 'aiida-ufpnmr'


@dataclass(frozen=True)
class Tensors:
    """EFG tensors of n atoms in the order of a .magres file.

    Attributes:
        symbols: chemical symbols.
        labels, numbers: the name and number by which the file calls each atom, as in ``H1 12``.
        cell: (3, 3) in Å, rows are the cell vectors; ``None`` for a molecule.
        positions: (n, 3) in Å.
        efg: (n, 3, 3) in a.u., V_ij = ∂²V/∂x_i∂x_j in the Cartesian frame of the cell.
        code: the program that wrote the file.
    """

    symbols: tuple[str, ...]
    labels: tuple[str, ...]
    numbers: tuple[int, ...]
    cell: np.ndarray | None
    positions: np.ndarray
    efg: np.ndarray
    code: str | None


def read_magres(path: str | os.PathLike) -> Atoms:
    """Read structure and EFG tensors.

    Contributions to the tensor (``efg_local``, ``efg_nonlocal``) are left out; ``efg`` is their sum already.

    Returns:
        atoms with ``arrays['efg']``, (n, 3, 3) in a.u., NaN for atoms that :func:`write_magres` had no tensor of, and
        with ``labels`` and ``indices``, the file's own names of the atoms.

    Raises:
        ValueError: no magres file, no atoms in it, no EFG tensors, of some atoms only, or not in atomic units; in fact
            an :class:`InputError`.
    """
    path = check_input(path, '.magres file')
    tensors = parse_magres(path.read_text(encoding='utf-8', errors='replace'), str(path))
    atoms = Atoms(tensors.symbols, tensors.positions, cell=tensors.cell, pbc=tensors.cell is not None)
    atoms.new_array('labels', np.array(tensors.labels))
    atoms.new_array('indices', np.array(tensors.numbers))
    efg = tensors.efg.copy()
    if tensors.code == CODE:
        efg[(efg == 0).all(axis=(1, 2))] = np.nan
    atoms.new_array('efg', efg)
    return atoms


def parse_magres(text: str, source: str = '.magres file') -> Tensors:
    """EFG tensors in the text of a .magres file; ``source`` names it in messages.

    Raises:
        InputError: no magres file, no atoms in it, or a malformed line; of its kinds :class:`MissingLabel` where there
            are no tensors, or not of all atoms, and :class:`TruncatedOutput` where the file ends inside a block.
    """
    if not text.startswith('#$magres-abinitio-v'):
        raise InputError(f'{source}: cannot be read as .magres (its first line must be "#$magres-abinitio-v1.0")')
    blocks = _blocks(text, source)
    atom_lines = blocks.get('atoms', [])
    atoms = [_atom(number, words, source) for number, words in atom_lines if words[0] == 'atom']
    if not atoms:
        raise InputError(f'{source}: cannot be read as .magres (it holds no atoms)')
    _require_unit(atom_lines, 'atom', 'Angstrom', source)
    lines = blocks.get('magres', [])
    rows = [(number, words) for number, words in lines if words[0] == 'efg']
    if not rows:
        raise MissingLabel(f'{source}: holds no EFG tensors; run CASTEP with "magres_task : efg" (or nmr)')
    _require_unit(lines, 'efg', 'au', source)
    symbols, labels, numbers, positions = zip(*atoms)
    code = next(
        (words[1] for _, words in blocks.get('calculation', []) if words[0] == 'calc_code' and len(words) > 1), None
    )
    return Tensors(
        symbols=symbols,
        labels=labels,
        numbers=numbers,
        cell=_lattice(atom_lines, source),
        positions=np.array(positions),
        efg=_tensors(rows, list(zip(labels, numbers)), source),
        code=code,
    )


def _blocks(text: str, source: str) -> dict[str, list[tuple[int, list[str]]]]:
    """Line number and words of every line, by the block it stands in; both ``[atoms]`` and ``<atoms>`` open one."""
    blocks: dict[str, list[tuple[int, list[str]]]] = {}
    inside = None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split('#')[0].split()
        if not words:
            continue
        tag = re.fullmatch(r'[\[<](/?)(\w+)[\]>]', words[0])
        if tag and tag[1]:
            inside = None
        elif tag:
            inside = tag[2]
            blocks.setdefault(inside, [])
        elif inside is not None:
            blocks[inside].append((number, words))
    if inside is not None:
        raise TruncatedOutput(f'{source}: the file ends inside its block [{inside}] (truncated)')
    return blocks


def _atom(number: int, words: Sequence[str], source: str) -> tuple[str, str, int, list[float]]:
    """Symbol, label, number and position of one atom; Fortran may have run label and number together."""
    where = f'{source}, line {number}'
    if len(words) == 6:
        fused = re.fullmatch(rf'({re.escape(words[1])})(\d+)', words[2])
        words = [*words[:2], *(fused.groups() if fused else ()), *words[3:]]
    if len(words) != 7 or not words[3].isdigit():
        raise InputError(f'{where}: expected "atom SPECIES LABEL NUMBER x y z"; the file is damaged')
    return words[1].split(':')[0], words[2], int(words[3]), _floats(words[4:], where)


def _lattice(lines: Sequence[tuple[int, list[str]]], source: str) -> np.ndarray | None:
    found = next(((number, words) for number, words in lines if words[0] == 'lattice'), None)
    if found is None:
        return None
    _require_unit(lines, 'lattice', 'Angstrom', source)
    values = _floats(found[1][1:], f'{source}, line {found[0]}')
    if len(values) != 9:
        raise InputError(f'{source}, line {found[0]}: a lattice is nine numbers; the file is damaged')
    return np.array(values).reshape(3, 3)


def _tensors(rows: Sequence[tuple[int, list[str]]], names: list[tuple[str, int]], source: str) -> np.ndarray:
    place = {name: index for index, name in enumerate(names)}
    if len(place) < len(names):
        raise InputError(f'{source}: two atoms have the same label and number; the file is damaged')
    run_together: dict[str, list[int]] = {}
    for at, (label, number) in enumerate(names):
        run_together.setdefault(f'{label}{number}', []).append(at)
    efg = np.full((len(names), 3, 3), np.nan)
    index: int | None
    for number, words in rows:
        where = f'{source}, line {number}'
        if len(words) == 12 and words[2].isdigit():
            index, values = place.get((words[1], int(words[2]))), words[3:]
        elif len(words) == 11:
            candidates = run_together.get(words[1], [])
            index, values = (candidates[0] if len(candidates) == 1 else None), words[2:]
        else:
            raise InputError(f'{where}: expected "efg LABEL NUMBER" and nine numbers; the file is damaged')
        if index is None:
            raise InputError(f'{where}: a tensor of {" ".join(words[1:-9])}, which is none, or not one, of the atoms')
        if not np.isnan(efg[index]).all():
            raise InputError(f'{where}: a second tensor of the same atom; the file is damaged')
        efg[index] = np.reshape(_floats(values, where), (3, 3))
    missing = np.isnan(efg).any(axis=(1, 2))
    if missing.any():
        label, number = names[int(missing.argmax())]
        raise MissingLabel(f'{source}: holds EFG tensors of some atoms only; there is none of {label} {number}')
    return efg


def _require_unit(lines: Sequence[tuple[int, list[str]]], name: str, expected: str, source: str) -> None:
    found = next((words[2] for _, words in lines if words[0] == 'units' and len(words) == 3 and words[1] == name), None)
    if found != expected:
        what = {'efg': 'EFG', 'atom': 'positions'}.get(name, name)
        raise InputError(f'{source}: {what} in {found!r}; {expected!r} is expected')


def _floats(words: Sequence[str], where: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise InputError(f'{where}: expected numbers; the file is damaged') from None
    if not np.isfinite(values).all():
        raise InputError(f'{where}: a number is not finite; run CASTEP again')
    return values


def write_magres(path: str | os.PathLike, atoms: Atoms) -> None:
    """Write structure and EFG tensors, whole or not at all.

    Atoms with NaN get a zero tensor, and a comment says so: the readers of ASE and Soprano take neither a file with
    tensors of some atoms only nor NaN.

    Args:
        path: the file.
        atoms: with ``arrays['efg']``, (n, 3, 3) in a.u.
    """
    copy = bare(atoms)
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
