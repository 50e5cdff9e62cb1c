"""What lies around ions: units of anions, room, coordination, and the energy that a potential gives them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.neighbours import surroundings
from aiida_ufpnmr.engine.settings import setting, with_default
from aiida_ufpnmr.engine.structure.sites import AnionSettings, ShellSettings, soft_coordination
from aiida_ufpnmr.engine.structure.units import CENTRES, find_units
from aiida_ufpnmr.engine.structure.voronoi import cells_of
from aiida_ufpnmr.engine.trajectories.snapshots import Snapshots, SnapshotSettings
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Names of the properties that are no counts of units.
VOLUME, COORDINATION, ENERGY = 'voronoi_volume_angstrom3', 'coordination', 'energy_eV'


@dataclass(frozen=True)
class SurroundingsSettings(AnionSettings, SnapshotSettings):
    """Choice of the frames and of the properties of ions."""

    stride: int = with_default(SnapshotSettings, 'stride', 10)
    units: str = setting('PS4,P2S7,P2S6', 'Units of anions whose centres are counted, with commas between.')
    unit_radius_angstrom: float = setting(5.0, 'Centres within this distance of an ion, in Å, count.', above=0, most=50)

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Names of the units, as "analyse anions" has them."""
        return tuple(self.units.replace(' ', '').split(','))


def properties_of(
    snapshots: Snapshots, ions: np.ndarray, settings: SurroundingsSettings, potential: UltraFastPotential | None
) -> Iterator[dict[str, np.ndarray]]:
    """Properties of ions by name, (frames, n_ions) each, some frames at a time.

    They are the number of centres in units of each kind, such as ``P_in_PS4``, the Voronoi volume, the soft number of
    anions within 3.3 Å, and with a potential the energy of the ion. How a potential parts its energy among atoms is a
    convention; this one gives half of each pair, and all of a triplet, to the atom in the middle.

    Raises:
        InputError: a direction that is not periodic, no such anion, or an element that the potential does not know.
    """
    symbols, shell = snapshots.symbols, ShellSettings()
    anions = np.sort(np.concatenate([snapshots.chosen(anion, 'anion') for anion in settings.anions]))
    wanted = np.zeros(len(symbols), bool)
    wanted[ions] = True
    atoms, reach = snapshots.atoms.copy(), 0.0
    for positions, cells in snapshots.periodic('a Voronoi cell').parts():
        coordination = soft_coordination(
            positions, cells, atoms.pbc, ions, anions, shell.radius_angstrom, shell.width_angstrom
        )
        found: dict[str, list[np.ndarray]] = {}
        for place, cell in zip(positions, cells):
            atoms.positions, atoms.cell[:] = place, cell
            volume, *_, reach = cells_of(place, cell, wanted, reach)
            row = {**centres_nearby(atoms, ions, settings), VOLUME: volume[ions]}
            if potential is not None:
                row[ENERGY] = potential.compute(atoms).energies[ions]
            for name, values in row.items():
                found.setdefault(name, []).append(values)
        yield {COORDINATION: coordination, **{name: np.array(values) for name, values in found.items()}}


def centres_nearby(atoms: Atoms, ions: np.ndarray, settings: SurroundingsSettings) -> dict[str, np.ndarray]:
    """Number of centres of units of each kind around ions, (n_ions,) each; images count."""
    units, symbols = find_units(atoms), np.array(atoms.symbols)
    name = np.array([*units.names, ''])[units.unit]
    near = surroundings(atoms.positions, atoms.cell.array, atoms.pbc, settings.unit_radius_angstrom, ions)
    row = np.repeat(np.arange(len(ions)), np.diff(near.start))
    found = {}
    for unit in settings.unit_names:
        centre = next((symbol for symbol in CENTRES if unit.startswith(symbol)), 'centres')
        counts = np.isin(symbols, CENTRES) & (name == unit)
        found[f'{centre}_in_{unit}'] = np.bincount(row, counts[near.index], len(ions))
    return found
