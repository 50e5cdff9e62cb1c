"""Time and memory of analyses of structure for 10³ or more frames of 1000 atoms, beside freud and dynasor where there.

The trajectory is made up: PS4 on a grid, turned at random, and Li between, all of which rattle. Each analysis runs in
a process of its own, after its kernels were compiled.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.structure.tetrahedra import IDEAL
from aiida_ufpnmr.engine.trajectories.h5md import Storage
from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, Trajectory, TrajectoryWriter

NAMES = 'rdf', 'structure-factor', 'anions', 'angles', 'distance-angle', 'rotations', 'voronoi'
UNITS, SPACING_ANGSTROM, STEP_FS = 5, 5.4, 20.0


def write_trajectory(path: Path, n_frames: int) -> None:
    """125 PS4 and 375 Li in a cube of 27 Å."""
    rng = np.random.default_rng(0)
    places = SPACING_ANGSTROM * (np.array(list(np.ndindex(UNITS, UNITS, UNITS))) + 0.5)
    turns = Rotation.random(len(places), random_state=0).as_matrix()
    sulphur = places[:, None] + 2.05 * (turns @ IDEAL.T).swapaxes(1, 2)
    lithium = (places[:, None] + SPACING_ANGSTROM / 2 * np.eye(3)).reshape(-1, 3)
    atoms = Atoms(
        f'P{len(places)}S{4 * len(places)}Li{3 * len(places)}',
        np.vstack([places, sulphur.reshape(-1, 3), lithium]),
        cell=3 * [UNITS * SPACING_ANGSTROM],
        pbc=True,
    )
    writer = TrajectoryWriter(path, atoms, {}, seconds=1e9, megabytes=64, storage=Storage(compression=0))
    for frame in range(n_frames):
        rattled = atoms.positions + 0.1 * rng.standard_normal(atoms.positions.shape)
        writer.append(POSITION, frame, frame * STEP_FS, rattled)
        writer.append(EDGES, frame, frame * STEP_FS, atoms.cell.array)
        writer.write_if_due()
    writer.close()


def freud_rdf(path: Path) -> None:
    """The six partial g(r) of freud."""
    import freud

    counters = {pair: freud.density.RDF(bins=200, r_max=10.0) for pair in ('PP', 'PS', 'PL', 'SS', 'SL', 'LL')}
    with Trajectory(path) as run:
        kind = np.array([symbol[0] for symbol in run.symbols])
        for frame in range(run.n_frames):
            box = freud.box.Box.cube(UNITS * SPACING_ANGSTROM)
            places = box.wrap(run.positions(frame, frame + 1)[0])
            for (a, b), counter in counters.items():
                counter.compute((box, places[kind == b]), places[kind == a], reset=False)


def freud_voronoi(path: Path) -> None:
    """Voronoi cells by freud."""
    import freud

    with Trajectory(path) as run:
        box, voronoi = freud.box.Box.cube(UNITS * SPACING_ANGSTROM), freud.locality.Voronoi()
        for frame in range(run.n_frames):
            voronoi.compute((box, box.wrap(run.positions(frame, frame + 1)[0])))


PEERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    'rdf': ('freud', freud_rdf),
    'voronoi': ('freud', freud_voronoi),
}


def measured(name: str, program: str, path: Path, warm: Path) -> dict:
    """CPU seconds of an analysis by one program, and the most memory of the process, GiB."""
    work = get_analysis(name) if program == 'ufpnmr' else PEERS[name][1]
    try:
        work(warm)
        before = time.process_time()
        work(path)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return {'cpu_s': time.process_time() - before, 'peak_memory_GiB': memory}
    except ImportError as error:
        return {'missing': error.name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='*', default=NAMES, help='analyses; default all of structure')
    parser.add_argument('--frames', type=int, default=1000)
    parser.add_argument('--scratch', type=Path, help='folder for the trajectory; a temporary one where not given')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    options = parser.parse_args()

    context = multiprocessing.get_context('spawn')
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        path, warm = Path(folder) / 'run.h5', Path(folder) / 'warm.h5'
        write_trajectory(path, options.frames)
        write_trajectory(warm, 200)
        for name in options.names:
            for program in ('ufpnmr', *(PEERS[name][:1] if name in PEERS else ())):
                with ProcessPoolExecutor(1, mp_context=context) as pool:
                    found[f'{name}, {program}'] = pool.submit(measured, name, program, path, warm).result()
                print(f'{name}, {program}: {found[f"{name}, {program}"]}', flush=True)
    report = {'frames': options.frames, 'atoms': 8 * UNITS**3, 'timing': found}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
