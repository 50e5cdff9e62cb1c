"""Labelled structures from the files of any code: extended XYZ, magres, CASTEP, CP2K, GIPAW, and what ASE reads.

Which code wrote a file is told by what stands in it. Labels are taken as the code means them; what is left out is said
in the notes of the set.
"""

from __future__ import annotations

import glob
import lzma
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase.io
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.formats import UnknownFileTypeError, filetype

from aiida_ufpnmr.engine.dataset import (
    Dataset,
    bare,
    check_geometry,
    check_labelled,
    energy,
    forces,
    is_lammps_data,
    read_dataset,
    read_structure,
    stress,
)
from aiida_ufpnmr.engine.dft.castep import is_castep, read_configurations
from aiida_ufpnmr.engine.dft.castep_configurations import Configuration
from aiida_ufpnmr.engine.dft.castep_label import castep_label
from aiida_ufpnmr.engine.dft.cp2k import is_cp2k, read_cp2k
from aiida_ufpnmr.engine.dft.magres import MAGRES, read_magres
from aiida_ufpnmr.engine.dft.tensor_tables import gipaw_tensors, is_gipaw, vasp_tensors
from aiida_ufpnmr.engine.errors import InputError, one_line
from aiida_ufpnmr.engine.files import OPENERS, check_input
from aiida_ufpnmr.engine.label_names import LabelKeys

#: So much of a file tells what wrote it.
_HEAD = 2**16
_CP2K = 'cp2k'
_GPAW_TEXT = ('gpaw-out', 'gpaw-log')
#: What codes say of an SCF cycle that did not converge, by format.
_UNCONVERGED = {
    'vasp-out': 'EDIFF was not reached',
    'espresso-out': 'convergence NOT achieved',
    **dict.fromkeys(_GPAW_TEXT, 'Did not converge!'),
    _CP2K: 'SCF run NOT converged',
}


def read_labels(
    path: str | os.PathLike,
    require: Sequence[str] = (),
    efg_species: str | None = None,
    keys: LabelKeys = LabelKeys(),
    structure: str | os.PathLike | None = None,
) -> Dataset:
    """Read labelled structures of any code and check every one.

    Args:
        path: a file, or a pattern such as ``runs/*.magres``, whose files are taken in the order of their names.
        require: labels that every structure must have, of ``energy``, ``forces``, ``stress``, ``efg``.
        efg_species: with ``efg``: species of which each structure that has it must have a labelled atom.
        keys: names of the labels in extended XYZ where they are none of the usual ones.
        structure: file with the structure, for tensors that stand in a file without one (GIPAW, some magres).

    Raises:
        InputError: a file or a structure in it cannot be used; the message names it and the remedy.
    """
    paths = matching(path)
    if len(paths) > 1:
        return Dataset.joined(read_labels(each, require, efg_species, keys, structure) for each in paths)
    path = check_input(paths[0], 'data set')
    if path.suffix.lower() in OPENERS:
        return _unpacked(path, require, efg_species, keys, structure)
    if is_extended_xyz(path):
        return read_dataset(path, require, efg_species, keys)
    if keys:
        raise InputError(f'{path}: is no extended XYZ, whose labels a key could name; leave the --…-key options out')
    structures, notes = _read(path, None if structure is None else Path(structure))
    structures, left_out = _with_labels(structures, require, path)
    for number, atoms in enumerate(structures):
        where = f'{path}, structure {number}' if len(structures) > 1 else str(path)
        check_geometry(atoms, where)
        check_labelled(atoms, where, require, efg_species)
    if efg_species is not None and not any(efg_species in atoms.get_chemical_symbols() for atoms in structures):
        raise InputError(f'{path}: no {efg_species} atom in any structure')
    return Dataset(tuple(structures), str(path), tuple(f'{path}: {note}' for note in [*notes, *left_out]))


def _unpacked(path: Path, *given: Any) -> Dataset:
    """:func:`read_labels` of a compressed file, which is unpacked into a temporary folder."""
    with TemporaryDirectory(prefix='ufpnmr-') as folder:
        plain = Path(folder, path.stem)
        try:
            with OPENERS[path.suffix.lower()](path, 'rb') as source, open(plain, 'wb') as target:
                shutil.copyfileobj(source, target)
            found = read_labels(plain, *given)
        except InputError as error:  # names the file that the user knows
            raise InputError(str(error).replace(str(plain), str(path))) from error
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise InputError(f'{path}: cannot be unpacked ({one_line(error)}); restore it') from error
        return Dataset(found.structures, str(path), tuple(n.replace(str(plain), str(path)) for n in found.notes))


def matching(path: str | os.PathLike) -> list[Path]:
    """The files that a name or a pattern stands for, in the order of their names.

    Raises:
        InputError: no file matches a pattern.
    """
    if Path(path).exists() or not glob.has_magic(str(path)):
        return [Path(path)]
    found = sorted(map(Path, glob.glob(str(path), recursive=True)))
    if not found:
        raise InputError(f'{path}: no file matches; check the pattern')
    return found


def _head(path: Path) -> str:
    with open(path, 'rb') as handle:
        return handle.read(_HEAD).decode('utf-8', errors='replace')


def is_extended_xyz(path: str | os.PathLike) -> bool:
    """Whether a file is extended XYZ, by its suffix or by the number of atoms that it begins with."""
    path = Path(path)
    first = _head(path).lstrip().partition('\n')[0].split()
    return path.suffix in ('.xyz', '.extxyz') or (len(first) == 1 and first[0].isdigit())


def _read(path: Path, structure: Path | None) -> tuple[list[Atoms], list[str]]:
    """Structures of a file that is no extended XYZ, and what is to be noted."""
    head = _head(path)
    if head.startswith(MAGRES):
        return [read_magres(path, None if structure is None else structure_of(structure))], []
    if is_castep(head):
        return _castep(path)
    if is_gipaw(head):
        if structure is None:
            raise InputError(
                f'{path}: GIPAW gives tensors without a structure; name the output of pw.x with --structure'
            )
        atoms = structure_of(structure)
        atoms.new_array('efg', gipaw_tensors(_text(path), atoms, str(path)))
        return [atoms], []
    if is_cp2k(head):
        return read_cp2k(path), _unconverged(path, _CP2K)
    return _ase(path)


def structure_of(path: Path) -> Atoms:
    """The structure in a file of any code, the last one where a run moved the ions; without its labels."""
    path = check_input(path, 'structure')
    if not is_castep(_head(path)):
        return bare(read_structure(path, -1))
    return _placed(read_configurations(path)[1][-1], str(path))


def _castep(path: Path) -> tuple[list[Atoms], list[str]]:
    run, configurations = read_configurations(path)
    notes = []
    if run.runs > 1:
        notes.append(f'holds {run.runs} runs, of which the last is read')
    if run.geometry_converged is False:
        notes.append('the relaxation did not converge; its steps are labels all the same')
    missing = run.relaxation_steps - len(configurations)
    if missing > 0:
        notes.append(
            f'{missing} of {run.relaxation_steps} steps of the relaxation print no forces with their energy, left out'
        )
    if not run.finished:
        notes.append('the run was cut off; what is whole is read')
    converged = [each for each in configurations if each.converged]
    if len(converged) < len(configurations):
        notes.append(
            f'{len(configurations) - len(converged)} of {len(configurations)} SCF cycles did not converge, left out'
        )
    placed = [each for each in converged if len(each.ions)]
    if len(placed) < len(converged):
        notes.append(f'{len(converged) - len(placed)} of {len(converged)} energies have no coordinates, left out')
    structures = [_labelled(each, str(path)) for each in placed if each.energy is not None]
    if not structures:
        raise InputError(f'{path}: its last run holds no converged energy; let CASTEP finish, or remove the file')
    return structures, notes


def _labelled(configuration: Configuration, source: str) -> Atoms:
    """A configuration with an energy as a structure with its labels."""
    atoms = _placed(configuration, source)
    if configuration.forces is None:
        atoms.calc = SinglePointCalculator(atoms, energy=configuration.energy)
        return atoms
    return castep_label(atoms, configuration.ions.species, configuration, stress=False, source=source)


def _placed(configuration: Configuration, source: str) -> Atoms:
    """The structure of a configuration in the order of the file."""
    ions, cell = configuration.ions, configuration.cell
    if cell is None or not len(ions):
        raise InputError(f'{source}: holds no structure; let CASTEP print cell and coordinates')
    symbols = [name.partition(':')[0] for name in ions.species]
    return Atoms(symbols, scaled_positions=configuration.fractional, cell=cell, pbc=True)


def _ase(path: Path) -> tuple[list[Atoms], list[str]]:
    """What ASE reads, with the labels that its calculators hold."""
    if is_lammps_data(path):
        raise InputError(f'{path}: a data file of LAMMPS, which holds a structure without labels')
    try:
        kind = _kind(path)
    except UnknownFileTypeError:
        raise InputError(
            f'{path}: neither extended XYZ, nor .magres, nor the output of a code that is known here; '
            'convert it to extended XYZ'
        ) from None
    try:
        frames = ase.io.read(path, index=':', format=kind)
    except Exception as error:  # ASE raises many kinds for a malformed file
        raise InputError(
            f'{path}: cannot be read as {kind} ({one_line(error)}); is it whole? else let the code finish'
        ) from error
    if not frames:
        raise InputError(f'{path}: holds no structure with labels; let the code finish, or remove the file')
    structures = []
    for frame in frames:
        atoms = bare(frame)
        atoms.info = {name: frame.info[name] for name in ('config_type', 'weight') if name in frame.info}
        results = {} if frame.calc is None else frame.calc.results
        names = ('energy', 'free_energy', 'forces', 'stress')
        atoms.calc = SinglePointCalculator(atoms, **{n: results[n] for n in names if results.get(n) is not None})
        if 'efg' in frame.arrays:
            atoms.new_array('efg', frame.arrays['efg'].reshape(-1, 3, 3))
        structures.append(atoms)
    notes = _unconverged(path, kind)
    if kind in _GPAW_TEXT and 'Stress tensor' in _text(path):
        notes.append('its stress is not read; give the .gpw file, which holds it, too')
    if kind == 'vasp-out':
        tables = vasp_tensors(_text(path), str(path))
        if len(tables) == len(structures):
            for atoms, table in zip(structures, tables):
                atoms.new_array('efg', table)
        elif tables:
            notes.append(
                f'{len(tables)} tables of EFG for {len(structures)} structures, not read; label them one by one'
            )
    return structures, notes


def _kind(path: Path) -> str:
    """Format as ASE calls it."""
    head = _head(path)
    if head.lstrip().startswith('vasp.'):
        return 'vasp-out'
    if '<modeling>' in head:
        return 'vasp-xml'
    if head.lower().startswith('- of ulmgpaw'):
        return 'gpw'
    if head.startswith('SQLite format 3'):
        return 'db'
    return filetype(str(path), guess=False)


def _unconverged(path: Path, kind: str) -> list[str]:
    number = _text(path).count(_UNCONVERGED[kind]) if kind in _UNCONVERGED else 0
    return [f'{number} SCF cycles did not converge; take those structures out'] if number else []


def _text(path: Path) -> str:
    return path.read_text(encoding='utf-8', errors='replace')


def _with_labels(structures: list[Atoms], require: Sequence[str], path: Path) -> tuple[list[Atoms], list[str]]:
    """The structures that have what is required, and a note about others; all others are steps that were cut off."""
    held = {'energy': energy, 'forces': forces, 'stress': stress, 'efg': lambda atoms: atoms.arrays.get('efg')}
    notes = []
    for name in require:
        having = [atoms for atoms in structures if held[name](atoms) is not None]
        if not having:
            there = [label for label, get in held.items() if any(get(atoms) is not None for atoms in structures)]
            raise InputError(
                f'{path}: no {name} in it, but {", ".join(there) or "no labels at all"}; let the code write {name}'
            )
        if len(having) < len(structures):
            notes.append(f'{len(structures) - len(having)} of {len(structures)} structures without {name} left out')
        structures = having
    return structures, notes
