"""The potential as an ASE calculator for one structure that moves by small steps."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from aiida_ufpnmr.engine.dataset import check_geometry
from aiida_ufpnmr.engine.neighbours import complete_cell
from aiida_ufpnmr.engine.ufp import kernels
from aiida_ufpnmr.engine.ufp.lists import InteractionLists, interaction_lists
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Interaction lists reach so far beyond the cut-offs, Å, and are kept until an atom has moved half of it.
SKIN_ANGSTROM = 0.6


class SteppingCalculator(Calculator):
    """ASE calculator of energy and forces that keeps its interaction lists from step to step.

    One serves one structure, such as one image of a band. It takes a third of the time of
    :class:`~aiida_ufpnmr.engine.ufp.calculator.UltraFastCalculator`, whose numbers it gives but for rounding.

    Raises:
        InputError: on evaluation, an element that the potential does not know, or overlapping atoms.
    """

    implemented_properties = ['energy', 'free_energy', 'forces']

    def __init__(self, potential: UltraFastPotential):
        super().__init__()
        self.potential = potential
        self._lists: InteractionLists | None = None
        self._reference = np.empty((0, 3))

    def check_state(self, atoms, tol=1e-15):
        """What differs from the last structure, bit for bit; the comparison of ASE takes as long as the forces."""
        if self.atoms is None:
            return list(all_changes)
        known = {name: getattr(self.atoms, name) for name in ('positions', 'numbers', 'cell', 'pbc')}
        return [name for name, value in known.items() if not np.array_equal(value, getattr(atoms, name))]

    def calculate(self, atoms=None, properties=('energy',), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        if self._lists is None or set(system_changes) - {'positions'}:
            self._types = self.potential.types(self.atoms)
            self._order = np.argsort(self._types, kind='stable')
            self._types = self._types[self._order]
            self._lists = None
        positions = np.ascontiguousarray(self.atoms.positions[self._order])
        if self._lists is None or not _moved_less(positions, self._reference, 0.5 * SKIN_ANGSTROM):
            self._lists = self._new_lists(self.atoms, positions)
            self._reference = positions
        n, s = len(positions), len(self.potential.species)
        forces, energies, virial = np.empty((n, 3)), np.empty(n), np.empty((3, 3))
        kernels.compute(
            positions, self._types, self._lists, self.potential.tables, forces, energies, virial, np.zeros((s, s)), True
        )
        energy, unsorted = float(energies.sum()), np.empty((n, 3))
        unsorted[self._order] = forces
        self.results = {'energy': energy, 'free_energy': energy, 'forces': unsorted}

    def _new_lists(self, atoms: Atoms, positions: np.ndarray) -> InteractionLists:
        check_geometry(atoms, self.potential.source)
        cell = complete_cell(positions, atoms.cell.array, atoms.pbc)
        return interaction_lists(positions, self._types, cell, atoms.pbc, self.potential.tables, SKIN_ANGSTROM)


def _moved_less(positions: np.ndarray, reference: np.ndarray, distance: float) -> bool:
    """Whether no atom has moved so far; no if a position is NaN."""
    return bool((((positions - reference) ** 2).sum(axis=1) < distance**2).all())
