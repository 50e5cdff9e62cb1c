"""The potential as an ASE calculator."""

from __future__ import annotations

from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


class UltraFastCalculator(Calculator):
    """ASE calculator of an ultra-fast potential: energy, energies, forces and, where there is a full cell, stress.

    Results are kept until positions, cell, species or boundaries change. One calculator may serve many structures, such
    as the images of a nudged elastic band; each change between them costs one evaluation.

    Args:
        potential: an :class:`UltraFastPotential`, or the path of one.

    Raises:
        InputError: on evaluation, an element that the potential does not know, or overlapping atoms.
    """

    #: Charges and magnetic moments mean nothing to the potential.
    ignored_changes = {'initial_charges', 'initial_magmoms'}
    implemented_properties = ['energy', 'free_energy', 'energies', 'forces', 'stress']

    def __init__(self, potential, **kwargs):
        super().__init__(**kwargs)
        self.potential = potential if isinstance(potential, UltraFastPotential) else UltraFastPotential.load(potential)

    def calculate(self, atoms=None, properties=('energy',), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        found = self.potential.compute(self.atoms)
        self.results = {
            'energy': found.energy,
            'free_energy': found.energy,
            'energies': found.energies,
            'forces': found.forces,
        }
        if found.stress is not None:
            self.results['stress'] = full_3x3_to_voigt_6_stress(found.stress)
