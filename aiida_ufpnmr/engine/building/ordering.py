"""Ordered cells of a disordered crystal, lowest in the Coulomb energy of formal charges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from aiida_ufpnmr.engine.building.annealing import arrangements, energies
from aiida_ufpnmr.engine.building.charges import charges_of
from aiida_ufpnmr.engine.building.composition import ROUNDING, exact_supercell, formula, moved_shares, whole_numbers
from aiida_ufpnmr.engine.building.ewald import COULOMB_EV_ANGSTROM, ewald_matrix
from aiida_ufpnmr.engine.building.ordered_cells import NEUTRAL, OrderedCells, OrderSettings, total_charge
from aiida_ufpnmr.engine.building.symmetry import distinct, kinds_of, orbits_of, permutations_of
from aiida_ufpnmr.engine.crystals import Crystal, is_full
from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list

#: What it costs to fill two sites that are too close: more than any swap could gain.
CROWDING_EV = 50.0
#: The largest cell: matrices of all pairs of sites have to fit into memory.
MOST_SITES = 4000
#: Closer than this share of a bond (the sum of the covalent radii) are no two atoms of a crystal.
SHORTEST_BOND = 0.7
#: A site that is filled to this share counts as full.
FILLED = 0.99


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
        raise InputError(
            f'{sites.source}: {len(sites.positions)} sites; an order is found for up to {MOST_SITES}: the smaller an '
            'occupancy, the larger the cell that holds whole atoms'
        )
    shares = np.array([[site.get(element, 0.0) for element in elements] for site in sites.occupancies])
    partial = shares.sum(axis=1) < FILLED
    close = _close_pairs(sites, settings.closest_angstrom)
    orbits = np.tile(orbits_of(crystal), np.prod(supercell))
    blocked = np.isin(orbits, orbits[close.i[partial[close.i] & ~partial[close.j]]])
    groups = _filled_together(orbits, 2 * kinds_of(sites) + blocked, shares)
    sizes, first = np.bincount(groups), np.unique(groups, return_index=True)[1]
    moved = sizes[blocked[first]] @ shares[first[blocked[first]]]
    wanted = moved_shares(sizes, shares[first], blocked[first], sites.source)
    counts = whole_numbers(sizes, wanted, element_charges, sites.source)
    composition = {element: int(n) for element, n in zip(elements, counts.sum(axis=0))}
    if not settings.charged:
        _check_charge(composition, charge, sites.source)

    site_charges = np.append(element_charges, 0.0)  # the last is that of an empty site
    coulomb, crowding = _pair_energies(sites, close)
    met = arrangements(groups, counts, coulomb, crowding, site_charges, settings)
    if len(met) == 0:
        raise InputError(
            f'{sites.source}: sites closer than {settings.closest_angstrom:g} Å cannot take all ions; correct the '
            'occupancies, or let closer sites be filled (--closest-angstrom)'
        )
    chosen = met[distinct(met, permutations_of(sites), settings.number)]
    ewald_energy_eV = energies(coulomb, site_charges[chosen])
    cells = tuple(_cell(sites, elements, occupants, energy) for occupants, energy in zip(chosen, ewald_energy_eV))
    for cell in cells:
        check_geometry(cell, sites.source)
    return OrderedCells(
        cells=cells,
        ewald_energy_eV=ewald_energy_eV,
        shortest_distance_angstrom=np.array([_shortest_distance(cell) for cell in cells]),
        composition=composition,
        average_composition=sites.composition,
        occupancy_change=float(abs(counts / sizes[:, None] - wanted).max()),
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
            'or correct the occupancies (ufpnmr build order has supercells to choose, and --charged for a background)'
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
    i, j = near.centre, near.index
    distance = np.linalg.norm(near.vectors(sites.positions, sites.cell), axis=1)
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
