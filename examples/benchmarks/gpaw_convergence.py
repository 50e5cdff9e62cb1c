"""How far the labels of GPAW are from convergence: cut-off, k-points, grid, self-consistency and vacuum, one at a time.

    python examples/benchmarks/gpaw_convergence.py -o FOLDER              # one shipped frame of β-Li3PS4, 25 min of CPU
    python examples/benchmarks/gpaw_convergence.py -o FOLDER --series grid scf
    python examples/benchmarks/gpaw_convergence.py -o FOLDER --structures mine.extxyz --index 5 --species Na

Every run is kept in FOLDER, so an interrupted check goes on where it was. Each row of the table is compared with the
last one of its series, which has the finest setting. Errors of the EFG are those of all components of the tensors of
one element, in kHz of its isotope (one component of C_Q); beside them the mean error of |C_Q|. Two series have
structures of their own: cut-offs up to 1400 eV a crystal of two atoms, and the vacuum a molecule whose strong dipole
is hard to keep away from its images.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from aiida_ufpnmr.engine.commands.shared import print_table, report
from aiida_ufpnmr.engine.dataset import energy, forces, read_dataset, stress
from aiida_ufpnmr.engine.dft.gpaw_engine import GpawEngine, GpawSettings, gpaw_settings
from aiida_ufpnmr.engine.dft.labelling import label_structures
from aiida_ufpnmr.engine.dft.labels import read_sources
from aiida_ufpnmr.engine.efg import quadrupolar_coupling
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import write_json

SHIPPED = Path(__file__).resolve().parents[1] / 'data' / 'li3ps4-pbe-gpaw.extxyz'
EV_PER_CUBIC_ANGSTROM_IN_GPA = 160.21766208

#: One k-point for cells of this size.
GAMMA_ONLY = {'kspacing_per_angstrom': 1.2}
#: The same for structures that need no other, on a grid without aliases, so that nothing but what is varied changes.
GAMMA_EXACT = {'kspacing_per_angstrom': 3.0, 'kpoint_centre': 'gamma', 'exact_grid': True}
#: Changes to the balanced protocol; the last of each series is its reference. The error of the cut-off hardly depends
#: on the k-points, so one will do to measure it.
SERIES: dict[str, dict[str, dict[str, Any]]] = {
    'cutoff': {f'{cutoff} eV': {'cutoff_ev': float(cutoff), **GAMMA_ONLY} for cutoff in (300, 400, 500, 600, 800)},
    'crystal': {f'{cutoff} eV': {'cutoff_ev': float(cutoff), **GAMMA_EXACT} for cutoff in (400, 600, 800, 1000, 1400)},
    'kpoints': {f'{spacing:g} / Å': {'kspacing_per_angstrom': spacing} for spacing in (1.2, 0.8, 0.52, 0.4)},
    'grid': {'own grid': {}, 'exact grid': {'exact_grid': True}},
    'scf': {
        'density 1e-4': {'density_tolerance': 1e-4, 'eigenstates_tolerance': 1e-6},
        'density 1e-5': {},
        'density 1e-7': {'density_tolerance': 1e-7, 'eigenstates_tolerance': 1e-9},
    },
    'vacuum': {f'{vacuum} Å': GAMMA_EXACT for vacuum in (4, 6, 8, 10, 12)},
}


def crystal() -> Atoms:
    """Two atoms, Li and S, in a face-centred cell without symmetry."""
    distance = 2.214
    cell = distance * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Atoms('LiS', distance * np.array([[0.05, 0.08, 0.03], [1, 1, 1]]), cell=cell, pbc=True)


def molecule(vacuum: float) -> Atoms:
    """LiCl along z, with so much vacuum between its images in every direction, Å."""
    length = 2.02
    atoms = Atoms('LiCl', [[0, 0, 0], [0, 0, length]], cell=[vacuum, vacuum, vacuum + length], pbc=True)
    atoms.center()
    return atoms


def source_of(series: str, run: str, arguments: argparse.Namespace) -> tuple[Path, str, str]:
    """The file with the structure of a run, its place there, and how the names of runs with it begin."""
    if series == 'crystal':
        path, atoms = arguments.output / 'crystal.xyz', crystal()
    elif series == 'vacuum':
        vacuum = run.split()[0]
        path, atoms = arguments.output / f'molecule-{vacuum}.xyz', molecule(float(vacuum))
    else:
        return arguments.structures, arguments.index, ''
    write(path, atoms, format='extxyz')
    return path, '0', f'{path.stem}-'


def labelled(series: str, run: str, arguments: argparse.Namespace):
    """The structure with the labels of these settings, and the CPU seconds that it took; kept ones from the folder."""
    source, index, prefix = source_of(series, run, arguments)
    changes = SERIES[series][run]
    settings = gpaw_settings({'protocol': 'balanced'}, changes)
    changed = {key: value for key, value in sorted(changes.items()) if value != getattr(GpawSettings(), key)}
    name = prefix + ('-'.join(f'{key}-{value}' for key, value in changed.items()) or 'balanced')
    output, timing = arguments.output / f'{name}.extxyz', arguments.output / f'{name}.json'
    engine = GpawEngine(settings, arguments.python)
    results = label_structures(read_sources(source, index), engine, output, cores=arguments.cores)
    if not results['enough']:
        raise InputError(f'{output}: {(results["failed"] + results["refused"])[0]["reason"]}')
    if not results['labelled_before']:
        write_json(timing, results['timing'])
    (atoms,) = read_dataset(output)
    return atoms, json.loads(timing.read_text())['cpu_s'] if timing.exists() else None


def compare(atoms, reference, species: str) -> dict[str, float]:
    """Errors of labels against those of a finer setting."""
    chosen = np.array(atoms.get_chemical_symbols()) == species
    unit = abs(quadrupolar_coupling(np.diag([-0.5, -0.5, 1.0]), species))
    difference = (atoms.arrays['efg'] - reference.arrays['efg'])[chosen] * unit
    couplings = [quadrupolar_coupling(a.arrays['efg'][chosen], species, signed=False) for a in (atoms, reference)]
    return {
        'efg_rms_khz': float(np.sqrt((difference**2).mean())),
        'efg_max_khz': float(abs(difference).max()),
        'v_zz_mean_khz': float(abs(difference[:, 2, 2]).mean()),
        'c_q_mean_khz': float(abs(couplings[0] - couplings[1]).mean()),
        'energy_meV_per_atom': 1000 * (energy(atoms) - energy(reference)) / len(atoms),
        'forces_rms_meV_per_angstrom': float(1000 * np.sqrt(((forces(atoms) - forces(reference)) ** 2).mean())),
        'stress_max_GPa': float(abs(stress(atoms) - stress(reference)).max() * EV_PER_CUBIC_ANGSTROM_IN_GPA),
    }


def main() -> None:
    """Run the series that are asked for and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FOLDER', help='where the runs are kept')
    parser.add_argument(
        '--structures', type=Path, default=SHIPPED, help='file with the structure; default: the shipped set'
    )
    parser.add_argument('--index', default='0', help='which of its structures')
    parser.add_argument('--species', default='Li', help='element whose EFG is compared')
    parser.add_argument('--series', nargs='+', choices=SERIES, default=list(SERIES), help='what is varied')
    parser.add_argument('--cores', type=int, default=1, help='processes for one structure, where GPAW has MPI')
    parser.add_argument('--python', help='the Python that has GPAW')
    parser.add_argument('--json', type=Path, help='write the errors as JSON')
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    for series in arguments.series:
        runs = {name: labelled(series, name, arguments) for name in SERIES[series]}
        reference = list(runs.values())[-1][0]
        species = 'Li' if series in ('crystal', 'vacuum') else arguments.species
        results[series] = {name: compare(atoms, reference, species) for name, (atoms, _) in runs.items()}
        for name, (atoms, seconds) in runs.items():
            results[series][name] |= {'kpoints': atoms.info['kpoints'], 'timing': {'cpu_s': seconds}}
        print_table(
            [
                [
                    series,
                    'k-points',
                    'EFG rms',
                    'max, kHz',
                    '|C_Q|, kHz',
                    'E, meV/atom',
                    'F rms, meV/Å',
                    'stress, GPa',
                    'CPU s',
                ],
                *(
                    [
                        name,
                        row['kpoints'],
                        f'{row["efg_rms_khz"]:.2f}',
                        f'{row["efg_max_khz"]:.2f}',
                        f'{row["c_q_mean_khz"]:.2f}',
                        f'{row["energy_meV_per_atom"]:.2f}',
                        f'{row["forces_rms_meV_per_angstrom"]:.2f}',
                        f'{row["stress_max_GPa"]:.2f}',
                        '-' if row['timing']['cpu_s'] is None else f'{row["timing"]["cpu_s"]:.0f}',
                    ]
                    for name, row in results[series].items()
                ),
            ]
        )
        print(flush=True)
    report({'index': arguments.index, 'species': arguments.species, 'series': results}, arguments.json)


if __name__ == '__main__':
    try:
        main()
    except InputError as error:
        sys.exit(str(error))
