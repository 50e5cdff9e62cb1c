"""EFG of molecules: the PAW density of GPAW, all electrons with Gaussians (PySCF), and microwave spectroscopy.

    pip install pyscf
    python examples/benchmarks/efg_molecules.py -o FOLDER --json efg.json      # ten minutes of CPU

Both programs compute PBE at the measured bond length: GPAW as ``ufpnmr label`` does, in a cube of 12 Å on exact grids,
PySCF in uncontracted cc-pCVQZ, without relativity. Where they agree, the tensors are those of PBE; the rest of the way
to the measured coupling is PBE's own, and that of the vibration of the molecule.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from aiida_ufpnmr.engine.commands.shared import print_table, report
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.dft.gpaw_engine import GpawEngine, GpawSettings
from aiida_ufpnmr.engine.dft.labelling import label_structures
from aiida_ufpnmr.engine.dft.labels import read_sources
from aiida_ufpnmr.engine.efg import quadrupolar_coupling

BOX_ANGSTROM = 12.0
SETTINGS = GpawSettings(cutoff_ev=600.0, kpoints=(1, 1, 1), kpoint_centre='gamma', exact_grid=True)
#: Basis of the other program, its functions of the core not contracted.
BASES = {'H': 'cc-pvqz', 'Li': 'cc-pcvqz', 'Na': 'cc-pcvqz', 'Cl': 'cc-pcvqz'}
#: Atoms, equilibrium distance in Å, and the measured couplings of the vibrational ground state in MHz.
MOLECULES: dict[str, tuple[tuple[str, str], float, dict[str, float]]] = {
    'HCl': (('H', 'Cl'), 1.2746, {'Cl': -67.62}),
    'LiCl': (('Li', 'Cl'), 2.0207, {'Li': 0.250, 'Cl': -3.07}),
    'NaCl': (('Na', 'Cl'), 2.3609, {'Na': -5.67, 'Cl': -5.65}),
}


def molecule(name: str) -> Atoms:
    """A molecule along z in the middle of its box."""
    symbols, distance, _ = MOLECULES[name]
    atoms = Atoms(symbols, [[0, 0, 0], [0, 0, distance]], cell=[BOX_ANGSTROM] * 3, pbc=True)
    atoms.center()
    atoms.info['config_type'] = name
    return atoms


def labelled(folder: Path, python: str | None) -> dict[str, Atoms]:
    """The molecules with labels of GPAW; those that are there already are kept."""
    write(folder / 'molecules.extxyz', [molecule(name) for name in MOLECULES])
    sources = read_sources(folder / 'molecules.extxyz', ':')
    label_structures(sources, GpawEngine(SETTINGS, python), folder / 'labels.extxyz')
    return {atoms.info['config_type']: atoms for atoms in read_dataset(folder / 'labels.extxyz')}


def all_electron(name: str) -> np.ndarray:
    """EFG tensors (2, 3, 3) in a.u. of all electrons: nuclei, and second derivatives of 1/r in the density of PBE."""
    from pyscf import dft, gto

    symbols, distance, _ = MOLECULES[name]
    basis = {symbol: gto.uncontract(gto.basis.load(BASES[symbol], symbol)) for symbol in symbols}
    found = gto.M(atom=[(symbols[0], (0, 0, 0)), (symbols[1], (0, 0, distance))], basis=basis, verbose=0)
    solver = dft.RKS(found, xc='pbe')
    solver.grids.level, solver.conv_tol = 5, 1e-10
    solver.kernel()
    density, tensors = solver.make_rdm1(), []
    for at in range(2):
        with found.with_rinv_at_nucleus(at):
            halves = found.intor('int1e_ipiprinv') + found.intor('int1e_iprinvip')
        electrons = -2 * np.einsum('cij,ji->c', halves, density).reshape(3, 3)
        apart = found.atom_coord(1 - at) - found.atom_coord(at)
        r = np.linalg.norm(apart)
        nuclei = found.atom_charge(1 - at) * (3 * np.outer(apart, apart) - r**2 * np.eye(3)) / r**5
        tensor = nuclei + (electrons + electrons.T) / 2
        tensors.append(tensor - np.trace(tensor) / 3 * np.eye(3))
    return np.array(tensors)


def main() -> None:
    """Compute all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='FOLDER', help='where the runs are kept')
    parser.add_argument('--python', help='the Python that has GPAW')
    parser.add_argument('--json', type=Path, help='write the couplings as JSON')
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    ours = labelled(arguments.output, arguments.python)
    rows: list[tuple[str, ...]] = [('molecule', 'nucleus', 'GPAW, MHz', 'all electrons, MHz', 'measured, MHz')]
    results: dict[str, Any] = {}
    for name, (symbols, _, measured) in MOLECULES.items():
        theirs = all_electron(name)
        for at, symbol in enumerate(symbols):
            if symbol in measured:
                pair = [
                    quadrupolar_coupling(tensor, symbol) / 1000 for tensor in (ours[name].arrays['efg'][at], theirs[at])
                ]
                rows.append((name, symbol, *(f'{value:.3f}' for value in (*pair, measured[symbol]))))
                keys = ('gpaw_MHz', 'all_electron_MHz', 'measured_MHz')
                results[f'{name} {symbol}'] = dict(zip(keys, (*pair, measured[symbol])))
    print_table(rows)
    report(results, arguments.json)


if __name__ == '__main__':
    main()
