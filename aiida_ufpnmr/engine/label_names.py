"""Names under which programs of the field write labels into extended XYZ.

Understood in any case are ``energy``, ``force`` and ``forces``, ``stress``, ``virial`` and ``virials``, ``efg``, each
also with ``REF_`` or ``DFT_`` before it (MACE, QUIP, GPUMD, NEP). A virial is in eV and is −stress × volume.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_ufpnmr.engine.errors import InputError

#: Names of each label, in lower case and without prefix; what stands first is taken first.
NAMES = {
    'energy': ('energy',),
    'forces': ('forces', 'force'),
    'stress': ('stress', 'virial', 'virials'),
    'efg': ('efg', 'efg_tensor', 'efg_tensors', 'magres_efg'),
}
_PREFIX = re.compile(r'(ref|dft)_')
_QUOTED = re.compile(r'"[^"]*"|\'[^\']*\'|\{[^}]*\}|\[[^\]]*\]')
_ENTRY = re.compile(r'(?:^|\s)([^\s=]+)=')
#: Entries that ASE takes for nine numbers.
_TENSOR = re.compile(r'\b(stress|virial)="([^"]*)"')
#: Stands for the energy where there is no other.
_FREE_ENERGY = 'free_energy'
#: Labels that stand in columns, a row for each atom; the others stand in the comment line.
_OF_ATOMS = ('forces', 'efg')
#: Two numbers for one label agree within this share of the largest, or this (in the label's unit) where all are small.
_AGREEMENT, _ROUNDING = 1e-3, 2e-6


@dataclass(frozen=True)
class LabelKeys:
    """Names of the columns or entries that hold the labels; ``None`` leaves it to the usual names.

    Attributes:
        energy: eV.
        forces: three numbers an atom, eV/Å.
        stress: nine or six (Voigt) numbers, eV/Å³ with ASE's sign; a virial in eV where ``virial`` is part of the name.
        efg: nine numbers an atom, atomic units.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    efg: str | None = None

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) is not None for field in fields(self))


def entries_of_comment(line: str) -> dict[str, Any]:
    """Entries of the comment line of a structure as ASE reads them, and a stress or virial of six numbers, too.

    Raises:
        ValueError: a name stands twice, of which ASE would take the last, or a stress is not symmetric.
    """
    names = Counter(_ENTRY.findall(_QUOTED.sub('""', line)))
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise ValueError(f'{twice[0]} is given twice; remove one')
    from ase.io.extxyz import key_val_str_to_dict  # takes a while to import

    entries = key_val_str_to_dict(_TENSOR.sub(_as_nine, line))
    for name, value in entries.items():
        if re.search('stress|virial', name.lower()) and np.size(value) == 9 and np.asarray(value).dtype.kind in 'fi':
            tensor = np.reshape(value, (3, 3))
            if (
                np.isfinite(tensor).all()
                and np.abs(tensor - tensor.T).max() > _AGREEMENT * np.abs(tensor).max() + _ROUNDING
            ):
                raise ValueError(f'{name} is not symmetric; check the order of its numbers, or remove it')
    return entries


def _as_nine(entry: re.Match) -> str:
    numbers = entry[2].split()
    return (
        f'{entry[1]}="{" ".join(numbers[k] for k in (0, 5, 4, 5, 1, 3, 4, 3, 2))}"' if len(numbers) == 6 else entry[0]
    )


def take_labels(atoms: Atoms, keys: LabelKeys, where: str) -> dict[str, str]:
    """Put the labels of a structure, whatever they are called, where the rest of this package looks for them.

    Energy (eV), forces (eV/Å) and stress (Voigt, eV/Å³) go into the attached calculator, ``efg`` into ``arrays``.

    Returns:
        by label, the name under which it was found.

    Raises:
        InputError: there is nothing of a name in ``keys``, or two names hold different numbers for one label.
    """
    results = {} if atoms.calc is None else dict(atoms.calc.results)
    taken: dict[str, str] = {}
    for label in NAMES:
        held = {**(atoms.arrays if label in _OF_ATOMS else atoms.info), **results}
        key = getattr(keys, label)
        names = _names(label, key, held, where)
        if label == 'stress' and key is None and atoms.cell.rank < 3:
            names = [name for name in names if not _is_virial(name)]
        if not names:
            continue
        values = {name: _converted(label, name, held[name], atoms, where) for name in names}
        first, *others = names
        for other in others:
            if not _agree(values[first], values[other]):
                raise InputError(
                    f'{where}: {first} and {other} hold different numbers; choose one with --{label}-key, or remove one'
                )
        taken[label] = first
        for name in names:
            for holder in (atoms.info, atoms.arrays, results):
                if name != _FREE_ENERGY:
                    holder.pop(name, None)
        if label == 'efg':
            atoms.arrays['efg'] = values[first]
        else:
            results[label] = values[first]
    if any(name != label for label, name in taken.items() if label != 'efg'):
        atoms.calc = SinglePointCalculator(atoms, **results)
    return taken


def _names(label: str, key: str | None, held: Mapping[str, Any], where: str) -> list[str]:
    """Names in ``held`` that stand for a label, the plain one first."""
    if key is not None:
        if key not in held:
            raise InputError(f'{where}: holds no {key}, which --{label}-key names; there are {_listed(held)}')
        return [key]
    plain = {name: _PREFIX.sub('', name.lower()) for name in held if isinstance(name, str)}
    found = [name for name, short in plain.items() if short in NAMES[label]]
    if not found and label == 'energy':
        found = [name for name, short in plain.items() if short == _FREE_ENERGY]
    return sorted(found, key=lambda name: (name != label, NAMES[label].index(plain[name]) if label != 'energy' else 0))


def _converted(label: str, name: str, value: Any, atoms: Atoms, where: str) -> Any:
    """A label in the shape and unit of this package; what cannot be one is left as it is, for the checks to refuse."""
    value = np.asarray(value) if isinstance(value, (list, tuple)) else value
    if label == 'efg':
        return value.reshape(-1, 3, 3) if np.shape(value)[1:] == (9,) else value
    if label != 'stress' or np.size(value) not in (6, 9) or np.asarray(value).dtype.kind not in 'fiu':
        return value
    if np.size(value) == 9:  # columns first, as ASE reads a stress
        value = np.reshape(value, (3, 3), order='F' if np.ndim(value) == 1 else 'C')
        value = value[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    if not _is_virial(name):
        return value
    if atoms.cell.rank < 3:
        raise InputError(
            f'{where}: {name} of a structure without a cell, so without a volume; give a Lattice, or remove {name}'
        )
    return -np.asarray(value, float) / atoms.cell.volume


def _is_virial(name: str) -> bool:
    return 'virial' in name.lower()


def _agree(one: Any, other: Any) -> bool:
    a, b = np.asarray(one), np.asarray(other)
    if a.shape != b.shape or a.dtype.kind not in 'fiu' or b.dtype.kind not in 'fiu':
        return False
    largest = np.nanmax(np.abs(a), initial=0.0) if a.size else 0.0
    return np.allclose(a, b, rtol=0, atol=_AGREEMENT * largest + _ROUNDING, equal_nan=True)


def held_names(atoms: Atoms) -> str:
    """What a structure holds, for the message that a label is missing."""
    results = {} if atoms.calc is None else atoms.calc.results
    return _listed([*(name for name in atoms.arrays if name != 'numbers'), *results, *atoms.info])


def _listed(names: Iterable[str]) -> str:
    return ', '.join(dict.fromkeys(map(str, names))) or 'no others'


def notes_on_names(taken: Iterable[Mapping[str, str]], source: str) -> list[str]:
    """A line about the labels of a file that have another name than the plain one; no line where there are none.

    Args:
        taken: for each structure, what :func:`take_labels` returns.
        source: the file.
    """
    every = list(taken)
    counts = Counter((label, name) for names in every for label, name in names.items() if label != name)
    parts = []
    for (label, name), count in counts.items():
        how = ' (−virial/volume)' if _is_virial(name) else ''
        some = '' if count == len(every) else f' in {count} of {len(every)} structures'
        parts.append(f'{name} as {label}{how}{some}')
    return [f'{source}: read {", ".join(parts)}'] if parts else []


def notes_on_zeros(stresses: Iterable[np.ndarray | None], source: str) -> list[str]:
    """A line where stresses are zero to the last digit, as if they stood for none; no line where none is."""
    there = [stress for stress in stresses if stress is not None]
    zeros = sum(not np.any(stress) for stress in there)
    words = f'the stress of {zeros} of {len(there)} structures is exactly zero; remove it where it was not computed'
    return [f'{source}: {words}'] if zeros else []


def notes_on_clusters(structures: Iterable[Atoms], stresses: Iterable[np.ndarray | None], source: str) -> list[str]:
    """A line about structures that have a cell and a stress and say that they are not periodic."""
    rows = [
        row
        for row, (atoms, stress) in enumerate(zip(structures, stresses))
        if stress is not None and np.any(stress) and atoms.cell.rank == 3 and not atoms.pbc.all()
    ]
    if not rows:
        return []
    which = f'structure {rows[0]}' + (f' and {len(rows) - 1} more' if len(rows) > 1 else '')
    return [
        f'{source}: {which}: pbc says that a cell with a stress is not periodic, so atoms have no images through those '
        'faces; give pbc="T T T" where it is a crystal or a glass, or remove the stress'
    ]


def notes_on_unread(structures: Iterable[Atoms], taken: Iterable[Mapping[str, str]], source: str) -> list[str]:
    """A line about entries that might be a stress and have no name that says so."""
    for atoms, names in zip(structures, taken):
        for name, value in atoms.info.items():
            if 'stress' in names or np.size(value) not in (6, 9) or np.asarray(value).dtype.kind != 'f':
                continue
            if _is_virial(name) and atoms.cell.rank < 3:
                return [f'{source}: {name} of structures without a cell, so without a volume, is not read']
            return [f'{source}: {name} is not read; if it is a stress or a virial, say so with --stress-key {name}']
    return []
