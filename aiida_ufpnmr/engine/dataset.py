"""Labelled structures: extended XYZ in and out, checks, groups and folds.

Units: energy eV, forces eV/Å, stress eV/Å³ (ASE sign), EFG atomic units with V_ij = ∂²V/∂x_i∂x_j in the Cartesian
frame of the cell. Nine NaNs stand for an atom without EFG label.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import covalent_radii

from aiida_ufpnmr.engine.crystals import check_ordered, read_crystals
from aiida_ufpnmr.engine.errors import InputError, one_line
from aiida_ufpnmr.engine.files import check_input, whole_file
from aiida_ufpnmr.engine.foreign_bonds import foreign_bonds
from aiida_ufpnmr.engine.label_names import (
    LabelKeys,
    entries_of_comment,
    held_names,
    notes_on_clusters,
    notes_on_names,
    notes_on_unread,
    notes_on_zeros,
    take_labels,
)
from aiida_ufpnmr.engine.neighbours import complete_cell, neighbour_list
from aiida_ufpnmr.engine.tables import Tabular

#: Two atoms closer than this (Å) are a mistake in the input: the shortest bond there is, H–H, has 0.74 Å.
OVERLAP = 0.5
#: Labelled atoms closer than this share of a bond (the sum of their covalent radii) are a mistake: in melts of 3000 K,
#: no two atoms come closer than 0.7 of it.
SHORTEST_BOND = 0.5
#: Coordinates beyond this (Å) are a mistake, and would lose the digits that distances need.
FARTHEST = 1e6
#: A cell with faces closer than this (Å) is a mistake: periodic images of any atom would fill it.
FLAT = 0.2
#: Atoms may lie this many cells away from the origin: half of what a list of neighbours can count.
FARTHEST_CELL = 4000
#: Messages name so many files less one; of more, the first.
_MOST_SOURCES = 9


@dataclass(frozen=True)
class Dataset(Tabular):
    """Structures with their labels, in the order of the file they came from.

    Attributes:
        structures: ASE atoms; energy, forces and stress sit in the attached calculator, ``efg`` in ``arrays`` as
            (n, 3, 3).
        source: what to call the set in messages.
        notes: what the reader of the file has to say about it, a line each.
    """

    structures: tuple[Atoms, ...]
    source: str = 'dataset'
    notes: tuple[str, ...] = ()

    @classmethod
    def joined(cls, parts: Iterable[Dataset]) -> Dataset:
        """Several sets as one, in their order."""
        parts = list(parts)
        sources = [part.source for part in parts]
        named = ', '.join(sources if len(sources) < _MOST_SOURCES else [sources[0], f'… ({len(sources)} files)'])
        notes = tuple(note for part in parts for note in part.notes)
        return cls(tuple(atoms for part in parts for atoms in part), named, notes)

    def __len__(self) -> int:
        return len(self.structures)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({len(self)} structures of {", ".join(self.species)}; {self.source})'

    def __iter__(self):
        return iter(self.structures)

    def __getitem__(self, index: int) -> Atoms:
        return self.structures[index]

    @property
    def headline(self) -> str:
        """Number of structures, elements, labels and foreign bonds; what the reader noticed."""
        found = self.summary()
        labels = ', '.join(f'{found[f"with_{name}"]} with {name}' for name in ('energy', 'forces', 'stress', 'efg'))
        first = f'{self.source}: {len(self)} structures of {", ".join(self.species)}; {labels}'
        kinds = sorted({kind for bonds in self._foreign_bonds for kind in bonds})
        foreign = [f'{found["with_foreign_bonds"]} with foreign bonds ({", ".join(kinds)})'] if kinds else []
        return '\n'.join(['; '.join([first, *foreign]), *self.notes])

    def table(self) -> list[tuple[str, ...]]:
        """Number of structures by group, and of those with foreign bonds where there are any."""
        groups = self.groups
        foreign = [group for bonds, group in zip(self._foreign_bonds, groups) if bonds]
        rows = [('group', 'structures', 'with foreign bonds')]
        rows += [(name, str(groups.count(name)), str(foreign.count(name))) for name in sorted(set(groups))]
        return list(rows) if foreign else [row[:2] for row in rows]

    @cached_property
    def _foreign_bonds(self) -> list[dict[str, int]]:
        """Foreign bonds of each structure by kind."""
        return [foreign_bonds(atoms) for atoms in self]

    def subset(self, indices: Iterable[int]) -> Dataset:
        """The structures with the given indices, in that order."""
        return Dataset(tuple(self.structures[i] for i in indices), self.source)

    @property
    def species(self) -> tuple[str, ...]:
        """Chemical symbols in order of atomic number."""
        numbers = sorted({(z, s) for a in self.structures for z, s in zip(a.numbers, a.get_chemical_symbols())})
        return tuple(symbol for _, symbol in numbers)

    @property
    def groups(self) -> list[str]:
        """One group name a structure, its ``config_type``.

        Where no structure has one, contiguous blocks of at most a tenth of the set stand in, because neighbouring rows
        of an unnamed set are usually snapshots of one run.
        """
        names = [a.info.get('config_type') for a in self.structures]
        if any(name is not None for name in names):
            return ['unnamed' if name is None else str(name) for name in names]
        block = max(1, len(self) // 10)
        return [f'block{i // block:02d}' for i in range(len(self))]

    def folds(self, n_folds: int, seed: int = 0) -> list[np.ndarray]:
        """Indices of the structures of each fold; whole groups are kept together.

        Groups go, largest first and ties in an order drawn from ``seed``, to the fold that holds fewest structures.
        Fewer groups than folds give as many folds as groups; a single group gives no fold at all.
        """
        groups = np.array(self.groups)
        names, sizes = np.unique(groups, return_counts=True)
        n_folds = min(n_folds, len(names))
        if n_folds < 2:
            return []
        order = np.random.default_rng(seed).permutation(len(names))
        order = order[np.argsort(-sizes[order], kind='stable')]
        members: list[list[str]] = [[] for _ in range(n_folds)]
        filled = np.zeros(n_folds, int)
        for g in order:
            fold = int(np.argmin(filled))
            members[fold].append(names[g])
            filled[fold] += sizes[g]
        return [np.flatnonzero(np.isin(groups, names_of_fold)) for names_of_fold in members]

    def resampled(self, seed: int) -> Dataset:
        """A bootstrap sample: as many groups as there are, drawn with replacement, some of them twice or more.

        Whole groups are drawn, because structures of one run are no independent samples. Copies stay in one group.

        Raises:
            InputError: all structures are of one group.
        """
        groups = np.array(self.groups)
        names = np.unique(groups)
        if len(names) < 2:
            raise InputError(f'{self.source}: a single group cannot be resampled; name groups (config_type)')
        drawn = np.sort(np.random.default_rng(seed).integers(len(names), size=len(names)))
        structures = []
        for i in np.concatenate([np.flatnonzero(groups == names[g]) for g in drawn]):
            atoms = self.structures[i].copy()
            atoms.calc = self.structures[i].calc
            atoms.info['config_type'] = str(groups[i])  # blocks of an unnamed set would be drawn anew
            structures.append(atoms)
        return Dataset(tuple(structures), self.source)

    @property
    def content_hash(self) -> str:
        """SHA-256 over structures, labels, groups and weights; the same for the same content, however it is written."""
        digest = hashlib.sha256()
        for atoms, group in zip(self.structures, self.groups):
            for array in (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc):
                digest.update(np.ascontiguousarray(array).tobytes())
            for label in (energy(atoms), forces(atoms), stress(atoms), atoms.arrays.get('efg')):
                digest.update(b'-' if label is None else np.ascontiguousarray(label, dtype=float).tobytes())
            digest.update(group.encode())
            if (weight := own_weight(atoms)) != 1:
                digest.update(np.float64(weight).tobytes())
        return digest.hexdigest()

    def summary(self) -> dict:
        """Counts by formula and group, which labels are there, and where there are foreign bonds."""
        count = lambda items: {name: items.count(name) for name in sorted(set(items))}  # noqa: E731
        return {
            'structures': len(self),
            'atoms': int(sum(len(a) for a in self.structures)),
            'species': list(self.species),
            'formulas': count([a.get_chemical_formula() for a in self.structures]),
            'groups': count(self.groups),
            'with_energy': sum(energy(a) is not None for a in self.structures),
            'with_forces': sum(forces(a) is not None for a in self.structures),
            'with_stress': sum(stress(a) is not None for a in self.structures),
            'with_efg': sum('efg' in a.arrays for a in self.structures),
            'with_foreign_bonds': sum(map(bool, self._foreign_bonds)),
            'sha256': self.content_hash,
        }


def bare(atoms: Atoms) -> Atoms:
    """Elements, positions and cell, with nothing else that was known about them."""
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _result(atoms: Atoms, name: str):
    return None if atoms.calc is None else atoms.calc.results.get(name)


def energy(atoms: Atoms) -> float | None:
    """Labelled energy in eV."""
    return _result(atoms, 'energy')


def forces(atoms: Atoms) -> np.ndarray | None:
    """Labelled forces, (n, 3) in eV/Å."""
    return _result(atoms, 'forces')


def stress(atoms: Atoms) -> np.ndarray | None:
    """Labelled stress, (3, 3) in eV/Å³, ASE sign."""
    voigt = _result(atoms, 'stress')
    if voigt is None:
        return None
    voigt = np.asarray(voigt, float)
    return voigt if voigt.shape == (3, 3) else voigt[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)


def own_weight(atoms: Atoms) -> float:
    """What the labels of a structure count in a fit by itself, the entry ``weight`` of its comment line; 1 without."""
    return float(atoms.info.get('weight', 1.0))


def check_geometry(atoms: Atoms, where: str) -> None:
    """Refuse structures on which nothing can be computed: no atoms, NaN, flat cells, overlapping atoms, averages."""
    if len(atoms) == 0:
        raise InputError(f'{where}: no atoms')
    occupancy = atoms.info.get('occupancy')  # as ASE keeps those of a CIF file, also in extended XYZ
    if isinstance(occupancy, Mapping):
        check_ordered(occupancy.values(), where)
    if not np.isfinite(atoms.positions).all():
        row = int(np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))[0])
        raise InputError(f'{where}, atom {row}: position is NaN or infinite; correct or remove the structure')
    if not np.isfinite(atoms.cell.array).all():
        raise InputError(f'{where}: cell is NaN or infinite; correct or remove the structure')
    if max(abs(atoms.positions).max(), abs(atoms.cell.array).max()) > FARTHEST:
        raise InputError(f'{where}: a position or the cell is beyond {FARTHEST:g} Å; correct or remove the structure')
    if atoms.numbers.min() < 1:
        raise InputError(
            f'{where}, atom {int(atoms.numbers.argmin())}: X is no element; correct or remove the structure'
        )
    if not atoms.cell.array[atoms.pbc].any(axis=1).all():
        raise InputError(f'{where}: periodic but without a full cell; give a Lattice, or pbc="F F F"')
    _check_cell(atoms, where)
    close = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, OVERLAP)
    if len(close.index):
        i = int(np.flatnonzero(np.diff(close.start))[0])
        j = int(close.index[close.start[i]])
        raise InputError(
            f'{where}, atoms {i} and {j}: closer than {OVERLAP} Å (overlapping, or one atom twice); '
            'correct or remove the structure'
        )


def check_bonds(atoms: Atoms, where: str) -> None:
    """Refuse structures with atoms closer than any bond, which no fit should learn from."""
    radii = covalent_radii[atoms.numbers]
    close = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, SHORTEST_BOND * 2 * radii.max())
    centre, vectors = close.centre, close.vectors(atoms.positions, atoms.cell.array)
    distance, bond = np.linalg.norm(vectors, axis=1), radii[centre] + radii[close.index]
    short = np.flatnonzero(distance < SHORTEST_BOND * bond)
    if len(short):
        worst = short[(distance / bond)[short].argmin()]
        i, j = int(centre[worst]), int(close.index[worst])
        raise InputError(
            f'{where}, atoms {i} and {j} ({atoms.symbols[i]}-{atoms.symbols[j]}): {distance[worst]:.2f} Å apart, less '
            f'than half of a bond ({bond[worst]:.2f} Å); correct or remove the structure'
        )


def _check_cell(atoms: Atoms, where: str) -> None:
    """Refuse flat cells, and atoms thousands of cells away, which a list of neighbours cannot hold."""
    if not atoms.pbc.any():
        return
    cell = complete_cell(atoms.positions, atoms.cell.array, atoms.pbc)
    # a volume of zero within rounding has no inverse
    flat = abs(np.linalg.det(cell)) <= 1e-12 * np.prod(np.linalg.norm(cell, axis=1))
    inverse = np.zeros((3, 3)) if flat else np.linalg.inv(cell)
    if flat or (1 / np.linalg.norm(inverse, axis=0)[atoms.pbc]).min() < FLAT:
        raise InputError(
            f'{where}: opposite faces of the cell are closer than {FLAT} Å; correct the Lattice, or choose a less '
            'skewed one'
        )
    far = abs(atoms.positions @ inverse[:, atoms.pbc]).max(axis=1)
    if far.max() > FARTHEST_CELL:
        raise InputError(
            f'{where}, atom {int(far.argmax())}: lies more than {FARTHEST_CELL} cells away; wrap the atoms '
            'into the cell'
        )


def check_labelled(atoms: Atoms, where: str, require: Sequence[str] = (), efg_species: str | None = None) -> None:
    """Refuse a structure that no fit should learn from: too short bonds, no weight, labels missing, NaN or misshapen.

    Args:
        atoms: a structure that :func:`check_geometry` lets pass.
        where: what to call it in messages.
        require: labels that it must have, of ``energy``, ``forces``, ``stress``, ``efg``.
        efg_species: with ``efg``: species of which it must have a labelled atom, if it has any atom of it.
    """
    check_bonds(atoms, where)
    weight = atoms.info.get('weight', 1.0)
    if isinstance(weight, bool) or not isinstance(weight, Real) or not 0 < float(weight) < np.inf:
        raise InputError(f'{where}: weight={weight} is no positive number; correct it, or remove the structure')
    labels = {'energy': energy(atoms), 'forces': forces(atoms), 'stress': stress(atoms)}
    for name in require:
        if name == 'efg':
            continue
        if labels[name] is None:
            raise InputError(
                f'{where}: no {name}; there are {held_names(atoms)}: name the right one with --{name}-key, label the '
                'structure, or remove it'
            )
    shapes = {'energy': (), 'forces': (len(atoms), 3), 'stress': (3, 3)}
    for name, value in labels.items():
        if value is not None and (np.shape(value) != shapes[name] or np.asarray(value).dtype.kind not in 'fiu'):
            raise InputError(f'{where}: {name} is not as many numbers as it should be; relabel or remove the structure')
        if value is not None and not np.isfinite(value).all():
            rows = np.flatnonzero(~np.isfinite(value).all(axis=1)) if name == 'forces' else np.zeros(0, int)
            atom = f', atom {rows[0]}' if len(rows) else ''
            raise InputError(f'{where}{atom}: NaN or infinite {name}; relabel or remove the structure')
    efg = atoms.arrays.get('efg')
    if efg is None:
        if 'efg' in require:
            raise InputError(
                f'{where}: no efg; there are {held_names(atoms)}: name the right one with --efg-key, label the '
                'structure with EFG tensors, or remove it'
            )
        return
    if efg.shape[1:] != (3, 3):
        raise InputError(f'{where}: efg must have 9 numbers an atom, not {efg.shape[1]}')
    nan = np.isnan(efg).reshape(len(efg), 9)
    if np.isinf(efg).any() or (nan.any(axis=1) & ~nan.all(axis=1)).any():
        bad = np.isinf(efg).reshape(len(efg), 9).any(axis=1) | (nan.any(axis=1) & ~nan.all(axis=1))
        raise InputError(
            f'{where}, atom {int(np.flatnonzero(bad)[0])}: efg is partly NaN or infinite; '
            'give 9 numbers, or 9 NaN for an atom without label'
        )
    if efg_species is not None:
        chosen = np.array(atoms.get_chemical_symbols()) == efg_species
        if chosen.any() and nan[chosen].all():
            raise InputError(f'{where}: no labelled {efg_species} atom; label its EFG, or remove the structure')


def _columns(comment: str) -> int | None:
    """Number of columns that the comment line of an extended XYZ structure promises, where it says so."""
    found = re.search(r'\bProperties="?((?:[^\s:"]+:[A-Za-z]:\d+:?)+)', comment)
    return found and sum(int(number) for number in found[1].split(':')[2::3])


def _check_whole_frames(path: Path) -> None:
    """Walk over an extended XYZ file and name the line at which it stops being one."""
    with open(path, encoding='utf-8-sig') as handle:
        line_number, frame = 0, 0
        try:
            while True:
                line = handle.readline()
                line_number += 1
                if not line:
                    break
                if not line.strip():
                    continue
                try:
                    n_atoms = int(line)
                except ValueError:
                    raise InputError(
                        f'{path}, line {line_number} (structure {frame}): expected a number of atoms, found '
                        f'{line.strip()[:40]!r}; the file is damaged or not extended XYZ'
                    ) from None
                columns = None
                for row in range(n_atoms + 1):
                    line_number += 1
                    line = handle.readline()
                    where = f'{path}, line {line_number} (structure {frame})'
                    if not line:
                        raise InputError(
                            f'{where}: the file ends inside a structure of {n_atoms} atoms (truncated); restore it, or '
                            'cut it before this structure'
                        )
                    if row == 0:
                        columns = _columns(line)
                    elif columns and len(line.split()) != columns:  # ASE would read on in the wrong columns
                        raise InputError(
                            f'{where}: {len(line.split())} columns, but Properties names {columns}; restore or '
                            'remove it'
                        )
                frame += 1
        except UnicodeDecodeError as error:
            raise _not_utf8(path, error) from None
    if frame == 0:
        raise InputError(f'{path}: holds no structure')


def _not_utf8(path: Path, error: UnicodeDecodeError) -> InputError:
    """What is wrong with a file that is no UTF-8: no text at all, or letters in another encoding."""
    with open(path, 'rb') as handle:
        for number, line in enumerate(handle, 1):
            if b'\0' in line:
                break
            try:
                line.decode()
            except UnicodeDecodeError:
                return InputError(f'{path}, line {number}: {one_line(error)}')
    return InputError(f'{path}: not a text file; an extended XYZ file is expected')


def read_dataset(
    path: str | os.PathLike, require: Sequence[str] = (), efg_species: str | None = None, keys: LabelKeys = LabelKeys()
) -> Dataset:
    """Read labelled structures from extended XYZ and check every one.

    Labels are found under the names of :mod:`~aiida_ufpnmr.engine.label_names`; ``notes`` of the set say which, where
    it is not the plain one.

    Args:
        path: the file.
        require: labels that every structure must have, of ``energy``, ``forces``, ``stress``, ``efg``.
        efg_species: with ``efg``: species of which each structure that has it must have a labelled atom.
        keys: names of the labels where they are none of the usual ones.

    Raises:
        InputError: the file or a row in it cannot be used; the message names it and the remedy.
    """
    from ase.io.extxyz import read_xyz  # takes a while to import

    path = check_input(path, 'data set')
    _check_whole_frames(path)
    structures: list[Atoms] = []
    taken: list[dict[str, str]] = []
    with open(path, encoding='utf-8-sig') as handle:
        frames = read_xyz(handle, index=slice(None), properties_parser=entries_of_comment)
        while True:
            where = f'{path}, structure {len(structures)}'
            try:
                atoms = next(frames)
            except StopIteration:
                break
            except Exception as error:  # ASE raises many kinds for a malformed row
                raise InputError(
                    f'{where}: cannot be read as extended XYZ ({one_line(error)}); correct or remove the structure'
                ) from error
            check_geometry(atoms, where)
            taken.append(take_labels(atoms, keys, where))
            check_labelled(atoms, where, require, efg_species)
            structures.append(atoms)
    if efg_species is not None and not any(efg_species in a.get_chemical_symbols() for a in structures):
        raise InputError(f'{path}: no {efg_species} atom in any structure')
    notes = [*notes_on_names(taken, str(path)), *notes_on_unread(structures, taken, str(path))]
    notes += notes_on_zeros(map(stress, structures), str(path))
    notes += notes_on_clusters(structures, map(stress, structures), str(path))
    return Dataset(tuple(structures), str(path), tuple(notes))


def is_lammps_data(path: Path) -> bool:
    """Whether a file is a data file of LAMMPS, which no suffix tells, by the box that it begins with."""
    with open(path, 'rb') as handle:
        return b'xlo xhi' in handle.read(4096)


def read_frames(path: Path) -> list[Atoms]:
    """Read all structures of a file in any format that ASE knows, as they are.

    Raises:
        InputError: unreadable, without structure, or a CIF file whose sites are filled in part or shared.
    """
    import ase.io

    check_input(path, 'structure')
    if path.suffix.lower() == '.cif':
        for crystal in read_crystals(path):
            check_ordered(crystal.occupancies, crystal.source)
    kind = 'lammps-data' if is_lammps_data(path) else None  # which ASE cannot tell
    if kind and b'\nMasses' not in path.read_bytes():  # ASE would take types for atomic numbers
        raise InputError(f'{path}: a data file of LAMMPS without masses, which tell its elements; write these')
    try:
        frames: Any = ase.io.read(path, index=':', format=kind)
    except Exception as error:  # ASE raises many kinds for a malformed file
        raise InputError(f'{path}: cannot be read as a structure ({one_line(error)})') from error
    if not frames:
        raise InputError(f'{path}: no structure was found in it; give it as extended XYZ, CIF or POSCAR')
    return frames


def read_structures(path: str | os.PathLike) -> list[Atoms]:
    """Read all structures of a file in any format that ASE knows, and check each.

    Raises:
        InputError: unreadable, without structure, or a structure that cannot be used.
    """
    frames = read_frames(Path(path))
    for number, atoms in enumerate(frames):
        check_geometry(atoms, str(path) if len(frames) == 1 else f'{path}, structure {number}')
    return frames


def read_structure(path: str | os.PathLike, index: int | None = None) -> Atoms:
    """Read one structure in any format that ASE knows.

    Raises:
        InputError: unreadable, not a structure, or several structures and no ``index``.
    """
    frames = read_frames(Path(path))
    if index is None and len(frames) != 1:
        raise InputError(f'{path}: holds {len(frames)} structures; choose one with --index (0 to {len(frames) - 1})')
    try:
        atoms = frames[0 if index is None else index]
    except IndexError:
        raise InputError(f'{path}: no structure {index}; it holds 0 to {len(frames) - 1}') from None
    check_geometry(atoms, str(path) if index is None else f'{path}, structure {index}')
    return atoms


def write_dataset(path: str | os.PathLike, dataset: Dataset) -> None:
    """Write labelled structures as extended XYZ, whole or not at all."""
    frames = []
    for atoms in dataset:
        copy = atoms.copy()
        if atoms.calc is not None:
            copy.calc = SinglePointCalculator(copy, **atoms.calc.results)
        if 'efg' in copy.arrays:
            copy.arrays['efg'] = copy.arrays['efg'].reshape(len(copy), 9)
        frames.append(copy)
    from ase.io import write  # takes a while to import

    with whole_file(path) as partial:
        write(partial, frames, format='extxyz')
