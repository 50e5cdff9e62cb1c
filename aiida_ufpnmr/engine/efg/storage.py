"""Predictions along a trajectory on disk: in closed pieces while they are made, as one H5MD file when they are done."""

from __future__ import annotations

import hashlib
import json
import time as clock
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.posterior import EfgPrediction
from aiida_ufpnmr.engine.efg.prediction import Part
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.engine.piece_folder import pieces_folder
from aiida_ufpnmr.engine.trajectories.h5md import (
    create_series,
    image,
    in_memory,
    series_names,
    write_efg_header,
    write_header,
)
from aiida_ufpnmr.engine.trajectories.pieces import PieceFolder, pieces_in
from aiida_ufpnmr.engine.trajectories.series import POSITION, efg_group, error_series, grade_series
from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory

#: A piece is written after so many seconds or bytes.
SECONDS, BYTES = 10.0, 3.2e7
_IDENTITY = 'identity.json'


def identity_of(model_sha256: str, trajectory: Trajectory, errors_every: int) -> str:
    """Hash of a run: of its model, of what is asked for, and of the steps and the ends of its trajectory."""
    digest = hashlib.sha256(f'{model_sha256} {errors_every}'.encode())
    digest.update(trajectory.series(POSITION)['step'][...].tobytes())
    for frame in (0, trajectory.n_frames - 1):
        digest.update(trajectory.positions(frame, frame + 1).tobytes())
    return digest.hexdigest()


def is_finished(path: Path, identity: str) -> bool:
    """True where a file holds the whole result of the run of this identity."""
    if not path.is_file() or pieces_folder(path).exists():
        return False
    with open_hdf5(path) as file:
        return str(file.attrs.get('identity', '')) == identity


class PredictionWriter:
    """A writer of predictions in pieces beside the file, joined at the end; a kill costs the piece in hand.

    Args:
        path: of the file, which appears when it is whole.
        species, index: chemical symbol and atom indices of the ions.
        step, time_fs: (n_frames,) of the trajectory.
        identity: see :func:`identity_of`.
        restart: go on where an earlier run of the same identity was cut off.

    Raises:
        InputError: another process is writing, or the pieces are those of another run.
    """

    def __init__(
        self, path: Path, species: str, index: np.ndarray, step: np.ndarray, time_fs: np.ndarray, identity: str = '',
        restart: bool = False,
    ):  # fmt: skip
        self.path, self.species, self.index, self.step, self.time_fs = path, species, index, step, time_fs
        self.identity = identity
        self._folder, self._storage = PieceFolder(path), Storage()
        self._parts: list[Part] = []
        self._last_write = clock.monotonic()
        if restart:
            self._take_up()
        else:
            self._folder.clear()
        with whole_file(self._folder.path / _IDENTITY) as partial:
            partial.write_text(json.dumps(identity))
        self.next_frame = sum(piece.rows[self._efg] for piece in self._folder.pieces)

    @property
    def _efg(self) -> str:
        return f'{efg_group(self.species)}/efg'

    def _take_up(self) -> None:
        note = self._folder.path / _IDENTITY
        if not note.is_file():  # nothing was written yet
            self._folder.clear()
            return
        if json.loads(note.read_text()) != self.identity:
            self._folder.release()
            raise InputError(
                f'{self.path}: was begun with another model, trajectory or --uncertainty-every; '
                'leave out --restart to begin anew'
            )
        pieces, stale = pieces_in(self._folder.path)
        for piece in pieces:
            with h5py.File(piece.path, 'r') as file:
                rows = {name: len(file[f'{name}/step']) for name in series_names(file)}
            self._folder.pieces.append(replace(piece, rows=rows))
        for path in stale:
            path.unlink()

    def add(self, part: Part) -> None:
        """Take the next frames; they are written when enough of them, or of time, has gathered."""
        self._parts.append(part)
        waiting = sum(part.tensors.nbytes for part in self._parts)
        if waiting > BYTES or clock.monotonic() - self._last_write > SECONDS:
            self._write()

    def _write(self) -> None:
        if not self._parts:
            return
        tensors = np.concatenate([part.tensors for part in self._parts])
        first = self._parts[0].first
        frames = np.arange(first, first + len(tensors))
        judged = np.concatenate([part.judged for part in self._parts])
        series = {self._efg: (frames, tensors)}
        if len(judged):
            series[error_series(self.species)] = judged, np.concatenate([part.error for part in self._parts])
            series[grade_series(self.species)] = judged, np.concatenate([part.grade for part in self._parts])
        with in_memory() as file:
            for name, (rows, values) in series.items():
                times = self.step[rows], self.time_fs[rows]
                create_series(file, name, *times, values.shape, np.float32, self._storage)[...] = values
            content = image(file)
        self._folder.add(content, {name: len(rows) for name, (rows, _) in series.items()})
        while stale := self._folder.join_some(self._storage):
            for path in stale:
                path.unlink()
        self._parts, self._last_write = [], clock.monotonic()

    def close(self) -> None:
        """Write what is left and join all pieces into one file."""
        self._write()

        def write_static(file: h5py.File) -> None:
            write_header(file)
            write_efg_header(file, self.species, self.index)
            if self.identity:
                file.attrs['identity'] = self.identity

        self._folder.join(self._folder.pieces, self.path, self._storage, write_static)
        self._folder.remove()

    def discard(self) -> None:
        """Remove what was written."""
        self._folder.remove()


def write_predictions(
    path: Path,
    model: EfgModel,
    structures: Sequence[Atoms],
    predictions: Iterable[EfgPrediction],
    timestep_fs: float | None,
    source: str,
) -> None:
    """Write predictions for structures of the same atoms, as frames of one H5MD file.

    Raises:
        InputError: naming ``source`` and the structure, where its atoms are others than those of the first.
    """
    numbers = structures[0].numbers
    for row, atoms in enumerate(structures):
        if not np.array_equal(atoms.numbers, numbers):
            raise InputError(
                f'{source}, structure {row}: other atoms than in structure 0, which one .h5 series cannot hold; '
                'write .extxyz instead'
            )
    steps = np.arange(len(structures))
    # a single frame needs no time step; of several, times that nobody gave are NaN, so that nothing correlates them
    spacing = timestep_fs or (np.nan if len(structures) > 1 else 0.0)
    found = list(predictions)
    writer = PredictionWriter(
        path, species=model.species, index=model.ions(numbers), step=steps, time_fs=steps * spacing
    )
    writer.add(
        Part(
            tensors=np.stack([prediction.tensors for prediction in found]),
            error=np.stack([prediction.error for prediction in found]),
            grade=np.stack([prediction.grade for prediction in found]),
            first=0,
            judged=steps if len(found[0].error) else steps[:0],
        )
    )
    writer.close()


def read_predictions(path: Path, species: str, frames: int = 512) -> Iterator[EfgPrediction]:
    """Read a file of predictions part by part.

    Yields:
        ``frames`` at a time: tensors (frames, n_ions, 3, 3), errors and grades (judged frames, n_ions), which are empty
        where there are none.
    """
    with h5py.File(path, 'r') as file:
        names = f'{efg_group(species)}/efg', error_series(species), grade_series(species)
        series = [file.get(f'{name}/value') for name in names]
        for start in range(0, len(series[0]), frames):
            rows = [np.zeros((0, 0)) if s is None else s[start : start + frames].astype(float) for s in series]
            yield EfgPrediction(*rows)
