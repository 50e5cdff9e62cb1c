"""Fit of a potential to labels of hot Li3PS4, beside what the UF3 package needs and reaches on the same labels.

    python examples/benchmarks/ufp_fit.py --data FOLDER              # FOLDER holds the extended XYZ files below
    python examples/benchmarks/ufp_fit.py --data FOLDER --json out.json

The labels (Chen et al., Nat. Commun. 16, 1057 (2025), CP2K, 3000 K) carry no licence, so they are not part of this
project. Without them nothing is measured. The numbers of UF3 (its master branch) were measured on one core, with pairs of
1.5 to 6.5 Å (24 intervals), legs of 1.5 to 4.25 Å (6) and third sides of 1.5 to 8.5 Å (12): 5826 columns. Here the
cut-offs are the same and stresses are left out, as there. Cross-validation on the training frames is flat to 1 % in the
forces and 5 % in the energies around the other settings; of these, the error of the energies was taken small, as there.
Times are CPU seconds of one core, without reading files and compiling.
"""

from __future__ import annotations

import os

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[name] = '1'

import argparse
import json
import sys
import time
from pathlib import Path

from aiida_ufpnmr.engine.dataset import Dataset, forces, read_dataset
from aiida_ufpnmr.engine.ufp import PotentialSettings
from aiida_ufpnmr.engine.ufp.fitting import Problem, run_fit

BETA, GLASS = 'beta_Li3PS4_f0-799_every4.extxyz', 'glass75_Li91P35S129_iter0_every2.extxyz'
SETTINGS = PotentialSettings(
    pair_cutoff=6.5,
    pair_intervals=24,
    trio_cutoff=4.25,
    leg_intervals=8,
    third_intervals=10,
    curvature_trio=20.0,
    energy_error_meV_per_atom=0.7,
    stress_error_GPa=1e6,
)
#: UF3: CPU seconds per 1000 atoms for the features of β and of glass, for the normal equations, and of one solution.
UF3_FEATURES_BETA_S, UF3_FEATURES_GLASS_S, UF3_EQUATIONS_S, UF3_SOLVE_S = 21.0, 43.0, 2.9, 5.0
#: UF3: errors of the same fits; energies also after the mean offset.
UF3 = {
    'withheld': {'forces_rmse_eV_per_angstrom': 0.210, 'energy_rmse_meV_per_atom': 5.08, 'after_offset': 5.01},
    'beta': {'forces_rmse_eV_per_angstrom': 0.172, 'energy_rmse_meV_per_atom': 1.10},
    'beta_and_glass': {'forces_rmse_eV_per_angstrom': 0.175, 'energy_rmse_meV_per_atom': 2.10},
}


def uf3_cpu_s(train: Dataset) -> float:
    """What the UF3 package takes for a training set, from its measured times."""
    beta = sum(len(atoms) for atoms in train if len(atoms) == 64)
    others = sum(len(atoms) for atoms in train) - beta
    features = UF3_FEATURES_BETA_S * beta + UF3_FEATURES_GLASS_S * others
    return (features + UF3_EQUATIONS_S * (beta + others)) / 1000 + UF3_SOLVE_S


def measure(name: str, train: Dataset, test: Dataset) -> dict:
    """Fit and errors of one split."""
    begin = time.process_time()
    results = run_fit(Problem.of(train, SETTINGS), test, keep_posterior=False).results
    cpu_s = time.process_time() - begin
    return {
        'forces_rmse_eV_per_angstrom': results['forces_rmse_meV_per_angstrom'] / 1000,
        'energy_rmse_meV_per_atom': results['energy_rmse_meV_per_atom'],
        'energy_rmse_after_offset_meV_per_atom': results['energy_rmse_after_offset_meV_per_atom'],
        'forces_rmse_eV_per_angstrom_by_species': {
            symbol: value / 1000 for symbol, value in results['forces_rmse_meV_per_angstrom_by_species'].items()
        },
        'columns': results['columns'],
        'training_atoms': sum(map(len, train)),
        'cpu_s': cpu_s,
        'cpu_s_per_1000_atoms': 1000 * cpu_s / sum(map(len, train)),
        'uf3': {**UF3[name], 'cpu_s': uf3_cpu_s(train)},
        'ratio_of_cpu_to_uf3': cpu_s / uf3_cpu_s(train),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, metavar='FOLDER', help=f'folder with {BETA} and {GLASS}')
    parser.add_argument('--json', type=Path, metavar='FILE')
    options = parser.parse_args()
    if options.data is None or not (options.data / BETA).is_file() or not (options.data / GLASS).is_file():
        print(f'nothing measured: give --data FOLDER with {BETA} and {GLASS}', file=sys.stderr)
        return 2
    beta = read_dataset(options.data / BETA, ('energy', 'forces'))
    glass = read_dataset(options.data / GLASS, ('energy', 'forces'))
    run_fit(Problem.of(beta.subset([0]), PotentialSettings(leg_intervals=4)))  # compile
    both = Dataset(tuple(beta) + tuple(glass)[:40], 'beta and glass')
    splits = {
        'withheld': (beta.subset(range(176)), beta.subset(range(176, 200))),
        'beta': (beta, beta),
        'beta_and_glass': (both, beta),
    }
    results = {name: measure(name, train, test) for name, (train, test) in splits.items()}
    titles = {
        'withheld': 'β 0-175, errors on β 176-199',
        'beta': 'β 0-199, training errors',
        'beta_and_glass': 'β and 40 glasses, training errors on β',
    }
    print(f'{"":42s} {"here":>22s}   {"uf3, measured on one core":>26s}')
    for name, found in results.items():
        other = found['uf3']
        print(titles[name])
        for label, key, unit in (
            ('  forces RMSE', 'forces_rmse_eV_per_angstrom', 'eV/Å'),
            ('  energy RMSE', 'energy_rmse_meV_per_atom', 'meV/atom'),
            ('  CPU time', 'cpu_s', 's'),
        ):
            print(f'{label + ", " + unit:42s} {found[key]:22.3f}   {other[key]:26.3f}')
        print(f'{"  energy RMSE after mean offset, meV/atom":42s} {found["energy_rmse_after_offset_meV_per_atom"]:22.3f}')
    rms = float(sum((forces(atoms) ** 2).sum() for atoms in beta) / (3 * sum(map(len, beta)))) ** 0.5
    print(f'rms of the labelled forces: {rms:.2f} eV/Å')
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2, sort_keys=True) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
