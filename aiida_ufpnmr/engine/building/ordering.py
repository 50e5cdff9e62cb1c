"""Ordered cells of a disordered crystal, lowest in the Coulomb energy of formal charges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from aiida_ufpnmr.engine.building.annealing import anneal
from aiida_ufpnmr.engine.building.charges import charges_of
from aiida_ufpnmr.engine.building.composition import ROUNDING, exact_supercell, formula, moved_shares, whole_numbers
from aiida_ufpnmr.engine.building.ewald import COULOMB_EV_ANGSTROM, ewald_matrix
from aiida_ufpnmr.engine.building.symmetry import distinct, kinds_of, orbits_of, permutations_of
from aiida_ufpnmr.engine.crystals import Crystal, is_full
from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.tables import Tabular

#: Random arrangements to begin with, and how many of these are annealed at least.
RANDOM_DRAWS, CHAINS = 2000, 20
#: Temperatures of a chain, the first and the last as k_B T: what most swaps of two ions cost, and far below.
TEMPERATURES, HOTTEST_EV, COLDEST_EV = 100, 2.0, 0.02
#: What it costs to fill two sites that are too close: more than any swap could gain.
CROWDING_EV = 50.0
#: The largest cell: matrices of all pairs of sites have to fit into memory.
MOST_SITES = 4000
#: Closer than this share of a bond (the sum of the covalent radii) are no two atoms of a crystal.
SHORTEST_BOND = 0.7
#: Charge that rounding may leave in a cell, e, and what a site must be filled to count as full.
NEUTRAL, FILLED = 1e-6, 0.99


@dataclass(frozen=True)
class OrderSettings(Settings):
    """Choices of an ordering."""

    number: int = setting(5, 'How many cells to make, lowest energy first.', least=1, most=1000)
    closest_angstrom: float = setting(
        1.5,
        'Of two sites filled in part that are closer than this (Å), and than a bond, at most one is filled.',
        least=0,
    )
    charged: bool = setting(False, 'Allow cells that are not neutral, in a uniform background.')
    seed: int = setting(0, 'Seed of all choices.', least=0)


@dataclass(frozen=True)
class OrderedCells(Tabular):
    """Ordered cells of a disordered crystal, lowest energy first, no two of them the same by symmetry.

    Attributes:
        cells: the structures; ``ewald_energy_eV`` of the cell is in their ``info``.
        ewald_energy_eV: (n,) Coulomb energy of the formal charges, per cell.
        shortest_distance_angstrom: (n,) of two atoms.
        composition: number of atoms of each element in a cell.
        average_composition: the same as the occupancies ask for.
        moved: of these, how many had to leave sites on which they were too close to atoms of full sites.
        charges: formal charge of each element.
        exact_supercell: the smallest with whole numbers of atoms; ``None`` where it would be very large.
        disordered: whether there was anything to order.
        settings: how they were made.
        source: the crystal.
    """

    cells: tuple[Atoms, ...]
    ewald_energy_eV: np.ndarray
    shortest_distance_angstrom: np.ndarray
    composition: Mapping[str, int]
    average_composition: Mapping[str, float]
    moved: Mapping[str, float]
    charges: Mapping[str, float]
    exact_supercell: tuple[int, int, int] | None
    disordered: bool
    settings: OrderSettings
    source: str

    def to_dict(self) -> dict[str, Any]:
        """All but the structures."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ('cells', 'settings')} | asdict(
            self.settings
        )

    @property
    def headline(self) -> str:
        return f'{self.source}: ordered cells of {formula(self.composition)}'

    def table(self) -> list[tuple[str, ...]]:
        """Composition, energy and shortest distance of each cell."""
        above = 1000 * (self.ewald_energy_eV - self.ewald_energy_eV[0]) / len(self.cells[0])
        columns = zip(self.ewald_energy_eV, above, self.shortest_distance_angstrom)
        return [
            ('cell', 'composition', 'Ewald energy, eV', 'above the lowest, meV/atom', 'shortest distance, Å'),
            *(
                (str(row), formula(self.composition), f'{energy:.3f}', f'{higher:.1f}', f'{distance:.2f}')
                for row, (energy, higher, distance) in enumerate(columns)
            ),
        ]

    @property
    def remarks(self) -> list[str]:
        lines = []
        if not self.disordered:
            lines.append('Every site is full: there was nothing to order.')
        elif len(self.cells) < self.settings.number:
            lines.append(f'Of arrangements that differ by symmetry, {len(self.cells)} were met, no more.')
        if formula(self.composition) != formula(self.average_composition):
            exact = self.exact_supercell
            where = 'no small supercell' if exact is None else f'--supercell {" ".join(map(str, exact))}'
            lines.append(
                f'Rounded: occupancies ask for {formula(self.average_composition)}, which {where} holds exactly.'
            )
        if self.moved:
            lines.append(
                f'{formula(self.moved)} moved to other sites, since theirs are closer than '
                f'{self.settings.closest_angstrom:g} Å to atoms of full ones.'
            )
        total = total_charge(self.composition, self.charges)
        if abs(total) > NEUTRAL:
            lines.append(f'The charges add up to {total:+g}, in a uniform background.')
        return lines


def total_charge(composition: Mapping[str, int], charges: Mapping[str, float]) -> float:
    """Sum of the charges of all atoms."""
    return sum(number * charges[element] for element, number in composition.items())


def order_crystal(
    crystal: Crystal,
    supercell: tuple[int, int, int] = (1, 1, 1),
    charges: Mapping[str, float] | None = None,
    settings: OrderSettings = OrderSettings(),
) -> OrderedCells:
    """Order the sites of a crystal that are filled in part or shared.

    Ions are put at random on the sites of each orbit, as many as its occupancies ask for, and swapped while a
    temperature falls. Of all arrangements that were met on the way, those of the lowest Coulomb energy are taken. The
    same seed gives the same cells, bit for bit.

    Args:
        crystal: the average cell.
        supercell: how many of it along each of its vectors.
        charges: formal charges of elements whose charge is not the common one.
        settings: how many cells, and which are allowed.

    Raises:
        InputError: charges that are not known or do not balance, too many sites, or sites too close to each other.
    """
    charge = charges_of(crystal.composition, charges or {})
    elements, element_charges = list(charge), np.array(list(charge.values()))
    sites = crystal.repeated(supercell)
    if len(sites.positions) > MOST_SITES:
        raise InputError(f'{sites.source}: {len(sites.positions)} sites; take a smaller supercell, up to {MOST_SITES}')
    shares = np.array([[site.get(element, 0.0) for element in elements] for site in sites.occupancies])
    partial = shares.sum(axis=1) < FILLED
    close = _close_pairs(sites, settings.closest_angstrom)
    orbits = np.tile(orbits_of(crystal), np.prod(supercell))
    blocked = np.isin(orbits, orbits[close.i[partial[close.i] & ~partial[close.j]]])
    groups = _filled_together(orbits, 2 * kinds_of(sites) + blocked, shares)
    sizes, first = np.bincount(groups), np.unique(groups, return_index=True)[1]
    moved = sizes[blocked[first]] @ shares[first[blocked[first]]]
    counts = whole_numbers(
        sizes, moved_shares(sizes, shares[first], blocked[first], sites.source), element_charges, sites.source
    )
    composition = {element: int(n) for element, n in zip(elements, counts.sum(axis=0))}
    if not settings.charged:
        _check_charge(composition, charge, sites.source)

    site_charges = np.append(element_charges, 0.0)  # the last is that of an empty site
    coulomb, crowding = _pair_energies(sites, close)
    met = _arrangements(groups, counts, coulomb, crowding, site_charges, settings)
    if len(met) == 0:
        raise InputError(
            f'{sites.source}: sites closer than {settings.closest_angstrom:g} Å cannot take all ions; correct the '
            'occupancies, or let closer sites be filled (--closest-angstrom)'
        )
    chosen = met[distinct(met, permutations_of(sites), settings.number)]
    energies = _energies(coulomb, site_charges[chosen])
    cells = tuple(_cell(sites, elements, occupants, energy) for occupants, energy in zip(chosen, energies))
    for cell in cells:
        check_geometry(cell, sites.source)
    return OrderedCells(
        cells=cells,
        ewald_energy_eV=energies,
        shortest_distance_angstrom=np.array([_shortest_distance(cell) for cell in cells]),
        composition=composition,
        average_composition=sites.composition,
        moved={element: float(n) for element, n in zip(elements, moved) if n},
        charges=charge,
        exact_supercell=exact_supercell(np.array(list(crystal.composition.values())), crystal.cell),
        disordered=not all(map(is_full, sites.occupancies)),
        settings=settings,
        source=sites.source,
    )


def _check_charge(composition: Mapping[str, int], charges: Mapping[str, float], where: str) -> None:
    """Refuse a cell whose formal charges do not balance."""
    total = total_charge(composition, charges)
    if abs(total) > NEUTRAL:
        said = ', '.join(f'{element} {charge:+g}' for element, charge in charges.items())
        raise InputError(
            f'{where}: the charges of {formula(composition)} add up to {total:+g} ({said}); give others (--charges), '
            'another supercell, or --charged for a uniform background'
        )


def _filled_together(orbits: np.ndarray, kinds: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The group (n,) of each site, within which atoms are swapped: its orbit where that holds whole numbers of atoms.

    Orbits of one kind that do not are one group, so that energy decides where their atoms go, and rounding does not.

    Args:
        orbits, kinds: (n,) of each site.
        shares: (n, n_elements) of each site.
    """
    sizes, first = np.bincount(orbits), np.unique(orbits, return_index=True)[1]
    wanted = sizes[:, None] * shares[first]
    uneven = (abs(wanted - np.rint(wanted)) > ROUNDING).any(axis=1)
    return np.unique(np.where(uneven[orbits], len(sizes) + kinds, orbits), return_inverse=True)[1]


class _Pairs(NamedTuple):
    """Pairs of different sites, each seen from both ends."""

    i: np.ndarray  # (m,)
    j: np.ndarray  # (m,)
    distance: np.ndarray  # (m,) Å


def _close_pairs(sites: Crystal, closest_angstrom: float) -> _Pairs:
    """Pairs of sites that are closer than ``closest_angstrom`` and than any bond."""
    near = neighbour_list(sites.positions, sites.cell, True, closest_angstrom)
    i, j = np.repeat(np.arange(len(sites.positions)), np.diff(near.start)), near.index
    distance = np.linalg.norm(sites.positions[j] + near.shift @ sites.cell - sites.positions[i], axis=1)
    radius = np.array([min(covalent_radii[atomic_numbers[element]] for element in site) for site in sites.occupancies])
    close = (i != j) & (distance < SHORTEST_BOND * (radius[i] + radius[j]))
    return _Pairs(i[close], j[close], distance[close])


def _pair_energies(sites: Crystal, close: _Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Matrices (n, n) in eV: Coulomb energy of unit charges, and what it costs to fill two sites that are too close."""
    coulomb = ewald_matrix(sites.positions, sites.cell)
    crowding = np.zeros_like(coulomb)
    crowding[close.i, close.j] = CROWDING_EV / 2
    # unlike charges on nearly the same place would gain more than crowding costs
    np.subtract.at(coulomb, (close.i, close.j), COULOMB_EV_ANGSTROM / 2 / close.distance)
    return coulomb, crowding


def _arrangements(
    groups: np.ndarray,
    counts: np.ndarray,
    coulomb: np.ndarray,
    crowding: np.ndarray,
    charges: np.ndarray,
    settings: OrderSettings,
) -> np.ndarray:
    """Elements by number (n, n_sites), -1 for an empty site, of all arrangements that were met, lowest energy first.

    Args:
        groups: (n_sites,) group of each site.
        counts: (n_groups, n_elements) atoms to put there.
        coulomb: (n_sites, n_sites) in eV.
        crowding: the same of sites that are too close; arrangements that fill these are left out.
        charges: (n_elements + 1,) of the elements, and zero.
        settings: how many will be asked for, and the seed.
    """
    rng = np.random.default_rng(settings.seed)
    draws = np.empty((RANDOM_DRAWS, len(groups)), np.int8)
    swappable: list[int] = []
    start: list[tuple[int, int]] = []
    for group, count in enumerate(counts):
        members = np.flatnonzero(groups == group)
        content = np.full(len(members), -1, np.int8)
        content[: count.sum()] = np.repeat(np.arange(len(count)), count)
        draws[:, members] = rng.permuted(np.tile(content, (RANDOM_DRAWS, 1)), axis=1)
        if content.min() < content.max():
            start += [(len(swappable), len(swappable) + len(members))] * len(members)
            swappable += members.tolist()
    temperatures_eV = np.geomspace(HOTTEST_EV, COLDEST_EV, TEMPERATURES)
    chains = [
        anneal(coulomb, crowding, charges, draw, np.array(swappable), np.array(start), temperatures_eV, chain_seed)
        for draw, chain_seed in zip(
            draws, rng.integers(2**31, size=max(CHAINS, 2 * settings.number) if swappable else 0)
        )
    ]
    met = np.unique(np.concatenate([draws, *chains]), axis=0)
    met = met[_energies(crowding, met >= 0) == 0]
    return met[np.argsort(_energies(coulomb, charges[met]), kind='stable')]


def _energies(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    """xᵀ M x of each row x, rounded to 10⁻⁶ eV, so that arrangements which are equal by symmetry are exactly so."""
    values = values.astype(float)
    return np.round(((values @ matrix) * values).sum(axis=1), 6)


def _cell(sites: Crystal, elements: Sequence[str], occupants: np.ndarray, energy_eV: float) -> Atoms:
    """The atoms of one arrangement."""
    filled = occupants >= 0
    symbols = [elements[k] for k in occupants[filled]]
    info = {'ewald_energy_eV': float(energy_eV)}
    return Atoms(symbols, sites.positions[filled], cell=sites.cell, pbc=True, info=info)


def _shortest_distance(atoms: Atoms) -> float:
    """The shortest distance of two atoms in Å."""
    distances = atoms.get_all_distances(mic=True)
    return float(distances[np.triu_indices(len(atoms), 1)].min(initial=np.inf))
