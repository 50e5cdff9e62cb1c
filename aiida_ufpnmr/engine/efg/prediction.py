"""EFG tensors of many structures, or along a trajectory too long for memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md.trajectory import Trajectory


def predict_structures(model: EfgModel, structures: Iterable[Atoms], source: str) -> Iterator[np.ndarray]:
    """EFG tensors of the ions of one structure after another, (n_ions, 3, 3) in a.u.

    Raises:
        InputError: naming ``source`` and the structure, where it holds an element that the model does not know.
    """
    for number, atoms in enumerate(structures):
        try:
            yield model.predict(atoms)
        except InputError as error:
            raise InputError(f'{source}, structure {number}: {error}') from None


def predict_trajectory(model: EfgModel, trajectory: Trajectory, frames: int = 64) -> Iterator[np.ndarray]:
    """EFG tensors along a trajectory, in parts of (up to ``frames``, n_ions, 3, 3) in a.u.

    Raises:
        InputError: no frame, no ion, or an element that the model does not know.
    """
    if trajectory.n_frames == 0:
        raise InputError(f'{trajectory.path}: holds no frame with positions')
    if not len(model.ions(trajectory.numbers)):
        raise InputError(f'{trajectory.path}: holds no {model.species}, whose EFG the model predicts')
    try:
        predict = model.predictor(trajectory.numbers, trajectory.pbc)
    except InputError as error:
        raise InputError(f'{trajectory.path}: {error}') from None
    for start in range(0, trajectory.n_frames, frames):
        positions = trajectory.positions(start, start + frames)
        bad = ~np.isfinite(positions).all(axis=(1, 2))
        if bad.any():
            raise InputError(f'{trajectory.path}, frame {start + int(np.argmax(bad))}: position is NaN or infinite')
        yield np.stack([predict(x, cell) for x, cell in zip(positions, trajectory.cells(start, start + frames))])
