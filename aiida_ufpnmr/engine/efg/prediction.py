"""EFG tensors of many structures, or along a trajectory too long for memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.labels import labelled_tensors
from aiida_ufpnmr.engine.efg.metrics import expected_and_real
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.posterior import EfgPrediction
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

#: Frames that are read, predicted and handed on at once.
FRAMES = 64


@dataclass(frozen=True)
class LabelledPredictions:
    """Predictions for the labelled ions of a data set.

    Attributes:
        tensors: for each structure (n, 3, 3) in a.u.
        error: for each structure (n,) expected error of a component, a.u.; ``None`` without posterior.
        grade: for each structure (n,) extrapolation grade; ``None`` without posterior.
    """

    tensors: list[np.ndarray]
    error: list[np.ndarray] | None
    grade: list[np.ndarray] | None

    def calibration(self, dataset: Dataset, species: str, isotope: str) -> dict[str, Any] | None:
        """Whether the expected errors hold."""
        if self.error is None:
            return None
        reference = labelled_tensors(dataset, species)[1]
        groups = np.repeat(dataset.groups, [len(tensors) for tensors in reference])
        predicted, reference, error = map(np.concatenate, (self.tensors, reference, self.error))
        return expected_and_real(predicted, reference, error, groups, isotope)


def predict_labelled(model: EfgModel, dataset: Dataset) -> LabelledPredictions:
    """Predict for the ions that have a label.

    Raises:
        InputError: naming the structure, where it holds an element that the model does not know.
    """
    masks = labelled_tensors(dataset, model.species)[0]
    found = predict_structures(model, dataset, dataset.source, errors=model.posterior is not None)
    parts = [tuple(x if x is None else x[mask] for x in part) for part, mask in zip(found, masks)]
    tensors, error, grade = map(list, zip(*parts))
    return LabelledPredictions(tensors, *((None, None) if model.posterior is None else (error, grade)))


def predict_structures(
    model: EfgModel, structures: Iterable[Atoms], source: str, errors: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]]:
    """Tensors (n_ions, 3, 3) in a.u., expected errors and grades (n_ions,) of one structure after another.

    Raises:
        InputError: naming ``source`` and the structure, where it holds an element that the model does not know.
    """
    for number, atoms in enumerate(structures):
        try:
            if errors:
                found = model.predict_with_errors(atoms)
                yield found.tensors, found.error, found.grade
            else:
                yield model.predict(atoms), None, None
        except InputError as error:
            raise InputError(f'{source}, structure {number}: {error}') from None


@dataclass(frozen=True)
class Part:
    """Predictions for some frames in a row.

    Attributes:
        first: number of the first of them.
        tensors: (frames, n_ions, 3, 3) in a.u.
        judged: numbers of the frames with errors and grades.
        error, grade: (judged, n_ions).
    """

    first: int
    tensors: np.ndarray
    judged: np.ndarray
    error: np.ndarray
    grade: np.ndarray


def predict_trajectory(
    model: EfgModel, trajectory: Trajectory, errors_every: int = 0, first: int = 0, cores: int = 1, frames: int = FRAMES
) -> Iterator[Part]:
    """EFG tensors along a trajectory, ``frames`` at a time, in order.

    Threads share the work: the compiled loops leave the interpreter free. How many there are changes no number.

    Args:
        errors_every: expected errors and grades at each such frame; 0 for none.
        first: frame to begin with.
        cores: threads.

    Raises:
        InputError: no frame, no ion, an element that the model does not know, or a position that is NaN.
    """
    if trajectory.n_frames == 0:
        raise InputError(f'{trajectory.path}: holds no frame with positions')
    if not len(model.ions(trajectory.numbers)):
        raise InputError(f'{trajectory.path}: holds no {model.species}, whose EFG the model predicts')
    try:
        plain = model.predictor(trajectory.numbers, trajectory.pbc)
        judge = model.predictor_with_errors(trajectory.numbers, trajectory.pbc) if errors_every else None
    except InputError as error:
        raise InputError(f'{trajectory.path}: {error}') from None

    def predict(frame: int, positions: np.ndarray, cell: np.ndarray) -> EfgPrediction | np.ndarray:
        judged = errors_every and frame % errors_every == 0
        return (judge if judged else plain)(positions, cell)

    ions = len(model.ions(trajectory.numbers))
    with ThreadPoolExecutor(cores) as pool:
        waiting: deque = deque()
        for start in range(first, trajectory.n_frames, frames):
            waiting.append((start, _submit(pool, predict, trajectory, start, frames)))
            if len(waiting) > 1:  # the next frames are read while these are at work
                yield _collect(*waiting.popleft(), ions)
        while waiting:
            yield _collect(*waiting.popleft(), ions)


def _submit(pool, predict, trajectory: Trajectory, start: int, frames: int) -> list:
    positions = trajectory.positions(start, start + frames)
    bad = ~np.isfinite(positions).all(axis=(1, 2))
    if bad.any():
        raise InputError(f'{trajectory.path}, frame {start + int(np.argmax(bad))}: position is NaN or infinite')
    cells = trajectory.cells(start, start + frames)
    return [pool.submit(predict, start + k, *frame) for k, frame in enumerate(zip(positions, cells))]


def _collect(start: int, futures: list, ions: int) -> Part:
    found = [future.result() for future in futures]
    judged = {start + k: x for k, x in enumerate(found) if isinstance(x, EfgPrediction)}
    return Part(
        first=start,
        tensors=np.stack([x.tensors if isinstance(x, EfgPrediction) else x for x in found]),
        judged=np.array(list(judged), int),
        error=np.array([x.error for x in judged.values()]).reshape(-1, ions),
        grade=np.array([x.grade for x in judged.values()]).reshape(-1, ions),
    )
