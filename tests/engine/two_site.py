"""A trajectory of ions that jump between two sites, with a known rate, for the tests of the analyses."""

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.trajectories.trajectory import EDGES, POSITION, TrajectoryWriter

TENSOR = np.array([[1.0, 0.3, 0.0], [0.3, -0.5, 0.2], [0.0, 0.2, -0.5]])


def two_site_paths(seed=0, n_ions=30, n_frames=3000, rate_per_frame=0.01, distance=3.0):
    """Site (n_frames, n_ions) and positions (n_frames, n_ions, 3) in Å, with rattling and noise."""
    rng = np.random.default_rng(seed)
    jumps = rng.random((n_frames, n_ions)) < 0.5 * (1 - np.exp(-2 * rate_per_frame))
    site = np.cumsum(jumps, axis=0) % 2
    axis = rng.standard_normal((n_ions, 3))
    axis /= np.linalg.norm(axis, axis=1)[:, None]
    rattle = 0.4 * np.cos(2 * np.pi * np.arange(n_frames)[:, None, None] / 2.3 + rng.uniform(0, 2 * np.pi, (n_ions, 3)))
    place = rng.uniform(0, 20, (n_ions, 3)) + site[..., None] * distance * axis
    return site, place + rattle + 0.3 * rng.standard_normal((n_frames, n_ions, 3))


def two_site_tensors(site, seed=0, scale=4e-3):
    """EFG tensors ± V, a vibration of the same variance and white noise of five times it: (n_frames, n_ions, 3, 3)."""
    rng = np.random.default_rng(seed + 1)
    phase = 2 * np.pi * np.arange(len(site))[:, None] / 7.7 + rng.uniform(0, 2 * np.pi, site.shape[1])
    height = 1 - 2 * site + np.sqrt(2) * np.cos(phase) + np.sqrt(5) * rng.standard_normal(site.shape)
    return scale * height[..., None, None] * TENSOR


def write_two_site_trajectory(path, site, positions, step_fs=100.0, drift=0.001, seed=0, tensors=None):
    """Write the ions with a framework of four sulphur atoms; all drift together.

    The EFG tensors are those of the two sites where no others are given.
    """
    n_frames, n_ions = site.shape
    tensors = two_site_tensors(site, seed) if tensors is None else tensors
    framework = np.random.default_rng(seed).uniform(0, 20, (4, 3))
    atoms = Atoms(f'Li{n_ions}S4', positions=np.vstack([positions[0], framework]), cell=[20] * 3, pbc=True)
    everything = np.concatenate([positions, np.broadcast_to(framework, (n_frames, 4, 3))], axis=1)
    write_run(path, atoms, everything + drift * np.arange(n_frames)[:, None, None], tensors, step_fs)


def write_run(path, atoms, positions, tensors, step_fs=100.0, frames=None):
    """Write a run whose lithium atoms come first, or some of its frames: positions (frames, atoms, 3), EFG tensors."""
    frames = range(len(positions)) if frames is None else frames
    writer = TrajectoryWriter(path, atoms, {'Li': np.arange(tensors.shape[1])}, seconds=1e9, megabytes=1e4)
    for frame in frames:
        writer.append(POSITION, frame, frame * step_fs, positions[frame])
        writer.append(EDGES, frame, frame * step_fs, atoms.cell.array)
        writer.append('particles/efg_Li/efg', frame, frame * step_fs, tensors[frame])
    writer.close()
    return path
