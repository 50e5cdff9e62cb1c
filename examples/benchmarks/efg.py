"""Time of EFG tensors per ion on one core, beside featomic's for the same descriptor, and memory of a large fit.

    python examples/benchmarks/efg.py                           # 384 atoms of β-Li3PS4, 144 Li
    python examples/benchmarks/efg.py --environments 15000      # time and peak memory of a fit to so many Li, too
    python examples/benchmarks/efg.py --json out.json

The model is fitted to the shipped labels with its default settings (6 Å, 6 radial functions, l ≤ 8, messages). The
time of a tensor includes neighbours, expansion, and everything after. featomic computes the same λ = 2 SOAP without
mixed channels (EquivariantPowerSpectrum over SphericalExpansion); its time is that of the descriptor alone, without
any model, for the Li of the same cell. Where featomic is not installed, its time is left out.

The large fit takes the shipped structures again and again, rattled by 0.02 Å with their labels as they are: its errors
mean nothing, its time and memory do.
"""

from __future__ import annotations

import os

os.environ.update(
    OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1', NUMBA_NUM_THREADS='1', RAYON_NUM_THREADS='1'
)

import argparse
import dataclasses
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, read_dataset
from aiida_ufpnmr.engine.efg import EfgSettings, fit_efg_model

SHIPPED = Path(__file__).resolve().parent.parent / 'data' / 'li3ps4-pbe-gpaw.extxyz'
#: [H]: CPU seconds of EFG tensors per ion: 500 CPU h for 10⁴ snapshots of 216 Li.
PAPER_S_PER_ION = 0.83


def cpu_ms_per_ion(call, ions: int, least_s: float = 1.0) -> float:
    """CPU time of a call, per ion; the least of several, after one that compiles."""
    call()
    times, begin = [], time.process_time()
    while time.process_time() - begin < least_s or len(times) < 3:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * min(times) / ions


def featomic_ms_per_ion(atoms: Atoms, settings: EfgSettings, ions: np.ndarray) -> float | None:
    """Time of featomic for the λ = 2 SOAP of the Li, with the same expansion; ``None`` where it is not installed."""
    try:
        import featomic
        from metatensor import Labels
    except ImportError:
        return None
    density = {
        'type': 'Gaussian',
        'width': settings.sigma,
        'scaling': {'type': 'Willatt2018', 'scale': settings.scale, 'rate': 1.0, 'exponent': settings.exponent},
        'center_atom_weight': 0.0,
    }
    expansion = featomic.SphericalExpansion(
        cutoff={'radius': settings.cutoff, 'smoothing': {'type': 'ShiftedCosine', 'width': settings.cutoff_width}},
        density=density,
        basis={
            'type': 'TensorProduct',
            'max_angular': settings.l_max,
            'radial': {'type': 'Gto', 'max_radial': settings.n_max - 1},
        },
    )
    calculator = featomic.clebsch_gordan.EquivariantPowerSpectrum(expansion)
    chosen = {
        'selected_keys': Labels(['o3_lambda', 'o3_sigma'], np.array([[2, 1]])),
        'selected_samples': Labels(['atom'], ions.reshape(-1, 1)),
        'neighbors_to_properties': True,
    }
    return cpu_ms_per_ion(lambda: calculator.compute(atoms, **chosen), len(ions), least_s=0.0)


def measure_prediction() -> dict:
    dataset = read_dataset(SHIPPED, ('efg',), 'Li')
    linear, _ = fit_efg_model(dataset, 'Li')
    kernel, _ = fit_efg_model(dataset, 'Li', dataclasses.replace(EfgSettings(), zeta=2))
    atoms = dataset.structures[6] * (2, 2, 3)
    ions = linear.ions(atoms.numbers)
    found = {'atoms': len(atoms), 'ions': len(ions), 'features': linear.posterior.design.n_columns}
    for name, model in (('linear', linear), ('kernel', kernel)):
        plain, judge = (f(atoms.numbers, atoms.pbc) for f in (model.predictor, model.predictor_with_errors))
        for key, call in (('tensors', plain), ('tensors_and_errors', judge)):
            time_ms = cpu_ms_per_ion(lambda call=call: call(atoms.positions, atoms.cell.array), len(ions))
            found[f'{name}_{key}_ms_per_ion'] = time_ms
    found['featomic_descriptor_ms_per_ion'] = featomic_ms_per_ion(atoms, linear.settings, ions)
    found['cpu_h_for_2_16_million_ions'] = found['linear_tensors_ms_per_ion'] * 2.16e6 / 3.6e6
    return found


def measure_fit(environments: int) -> dict:
    """Time and peak memory of a fit to so many environments."""
    shipped = read_dataset(SHIPPED, ('efg',), 'Li')
    rng = np.random.default_rng(0)
    structures, count = [], 0
    while count < environments:
        atoms = shipped.structures[len(structures) % len(shipped)].copy()
        atoms.positions += rng.normal(scale=0.02, size=(len(atoms), 3))
        count += int((atoms.numbers == 3).sum())
        structures.append(atoms)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, begin_cpu = time.perf_counter(), time.process_time()
    _, results = fit_efg_model(Dataset(tuple(structures)), 'Li')
    return {
        'environments': count,
        'features': results['features'],
        'peak_memory_GB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        'memory_before_the_fit_GB': before * 1024 / 1e9,
        'wall_s': time.perf_counter() - begin,
        'cpu_s': time.process_time() - begin_cpu,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--environments', type=int, metavar='N', help='measure a fit to N environments, too')
    parser.add_argument('--json', type=Path, metavar='FILE')
    options = parser.parse_args()
    results = {}
    if options.environments is not None:
        # first, since the peak of a process never falls
        results['fit'] = found = measure_fit(options.environments)
        print(
            f'fit to {found["environments"]} environments, {found["features"]} features: {found["cpu_s"]:.0f} CPU s, '
            f'peak memory {found["peak_memory_GB"]:.2f} GB'
        )
    results['prediction'] = found = measure_prediction()
    print(f'{found["atoms"]} atoms, {found["ions"]} Li, one core, ms per Li')
    for label, key in (
        ('linear model, tensors', 'linear_tensors_ms_per_ion'),
        ('linear model, tensors and expected errors', 'linear_tensors_and_errors_ms_per_ion'),
        ('SA-GPR (zeta 2, 300 points), tensors', 'kernel_tensors_ms_per_ion'),
        ('SA-GPR, tensors and expected errors', 'kernel_tensors_and_errors_ms_per_ion'),
        ('featomic, the descriptor alone', 'featomic_descriptor_ms_per_ion'),
    ):
        print(f'  {label:44s} {"not installed" if found[key] is None else format(found[key], ".3f"):>14s}')
    print(
        f'2.16 million ions: {found["cpu_h_for_2_16_million_ions"]:.2f} CPU h '
        f'([H]: {PAPER_S_PER_ION * 2.16e6 / 3600:.0f} CPU h)'
    )
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2, sort_keys=True) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
