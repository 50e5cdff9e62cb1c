"""Cells of a crystal that DFT is to label: ordered where sites are filled in part, and of a size that a fit can use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from aiida_ufpnmr.engine.building.charges import read_charges
from aiida_ufpnmr.engine.building.composition import EXACT, exact_supercell, formula
from aiida_ufpnmr.engine.building.ordered_cells import OrderedCells, OrderSettings
from aiida_ufpnmr.engine.building.ordering import order_crystal
from aiida_ufpnmr.engine.building.packing import contacts
from aiida_ufpnmr.engine.building.supercells import compact_supercell, heights, number_of_shapes, repetitions
from aiida_ufpnmr.engine.building.symmetry import primitive
from aiida_ufpnmr.engine.crystals import Crystal, is_full
from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import Settings, setting, with_default
from aiida_ufpnmr.engine.tables import Tabular

#: Distances up to which elements count as neighbours, Å.
NEIGHBOURS = 4.5
#: Shapes of compact cells that are looked at, some thousand a second.
MOST_SHAPES = 30_000


def _charges(value: str | Mapping[str, float]) -> dict[str, float]:
    """Formal charges, from a mapping or from text such as ``Li=1,S=-2``."""
    text = value if isinstance(value, str) else ','.join(f'{name}={charge:g}' for name, charge in value.items())
    return read_charges(text)


@dataclass(frozen=True)
class LabelCellSettings(Settings):
    """How large cells for labels are, and how their sites are ordered."""

    least_height_angstrom: float = setting(8.0, 'No two opposite faces are closer than this, Å.', least=0, most=100)
    least_atoms: int = setting(48, 'A cell has so many atoms at least, on average over its sites.', least=1)
    most_atoms: int = setting(200, 'And so many at most.', least=1)
    primitive: bool = setting(
        False,
        "Not the crystal's own cell repeated, but the most compact of primitive cells, in any shape: fewer atoms.",
    )
    number: int = with_default(OrderSettings, 'number', 1)
    charges: dict[str, float] | None = setting(
        None, 'Formal charges of elements, where not the common ones.', parse=_charges, metavar='Li=1,S=-2'
    )
    closest_angstrom: float = with_default(OrderSettings, 'closest_angstrom', OrderSettings.closest_angstrom)
    seed: int = with_default(OrderSettings, 'seed', 0)


@dataclass(frozen=True)
class LabelCells(Tabular):
    """Cells for labels of one crystal.

    Attributes:
        cells: of one composition, the lowest Coulomb energy first where sites had to be ordered.
        supercell: how many of the cell that is repeated, along each of the vectors.
        primitive_cells: how many of the primitive cell are in that one; ``None`` where it is the crystal's own.
        ordered: what the ordering has come to; ``None`` where every site is full.
        settings: how they were made.
        source: the crystal.
    """

    cells: tuple[Atoms, ...]
    supercell: tuple[int, int, int]
    primitive_cells: int | None
    ordered: OrderedCells | None
    settings: LabelCellSettings
    source: str

    @property
    def composition(self) -> dict[str, int]:
        """Number of atoms of each element in a cell."""
        return self.cells[0].symbols.formula.count()

    def to_dict(self) -> dict[str, Any]:
        """All but the structures."""
        return {
            'composition': self.composition,
            'atoms': len(self.cells[0]),
            'cells': len(self.cells),
            'supercell': list(self.supercell),
            'primitive_cells': self.primitive_cells,
            'heights_angstrom': [float(height) for height in heights(self.cells[0].cell.array)],
            'ordered': self.ordered is not None,
            'remarks': self.remarks,
            **asdict(self.settings),
        }

    @property
    def headline(self) -> str:
        times = f'{" × ".join(map(str, self.supercell))} of its cell'
        if self.primitive_cells is not None:
            times = f'{self.primitive_cells * int(np.prod(self.supercell))} of its primitive cell'
        return f'{self.source}: {len(self.cells)} of {formula(self.composition)}, {times}'

    def table(self) -> list[tuple[str, ...]]:
        """Atoms, volume and least height of each cell."""
        rows = [
            (str(row), formula(self.composition), f'{cell.get_volume():.1f}', f'{min(heights(cell.cell.array)):.2f}')
            for row, cell in enumerate(self.cells)
        ]
        return [('cell', 'composition', 'volume, Å³', 'least height, Å'), *rows]

    @property
    def remarks(self) -> list[str]:
        shortest = ', '.join(f'{pair} {distance:.2f}' for pair, distance in shortest_distances(self.cells[0]).items())
        said = [f'shortest distances, Å: {shortest}'] if shortest else []  # up to that of neighbours
        return [*said, *(self.ordered.remarks if self.ordered else [])]


def shortest_distances(atoms: Atoms) -> dict[str, float]:
    """The shortest distance of every two elements, in Å, such as ``Li–S``; of those that are neighbours."""
    found = contacts(atoms.positions, atoms.cell.array, np.arange(len(atoms)), NEIGHBOURS)
    shortest = found.shortest(atoms.numbers, len(chemical_symbols))
    pairs = combinations_with_replacement(sorted(set(atoms.symbols)), 2)
    distances = {f'{a}–{b}': float(shortest[atomic_numbers[a], atomic_numbers[b]]) for a, b in pairs}
    return {pair: distance for pair, distance in distances.items() if np.isfinite(distance)}


def crystal_of(atoms: Atoms, source: str) -> Crystal:
    """A structure as a crystal all sites of which are full; :class:`InputError` where it is not periodic."""
    check_geometry(atoms, source)
    if not atoms.pbc.all():
        raise InputError(f'{source}: only a structure that is periodic along all directions is a crystal')
    return Crystal(atoms.cell.array, atoms.positions, tuple({symbol: 1.0} for symbol in atoms.symbols), source)


def cell_to_repeat(crystal: Crystal, settings: LabelCellSettings = LabelCellSettings()) -> Crystal:
    """The crystal in the cell that is repeated: its own, or a compact supercell of its primitive one.

    That is of as few primitive cells as the least height and the number of atoms ask for, in the shape of the greatest
    least height.

    Raises:
        InputError: that would take a search among too many shapes.
    """
    if not settings.primitive:
        return crystal
    single = primitive(crystal)
    atoms, volume = sum(single.composition.values()), abs(np.linalg.det(single.cell))
    least = settings.least_height_angstrom
    # a cell has at least the volume of the cube whose edges are its least height
    fewest = max(1, math.ceil((settings.least_atoms - 0.5) / atoms), math.ceil(least**3 / volume - 1e-9))
    looked_at = 0
    for number in range(fewest, int((settings.most_atoms + 0.5) // atoms) + 1):
        looked_at += number_of_shapes(number)
        if looked_at > MOST_SHAPES:
            raise InputError(
                f'{crystal.source}: there are more than {MOST_SHAPES} shapes of up to {number} primitive cells to look '
                'at; leave primitive out, since so large a cell needs no search, or ask for a smaller one'
            )
        times, cell = compact_supercell(single.cell, number)
        if min(heights(cell)) > least - 1e-9:
            sites = single.repeated(times)
            return Crystal(cell, sites.positions, sites.occupancies, crystal.source)
    return single  # no supercell of it has few enough atoms, which the next step says


def label_supercell(crystal: Crystal, settings: LabelCellSettings = LabelCellSettings()) -> tuple[int, int, int]:
    """The supercell of a crystal, in the cell to repeat, that is labelled.

    As many cells along each vector as the least height asks for, then one more along that of the smallest height until
    there are enough atoms. Where that does not hold the composition in whole atoms, and the next multiple of a
    supercell that does is small enough, that one is taken.

    Raises:
        InputError: it has more atoms than allowed.
    """
    own, atoms = heights(crystal.cell), sum(crystal.composition.values())
    times = np.array(repetitions(crystal.cell, settings.least_height_angstrom))
    while times.prod() * atoms < settings.least_atoms - 0.5:
        times[np.argmin(times * own)] += 1
    if times.prod() * atoms > settings.most_atoms + 0.5:
        raise InputError(
            f'{crystal.source}: a cell for labels has {times.prod() * atoms:.0f} atoms '
            f'({" × ".join(map(str, times))} cells), more than most_atoms = {settings.most_atoms}; raise that, or '
            f'lower least_height_angstrom = {settings.least_height_angstrom:g} or least_atoms = {settings.least_atoms}'
        )
    totals = np.array(list(crystal.composition.values()))
    exact = exact_supercell(totals, crystal.cell)
    if exact is not None and (abs(times.prod() * totals - np.rint(times.prod() * totals)) > EXACT).any():
        whole = -(-times // np.array(exact)) * np.array(exact)
        if whole.prod() * atoms <= settings.most_atoms + 0.5:
            times = whole
    return (int(times[0]), int(times[1]), int(times[2]))


def label_cells(crystal: Crystal, settings: LabelCellSettings = LabelCellSettings()) -> LabelCells:
    """Cells for labels: ordered ones of the lowest Coulomb energies where sites are filled in part, one otherwise.

    Raises:
        InputError: too many atoms, or as :func:`order_crystal` does.
    """
    own, crystal = crystal, cell_to_repeat(crystal, settings)
    n_primitive = len(crystal.positions) // len(primitive(own).positions) if settings.primitive else None
    supercell = label_supercell(crystal, settings)
    if all(map(is_full, crystal.occupancies)):
        sites = crystal.repeated(supercell)
        symbols = [element for site in sites.occupancies for element in site]
        atoms = Atoms(symbols, sites.positions, cell=sites.cell, pbc=True)
        check_geometry(atoms, crystal.source)
        return LabelCells((atoms,), supercell, n_primitive, None, settings, crystal.source)
    chosen = OrderSettings(number=settings.number, closest_angstrom=settings.closest_angstrom, seed=settings.seed)
    found = order_crystal(crystal, supercell, settings.charges, chosen)
    return LabelCells(found.cells, supercell, n_primitive, found, settings, crystal.source)
