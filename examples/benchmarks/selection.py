"""Labels until a stated force error, and CPU time of a choice: by information, by a committee, at random.

    python examples/benchmarks/selection.py                   # five seeds, a minute
    python examples/benchmarks/selection.py --json out.json

A known potential, fitted to the shipped labels, stands in for DFT. Frames to choose from are of its runs, most of them
of a cold crystal. Four frames of that are labelled to begin with; then each method chooses four at a time, until
forces on other frames of a crystal, a hot one, another phase and a glass are within the target. A seed gives all
methods the same runs.

The committee is five potentials fitted to resamples of the labels, as ``fit-potential --resample`` draws them, without
what the command measures besides. Times are CPU seconds; those of the committee hold its fits. Every choice tells the
expected error and the grade of each frame, too, and at random that is all its time; the posterior behind them comes
with any fit.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_ufpnmr.engine.active import Candidate, select_structures
from aiida_ufpnmr.engine.active.selection import METHODS
from aiida_ufpnmr.engine.dataset import Dataset, bare, forces, read_dataset
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential, uncertainty
from aiida_ufpnmr.engine.ufp.problem import Problem

SHIPPED = Path(__file__).resolve().parent.parent / 'data' / 'li3ps4-pbe-gpaw.extxyz'
#: Fits that take half a second.
SETTINGS = PotentialSettings(bond_intervals=4, third_intervals=6, pair_intervals=10, folds=3)
#: Of each run the group it starts from, its temperature (K) and how many frames there are to choose from.
RUNS = (('beta_300K', 300, 120), ('beta_600K', 900, 10), ('gamma_300K', 600, 10), ('amorphous0_700K', 700, 10))
TEST_FRAMES = 8
MEMBERS = 5
TARGET_EV_PER_ANGSTROM, AT_A_TIME, MOST = 0.11, 4, 40


class Toy:
    """A known potential in the place of DFT, its runs to choose frames from, and as many frames to test on."""

    def __init__(self, truth: UltraFastPotential, shipped: Dataset, seed: int):
        self.truth, self.seed = truth, seed
        self.candidates, self.test = [], []
        for group, temperature, n in RUNS:
            starts = [atoms for atoms, name in zip(shipped, shipped.groups) if name == group]
            frames = self.run(starts[seed % len(starts)], temperature, seed, n)
            self.candidates += [Candidate(atoms, group, i) for i, atoms in enumerate(frames)]
            frames = self.run(starts[(seed + 1) % len(starts)], temperature, 100 + seed, TEST_FRAMES)
            self.test += [self.labelled(atoms, group) for atoms in frames]

    def run(self, start: Atoms, temperature: float, seed: int, n: int) -> list[Atoms]:
        """Frames of a run of the known potential, 0.2 ps apart."""
        simulation = Simulation(bare(start), self.truth, temperature_K=temperature, timestep_fs=2.0, seed=seed)
        simulation.run(500)
        frames = []
        for _ in range(n):
            if simulation.run(100) is not None:
                raise RuntimeError('a guard stopped the run')
            frames.append(bare(simulation.atoms))
        return frames

    def labelled(self, atoms: Atoms, group: str) -> Atoms:
        """A structure with energy and forces of the known potential."""
        copy = bare(atoms)
        found = self.truth.compute(copy)
        copy.calc = SinglePointCalculator(copy, energy=found.energy, forces=found.forces)
        copy.info['config_type'] = group
        return copy

    def labels_until_target(self, method: str) -> dict:
        """How many labels it takes until the forces of the test frames are within the target, ``MOST`` at most.

        Also whether they were, CPU seconds of each choice, and the share of force components of the last potential that
        lie within the expected error.
        """
        have = list(np.random.default_rng(self.seed).choice(100, AT_A_TIME, replace=False))
        choice_cpu_s = []
        while True:
            rows = [self.labelled(self.candidates[i].atoms, f'run{k % 6}') for k, i in enumerate(have)]
            labels = Dataset(tuple(rows))
            potential = fit_potential(labels, SETTINGS)[0]
            errors = np.concatenate([potential.compute(a).forces - forces(a) for a in self.test])
            reached = bool(np.sqrt(np.mean(errors**2)) <= TARGET_EV_PER_ANGSTROM)
            if reached or len(have) >= MOST:
                expected = np.concatenate([uncertainty(potential, atoms).forces for atoms in self.test])
                return {
                    'labels': len(have),
                    'reached': reached,
                    'fraction_within_1_sigma': float(np.mean(abs(errors) <= expected)),
                    'choice_cpu_s': choice_cpu_s,
                }
            rest = [i for i in range(len(self.candidates)) if i not in have]
            seed = 100 * self.seed + len(have)
            begin = time.process_time()
            found = select_structures(
                potential, [self.candidates[i] for i in rest], AT_A_TIME, method=method, seed=seed,
                committee=committee(labels, seed) if method == 'committee' else (),
            )  # fmt: skip
            choice_cpu_s.append(time.process_time() - begin)
            have += [rest[i] for i in found.index]


def committee(labels: Dataset, seed: int) -> list[UltraFastPotential]:
    """Potentials fitted to resamples of the labels."""
    members = []
    for i in range(MEMBERS):
        problem = Problem.of(labels, dataclasses.replace(SETTINGS, resample=MEMBERS * seed + i)).resampled()
        members.append(problem.fitted(range(len(problem.dataset))))
    return members


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=int, default=5, metavar='N', help='how many times, each with other runs')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    options = parser.parse_args()

    shipped = read_dataset(SHIPPED)
    truth = fit_potential(shipped, SETTINGS)[0]
    runs = {method: [] for method in METHODS}
    for seed in range(options.seeds):
        toy = Toy(truth, shipped, seed)
        for method in METHODS:
            runs[method].append(toy.labels_until_target(method))
    print(f'{"":12s} {"labels, by seed":>36s} {"median":>8s} {"CPU s a choice":>16s}')
    report = {}
    for method, found in runs.items():
        report[method] = row = {
            'labels': [one['labels'] if one['reached'] else None for one in found],
            'labels_median': float(np.median([one['labels'] for one in found])),
            'fraction_within_1_sigma': [one['fraction_within_1_sigma'] for one in found],
            'timing': {'choice_cpu_s': float(np.mean(np.concatenate([one['choice_cpu_s'] for one in found])))},
        }
        by_seed = ' '.join(str(one['labels']) if one['reached'] else f'> {MOST}' for one in found)
        print(f'{method:12s} {by_seed:>36s} {row["labels_median"]:8.0f} {row["timing"]["choice_cpu_s"]:16.2f}')
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
