"""Ordered cells of a disordered crystal, and what they were asked to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.building.composition import ROUNDING, formula
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.tables import Tabular

#: Charge of a cell, e, that is none: formal charges may have digits.
NEUTRAL = 1e-6


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
        occupancy_change: largest difference of the share of an element on the sites of a group from the crystal's.
        moved: of the atoms, how many had to leave sites on which they were too close to atoms of full sites.
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
    occupancy_change: float
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
            lines.append(f'{len(self.cells)} of {self.settings.number}: no other that differs by symmetry was met.')
        if self.occupancy_change > ROUNDING:
            lines.append(
                f'For whole numbers of atoms, occupancies of sites are changed by up to {self.occupancy_change:.2f}; '
                'larger cells need less.'
            )
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
