"""Elements of the atoms of a trajectory: of symbols, names, numbers of types, masses, or another file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from ase.io import read
from ase.symbols import string2symbols

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.trajectories.frames import Frame, ReadingSettings
from aiida_ufpnmr.engine.trajectories.mdanalysis import read_topology

#: A mass names an element where it lies this close to that of the element, amu, and to no other.
_MASS_TOLERANCE = 0.1
#: Topologies that only MDAnalysis reads, or reads with the names of the atoms.
_OF_MDANALYSIS = ('.gro', '.tpr', '.psf', '.top', '.prmtop', '.parm7')


def numbers_of(frame: Frame, settings: ReadingSettings, where: str) -> np.ndarray:
    """Atomic numbers (n_atoms,) of a frame, whose atoms may be named by the topology of the settings.

    Args:
        where: file and frame, for messages.

    Raises:
        InputError: atoms that nothing names, types whose element is not known, or a topology of other atoms.
    """
    named = frame
    if settings.topology and not settings.topology.endswith('.cell'):
        named = topology(settings.topology)
        if len(named.positions) != len(frame.positions):
            raise InputError(
                f'{where}: has {len(frame.positions)} atoms, {settings.topology} has {len(named.positions)}; '
                'give the topology of this run'
            )
    if named.labels is None:
        return _of_formula(settings.elements, len(frame.positions), where)
    labels, first, kinds = np.unique(named.labels, return_index=True, return_inverse=True)
    masses = named.masses[first] if named.masses is not None else np.zeros(0)
    if len(set(masses)) < len(labels):  # types of one mass hardly are one element: nobody cared for masses
        masses = np.full(len(labels), np.nan)
    chosen = _chosen(settings.elements, labels, where)
    numbered = _of_numbers(labels, masses) if frame.atomic_numbers and named is frame and not chosen else {}
    found = [
        chosen.get(label) or numbered.get(label) or _of_name(label, mass) or _of_mass(mass)
        for label, mass in zip(labels, masses)
    ]
    unknown = [str(label) for label, symbol in zip(labels, found) if symbol is None]
    if unknown:
        given = 'Li,P,S' if all(map(str.isdigit, unknown)) else f'{unknown[0]}=Li'
        raise InputError(
            f'{where}: which elements {", ".join(unknown[:8])} are is not known; name them, such as --elements {given}'
        )
    _check_chosen(chosen, labels, set(found), where)
    return np.array([atomic_numbers[symbol] for symbol in found if symbol])[kinds]


def topology(path: str) -> Frame:
    """Atoms that a structure or topology file names; its positions and cell may be missing (NaN, ``None``)."""
    file = check_input(path, 'topology')
    return _topology(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _topology(file: Path, modified: int) -> Frame:
    try:
        if file.suffix.lower() in _OF_MDANALYSIS:
            return read_topology(file)
        atoms: Any = read(file, index=0, format='lammps-data' if file.suffix == '.data' else None)
        labels = atoms.arrays['type'].astype(str) if file.suffix == '.data' else np.array(atoms.get_chemical_symbols())
        masses = atoms.arrays.get('masses')
        cell = atoms.cell.array if atoms.cell.rank == 3 else None
        return Frame(atoms.positions, cell, labels=labels, masses=masses)
    except InputError:
        raise
    except Exception as error:  # readers of ASE and MDAnalysis fail in every way there is
        raise InputError(
            f'{file}: cannot be read as a structure or topology ({error or type(error).__name__}); give a file that '
            'ASE or MDAnalysis reads, such as .data, .gro, .tpr, .cif or POSCAR'
        ) from error


def _of_formula(formula: str, n_atoms: int, where: str) -> np.ndarray:
    """Atomic numbers of a formula such as Li20S20, in the order in which it names them."""
    try:
        found = [atomic_numbers[symbol] for symbol in string2symbols(formula.replace(',', ''))]
    except (KeyError, ValueError):
        found = []
    if len(found) != n_atoms:
        raise InputError(
            f'{where}: does not name its {n_atoms} atoms; give --topology FILE, a structure of the same atoms in the '
            'same order, or --elements with their numbers in order, such as Li20S20'
        )
    return np.array(found)


def _chosen(elements: str, labels: np.ndarray, where: str) -> dict[str, str]:
    """Elements that the user gave, by label."""
    if not elements:
        return {}
    pairs = [part.partition('=') for part in elements.replace(' ', '').split(',')]
    if not any(equals for _, equals, _ in pairs):
        pairs = [(str(number), '=', symbol) for number, (symbol, _, _) in enumerate(pairs, 1)]
        highest = max((int(label) for label in labels if label.isdigit()), default=0)
        if highest > len(pairs):
            raise InputError(
                f'{where}: has types up to {highest}, --elements names {len(pairs)}; name all, '
                f'or as pairs, such as --elements {highest}=Li'
            )
    for name, equals, symbol in pairs:
        if not equals or symbol not in atomic_numbers or symbol == 'X':
            raise InputError(
                f'--elements {elements}: {symbol or name!r} is no element; give such as Li,P,S or 1=Li,2=P'
            )
    return {name: symbol for name, _, symbol in pairs}


def _check_chosen(chosen: Mapping[str, str], labels: np.ndarray, found: set[str | None], where: str) -> None:
    """Refuse elements that the user gave for names that are not there, unless they are those that are there."""
    unused = [name for name in chosen if name not in labels]
    named = [name for name in unused if not name.isdigit()]
    if named or (unused and len(unused) == len(chosen) and not found <= set(chosen.values())):
        there = ', '.join(map(str, labels[:8]))
        raise InputError(
            f'{where}: --elements names {", ".join(named or chosen.values())}, its atoms are called {there}; name '
            f'those, such as --elements {labels[0]}=Li, or leave it out'
        )


def _of_name(name: str, mass: float) -> str | None:
    """Element of a symbol, or of a name that begins with it and goes on with a number or a charge."""
    stem = re.fullmatch(r'([A-Za-z]{1,2})[\d+_-]*', name)
    symbol = stem.group(1).capitalize() if stem else ''
    if symbol not in atomic_numbers or symbol == 'X':
        return None
    # isotopes but those of hydrogen may stand for their element
    return None if abs(atomic_masses[atomic_numbers[symbol]] - mass) > max(0.5, 0.06 * mass) else symbol


def _of_mass(mass: float) -> str | None:
    near = np.flatnonzero(np.abs(atomic_masses[1:] - mass) < _MASS_TOLERANCE) + 1
    return chemical_symbols[near[0]] if len(near) == 1 else None


def _of_numbers(labels: np.ndarray, masses: np.ndarray) -> dict[str, str]:
    """Elements of atomic numbers by label; none where they may as well be numbers of types, 1, 2 and so on."""
    if not all(label.isdigit() and 0 < int(label) < len(chemical_symbols) for label in labels):
        return {}
    found = [int(label) for label in labels]
    deviation = np.abs(masses - atomic_masses[found])
    if (deviation > _MASS_TOLERANCE).any() or (np.isnan(deviation).any() and max(found) == len(found)):
        return {}
    return {label: chemical_symbols[int(label)] for label in labels}
