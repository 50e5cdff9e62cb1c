"""EFG tensors of many structures, or along a trajectory too long for memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.labels import labelled_tensors
from aiida_ufpnmr.engine.efg.metrics import expected_and_real
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.posterior import EfgPrediction, frequency_error_khz
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
        """Comparison of expected with real errors, see :func:`~aiida_ufpnmr.engine.efg.metrics.expected_and_real`."""
        if self.error is None:
            return None
        reference = labelled_tensors(dataset, species)[1]
        return expected_and_real(
            np.concatenate(self.tensors),
            np.concatenate(reference),
            np.concatenate(self.error),
            groups=np.repeat(dataset.groups, [len(tensors) for tensors in reference]),
            isotope=isotope,
        )

    def extrapolation(self) -> dict[str, float | None]:
        """The largest extrapolation grade, and the fraction of ions with one above 1."""
        grades = np.concatenate(self.grade or [np.zeros(0)])
        return {
            'extrapolation_grade_max': float(grades.max()) if len(grades) else None,
            'extrapolating_fraction': float((grades > 1).mean()) if len(grades) else None,
        }


def predict_labelled(model: EfgModel, dataset: Dataset) -> LabelledPredictions:
    """Predict for the ions that have a label.

    Raises:
        InputError: naming the structure, where it holds an element that the model does not know.
    """
    masks, judged = labelled_tensors(dataset, model.species)[0], model.posterior is not None
    found = list(zip(predict_structures(model, dataset, dataset.source, errors=judged), masks))
    return LabelledPredictions(
        tensors=[prediction.tensors[mask] for prediction, mask in found],
        error=[prediction.error[mask] for prediction, mask in found] if judged else None,
        grade=[prediction.grade[mask] for prediction, mask in found] if judged else None,
    )


def predict_structures(
    model: EfgModel, structures: Iterable[Atoms], source: str, errors: bool = False
) -> Iterator[EfgPrediction]:
    """Predict for one structure after another.

    Raises:
        InputError: naming ``source`` and the structure, where it holds an element that the model does not know.
    """
    for number, atoms in enumerate(structures):
        try:
            yield model.predict_with_errors(atoms) if errors else EfgPrediction(model.predict(atoms))
        except InputError as error:
            raise InputError(f'{source}, structure {number}: {error}') from None


def labelled_copy(model: EfgModel, atoms: Atoms, prediction: EfgPrediction) -> Atoms:
    """A copy of a structure with predicted tensors and, where known, errors; NaN for other atoms, no other label."""
    copy, ions = atoms.copy(), model.ions(atoms.numbers)
    copy.calc = None
    columns = {
        'efg': prediction.tensors,
        'efg_error_au': prediction.error,
        'omega_q_error_khz': frequency_error_khz(prediction.error, model.isotope),
        'efg_grade': prediction.grade,
    }
    for name, values in columns.items():
        copy.arrays.pop(name, None)  # of an earlier prediction
        if len(values):
            copy.new_array(name, np.full((len(copy), *values.shape[1:]), np.nan))
            copy.arrays[name][ions] = values
    return copy


@dataclass(frozen=True, kw_only=True)
class Part(EfgPrediction):
    """Predictions for some frames in a row: tensors (frames, n_ions, 3, 3), errors and grades (judged, n_ions).

    Attributes:
        first: number of the first of the frames.
        judged: numbers of the frames with errors and grades.
    """

    first: int
    judged: np.ndarray


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
    ions = len(model.ions(trajectory.numbers))
    if not ions:
        raise InputError(f'{trajectory.path}: holds no {model.species}, whose EFG the model predicts')
    try:
        plain = model.predictor(trajectory.numbers, trajectory.pbc)
        judge = model.predictor_with_errors(trajectory.numbers, trajectory.pbc) if errors_every else None
    except InputError as error:
        raise InputError(f'{trajectory.path}: {error}') from None

    def predict(frame: int, positions: np.ndarray, cell: np.ndarray) -> EfgPrediction:
        if judge is not None and frame % errors_every == 0:
            return judge(positions, cell)
        return EfgPrediction(plain(positions, cell))

    def submit(start: int) -> list[Future[EfgPrediction]]:
        positions = trajectory.positions(start, start + frames)
        bad = ~np.isfinite(positions).all(axis=(1, 2))
        if bad.any():
            raise InputError(f'{trajectory.path}, frame {start + int(np.argmax(bad))}: position is NaN or infinite')
        cells = trajectory.cells(start, start + frames)
        return [pool.submit(predict, start + k, *frame) for k, frame in enumerate(zip(positions, cells))]

    with ThreadPoolExecutor(cores) as pool:
        waiting: deque[tuple[int, list[Future[EfgPrediction]]]] = deque()
        for start in range(first, trajectory.n_frames, frames):
            waiting.append((start, submit(start)))
            if len(waiting) > 1:  # the next frames are read while these are at work
                yield _collect(*waiting.popleft(), ions)
        while waiting:
            yield _collect(*waiting.popleft(), ions)


def _collect(start: int, futures: list[Future[EfgPrediction]], ions: int) -> Part:
    found = [future.result() for future in futures]
    judged = [k for k, prediction in enumerate(found) if len(prediction.error)]
    return Part(
        tensors=np.stack([prediction.tensors for prediction in found]),
        error=np.array([found[k].error for k in judged]).reshape(-1, ions),
        grade=np.array([found[k].grade for k in judged]).reshape(-1, ions),
        first=start,
        judged=start + np.array(judged, int),
    )
