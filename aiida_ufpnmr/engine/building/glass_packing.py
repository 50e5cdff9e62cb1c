"""Glasses packed from whole units and ions."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses, atomic_numbers, chemical_symbols, covalent_radii
from ase.data.vdw_alvarez import vdw_radii

from aiida_ufpnmr.engine.building.charges import FORMAL_CHARGES
from aiida_ufpnmr.engine.building.glass import Glass, GlassSettings, pair_name
from aiida_ufpnmr.engine.building.packing import pack
from aiida_ufpnmr.engine.building.rigid_units import RIGID_UNITS, RigidUnit
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.units import CENTRES, LIGANDS

#: Least distances: of atoms of two units as a share of the sum of van der Waals radii (Alvarez, Dalton Trans. 42, 8617
#: (2013)), of an ion and a ligand, and of an ion and a centre or two ions, as shares of the sum of covalent radii.
UNIT_UNIT, ION_LIGAND, ION_CATION = 0.86, 0.95, 1.1


def pack_glass(settings: GlassSettings, library: Mapping[str, RigidUnit] = RIGID_UNITS) -> Glass:
    """Pack whole units at random places and orientations, and the ions that balance their charge, in a cubic cell.

    Args:
        settings: which units and ions, the density, and the seed: the same settings give the same positions.
        library: units by name.

    Raises:
        InputError: a unit that is not known, charges that do not balance, an element that is no ion, a distance of an
            element that is not there, or more atoms than fit at the density.
    """
    unknown = [name for name in settings.units if name not in library]
    if unknown:
        raise InputError(
            f'unit {unknown[0]} is not known, only {", ".join(library)}; give it as --unit {unknown[0]}=FILE.xyz:CHARGE'
        )
    chosen = [library[name] for name, number in settings.units.items() for _ in range(number)]
    n_ions = _number_of_ions(chosen, settings.ions)
    parts = [unit.atoms for unit in chosen] + [Atoms(settings.ions)] * n_ions
    numbers = np.concatenate([part.numbers for part in parts])
    body = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    mass = atomic_masses[numbers].sum() * units._amu * 1e27
    cell = np.eye(3) * np.cbrt(mass / settings.density_g_per_cm3)
    elements, kind = np.unique(numbers, return_inverse=True)
    least = _least_distances([chemical_symbols[number] for number in elements], settings)
    names = [[pair_name(chemical_symbols[a], chemical_symbols[b]) for b in elements] for a in elements]
    table = np.array([[least[name] for name in row] for row in names])
    local = np.concatenate([part.positions - part.positions.mean(axis=0) for part in parts])
    positions = pack(local, body, table, kind, cell, settings.seed)
    if positions is None:
        raise InputError(
            f'{len(numbers)} atoms with their least distances do not fit at {settings.density_g_per_cm3:g} g/cm³; '
            'lower the density (--density) or the distances (--closest-angstrom)'
        )
    return Glass(
        atoms=Atoms(numbers, positions, cell=cell, pbc=True),
        body=body,
        packed=dict(Counter(unit.kind for unit in chosen)),
        least_contact_angstrom=least,
        settings=settings,
    )


def _number_of_ions(chosen: list[RigidUnit], ion: str) -> int:
    """How many ions balance the charge of the units."""
    charge = FORMAL_CHARGES.get(ion, 0)
    if charge <= 0 or ion in CENTRES + LIGANDS:
        raise InputError(f'ions {ion!r}: is no element of common positive ions, such as Li')
    total = sum(unit.charge for unit in chosen)
    if total > 0 or total % charge:
        raise InputError(
            f'the charge of the units is {total:+d}, which no whole number of {ion} ({charge:+d}) balances; change the '
            'numbers of units'
        )
    return -total // charge


def _least_distances(elements: list[str], settings: GlassSettings) -> dict[str, float]:
    """Least distance in Å of atoms of different units, by pair of elements."""
    distances = {}
    for a, b in itertools.combinations_with_replacement(elements, 2):
        pair = [atomic_numbers[a], atomic_numbers[b]]
        if settings.ions not in (a, b):
            distance = UNIT_UNIT * vdw_radii[pair].sum()
        else:
            share = ION_LIGAND if a in LIGANDS or b in LIGANDS else ION_CATION
            distance = share * covalent_radii[pair].sum()
        distances[pair_name(a, b)] = float(distance)
    given = settings.closest_angstrom or {}
    absent = [name for name in given if name not in distances]
    if absent:
        raise InputError(f'a least distance is given for {absent[0]}, but the glass has only {", ".join(distances)}')
    return distances | given
