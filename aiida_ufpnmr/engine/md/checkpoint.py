"""Checkpoints of a molecular dynamics run, each whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import read_hdf5, write_hdf5
from aiida_ufpnmr.engine.md.conditions import Conditions
from aiida_ufpnmr.engine.md.output import Output
from aiida_ufpnmr.engine.md.recording import EfgOutput
from aiida_ufpnmr.engine.md.simulation import Simulation
from aiida_ufpnmr.engine.settings import declarations
from aiida_ufpnmr.version import __version__

KIND, FORMAT_VERSION = 'md-checkpoint', 2
#: Another version may round otherwise, and would not go on bit for bit.
VERSION = 'version of aiida-ufpnmr'


def checkpoint_path(trajectory: str | os.PathLike) -> Path:
    """Where the checkpoint of a trajectory lies."""
    trajectory = Path(trajectory)
    return trajectory.with_name(f'{trajectory.stem}.checkpoint.h5')


def identity(simulation: Simulation, output: Output, efg: EfgOutput | None) -> dict:
    """What must be the same when a run is continued; ``simulation`` is at its first step."""
    atoms = simulation.atoms
    arrays = (atoms.numbers, atoms.positions, atoms.get_masses(), atoms.pbc)
    start = hashlib.sha256(b''.join(array.tobytes() for array in arrays))
    names = {
        'temperature_K': 'temperature',
        'timestep_fs': 'timestep',
        'relaxation_fs': 'relaxation time',
        'final_temperature_K': 'final temperature',
        'ramp_steps': 'number of steps to the final temperature',
        'pressure_GPa': 'pressure',
        'pressure_relaxation_fs': 'relaxation time of the pressure',
        'bulk_modulus_GPa': 'bulk modulus',
    }
    settings = simulation.settings
    return {
        VERSION: __version__,
        'potential': simulation.potential.identity,
        'composition': atoms.get_chemical_formula('reduce'),
        'cell': simulation.cell.tolist(),
        'start structure, or masses': start.hexdigest(),
        **{names.get(name, name): getattr(settings, name) for name, _, _ in declarations(Conditions)},
        'seed': settings.seed,
        'number of steps to equilibrate': -simulation.step,
        'precision': settings.precision,
        'number of threads': settings.threads,
        'output': dataclasses.asdict(output),
        'EFG model': efg.identity if efg else None,
        **({} if simulation.device == 'cpu' else {'device': simulation.device}),
    }


def write_checkpoint(path: Path, simulation: Simulation, run: dict) -> None:
    """Write the state of a run, with its :func:`identity`."""
    state = simulation.state()
    with write_hdf5(path, KIND, FORMAT_VERSION) as file:
        file.attrs['run'] = json.dumps(run, sort_keys=True)
        for name in ('step', 'generator'):
            file.attrs[name] = state[name]
        for name in simulation.state_arrays:
            file[name] = state[name]


def read_checkpoint(path: Path, simulation: Simulation, run: dict) -> dict:
    """Read the state of a run; :class:`InputError` where it belongs to another run, or version, than ``run``."""
    with read_hdf5(path, KIND, FORMAT_VERSION) as file:
        if int(file.attrs['format_version']) < FORMAT_VERSION:
            raise InputError(
                f'{path}: of an older version of this program, which must finish the run; or write elsewhere'
            )
        before = json.loads(file.attrs['run'])
        if before[VERSION] != run[VERSION]:
            raise InputError(
                f'{path}: of version {before[VERSION]} of aiida-ufpnmr, which must finish the run '
                f'(this is {run[VERSION]}); or write elsewhere'
            )
        changed = [name for name in ('device', *run) if before.get(name) != run.get(name)]
        if changed:
            raise InputError(
                f'{path}: belongs to a run with another {changed[0]}; give the same input as before, or write elsewhere'
            )
        return {
            **{name: file.attrs[name] for name in ('step', 'generator')},
            **{name: file[name][...] for name in simulation.state_arrays},
        }


def checkpoint_step(path: Path) -> int:
    """The step at which a checkpoint stands."""
    with read_hdf5(path, KIND, FORMAT_VERSION) as file:
        return int(file.attrs['step'])
