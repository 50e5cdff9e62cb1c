"""Relaxation of a packed structure with a potential: downhill, then at a temperature."""

from __future__ import annotations

from typing import Any

from ase import Atoms
from ase.optimize import FIRE

from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.md.guards import Stop
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.ufp.calculator import UltraFastCalculator
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: A structure is relaxed where no force is larger than this, eV/Å, or after so many steps: enough to begin dynamics.
RELAXED_FORCE, RELAXATION_STEPS = 0.3, 500


def relax(atoms: Atoms, potential: UltraFastPotential) -> Atoms:
    """The structure after its atoms went downhill in energy (FIRE), in a cell that stays the same."""
    relaxed = bare(atoms)
    relaxed.calc = UltraFastCalculator(potential)
    with progress(RELAXATION_STEPS, 'relaxing', 'step') as bar:
        for _ in FIRE(relaxed, logfile=None).irun(fmax=RELAXED_FORCE, steps=RELAXATION_STEPS):
            bar.update()
    relaxed.calc = None
    return relaxed


def anneal(
    atoms: Atoms, potential: UltraFastPotential, picoseconds: float, **settings: Any
) -> tuple[Atoms, Stop | None]:
    """The structure after a run at constant volume, and what stopped the run before its end.

    Args:
        atoms: where it begins; a structure with large forces is relaxed before.
        picoseconds: length of the run.
        settings: temperature, time step, seed, … as in :class:`~aiida_ufpnmr.engine.md.conditions.MdSettings`.
    """
    # Langevin dynamics takes away at once the heat that comes out of a structure far from its minimum
    simulation = Simulation(atoms, potential, source='packed glass', thermostat='langevin', **settings)
    steps, stop = max(1, round(1000 * picoseconds / simulation.timestep_fs)), None
    with progress(steps, 'annealing', 'step') as bar:
        while stop is None and simulation.step < steps:
            before = simulation.step
            stop = simulation.run(min(simulation.chunk, steps - before))
            bar.update(simulation.step - before)
    return simulation.atoms, stop
