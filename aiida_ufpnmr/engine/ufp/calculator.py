"""The potential as an ASE calculator."""

from __future__ import annotations

from typing import ClassVar

from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


class UltraFastCalculator(Calculator):
    """ASE calculator of an ultra-fast potential: energy, energies, forces and stress.

    Args:
        potential: an :class:`UltraFastPotential`, or the path of one.
    """

    implemented_properties: ClassVar = ['energy', 'free_energy', 'energies', 'forces', 'stress']

    def __init__(self, potential, **kwargs):
        super().__init__(**kwargs)
        self.potential = potential if isinstance(potential, UltraFastPotential) else UltraFastPotential.load(potential)

    def calculate(self, atoms=None, properties=('energy',), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        found = self.potential.compute(self.atoms)
        self.results = {
            'energy': found.energy,
            'free_energy': found.energy,
            'energies': found.energies,
            'forces': found.forces,
        }
        if found.stress is not None:
            self.results['stress'] = full_3x3_to_voigt_6_stress(found.stress)
