"""What terms of up to four bodies on P and S add to the ultra-fast potential: errors on structures set aside, and cost.

    python examples/benchmarks/body_order.py --json out.json      # some minutes

Both potentials have the settings of the quickstart, once without ``moments``; neither sees the groups that the page of
the example data sets aside. The cost is that of one evaluation of forces of 384 atoms, neighbour lists given: CPU time
of one core, the best of rounds that alternate.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import argparse
import dataclasses
import fnmatch
import json
import time
from pathlib import Path

import numpy as np
import yaml

from aiida_ufpnmr.engine.dataset import bare, read_dataset
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, kernels
from aiida_ufpnmr.engine.ufp.lists import interaction_lists
from aiida_ufpnmr.engine.ufp.metrics import predict
from aiida_ufpnmr.engine.ufp.problem import Problem

EXAMPLES = Path(__file__).resolve().parents[1]
#: Groups that are set aside, by what they are.
ASIDE = {
    'crystals': ('beta_450K', 'gamma_700K', 'beta64_600K'),
    'crystals at 450 K': ('beta_450K',),
    'packed glasses': ('packed??_x*',),
    'packed 75:25': ('packed75_x*',),
    'packed 70:30': ('packed70_x*',),
    'packed 67:33': ('packed67_x*',),
    'amorphous2_500K': ('amorphous2_500K',),
    'glass13': ('glass13_*',),
}


def cpu_us_per_atom(potentials: dict[str, UltraFastPotential], rounds: int, repeats: int = 20) -> dict[str, float]:
    """CPU time of the forces of 384 atoms of β by each potential, µs an atom."""
    atoms = bare(read_dataset(EXAMPLES / 'data' / 'li3ps4-pbe-gpaw.extxyz').structures[6]).repeat((2, 2, 3))
    best = dict.fromkeys(potentials, np.inf)
    for _ in range(rounds):
        for name, potential in potentials.items():
            types = potential.types(atoms)
            order = np.argsort(types, kind='stable')
            positions, types = np.ascontiguousarray(atoms.positions[order]), types[order]
            lists = interaction_lists(positions, types, atoms.cell.array, atoms.pbc, potential.tables, 0.0)
            n, s = len(atoms), len(potential.species)
            found = np.empty((n, 3)), np.empty(n), np.empty((3, 3)), np.zeros((s, s))
            kernels.compute(positions, types, lists, potential.tables, *found, False)
            begin = time.process_time()
            for _ in range(repeats):
                kernels.compute(positions, types, lists, potential.tables, *found, False)
            best[name] = min(best[name], 1e6 * (time.process_time() - begin) / (repeats * n))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    parser.add_argument('--rounds', type=int, default=10, help='alternating rounds of timing (default 10)')
    arguments = parser.parse_args()
    labels = read_dataset(EXAMPLES / 'data' / 'li3ps4-pbe-gpaw-v6.extxyz')
    groups = labels.groups
    aside = {
        kind: [any(fnmatch.fnmatch(group, pattern) for pattern in patterns) for group in groups]
        for kind, patterns in ASIDE.items()
    }
    train = labels.subset(np.flatnonzero(~np.any(list(aside.values()), axis=0)))
    chosen = yaml.safe_load((EXAMPLES / 'quickstart.yaml').read_text())['fit_potential']['settings']
    settings = PotentialSettings(**chosen)
    forms = {'triplets': dataclasses.replace(settings, moments=None, ridge_moments=None), 'moments': settings}
    report: dict = {'structures': len(train), 'columns': {}}
    potentials = {}
    for name, form in forms.items():
        problem = Problem.of(train, form)
        report['columns'][name] = problem.basis.n_columns
        potentials[name] = problem.fitted(np.arange(len(train)))
    print(f'{"forces, meV/Å, and energy, meV/atom":36s} {"triplets":>12s} {"moments":>12s}')
    for kind, chosen in aside.items():
        test = labels.subset(np.flatnonzero(chosen))
        report[kind] = row = {name: predict([(potential, test)]).errors() for name, potential in potentials.items()}
        errors = [(e['forces_rmse_meV_per_angstrom'], e['energy_rmse_meV_per_atom']) for e in row.values()]
        change = 100 * (errors[1][0] / errors[0][0] - 1)
        print(f'{kind:36s}', *(f'{force:7.1f} {energy:4.1f}' for force, energy in errors), f'{change:+5.0f} %')
    report['cpu_us_per_atom'] = cpu_us_per_atom(potentials, arguments.rounds)
    print('CPU µs an atom:', ', '.join(f'{name} {value:.2f}' for name, value in report['cpu_us_per_atom'].items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
