"""Checkpoints of a molecular dynamics run, each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.md.simulation import STATE_ARRAYS, Simulation

FORMAT_VERSION = 1


def checkpoint_path(trajectory: str | os.PathLike) -> Path:
    """Where the checkpoint of a trajectory lies."""
    trajectory = Path(trajectory)
    return trajectory.with_name(f'{trajectory.stem}.checkpoint.h5')


def identity(simulation: Simulation, every: int, efg: str | None, velocities: bool) -> dict:
    """What must be the same when a run is continued; ``simulation`` is at its first step."""
    atoms = simulation.atoms
    start = hashlib.sha256(b''.join(a.tobytes() for a in (atoms.numbers, atoms.positions, atoms.get_masses(), atoms.pbc)))
    return {
        'potential': simulation.potential.identity,
        'composition': atoms.get_chemical_formula('reduce'),
        'cell': simulation.cell.tolist(),
        'start structure': start.hexdigest(),
        'ensemble': simulation.ensemble,
        'timestep': simulation.timestep_fs,
        'temperature': simulation.temperature_K,
        'relaxation time': simulation.relaxation_fs,
        'seed': simulation.seed,
        'cadence of the output': every,
        'EFG model': efg,
        'choice about --velocities': velocities,
    }


def write_checkpoint(path: Path, simulation: Simulation, run: dict) -> None:
    """Write the state of a run, with its :func:`identity`."""
    state = simulation.state()
    with write_hdf5(path, 'md-checkpoint', FORMAT_VERSION) as file:
        file.attrs['run'] = json.dumps(run, sort_keys=True)
        for name in ('step', 'heat', 'generator'):
            file.attrs[name] = state[name]
        for name in STATE_ARRAYS:
            file[name] = state[name]


def read_checkpoint(path: Path, run: dict) -> dict:
    """Read the state of a run; :class:`InputError` where it belongs to another run than ``run``."""
    with read_hdf5(path, 'md-checkpoint', FORMAT_VERSION) as file:
        before = json.loads(file.attrs['run'])
        changed = sorted(name for name in run if before.get(name) != run[name])
        if changed:
            raise InputError(
                f'{path}: belongs to a run with another {changed[0]}; give the same input as before, or write elsewhere'
            )
        return {
            **{name: file.attrs[name] for name in ('step', 'heat', 'generator')},
            **{name: file[name][...] for name in STATE_ARRAYS},
        }
