"""Errors on structures that were set aside, and speed of dynamics, by the cut-offs of triplets.

    python examples/benchmarks/cutoffs.py --json out.json      # some minutes

Fits to the fifth version of the example set, structures with foreign bonds weighted by 0.1, without the groups that
its page keeps aside. Dynamics is that of 384 atoms of β-Li3PS4 at 300 K: CPU time on one core, the best of rounds that
alternate, so that a machine whose speed drifts slows all.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import argparse
import fnmatch
import json
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, read_dataset
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.ufp import PotentialSettings
from aiida_ufpnmr.engine.ufp.front import count_triplets
from aiida_ufpnmr.engine.ufp.metrics import predict
from aiida_ufpnmr.engine.ufp.problem import Problem

DATA = Path(__file__).resolve().parents[1] / 'data'
ASIDE = ('glass13_*', 'beta_450K', 'gamma_700K', 'amorphous2_500K', 'beta64_600K')
CUTOFFS = (
    {'Li': 4.0, 'P': 4.0, 'S': 4.0},
    {'Li': 3.5, 'P': 4.0, 'S': 4.0},
    {'Li': 3.5, 'P': 5.0, 'S': 4.0},
    {'Li': 3.5, 'P': 5.5, 'S': 4.0},
    {'Li': 3.5, 'P': 5.5, 'S': 4.5},
    {'Li': 3.5, 'P': 6.0, 'S': 4.5},
    {'Li': 5.0, 'P': 5.0, 'S': 5.0},
)
STEPS = 100


def parted(labels: Dataset) -> tuple[Dataset, dict[str, Dataset]]:
    """Structures to fit to, and those that are set aside: crystals, and a glass without foreign bonds."""
    aside = np.array([any(fnmatch.fnmatch(group, name) for name in ASIDE) for group in labels.groups])
    crystal = np.array([group.startswith(('beta', 'gamma')) for group in labels.groups])
    glass = np.array([group == 'amorphous2_500K' for group in labels.groups])
    train, crystals, glasses = (labels.subset(np.flatnonzero(chosen)) for chosen in (~aside, aside & crystal, glass))
    return train, {'crystals': crystals, 'glass': glasses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', metavar='FILE', help='write the results as JSON')
    parser.add_argument('--rounds', type=int, default=10, help='alternating rounds (default 10)')
    arguments = parser.parse_args()
    train, tests = parted(read_dataset(DATA / 'li3ps4-pbe-gpaw-v5.extxyz', ('energy', 'forces')))
    beta = read_dataset(DATA / 'li3ps4-pbe-gpaw.extxyz').structures[6]
    start = Atoms(beta.numbers, beta.positions, cell=beta.cell, pbc=True).repeat((2, 2, 3))
    results, runs = [], []
    for cutoffs in CUTOFFS:
        problem = Problem.of(train, PotentialSettings(triplet_cutoff=cutoffs, weights={'foreign bonds': 0.1}))
        potential = problem.fitted(range(len(train)))
        errors = {name: predict([(potential, test)]).errors() for name, test in tests.items()}
        counts = [float(count_triplets(Dataset((start,)), (cutoff,))[symbol][0]) for symbol, cutoff in cutoffs.items()]
        results.append(
            {
                'triplet_cutoff_angstrom': cutoffs,
                'triplets_per_atom': sum(counts),
                'columns': problem.basis.n_columns,
                'forces_rmse_meV_per_angstrom': {
                    name: found['forces_rmse_meV_per_angstrom'] for name, found in errors.items()
                },
            }
        )
        run = Simulation(start, potential, ensemble='nve', seed=1, timestep_fs=1.0, temperature_K=300.0)
        run.run(20)
        runs.append(run)
        print(cutoffs, {name: round(v) for name, v in results[-1]['forces_rmse_meV_per_angstrom'].items()}, flush=True)
    best = [np.inf] * len(runs)
    for _ in range(arguments.rounds):
        for r, run in enumerate(runs):
            begin = time.process_time()
            run.run(STEPS)
            best[r] = min(best[r], time.process_time() - begin)
    print(f'\n{"cut-offs, Å":24s} {"triplets":>8s} {"crystals":>9s} {"glass":>9s} {"atom-steps/s":>13s} {"ratio":>6s}')
    for found, seconds in zip(results, best):
        found['atom_steps_per_cpu_second'] = len(start) * STEPS / seconds
        found['speed_relative_to_4_angstrom'] = best[0] / seconds
        errors = found['forces_rmse_meV_per_angstrom']
        names = ' '.join(f'{symbol} {value:g}' for symbol, value in found['triplet_cutoff_angstrom'].items())
        print(
            f'{names:24s} {found["triplets_per_atom"]:8.0f} {errors["crystals"]:9.0f} {errors["glass"]:9.0f} '
            f'{found["atom_steps_per_cpu_second"]:13.0f} {found["speed_relative_to_4_angstrom"]:6.2f}'
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
