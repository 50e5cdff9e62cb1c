"""Time and memory of the analyses of transport and structure for 1000 atoms, beside peers where they are installed.

The trajectory is made up, like a crystal of Li3PS4: PS4 on a cubic grid, turned at random, and between them Li, all of
which rattle in each frame of 20 fs; in each frame two neighbouring Li change places. Each run has a process and one
thread of its own, after its kernels were compiled and its modules imported. Runs that would take more CPU time than the
limit are left out.

    pip install freud-analysis dynasor MDAnalysis tidynamics kinisi
    python examples/benchmarks/analyses.py --frames 1000 10000 --csv docs/source/reference/costs.csv
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import json
import multiprocessing
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.softness.fitting import fit_softness
from aiida_ufpnmr.engine.softness.model import SoftnessSettings
from aiida_ufpnmr.engine.structure.tetrahedra import IDEAL
from aiida_ufpnmr.engine.trajectories.paths import ion_paths
from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, Trajectory, TrajectoryWriter

#: Analyses, with what is not their default.
ANALYSES: dict[str, dict] = {
    'msd': {},
    'conductivity': {'temperature_K': 600.0},
    'hops': {},
    'van-hove': {},
    'vdos': {},
    'sites': {},
    'rdf': {},
    'structure-factor': {},
    'anions': {},
    'angles': {},
    'distance-angle': {},
    'rotations': {},
    'voronoi': {},
    'rearrangements': {'lag_ps': 0.02, 'window_ps': 1.0},
    'softness': {},
}
UNITS, SPACING_ANGSTROM, RATTLE_ANGSTROM, STEP_FS = 5, 5.4, 0.1, 20.0
EDGE_ANGSTROM = UNITS * SPACING_ANGSTROM
WARM_FRAMES = 200
#: Softness model, beside the trajectories.
MODEL = 'softness-model.h5'
KINISI_LAGS = 100
ELEMENTS = 'Li', 'P', 'S'
PAIRS = [(a, b) for n, a in enumerate(ELEMENTS) for b in ELEMENTS[n:]]


def write_trajectory(path: Path, n_frames: int) -> None:
    """125 PS4 and 375 Li in a cube of 27 Å."""
    rng = np.random.default_rng(0)
    grid = np.array(list(np.ndindex(UNITS, UNITS, UNITS)))
    places = SPACING_ANGSTROM * (grid + 0.5)
    turns = Rotation.random(len(places), random_state=0).as_matrix()
    sulphur = places[:, None] + 2.05 * (turns @ IDEAL.T).swapaxes(1, 2)
    lithium = places[:, None] + SPACING_ANGSTROM / 2 * np.eye(3)  # three a cell, each half-way to the next unit
    ion_at = np.arange(lithium[..., 0].size).reshape(UNITS, UNITS, UNITS, 3)
    atoms = Atoms(
        f'P{len(places)}S{4 * len(places)}Li{3 * len(places)}',
        np.vstack([places, sulphur.reshape(-1, 3), lithium.reshape(-1, 3)]),
        cell=3 * [EDGE_ANGSTROM],
        pbc=True,
    )
    first_ion = len(atoms) - ion_at.size
    writer = TrajectoryWriter(path, atoms, {}, seconds=1e9, megabytes=64, storage=Storage(compression=0))
    for frame in range(n_frames):
        *cell, site, axis = rng.integers(0, [UNITS, UNITS, UNITS, 3, 3])
        here = (*cell, site)
        there = (*((np.array(cell) + np.eye(3, dtype=int)[axis]) % UNITS), site)
        atoms.positions[first_ion + ion_at[here], axis] += SPACING_ANGSTROM
        atoms.positions[first_ion + ion_at[there], axis] -= SPACING_ANGSTROM
        ion_at[here], ion_at[there] = ion_at[there], ion_at[here]
        rattled = atoms.positions + RATTLE_ANGSTROM * rng.standard_normal(atoms.positions.shape)
        writer.append(POSITION, frame, frame * STEP_FS, rattled)
        writer.append(EDGES, frame, frame * STEP_FS, atoms.cell.array)
        writer.write_if_due()
    writer.close()


def write_dcd(path: Path) -> None:
    """The same beside it as DCD, which dynasor reads."""
    import MDAnalysis

    universe = _universe(MDAnalysis, path)
    universe.atoms.write(str(path.with_suffix('.dcd')), frames='all')


def tidynamics_msd(path: Path) -> None:
    """The displacement alone."""
    import tidynamics

    with Trajectory(path) as run:
        positions = ion_paths(run).positions
    np.mean([tidynamics.msd(ion) for ion in positions.swapaxes(0, 1)], axis=0)


def kinisi_msd(path: Path) -> None:
    """The displacement at 100 lags, and the diffusion coefficient with its interval."""
    import MDAnalysis
    import scipp
    from kinisi.analyze import DiffusionAnalyzer

    universe = _universe(MDAnalysis, path)
    n_frames = len(universe.trajectory)
    step = scipp.scalar(STEP_FS * 1e-3, unit='ps')
    lags = np.unique(np.linspace(1, n_frames // 4, KINISI_LAGS).astype(int))
    found = DiffusionAnalyzer.from_universe(
        universe,
        specie='Li',
        time_step=step,
        step_skip=scipp.scalar(1),
        dt=scipp.array(dims=['time interval'], values=lags * step.value, unit='ps'),
        progress=False,
    )
    found.diffusion(scipp.scalar(lags[len(lags) // 5] * step.value, unit='ps'), progress=False)


def mdanalysis_rdf(path: Path) -> None:
    """The six partial g(r)."""
    import MDAnalysis
    from MDAnalysis.analysis.rdf import InterRDF

    universe = _universe(MDAnalysis, path)
    group = {element: universe.select_atoms(f'type {element}') for element in ELEMENTS}
    for a, b in PAIRS:
        InterRDF(group[a], group[b], nbins=200, range=(0.0, 10.0)).run()


def _universe(mdanalysis, path: Path):
    """The trajectory as MDAnalysis reads it."""
    with Trajectory(path) as run:
        symbols = run.symbols
    universe = mdanalysis.Universe.empty(len(symbols), trajectory=True)
    universe.add_TopologyAttr('type', list(symbols))
    universe.load_new(str(path), format='H5MD')
    return universe


def freud_rdf(path: Path) -> None:
    """The six partial g(r)."""
    import freud

    freud.parallel.set_num_threads(1)
    counters = {pair: freud.density.RDF(bins=200, r_max=10.0) for pair in PAIRS}
    box = freud.box.Box.cube(EDGE_ANGSTROM)
    with Trajectory(path) as run:
        symbols = np.array(run.symbols)
        for frame in range(run.n_frames):
            places = box.wrap(run.positions(frame, frame + 1)[0])
            for (a, b), counter in counters.items():
                counter.compute((box, places[symbols == b]), places[symbols == a], reset=False)


def freud_voronoi(path: Path) -> None:
    """The cells of all atoms."""
    import freud

    freud.parallel.set_num_threads(1)
    box, voronoi = freud.box.Box.cube(EDGE_ANGSTROM), freud.locality.Voronoi()
    with Trajectory(path) as run:
        for frame in range(run.n_frames):
            voronoi.compute((box, box.wrap(run.positions(frame, frame + 1)[0])))


def dynasor_structure_factor(path: Path) -> None:
    """The direct partials at the same number of wave vectors."""
    import dynasor

    from aiida_ufpnmr.engine.analyses.structure_factor import StructureFactorSettings
    from aiida_ufpnmr.engine.structure.scattering import wave_vectors

    chosen = StructureFactorSettings()
    miller, _ = wave_vectors(
        EDGE_ANGSTROM * np.eye(3),
        chosen.q_max_per_angstrom,
        chosen.q_bin_per_angstrom,
        chosen.vectors_per_bin,
        seed=chosen.seed,
    )
    with Trajectory(path) as run:
        symbols = np.array(run.symbols)
    index = {element: np.flatnonzero(symbols == element).tolist() for element in ELEMENTS}
    trajectory = dynasor.Trajectory(str(path.with_suffix('.dcd')), atomic_indices=index)
    dynasor.compute_static_structure_factors(trajectory, miller * 2 * np.pi / EDGE_ANGSTROM)


#: Peers of an analysis: distribution, and what runs it.
PEERS: dict[str, list[tuple[str, Callable[[Path], None]]]] = {
    'msd': [('tidynamics', tidynamics_msd), ('kinisi', kinisi_msd)],
    'rdf': [('freud-analysis', freud_rdf), ('MDAnalysis', mdanalysis_rdf)],
    'structure-factor': [('dynasor', dynasor_structure_factor)],
    'voronoi': [('freud-analysis', freud_voronoi)],
}
OURS = 'aiida-ufpnmr'


def measure(name: str, program: str, path: Path, warm: Path, limit_s: float, sender: Connection) -> None:
    """Run an analysis by one program, and send wall and CPU seconds and the most memory of the process."""
    settings = ANALYSES[name] | ({'model': path.with_name(MODEL)} if name == 'softness' else {})
    work = dict(PEERS.get(name, []))[program] if program != OURS else lambda run: get_analysis(name)(run, **settings)
    try:
        work(warm)
        wall, cpu = time.perf_counter(), time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, 2 * (int(cpu + limit_s) + 1,))
        work(path)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        sender.send({'wall_s': round(wall, 3), 'cpu_s': round(cpu, 3), 'peak_memory_GiB': round(memory, 3)})
    except ImportError as error:
        sender.send({'missing': error.name})


def measured(name: str, program: str, path: Path, warm: Path, limit_s: float) -> dict:
    """What :func:`measure` sends from a process of its own, or how that ended."""
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=measure, args=(name, program, path, warm, limit_s, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        beyond = process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
        return {'longer_than_s': limit_s} if beyond else {'failed': process.exitcode}


def write_table(path: Path, frames: list[int], found: dict[tuple[str, str], dict[int, dict]]) -> None:
    """One row for each analysis and program: CPU time and memory for each number of frames."""
    with open(path, 'w', newline='') as file:
        rows = csv.writer(file, lineterminator='\n')
        rows.writerow(['Analysis', 'Program', *(f'{n} frames: {what}' for n in frames for what in ('s', 'GiB'))])
        for (name, program), runs in found.items():
            shown = [runs.get(n, {}) for n in frames]
            if any('cpu_s' in run for run in shown):
                title = program if program == OURS else f'{program} {importlib.metadata.version(program)}'
                cells = (cell for run in shown for cell in (_cell(run, 'cpu_s', 3), _cell(run, 'peak_memory_GiB', 2)))
                rows.writerow([name, title, *cells])


def _cell(run: dict, key: str, digits: int) -> str:
    """A number with so many digits that count; empty where there is none."""
    return f'{run[key]:.{digits}g}' if key in run else ''


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', default=list(ANALYSES), help='analyses; default all')
    parser.add_argument('--frames', type=int, nargs='+', default=[1000], help='how many, rising')
    parser.add_argument('--limit-s', type=float, default=600.0, help='leave out runs that take more CPU time')
    parser.add_argument('--scratch', type=Path, help='folder for the trajectories; a temporary one where not given')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    parser.add_argument('--csv', type=Path, metavar='FILE', help='write the table of CPU time and memory')
    options = parser.parse_args()

    os.environ.update({f'{name}_NUM_THREADS': '1' for name in ('OMP', 'OPENBLAS', 'MKL', 'NUMBA')})
    found: dict[tuple[str, str], dict[int, dict]] = {}
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        warm = Path(folder) / 'warm.h5'
        write_trajectory(warm, WARM_FRAMES)
        fit_softness([warm], SoftnessSettings(**ANALYSES['rearrangements']))[0].save(warm.with_name(MODEL))
        for n_frames in options.frames:
            path = Path(folder) / f'{n_frames}.h5'
            write_trajectory(path, n_frames)
            for name in options.names:
                for program in (OURS, *(peer for peer, _ in PEERS.get(name, []))):
                    runs = found.setdefault((name, program), {})
                    before, last = max(runs.items(), default=(0, {}))
                    if runs and last.get('cpu_s', np.inf) * n_frames / before > options.limit_s:
                        continue
                    if program == 'dynasor':
                        write_dcd(warm)
                        write_dcd(path)
                    runs[n_frames] = measured(name, program, path, warm, options.limit_s)
                    print(f'{n_frames} frames, {name}, {program}: {runs[n_frames]}', flush=True)
            path.unlink()
            if options.csv:
                write_table(options.csv, options.frames, found)
            if options.json:
                named = {f'{name}, {program}': runs for (name, program), runs in found.items()}
                options.json.write_text(json.dumps({'atoms': 8 * UNITS**3, 'runs': named}, indent=2) + '\n')


if __name__ == '__main__':
    main()
