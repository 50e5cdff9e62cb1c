"""The two sides of a DFT engine: structures in, labelled structures that know their origin out."""

from __future__ import annotations

import dataclasses
import numbers
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from aiida_ufpnmr.engine.dataset import bare, read_frames, stress
from aiida_ufpnmr.engine.dft.identity import structure_sha256
from aiida_ufpnmr.engine.dft.programs import Programs
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input
from aiida_ufpnmr.engine.trajectories.trajectory import POSITION, Trajectory


class LabellingError(RuntimeError):
    """An engine gave no labels for a structure; the message says why in one line."""


@dataclass(frozen=True)
class Source:
    """A structure, the name of the file that it comes from, and its place in that file, counted from 0."""

    atoms: Atoms
    file: str
    row: int


@dataclass(frozen=True)
class Labels:
    """The labels that one run of an engine gives.

    Attributes:
        energy: eV, extrapolated to zero smearing.
        free_energy: eV, the one whose gradient the forces are.
        forces: (n, 3) in eV/Å.
        stress: (3, 3) in eV/Å³, ASE sign.
        efg: (n, 3, 3) in a.u., V_ij = ∂²V/∂x_i∂x_j in the Cartesian frame of the cell.
        version: name and version of the engine, such as ``gpaw-26.7.0``.
        datasets: by element, the file that stands for its core, as ``name:sha256``.
        attempt: which attempt converged, counted from 1.
        smearing_ev: of that attempt.

    Raises:
        LabellingError: a label is NaN or infinite.
    """

    energy: float
    free_energy: float
    forces: np.ndarray
    stress: np.ndarray
    efg: np.ndarray
    version: str
    datasets: dict[str, str]
    attempt: int
    smearing_ev: float

    def __post_init__(self):
        for name in ('energy', 'free_energy', 'forces', 'stress', 'efg'):
            if not np.isfinite(getattr(self, name)).all():
                raise LabellingError(f'gave NaN or infinite {name}')


class Engine(Protocol):
    """A DFT code as the labelling sees it."""

    name: str
    #: A dataclass of all that decides the numbers.
    settings: Any

    @property
    def shares_structures(self) -> bool:
        """Several processes can work on one structure."""

    def describe(self, atoms: Atoms) -> dict[str, Any]:
        """The settings as they become for this structure, by attributes of its :class:`LabelRecord`."""

    def label(self, atoms: Atoms, folder: Path, checkpoints: Path, programs: Programs, processes: int) -> Labels:
        """Run the code in ``folder``; :class:`LabellingError` where it gives no labels.

        In the folder ``checkpoints`` lies what a run that was cut off has left to go on from, the same structure with
        the same settings.
        """


def read_sources(path: str | os.PathLike, index: str = ':', config_type: str | None = None) -> list[Source]:
    """Read the structures to label from a file that ASE reads, or from an H5MD trajectory (.h5).

    Args:
        path: the file.
        index: which of its structures: ``::10`` every tenth, ``-1`` the last.
        config_type: group of structures that name none.

    Raises:
        InputError: the file cannot be read, or holds no such structure. Whether one can be used is not looked at.
    """
    chosen = _as_slice(index)
    path = check_input(path, 'structure')
    if path.suffix in ('.h5', '.h5md'):
        frames = _trajectory_frames(path, chosen)
    else:
        frames = list(enumerate(read_frames(path)))[chosen]
    if not frames:
        raise InputError(f'{path}: holds no structure {index}')
    for _, atoms in frames:
        if config_type is not None:
            atoms.info.setdefault('config_type', config_type)
    return [Source(atoms, path.name, row) for row, atoms in frames]


def _as_slice(index: str) -> slice:
    try:
        parts = [int(part) if part.strip() else None for part in index.split(':')]
        if len(parts) == 1:
            row = int(index)
            return slice(row, row + 1 or None)
        chosen = slice(*parts)
        chosen.indices(1)
    except (TypeError, ValueError):
        raise InputError(f'index {index!r}: give a number, or start:stop:step as in Python') from None
    return chosen


def _trajectory_frames(path: Path, chosen: slice) -> list[tuple[int, Atoms]]:
    frames = []
    with Trajectory(path) as trajectory:
        steps = trajectory.series(POSITION)['step'][...]
        for row in range(trajectory.n_frames)[chosen]:
            atoms = trajectory.atoms(row)
            atoms.wrap()
            atoms.info['step'] = int(steps[row])
            frames.append((row, atoms))
    return frames


def labelled_atoms(source: Source, labels: Labels, record: LabelRecord) -> Atoms:
    """The structure with its labels, and in its comment line what it said before and the record of the label.

    Args:
        record: all of it but what ``source`` and ``labels`` say.
    """
    atoms = bare(source.atoms)
    record = dataclasses.replace(
        record,
        source_file=source.file,
        source_row=source.row,
        source_sha256=structure_sha256(source.atoms),
        engine_version=labels.version,
        scf_attempt=labels.attempt,
        smearing_ev=labels.smearing_ev,
        datasets=labels.datasets,
    )
    said = {
        key: value for key, value in source.atoms.info.items() if isinstance(value, (str, bool, np.bool_, numbers.Real))
    }
    atoms.info = said | record.entries()
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=labels.energy,
        free_energy=labels.free_energy,
        forces=labels.forces,
        stress=labels.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
    )
    atoms.new_array('efg', labels.efg)
    return atoms


def labels_of(atoms: Atoms) -> Labels:
    """The labels of a row that :func:`labelled_atoms` has made; :class:`KeyError` where it has not."""
    found, tensor = atoms.calc.results, stress(atoms)
    if tensor is None:
        raise KeyError('stress')
    return Labels(
        energy=found['energy'],
        free_energy=found['free_energy'],
        forces=found['forces'],
        stress=tensor,
        efg=atoms.arrays['efg'],
        version=atoms.info['engine_version'],
        datasets=dict(LabelRecord.of(atoms.info).datasets),
        attempt=int(atoms.info['scf_attempt']),
        smearing_ev=float(atoms.info['smearing_ev']),
    )
