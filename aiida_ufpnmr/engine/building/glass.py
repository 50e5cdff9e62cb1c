"""Glasses of whole units and ions: what they were asked to be, and what has become of their units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from aiida_ufpnmr.engine.building.composition import formula
from aiida_ufpnmr.engine.building.packing import contacts
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.structure.units import Units, find_units
from aiida_ufpnmr.engine.tables import Tabular

#: Contacts are looked for up to this distance, Å.
FARTHEST_CONTACT = 6.0


def read_counts(value: str | Mapping[str, int]) -> dict[str, int]:
    """Numbers by name, from a mapping or from text such as ``PS4:8,P2S7:2``."""
    parts = [part.rpartition(':')[::2] for part in value.split(',')] if isinstance(value, str) else list(value.items())
    counts: dict[str, int] = {}
    for name, number in parts:
        name = name.strip()
        if not name or name in counts or not str(number).strip().isdecimal() or int(number) < 1:
            raise ValueError(f'{value!r} is no list of units and their numbers, such as PS4:8,P2S7:2')
        counts[name] = int(number)
    return counts


def pair_name(a: str, b: str) -> str:
    """Name of a pair of elements, the same in either order."""
    return '-'.join(sorted((a, b)))


def read_distances(value: str | Mapping[str, float]) -> dict[str, float]:
    """Distances in Å by pair of elements, from a mapping or from text such as ``Li-S=2.2,S-S=3.2``."""
    parts = [part.partition('=')[::2] for part in value.split(',')] if isinstance(value, str) else list(value.items())
    distances = {}
    for pair, distance in parts:
        elements = pair.strip().split('-')
        try:
            number = float(distance)
        except ValueError:
            number = 0.0
        if len(elements) != 2 or not set(elements) <= set(chemical_symbols[1:]) or not 0 < number < FARTHEST_CONTACT:
            raise ValueError(
                f'{value!r} is no list of distances in Å, each below {FARTHEST_CONTACT:g}, such as Li-S=2.2,S-S=3.2'
            )
        distances[pair_name(*elements)] = number
    return distances


@dataclass(frozen=True)
class GlassSettings(Settings):
    """Content of a packed glass."""

    units: dict[str, int] = setting(
        MISSING, 'How many of which units: PS4:8,P2S7:2.', parse=read_counts, metavar='NAME:N,...'
    )
    ions: str = setting(MISSING, 'Element of the ions; as many as make the cell neutral.', metavar='SYMBOL')
    density_g_per_cm3: float = setting(
        MISSING, 'Density in g/cm³.', above=0, most=30, metavar='G/CM3', option='density'
    )
    closest_angstrom: dict[str, float] | None = setting(
        None,
        'Least distances in Å of atoms of different units, by pair of elements, where not the usual ones: '
        'Li-S=2.2,S-S=3.2.',
        parse=read_distances,
        metavar='A-B=D,...',
    )
    seed: int = setting(0, 'Seed of all that is random.', least=0)


@dataclass(frozen=True)
class Glass(Tabular):
    """A glass of units and ions.

    Attributes:
        atoms: the structure, with units in one piece.
        body: (n,) number of the unit or ion that each atom was packed with.
        packed: how many units of each kind were packed.
        least_contact_angstrom: least distance in the packing, by pair of elements.
        settings: how it was made.
    """

    atoms: Atoms
    body: np.ndarray
    packed: Mapping[str, int]
    least_contact_angstrom: Mapping[str, float]
    settings: GlassSettings

    def moved(self, atoms: Atoms) -> Glass:
        """The glass after its atoms have moved, in a structure that is not wrapped into its cell."""
        return replace(self, atoms=atoms)

    @cached_property
    def found(self) -> Units:
        """Units by their bonds."""
        return find_units(self.atoms)

    @property
    def whole(self) -> dict[str, int]:
        """How many of the units that were packed are there, by kind."""
        return {kind: min(number, self.found.counts.get(kind, 0)) for kind, number in self.packed.items()}

    @property
    def broken(self) -> dict[str, int]:
        """How many of them are not, by kind."""
        return {kind: self.packed[kind] - number for kind, number in self.whole.items()}

    @property
    def other(self) -> dict[str, int]:
        """How many units there are that were not packed, by name."""
        return dict(Counter(self.found.counts) - Counter(self.packed))

    @property
    def is_whole(self) -> bool:
        """Whether the units are those that were packed, without a foreign bond."""
        return self.found.counts == dict(self.packed) and not len(self.found.foreign)

    @cached_property
    def closest_contact_angstrom(self) -> dict[str, float | None]:
        """Shortest distance of atoms of different units, by pair of elements; ``None`` where none is within 6 Å."""
        found = contacts(self.atoms.positions, self.atoms.cell.array, self.body, FARTHEST_CONTACT)
        closest = found.shortest(self.atoms.numbers, len(chemical_symbols))
        numbers = {pair: tuple(map(atomic_numbers.get, pair.split('-'))) for pair in self.least_contact_angstrom}
        return {
            pair: float(closest[number]) if np.isfinite(closest[number]) else None for pair, number in numbers.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """All but the structure."""
        return {
            **asdict(self.settings),
            'composition': self.atoms.symbols.formula.count(),
            'edge_angstrom': float(self.atoms.cell.lengths()[0]),
            'packed': dict(self.packed),
            'whole': self.whole,
            'broken': self.broken,
            'other': self.other,
            'foreign_bonds': len(self.found.foreign),
            'bridging_ligands': len(self.found.bridging),
            'closest_contact_angstrom': self.closest_contact_angstrom,
            'least_contact_angstrom': dict(self.least_contact_angstrom),
        }

    @property
    def headline(self) -> str:
        edge = self.atoms.cell.lengths()[0]
        return f'{formula(self.atoms.symbols.formula.count())} in a cube of {edge:.2f} Å'

    def table(self) -> list[tuple[str, ...]]:
        """Units that are whole and broken."""
        return [
            ('unit', 'packed', 'whole', 'broken'),
            *((kind, str(self.packed[kind]), str(whole), str(self.broken[kind])) for kind, whole in self.whole.items()),
        ]

    def contact_table(self) -> list[tuple[str, ...]]:
        """Closest contacts of different units, and the least distances that they were packed with."""
        closest = self.closest_contact_angstrom
        return [
            ('contact', 'closest, Å', 'packed at least, Å'),
            *(
                (pair, f'{distance:.2f}' if (distance := closest[pair]) else f'> {FARTHEST_CONTACT:g}', f'{least:.2f}')
                for pair, least in self.least_contact_angstrom.items()
            ),
        ]

    @property
    def remarks(self) -> list[str]:
        pairs = Counter(pair_name(*self.atoms.symbols[pair]) for pair in self.found.foreign)
        lines = [f'Foreign bonds: {_listed(pairs) or "none"}.']
        if self.other:
            lines.append(f'Units that were not packed: {_listed(self.other)}.')
        return lines


def _listed(counts: Mapping[str, int]) -> str:
    return ', '.join(f'{number} {name}' for name, number in counts.items())
