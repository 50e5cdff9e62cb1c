"""Crystals as databases have them, in CIF: sites that elements fill in part, or share.

A diffraction experiment sees an average over all cells. Nothing can be computed on it before its sites are ordered.
"""

from __future__ import annotations

import codecs
import io
import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.data import chemical_symbols

from aiida_ufpnmr.engine.errors import InputError, one_line
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.neighbours import neighbour_list

if TYPE_CHECKING:
    from ase.io.cif import CIFBlock
    from ase.spacegroup import Spacegroup

#: Rows of a CIF file closer than this (Å) give one site, which their elements share: files round to a few digits.
SAME_SITE = 0.05
#: A site is full where its occupancy is one within this.
FULL = 1e-6
#: A cell with a smaller ratio of squared volume and product of squared edges is flat; a longer edge (Å) is a mistake.
FLATTEST, LONGEST = 1e-6, 1e4
#: An operation of symmetry changes no product of two cell vectors by more than this share of that of their lengths.
SAME_LENGTHS = 0.01
#: How far the atoms of a file may be from its formula: in an ordered crystal, and where occupancies were refined.
FORMULA_TOLERANCE, REFINED_TOLERANCE = 0.01, 0.1

_CELL = tuple(
    f'_cell_{name}' for name in ('length_a', 'length_b', 'length_c', 'angle_alpha', 'angle_beta', 'angle_gamma')
)
_COORDINATES = tuple(f'_atom_site_fract_{axis}' for axis in 'xyz')
_OPERATIONS = ('_space_group_symop_operation_xyz', '_space_group_symop.operation_xyz', '_symmetry_equiv_pos_as_xyz')
_NUMBERS = ('_space_group_it_number', '_space_group.it_number', '_symmetry_int_tables_number')
_NAMES = ('_space_group_name_h-m_alt', '_symmetry_space_group_name_h-m')
_SYMMETRY = (*_OPERATIONS, *_NUMBERS, *_NAMES)


@dataclass(frozen=True)
class Crystal:
    """The average cell of a crystal.

    Attributes:
        cell: (3, 3) in Å, rows are the cell vectors.
        positions: (n, 3) in Å.
        occupancies: of each of the n sites the elements on it, with the share of such sites that each fills.
        source: what to call the crystal in messages.
    """

    cell: np.ndarray
    positions: np.ndarray
    occupancies: tuple[Mapping[str, float], ...]
    source: str

    @property
    def composition(self) -> dict[str, float]:
        """Number of atoms of each element in the cell, on average."""
        elements = sorted({element for site in self.occupancies for element in site}, key=chemical_symbols.index)
        return {element: math.fsum(site.get(element, 0.0) for site in self.occupancies) for element in elements}

    def repeated(self, supercell: tuple[int, int, int]) -> Crystal:
        """The crystal in a supercell, one copy of the sites after the other."""
        shifts = np.stack(np.meshgrid(*map(np.arange, supercell), indexing='ij'), -1).reshape(-1, 1, 3) @ self.cell
        positions = (self.positions + shifts).reshape(-1, 3)
        cell = self.cell * np.array(supercell)[:, None]
        return Crystal(cell, positions, self.occupancies * len(shifts), self.source)


def check_ordered(occupancies: Iterable[Mapping[str, float]], where: str) -> None:
    """Refuse sites that are filled in part or shared, on which nothing can be run.

    Args:
        occupancies: of each site the elements on it, with the share of such sites that each fills.
        where: what to call the structure in the message.

    Raises:
        InputError: a site is not full of one element.
    """
    shares = [{element: _share(value) for element, value in site.items()} for site in occupancies]
    mixed = [site for site in shares if not is_full(site)]
    if mixed:
        said = dict.fromkeys(' + '.join(f'{share:g} {element}' for element, share in site.items()) for site in mixed)
        raise InputError(
            f'{where}: has sites that are filled in part or shared ({"; ".join(said)}), an average that cannot be '
            'run; make ordered cells of the CIF file first: ufpnmr build order FILE.cif -o cells.extxyz'
        )


def read_crystals(path: Path) -> list[Crystal]:
    """Read all crystals of a CIF file, with the occupancies of their sites.

    Raises:
        InputError: no CIF file, or one without what a crystal needs; the message says what is missing.
    """
    from ase.io.cif import parse_cif  # takes a while to import

    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)  # which editors of Windows put there
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            blocks = [
                block
                for block in parse_cif(io.BytesIO(content))
                if '_atom_site_label' in block or _COORDINATES[0] in block
            ]
    except Exception as error:  # ASE raises many kinds for a malformed file
        raise InputError(f'{path}: cannot be read as CIF, or is damaged ({one_line(error)}); restore it') from error
    if not blocks:
        raise InputError(f'{path}: holds no crystal (no sites, _atom_site_...); restore the file')
    for block in blocks:  # ASE leaves rows of a loop out that have too many columns, and warns
        columns = sum(name.startswith('_atom_site_') and '_aniso' not in name for name in block)
        lost = [str(each.message) for each in said if f'expected {columns}:' in str(each.message)]
        if lost:
            raise InputError(f'{path}: a row of its sites is damaged ({lost[0]}); correct the row')
    return [_crystal(block, str(path) if len(blocks) == 1 else f'{path}, data_{block.name}') for block in blocks]


def read_crystal(path: str | os.PathLike) -> Crystal:
    """The one crystal of a CIF file; :class:`InputError` where there are several, or as :func:`read_crystals`."""
    crystals = read_crystals(check_input(path, 'structure'))
    if len(crystals) > 1:
        raise InputError(f'{path}: holds {len(crystals)} crystals; keep the block (data_...) that is meant')
    return crystals[0]


def _crystal(block: CIFBlock, where: str) -> Crystal:
    lengths_and_angles = [block.get(tag) for tag in _CELL]
    if not all(_is_number(value) and value > 0 for value in lengths_and_angles):
        raise InputError(f'{where}: no full cell; give six numbers, _cell_length_a to _cell_angle_gamma')
    if not any(block.get(tag) for tag in _SYMMETRY):
        raise InputError(
            f'{where}: no symmetry; give its operations (_symmetry_equiv_pos_as_xyz), or '
            "_symmetry_space_group_name_H-M 'P 1' where all atoms of the cell are listed"
        )
    rows = _rows(block, where)
    if not rows:
        raise InputError(f'{where}: holds no crystal (no row of sites, _atom_site_...); restore the file')
    cosines = np.cos(np.radians(lengths_and_angles[3:]))
    if 1 - sum(cosines**2) + 2 * np.prod(cosines) < FLATTEST or max(lengths_and_angles) > LONGEST:
        raise InputError(f'{where}: no cell has such lengths and angles; correct _cell_length_a to _cell_angle_gamma')
    cell = np.array(block.get_cell())
    try:
        spacegroup = block.get_spacegroup(subtrans_included=True)
        orbits = [spacegroup.equivalent_sites([row.place], onduplicates='keep')[0] for row in rows]
    except Exception as error:  # ASE raises many kinds where a symmetry is none
        raise InputError(f'{where}: its symmetry cannot be used ({one_line(error)}); correct the file') from error
    _check_symmetry(block, spacegroup, cell, where)
    positions = np.concatenate(orbits) @ cell
    _check_listed(rows, cell, where)
    occupancies = _shared([row for row, orbit in zip(rows, orbits) for _ in orbit], positions, cell)
    crystal = Crystal(cell, positions[list(occupancies)], tuple(occupancies.values()), where)
    for site in crystal.occupancies:
        if sum(site.values()) > 1 + 0.01:
            raise InputError(
                f'{where}: a site of {" and ".join(site)} holds {sum(site.values()):.3g} atoms; correct the occupancies'
            )
    _check_formula(block, crystal)
    return crystal


def _check_symmetry(block: CIFBlock, spacegroup: Spacegroup, cell: np.ndarray, where: str) -> None:
    """Refuse a space group whose operations change the cell, or that has the number of another."""
    from ase.spacegroup import Spacegroup

    metric = cell @ cell.T
    edges = np.sqrt(np.diag(metric))
    for rotation in spacegroup.get_rotations():
        if (abs(rotation.T @ metric @ rotation - metric) > SAME_LENGTHS * np.outer(edges, edges)).any():
            raise InputError(
                f'{where}: an operation of its symmetry ({spacegroup.symbol}) changes the cell; correct the space '
                'group, or _cell_length_a to _cell_angle_gamma'
            )
    name, number = (next((block[tag] for tag in tags if block.get(tag)), None) for tags in (_NAMES, _NUMBERS))
    if any(block.get(tag) for tag in _OPERATIONS) or None in (name, number):
        return
    try:
        named = Spacegroup(str(name)).no
    except Exception:  # ASE raises many kinds for settings that it does not know by name
        return
    if named != number:
        raise InputError(
            f'{where}: its space group is named {name}, which is number {named}, and numbered {number}; correct one'
        )


def _check_listed(rows: list[_Row], cell: np.ndarray, where: str) -> None:
    """Refuse atoms that are listed twice; one that is listed beside what symmetry makes of it counts once."""
    near = neighbour_list(np.array([row.place for row in rows]) @ cell, cell, True, SAME_SITE)
    for i, j in zip(near.centre, near.index):
        if i < j and rows[i].occupancy == rows[j].occupancy == 1:
            raise InputError(f'{where}: sites {rows[i].label} and {rows[j].label} are at one place; remove one of them')


def _shared(rows: list[_Row], positions: np.ndarray, cell: np.ndarray) -> dict[int, dict[str, float]]:
    """What fills each site, by the first of the rows (n,) that lie on it.

    Args:
        rows: the row of each position.
        positions: (n, 3) in Å.
        cell: (3, 3) in Å.
    """
    near = neighbour_list(positions, cell, True, SAME_SITE)
    found: dict[int, dict[str, float]] = {}
    for i, row in enumerate(rows):
        site = next((found[j] for j in near.index[near.start[i] : near.start[i + 1]] if j in found), None)
        if site is None:
            found[i] = {row.element: row.occupancy}
        elif site != {row.element: 1.0} or row.occupancy != 1:  # else one atom is listed, and made by symmetry too
            site[row.element] = site.get(row.element, 0.0) + row.occupancy
    return found


@dataclass(frozen=True)
class _Row:
    label: str
    element: str
    place: np.ndarray  # (3,) in units of the cell vectors
    occupancy: float


def _rows(block: CIFBlock, where: str) -> list[_Row]:
    """The listed sites, one of each set that symmetry makes."""
    columns = [block.get(tag) for tag in (*_COORDINATES, '_atom_site_type_symbol', '_atom_site_label')]
    if not all(isinstance(column, list) for column in columns[:3]) or columns[3] is columns[4] is None:
        raise InputError(f'{where}: its sites lack _atom_site_fract_x, y, z, or elements; restore the file')
    labels = columns[3] if columns[4] is None else columns[4]
    shares = block.get('_atom_site_occupancy') or ['.'] * len(labels)
    rows = []
    for label, symbol, share, *place in zip(labels, columns[3] or labels, shares, *columns[:3]):
        element = re.match('[A-Z][a-z]?|', str(symbol))[0]  # type: ignore[index]  # matches anything
        element = 'H' if element == 'D' else element
        if element not in chemical_symbols[1:]:
            raise InputError(f'{where}, site {label}: {symbol} is no element; correct _atom_site_type_symbol')
        if not all(map(_is_number, place)):
            raise InputError(f'{where}, site {label}: a coordinate is no number; correct or remove the site')
        if not 0 <= _share(share) <= 1:
            raise InputError(f'{where}, site {label}: occupancy {share} is no number from 0 to 1; correct it')
        rows.append(_Row(str(label), element, np.array(place, float), _share(share)))
    return rows


def _share(value: Any) -> float:
    """An occupancy as a number, NaN for what is none; a dot stands for a full site."""
    if value == '.':
        return 1.0
    return float(value) if _is_number(value) else math.nan


def is_full(site: Mapping[str, float]) -> bool:
    """Whether a site is full of one element."""
    return len(site) == 1 and abs(sum(site.values()) - 1) <= FULL


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _check_formula(block: CIFBlock, crystal: Crystal) -> None:
    """Refuse a file whose sites are not its formula: it was cut, or lacks atoms."""
    formula = str(block.get('_chemical_formula_sum') or '')
    said = {element: float(number or 1) for element, number in re.findall(r'([A-Z][a-z]?)(\d*\.?\d*)', formula)}
    found = {element: number for element, number in crystal.composition.items() if number > 0}
    if not said or not set(said) <= set(chemical_symbols):
        return
    tolerance = FORMULA_TOLERANCE if all(map(is_full, crystal.occupancies)) else REFINED_TOLERANCE
    units = sum(found.values()) / sum(said.values())
    if set(said) != set(found) or any(abs(found[e] / (units * said[e]) - 1) > tolerance for e in said):
        sites = ' '.join(f'{element}{number:.4g}' for element, number in found.items())
        raise InputError(
            f'{crystal.source}: its sites give {sites}, its formula is {formula}; restore sites that are missing, or '
            'correct _chemical_formula_sum'
        )
