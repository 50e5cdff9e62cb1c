"""Time and memory of correlation functions, and the scalar case beside tidynamics (``pip install tidynamics``).

The default case is 10⁴ frames of 216 ions: all functions of ``ufpnmr acf`` and their fits. ``--frames 1000000`` writes
a trajectory of 8 GB to the folder given by ``--scratch`` and streams it.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.nmr import autocorrelation
from aiida_ufpnmr.engine.nmr.observables import AcfSettings, correlation_functions
from aiida_ufpnmr.engine.nmr.runs import EfgRuns
from aiida_ufpnmr.engine.trajectories.trajectory import write_efg_in_parts

PART = 5000


def write_trajectory(path: Path, n_frames: int, n_ions: int) -> None:
    """Tensors with a memory of a hundred frames, in parts."""
    rng = np.random.default_rng(0)
    axis = rng.standard_normal((n_ions, 3, 3))
    axis = axis + axis.swapaxes(-1, -2)
    axis -= np.eye(3) * np.trace(axis, axis1=-2, axis2=-1)[:, None, None] / 3

    def parts():
        sign = np.ones(n_ions)
        for start in range(0, n_frames, PART):
            n = min(PART, n_frames - start)
            flips = 1 - 2.0 * (np.cumsum(rng.random((n, n_ions)) < 0.005, axis=0) % 2)
            height = (sign * flips + 0.5 * rng.standard_normal((n, n_ions))).astype(np.float32)
            sign = sign * flips[-1]
            yield 1e-3 * height[..., None, None] * axis.astype(np.float32)

    steps = np.arange(n_frames)
    write_efg_in_parts(path, 'Li', np.arange(n_ions), steps, 100.0 * steps, parts())


def scalar_case(n_frames: int) -> dict[str, float]:
    """One signal: seconds of this package and of tidynamics, and the largest difference of the functions."""
    x = np.random.default_rng(1).standard_normal(n_frames)
    began = time.perf_counter()
    ours = autocorrelation(x[:, None], 1.0)[1]
    found = {'frames': n_frames, 'ufpnmr_s': time.perf_counter() - began}
    try:
        import tidynamics
    except ImportError:
        return found
    began = time.perf_counter()
    theirs = tidynamics.acf(x)
    found['tidynamics_s'] = time.perf_counter() - began
    found['largest_difference'] = float(np.abs(theirs / theirs[0] - ours).max())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=10_000)
    parser.add_argument('--ions', type=int, default=216)
    parser.add_argument('--scratch', type=Path, help='folder for the trajectory; a temporary one where not given')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        path = Path(folder) / 'efg.h5'
        write_trajectory(path, options.frames, options.ions)
        warm = Path(folder) / 'warm.h5'
        write_trajectory(warm, 64, 2)
        correlation_functions(EfgRuns.open([warm]), AcfSettings(bootstrap=2))  # compiles
        before, began = time.process_time(), time.perf_counter()
        _, results = correlation_functions(EfgRuns.open([path]), AcfSettings(gamma=1.0, field='z'))
        wall, cpu = time.perf_counter() - began, time.process_time() - before
    report = {
        'frames': options.frames,
        'ions': options.ions,
        'tau_ns': results['tau_ns'],
        'timing': {
            'wall_s': wall,
            'cpu_s': cpu,
            'peak_memory_GiB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            'scalar': scalar_case(options.frames),
        },
    }
    print(json.dumps(report, indent=2))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
