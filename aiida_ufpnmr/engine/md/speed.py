"""Speed of dynamics on one core, measured by short runs."""

from __future__ import annotations

import time

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, bare, forces
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

#: Atoms of the cell at least, so that lists and integration have their usual share.
LEAST_ATOMS = 300
#: Steps of a round; the fastest of the rounds counts, since others on the machine only slow it.
STEPS, ROUNDS = 20, 5


def cell_for_speed(dataset: Dataset) -> Atoms:
    """The calmest of the largest structures, repeated along its shortest periodic axis until there are enough atoms."""

    def rank(atoms: Atoms) -> tuple[int, float]:
        components = forces(atoms)
        assert components is not None
        return -len(atoms), float(np.mean(components**2))

    calmest = min(dataset, key=rank)
    cell = bare(calmest)
    while len(cell) < LEAST_ATOMS and cell.pbc.any():
        shortest = int(np.argmin(np.where(cell.pbc, cell.cell.lengths(), np.inf)))
        cell = cell.repeat([2 if axis == shortest else 1 for axis in range(3)])
    return cell


def atom_steps_per_second(potential: UltraFastPotential, cell: Atoms) -> float | None:
    """Atom-steps that dynamics takes in a second of CPU time on one core, at constant energy from 300 K.

    ``None`` where a guard stops the run before anything is measured.
    """
    run = Simulation(cell, potential, ensemble='nve', seed=0, timestep_fs=1.0, temperature_K=300.0)
    stop = run.run(STEPS)
    rates: list[float] = []
    while stop is None and len(rates) < ROUNDS:
        begin = time.process_time()
        stop = run.run(STEPS)
        if stop is None:
            rates.append(len(cell) * STEPS / (time.process_time() - begin))
    return max(rates, default=None)
