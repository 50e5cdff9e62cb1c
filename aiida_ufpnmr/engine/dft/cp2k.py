"""Reader of the outputs of CP2K: single points with forces, one or several in a file.

Coordinates and cell stand before each energy, forces and stress after it and before the next. Its stress is the
pressure tensor, of the other sign than ASE's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import Bohr, GPa, Hartree, bar

from aiida_ufpnmr.engine.errors import InputError

_FLOAT = r'([-+]?\d+\.\d+(?:[EeDd][-+]?\d+)?)'
_ENERGY = re.compile(rf'^ ENERGY\| Total FORCE_EVAL.*\[(?:a\.u\.|hartree)\]:?\s+{_FLOAT}\s*$', re.IGNORECASE)
_VECTOR = re.compile(rf'^ CELL\| Vector ([abc]) \[angstrom\]:?\s+{_FLOAT}\s+{_FLOAT}\s+{_FLOAT}')
_PLACES = re.compile(r'ATOMIC COORDINATES IN ANGSTROM', re.IGNORECASE)
_PLACE = re.compile(rf'^\s+\d+\s+\d+\s+([A-Z][a-z]?)\s+\d+\s+{_FLOAT}\s+{_FLOAT}\s+{_FLOAT}\s')
_FORCES = re.compile(r'ATOMIC FORCES IN \[a\.u\.\]|FORCES\| Atomic forces \[(?:hartree/bohr|a\.u\.)\]', re.IGNORECASE)
_FORCE = re.compile(
    rf'^(?: FORCES\|)?\s+\d+(?:\s+\d+\s+[A-Z][a-z]?)?\s+{_FLOAT}\s+{_FLOAT}\s+{_FLOAT}(?:\s+{_FLOAT})?\s*$'
)
_STRESS = re.compile(r'^ STRESS(?:\| Analytical stress tensor| TENSOR) \[(\w+)\]')
_STRESS_ROW = re.compile(rf'^(?: STRESS\|)?\s+[xyzXYZ]\s+{_FLOAT}\s+{_FLOAT}\s+{_FLOAT}\s*$')
_PRESSURE = {'GPa': GPa, 'bar': bar}
_FULL_CELL = {'a', 'b', 'c'}


def is_cp2k(head: str) -> bool:
    """Whether a file that begins so is the output of CP2K."""
    return ' CP2K| version string' in head


def read_cp2k(path: Path) -> list[Atoms]:
    """The configurations of a CP2K output that have an energy, with energy (eV), and forces and stress where printed.

    Raises:
        InputError: no configuration with an energy, or none of its coordinates; a stress in a unit that is not known.
    """
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    energies = [number for number, line in enumerate(lines) if _ENERGY.match(line)]
    structures: list[Atoms] = []
    cell: dict[str, list[float]] = {}
    for begin, start, end in zip([0, *energies], energies, [*energies[1:], len(lines)]):
        before, after = lines[begin:start], lines[start:end]
        cell |= {row[1]: _numbers(row.groups()[1:]) for line in before if (row := _VECTOR.match(line))}
        rows = _table(before, _PLACES, _PLACE)
        if not rows or set(cell) != _FULL_CELL:
            raise InputError(
                f'{path}, line {start + 1}: an energy without cell and coordinates before it; print them (MD and '
                'relaxations: convert -pos-1.xyz and -frc-1.xyz to extended XYZ)'
            )
        atoms = Atoms([row[1] for row in rows], [_numbers(row.groups()[1:]) for row in rows], pbc=True)
        atoms.set_cell([cell[name] for name in 'abc'])
        energy = _ENERGY.match(lines[start])
        assert energy is not None
        results: dict[str, object] = {'energy': _numbers(energy.groups())[0] * Hartree}
        forces = _table(after, _FORCES, _FORCE)
        if len(forces) == len(atoms):
            results['forces'] = np.array([_numbers(row.groups()[:3]) for row in forces]) * (Hartree / Bohr)
        if (tensor := _stress(after, str(path))) is not None:
            results['stress'] = tensor
        atoms.calc = SinglePointCalculator(atoms, **results)
        structures.append(atoms)
    if not structures:
        raise InputError(f'{path}: holds no energy; let CP2K finish, or remove the file')
    return structures


def _table(lines: Sequence[str], title: re.Pattern, row: re.Pattern) -> list[re.Match]:
    """Rows of the last table with this title; headings between title and rows are passed over."""
    starts = [number for number, line in enumerate(lines) if title.search(line)]
    rows: list[re.Match] = []
    for line in lines[starts[-1] + 1 :] if starts else ():
        if match := row.match(line):
            rows.append(match)
        elif rows:
            break
    return rows


def _stress(lines: Sequence[str], source: str) -> np.ndarray | None:
    """Stress in the order of Voigt, eV/Å³ with ASE's sign, where all of it is there."""
    title = next((match for line in lines if (match := _STRESS.match(line))), None)
    if title is None:
        return None
    if title[1] not in _PRESSURE:
        raise InputError(f'{source}: stress in {title[1]}; let CP2K print it in GPa or bar')
    rows = _table(lines, _STRESS, _STRESS_ROW)
    if len(rows) < 3:
        return None
    tensor = np.array([_numbers(row.groups()) for row in rows[:3]])
    return -full_3x3_to_voigt_6_stress(tensor) * _PRESSURE[title[1]]


def _numbers(words: Iterable[str | None]) -> list[float]:
    return [float(word.replace('D', 'E').replace('d', 'e')) for word in words if word is not None]
