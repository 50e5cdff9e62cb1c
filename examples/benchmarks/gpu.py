"""What a GPU does, checked and timed in one run of less than five minutes; prints JSON.

    python examples/benchmarks/gpu.py --json gpu.json

Li3PS4 with a potential and an EFG model that are fitted to the shipped structures first. Checked are forces against
double precision, also of 24 576 atoms and of a potential with moments; EFG tensors against double precision, and that a
replica has the same bits alone and among others; drift at constant energy over 100 ps; temperature, pressure, g(r) of
Li and S, and the displacement of Li against the processor, with standard errors over replicas; and that a run which was
killed goes on to the same file, tensors included. Timed are replicas of 384 atoms, one system of 24 576 atoms, and 264
replicas with EFG tensors every 20 fs, with and without writing, from which the time of 1 µs follows. ``--scale 0.1``
takes a tenth of the steps.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.efg import EfgModel, fit_efg_model
from aiida_ufpnmr.engine.gpu.device import on_gpu
from aiida_ufpnmr.engine.gpu.simulation import GpuReplicas, GpuSimulation
from aiida_ufpnmr.engine.hdf5 import content_hash
from aiida_ufpnmr.engine.md import Simulation
from aiida_ufpnmr.engine.md.output import Output
from aiida_ufpnmr.engine.md.recording import EfgOutput
from aiida_ufpnmr.engine.md.run import md_requests
from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.engine.ufp import PotentialSettings, UltraFastPotential, fit_potential

DATA = Path(__file__).parents[1] / 'data' / 'li3ps4-pbe-gpaw.extxyz'
TIMESTEP_FS = 2.0
#: Steps between EFG tensors: 20 fs.
EFG_EVERY = 10
LANGEVIN: dict[str, Any] = {
    'thermostat': 'langevin',
    'timestep_fs': TIMESTEP_FS,
    'temperature_K': 700.0,
    'guard_fraction': 0.5,
}
#: Bins of g(r), Å.
RADII = np.linspace(2.0, 6.0, 81)


def replicas(
    atoms: Atoms, potential: UltraFastPotential, number: int, model: EfgModel | None = None, **conditions: Any
) -> GpuReplicas:
    """Replicas on the GPU with seeds from 0 on, and with tensors of a model every 20 fs where one is given."""
    simulations = [GpuSimulation(atoms, potential, seed=seed, **conditions) for seed in range(number)]
    return on_gpu(simulations, None if model is None else EfgOutput.of(model, atoms), EFG_EVERY)


def force_errors(atoms: Atoms, potential: UltraFastPotential) -> dict[str, float]:
    """Largest deviation of a component from double precision, and the largest component, after 100 steps."""
    group = replicas(atoms, potential, 1, **LANGEVIN)
    group.run([100])
    (simulation,) = group.simulations
    exact = potential.compute(simulation.atoms)
    return {
        'atoms': len(atoms),
        'largest_error_eV_per_angstrom': float(abs(simulation.forces - exact.forces).max()),
        'largest_force_eV_per_angstrom': float(abs(exact.forces).max()),
        'energy_error_eV_per_atom': float(abs(simulation.potential_energy - exact.energy) / len(atoms)),
    }


def tensor_errors(atoms: Atoms, potential: UltraFastPotential, model: EfgModel) -> dict[str, Any]:
    """Largest deviation of an element of a tensor from double precision, and the largest element, after 100 steps."""
    group = replicas(atoms, potential, 1, model, **LANGEVIN)
    group.run([100])
    (simulation,) = group.simulations
    assert group.efg is not None
    found, exact = group.efg.predict(simulation), model.predict(simulation.atoms)
    return {
        'ions': len(exact),
        'largest_error_au': float(abs(found - exact).max()),
        'largest_element_au': float(abs(exact).max()),
        'predicted_by': group.efg.device,
    }


def same_tensors_among_others(atoms: Atoms, potential: UltraFastPotential, model: EfgModel, steps: int) -> bool:
    """Whether the tensors of a replica have the same bits alone and among others."""
    tensors = []
    for number in (1, 5):
        group = replicas(atoms, potential, number, model, **LANGEVIN)
        group.run([steps] * number)
        tensors.append(group.simulations[0].made.components)
    return bool(np.array_equal(tensors[0], tensors[1])) and len(tensors[0]) == steps // EFG_EVERY


def drift(atoms: Atoms, potential: UltraFastPotential, steps: int) -> dict[str, float]:
    """Slope of the total energy at constant energy, from a start at 300 K."""
    cold = {**LANGEVIN, 'temperature_K': 300.0}
    start = replicas(atoms, potential, 1, **cold)
    start.run([1000])
    begin = start.simulations[0]
    nve = {'ensemble': 'nve', 'timestep_fs': TIMESTEP_FS, 'temperature_K': 300.0, 'guard_fraction': 0.5}
    simulation = GpuSimulation(begin.atoms, potential, velocities=begin.velocities, **nve)
    group = on_gpu([simulation])
    targets = np.linspace(0, steps, 201).astype(int)[1:]
    energies = []
    for target in targets:
        group.run([target])
        energies.append(1000 * simulation.total_energy / len(atoms))
    slope = np.polyfit(targets * TIMESTEP_FS / 1000, energies, 1)[0]
    return {'ps': steps * TIMESTEP_FS / 1000, 'drift_meV_per_atom_per_ps': float(slope)}


class Averages:
    """Averages over one run: temperature, pressure, g(r), and the displacement of Li from the beginning to the end."""

    def __init__(self, simulation: Simulation):
        self.simulation, self.first = simulation, simulation.positions
        numbers = simulation.atoms.numbers
        self.lithium, self.sulphur = np.flatnonzero(numbers == 3), np.flatnonzero(numbers == 16)
        self.rows: list[list[float]] = []
        self.radial = np.zeros(len(RADII) - 1)

    def add(self) -> None:
        """Take the present step into account."""
        simulation, cell = self.simulation, self.simulation.cell
        self.rows.append([simulation.temperature, simulation.pressure_GPa])
        positions = simulation.positions
        vectors = positions[self.sulphur][None] - positions[self.lithium][:, None]
        fractions = vectors @ np.linalg.inv(cell)
        distances = np.linalg.norm((fractions - np.rint(fractions)) @ cell, axis=-1)
        counts = np.histogram(distances, RADII)[0]
        shells = 4 / 3 * np.pi * np.diff(RADII**3) * len(self.sulphur) / simulation.volume
        self.radial += counts / shells / len(self.lithium)

    def result(self) -> tuple[float, float, np.ndarray, float]:
        """Temperature (K), pressure (GPa), g(r), mean squared displacement of Li (Å²)."""
        temperature, pressure = np.mean(self.rows, axis=0)
        moved = (self.simulation.positions - self.first)[self.lithium]
        return temperature, pressure, self.radial / len(self.rows), float((moved**2).sum(axis=1).mean())


def against_processor(atoms: Atoms, potential: UltraFastPotential, steps: int) -> dict[str, Any]:
    """Averages of 32 replicas on the GPU and of four on the processor, with standard errors."""
    warm, every = steps // 4, 50
    found: dict[str, Any] = {}
    for name, number in (('cpu', 4), ('gpu', 32)):
        if name == 'gpu':
            group = replicas(atoms, potential, number, **LANGEVIN)
            simulations: list[Any] = list(group.simulations)
            group.run([warm] * number)
        else:
            simulations = [Simulation(atoms, potential, seed=1000 + seed, **LANGEVIN) for seed in range(number)]
            for simulation in simulations:
                simulation.run(warm)
        averages = [Averages(simulation) for simulation in simulations]
        for target in range(warm + every, steps + 1, every):
            if name == 'gpu':
                group.run([target] * number)
            for simulation, average in zip(simulations, averages):
                if name == 'cpu':
                    simulation.run(every)
                average.add()
        results = [average.result() for average in averages]
        radial = np.array([result[2] for result in results])
        found[name] = {'radial': (radial.mean(axis=0), radial.std(axis=0, ddof=1) / np.sqrt(number))}
        for at, quantity in ((0, 'temperature_K'), (1, 'pressure_GPa'), (3, 'msd_li_angstrom2')):
            values = np.array([result[at] for result in results])
            found[name][quantity] = [float(values.mean()), float(values.std(ddof=1) / np.sqrt(number))]
    (mean, error), (other, other_error) = found['cpu'].pop('radial'), found['gpu'].pop('radial')
    found['radial_largest_difference'] = float(abs(mean - other).max())
    spread = np.sqrt(error**2 + other_error**2)
    found['radial_rms_difference_in_standard_errors'] = float(
        np.sqrt(np.mean(((mean - other)[spread > 0] / spread[spread > 0]) ** 2))
    )
    return found


def killed_and_restarted(folder: Path, steps: int) -> bool:
    """Whether a run that is killed in its middle goes on to the file of one that is not."""
    command = [
        sys.executable, '-m', 'aiida_ufpnmr.engine.main', 'md', 'potential.h5', 'start.extxyz', '--device', 'gpu',
        '--thermostat', 'langevin', '--temperature', '700', '--guard-fraction', '0.5', '--steps', str(steps),
        '--replicas', '4', '--every', '50', '--checkpoint-every', str(max(1, steps // 50)), '--grade-every', '0',
        '--efg-model', 'efg.h5', '--efg-every', str(EFG_EVERY), '--efg-uncertainty-every', '0',
    ]  # fmt: skip
    subprocess.run([*command, '-o', 'whole.h5'], cwd=folder, check=True, capture_output=True)
    cut = subprocess.Popen([*command, '-o', 'cut.h5'], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while cut.poll() is None and not all((folder / f'cut-{k}.checkpoint.h5').exists() for k in range(4)):
        time.sleep(0.02)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    subprocess.run([*command, '-o', 'cut.h5', '--restart'], cwd=folder, check=True, capture_output=True)
    return all(content_hash(folder / f'whole-{k}.h5') == content_hash(folder / f'cut-{k}.h5') for k in range(4))


def speed(atoms: Atoms, potential: UltraFastPotential, number: int, steps: int) -> dict[str, float]:
    """Atom-steps per second without output, the first steps aside."""
    group = replicas(atoms, potential, number, **LANGEVIN)
    group.run([min(200, steps)] * number)
    began = time.perf_counter()
    group.run([min(200, steps) + steps] * number)
    wall = time.perf_counter() - began
    return {'atoms': len(atoms), 'replicas': number, 'atom_steps_per_second': len(atoms) * number * steps / wall}


def with_tensors(
    atoms: Atoms, potential: UltraFastPotential, model: EfgModel, folder: Path, number: int, steps: int, threads: int
) -> dict[str, Any]:
    """Replicas with EFG tensors every 20 fs and positions every ps, and the wall time of 1 µs that follows.

    The files are not compressed, which a single thread at a time could not do fast enough.
    """
    group = replicas(atoms, potential, number, model, threads=threads, first_step=-200, **LANGEVIN)
    group.run([0] * number)
    output = Output(every=500, efg_every=EFG_EVERY, efg_uncertainty_every=0, storage=Storage(compression=0))
    paths = [folder / f'efg-{k}.h5' for k in range(number)]
    runs = [
        partial(md_requests, path=path, steps=steps, output=output, efg=group.efg, end_requests=[]) for path in paths
    ]
    began = time.perf_counter()
    group.write(runs, [])
    written = time.perf_counter() - began
    began = time.perf_counter()
    chunk = group.simulations[0].chunk  # a call takes no more, for the tensors to find room
    for target in [*range(steps + chunk, 2 * steps, chunk), 2 * steps]:
        group.run([target] * number)
    alone = time.perf_counter() - began
    simulated_us = number * steps * TIMESTEP_FS * 1e-9
    ions = len(model.ions(atoms.numbers))
    return {
        'replicas': number,
        'threads': threads,
        'simulated_us': simulated_us,
        'gigabytes': sum(path.stat().st_size for path in paths) / 1e9,
        'with_writing_minutes_per_us': written / simulated_us / 60,
        'without_writing_minutes_per_us': alone / simulated_us / 60,
        'steps_and_tensors_ions_per_second': number * ions * (steps // EFG_EVERY) / alone,
        'predicted_by': group.efg.device if group.efg else '',
    }


def main() -> None:
    """Run all checks and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', type=Path, help='write the results here, too')
    parser.add_argument('--scale', type=float, default=1.0, help='share of the steps')
    parser.add_argument('--threads', type=int, default=8, help='that write')
    parser.add_argument('--large', type=int, nargs=3, default=(8, 8, 12), help='cells of the large system')
    arguments = parser.parse_args()
    dataset = read_dataset(DATA)
    unit = dataset.structures[14].copy()
    unit.calc = None
    unit.arrays.pop('efg', None)
    atoms, large = unit.repeat((2, 2, 3)), unit.repeat(tuple(arguments.large))
    potential = fit_potential(dataset, PotentialSettings())[0]
    with_moments = fit_potential(dataset, PotentialSettings(moments=['P', 'S']))[0]
    model = fit_efg_model(dataset, 'Li')[0]

    def steps(number: int) -> int:
        return max(100, round(arguments.scale * number))

    began = time.perf_counter()
    results: dict[str, Any] = {
        'forces': [force_errors(atoms, potential), force_errors(atoms, with_moments), force_errors(large, potential)],
        'tensors': [tensor_errors(atoms, potential, model), tensor_errors(large, potential, model)],
        'same_tensors_among_others': same_tensors_among_others(atoms, potential, model, 100),
        'constant_energy': drift(atoms, potential, steps(50_000)),
        'langevin': against_processor(atoms, potential, steps(4_000)),
        'speed': [
            *(speed(atoms, potential, number, steps(5_000)) for number in (1, 132, 264, 528)),
            speed(atoms, with_moments, 264, steps(1_000)),
            speed(large, potential, 1, steps(1_000)),
        ],
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / 'start.extxyz', atoms)
        potential.save(folder / 'potential.h5')
        model.save(folder / 'efg.h5')
        results['same_file_after_a_kill'] = killed_and_restarted(folder, steps(20_000))
        results['efg_every_20_fs'] = with_tensors(
            atoms, potential, model, folder, 264, steps(10_000), arguments.threads
        )
    results['wall_s'] = time.perf_counter() - began
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + '\n')


if __name__ == '__main__':
    main()
