"""A look at a run now and then: whether the potential still knows what it does, and whether units are still whole.

Each gives what it has seen as a number, and a :class:`~aiida_ufpnmr.engine.md.guards.Stop` where the run cannot go on.
"""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.md.guards import Stop
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.md.watches import GradeWatch, UnitWatch
from aiida_ufpnmr.engine.structure.integrity import broken_units, describe_changes, new_foreign_bonds
from aiida_ufpnmr.engine.structure.units import find_units


def look(watch: GradeWatch | UnitWatch, simulation: Simulation) -> tuple[float, Stop | None]:
    """What a watch looks at, at the present step."""
    return _grades(watch.limit, simulation) if isinstance(watch, GradeWatch) else _units(simulation)


def _grades(limit: float, simulation: Simulation) -> tuple[float, Stop | None]:
    """The largest extrapolation grade, which should not be above ``limit``."""
    grades = simulation.extrapolation_grades()
    atom = int(np.argmax(grades))
    if grades[atom] <= limit:
        return grades[atom], None
    name = f'{simulation.atoms.symbols[atom]} {atom}'
    return grades[atom], Stop(
        'extrapolation',
        f'at step {simulation.step}: the surroundings of atom {name} have an extrapolation grade of '
        f'{grades[atom]:.1f}, above {limit:g}',
    )


def _units(simulation: Simulation) -> tuple[int, Stop | None]:
    """How many units are broken and foreign bonds new."""
    before, atoms = simulation.first_units, simulation.atoms
    after = find_units(atoms)
    changes = len(broken_units(before, after)) + len(new_foreign_bonds(before, after))
    if not changes:
        return 0, None
    return changes, Stop('units', f'at step {simulation.step}: {describe_changes(atoms, before, after)}')
