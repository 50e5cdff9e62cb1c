"""A look at the units of a structure now and then: a run in which one breaks is no longer one of that structure."""

from __future__ import annotations

from dataclasses import dataclass

from aiida_ufpnmr.engine.md.guards import Stop
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.settings import Settings, setting
from aiida_ufpnmr.engine.structure.integrity import broken_units, describe_changes, new_foreign_bonds
from aiida_ufpnmr.engine.structure.units import find_units


@dataclass(frozen=True)
class UnitWatch(Settings):
    """A comparison of the units and the foreign bonds, by their bonds, with those where the run began."""

    every: int = setting(
        0,
        'Steps between two looks at the units (PS4, P2S7, …) that the structure begins with; the run stops where one '
        'is broken or a foreign bond has formed; 0 for none.',
        least=0,
        metavar='N',
        option='guard-units',
    )

    def look(self, simulation: Simulation) -> tuple[int, Stop | None]:
        """How many units are broken and foreign bonds new, and a :class:`Stop` where there is any."""
        before, atoms = simulation.first_units, simulation.atoms
        after = find_units(atoms)
        changes = len(broken_units(before, after)) + len(new_foreign_bonds(before, after))
        if not changes:
            return 0, None
        return changes, Stop('units', f'at step {simulation.step}: {describe_changes(atoms, before, after)}')
