"""``ufpnmr compile``."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list

from aiida_ufpnmr.engine import compiled
from aiida_ufpnmr.engine.commands.efg import fit_efg
from aiida_ufpnmr.engine.commands.md import md
from aiida_ufpnmr.engine.commands.potential import fit_potential
from aiida_ufpnmr.engine.commands.shared import Command, json_option, print_table, report
from aiida_ufpnmr.engine.dataset import Dataset, write_dataset


def _labelled_crystals() -> Dataset:
    """Shaken LiCl with the energies of a Lennard-Jones crystal and the tensors of point charges: enough for any fit to
    work."""
    structures = []
    for seed in range(6):
        atoms = bulk('LiCl', 'rocksalt', 5.13, cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.info['config_type'] = f'group{seed % 3}'
        pairs = LennardJones(sigma=2.2, epsilon=0.1, rc=6.0)
        labels = {name: pairs.get_property(name, atoms) for name in ('energy', 'forces', 'stress')}
        atoms.calc = SinglePointCalculator(atoms, **labels)
        centre, vector = neighbor_list('iD', atoms, 4.0)
        r = np.linalg.norm(vector, axis=1)[:, None, None]
        tensors = (3 * vector[:, :, None] * vector[:, None, :] - r**2 * np.eye(3)) / r**5
        atoms.arrays['efg'] = np.array([tensors[centre == i].sum(axis=0) for i in range(len(atoms))])
        structures.append(atoms)
    return Dataset(tuple(structures))


@click.command('compile', cls=Command, example='ufpnmr compile')
@json_option
def compile(json_path):
    """Compile the kernels of fits, of dynamics and of EFG tensors, so that no run has to wait for them.

    They are made for this processor and kept in the user's cache folder, or where NUMBA_CACHE_DIR or XDG_CACHE_HOME
    say. Those of dynamics come in three forms: triplets of all centres reach equally far, or not (fit-potential
    --protocol), or not and with terms of moments. What an option asks for besides (--threads, --precision float32,
    some analyses) is compiled when it is first used.
    """
    folder = compiled.cache_folder()
    before = set(folder.rglob('*.kernel'))
    compiled.aloud = True
    begin, begin_cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        train, potential, model, run = (str(Path(place) / name) for name in ('a.extxyz', 'p.h5', 'm.h5', 'run.h5'))
        uneven, moments = (Path(place) / f'{name}.yaml' for name in ('uneven', 'moments'))
        uneven.write_text('triplet_cutoff: {default: 4.0, Cl: 3.5}\n')
        moments.write_text(f'{uneven.read_text()}moments: [Cl]\n')
        dataset = _labelled_crystals()
        write_dataset(train, dataset)
        start = str(Path(place) / 'start.cif')
        dataset.structures[0].write(start)
        for command, arguments in (
            (fit_potential, [train, '-o', potential]),
            (fit_efg, [train, '-o', model, '--species', 'Li']),
            (md, [potential, start, '-o', run, '--steps', '2', '--every', '1', '--efg-model', model]),
            *(
                step
                for settings in (uneven, moments)
                for step in (
                    (fit_potential, [train, '-o', potential, '--settings', str(settings), '--no-posterior']),
                    (md, [potential, start, '-o', run, '--steps', '2', '--every', '1', '--overwrite']),
                )
            ),
        ):
            command.main(arguments, standalone_mode=False)
    kernels = set(folder.rglob('*.kernel'))
    timing = {'wall_s': time.perf_counter() - begin, 'cpu_s': time.process_time() - begin_cpu}
    results = {'folder': str(folder), 'compiled': len(kernels - before), 'timing': timing}
    report(results, json_path)
    print_table(
        [
            ['quantity', 'value'],
            ['folder', folder],
            ['kernels compiled', results['compiled']],
            ['seconds', f'{timing["wall_s"]:.0f}'],
        ]
    )
