"""One trajectory out of the parts that a run left where it was cut off, without copying a frame."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_output, whole_file
from aiida_ufpnmr.engine.hdf5 import open_hdf5
from aiida_ufpnmr.engine.piece_folder import pieces_folder
from aiida_ufpnmr.engine.trajectories.h5md import image, in_memory, join_series, series_names
from aiida_ufpnmr.engine.trajectories.pieces import Piece, link, piece_name, write_index
from aiida_ufpnmr.engine.trajectories.storage import Storage
from aiida_ufpnmr.engine.trajectories.writer import FOLLOWS, PIECES, follows_step


def chain(parts: Sequence[str | os.PathLike], path: str | os.PathLike) -> None:
    """Write a trajectory that reads as the parts of one run read one after the other.

    Rows stay in the files where they are: these get second names in the folder ``NAME.pieces``. What a part holds
        beyond
    the step from which the next one goes on was made again there, and is left out. The content, and so its hash, is
    that of the same run in one go.

    Args:
        parts: the first part of a run, and those that go on from its checkpoints, in order.
        path: the trajectory to write.

    Raises:
        InputError: a part is no trajectory, or does not go on from the one before.
    """
    path, files = check_output(path), [Path(part) for part in parts]
    last_steps = _last_steps(files)
    folder = pieces_folder(path)
    folder.mkdir()
    pieces: list[Piece] = []
    for part, last_step in zip(files, last_steps):
        for file in files_of(part):
            rows = _rows_until(file, last_step)
            if any(rows.values()):
                number = len(pieces) + 1
                piece = Piece(folder / piece_name(number, number), number, number, rows)
                link(file, piece.path)
                pieces.append(piece)
    with in_memory() as file:
        with open_hdf5(parts[0]) as first:
            _copy_all_but_series(first, file, (PIECES, FOLLOWS))
        write_index(file, pieces)
        content = image(file)
    with whole_file(path) as partial:
        partial.write_bytes(content)


def in_one_file(trajectory: str | os.PathLike, path: str | os.PathLike) -> None:
    """Write a trajectory that lies in pieces as one plain file with the same content."""
    with open_hdf5(trajectory) as source, whole_file(path) as partial, h5py.File(partial, 'w') as target:
        _copy_all_but_series(source, target, (PIECES,))
        for name in series_names(source):
            join_series([(source, len(source[f'{name}/step']))], target, name, Storage())


def files_of(trajectory: Path) -> list[Path]:
    """The files that hold the rows of a trajectory, in order: itself, or its pieces."""
    with open_hdf5(trajectory) as file:
        virtual = [file[f'{name}/step'] for name in series_names(file) if file[f'{name}/step'].is_virtual]
        names = sorted({source.file_name for steps in virtual for source in steps.virtual_sources()})
    return [trajectory.parent / name for name in names] or [trajectory]


def _last_steps(parts: Sequence[Path]) -> list[float]:
    """The last step of each part that counts: that from which the next one goes on."""
    if follows_step(parts[0]) is not None:
        raise InputError(f'{parts[0]}: is not the first part of a run; give all parts, in order')
    steps: list[float] = []
    for before, part in zip(parts, parts[1:]):
        step = follows_step(part)
        if step is None or (steps and step < steps[-1]) or _ends_before(before, step):
            raise InputError(f'{part}: does not go on from where {before} ended; give the parts of one run, in order')
        steps.append(step)
    return [*steps, np.inf]


def _ends_before(part: Path, step: int) -> bool:
    """Whether rows are missing between the last one of a part and a step."""
    with open_hdf5(part) as file:
        written = [file[f'{name}/step'][...] for name in series_names(file)]
    return any(len(steps) > 1 and steps[-1] + steps[1] - steps[0] <= step for steps in written)


def _rows_until(file: Path, last_step: float) -> dict[str, int]:
    with open_hdf5(file) as piece:
        return {
            name: int(np.searchsorted(piece[f'{name}/step'][...], last_step, side='right'))
            for name in series_names(piece)
        }


def _copy_all_but_series(source: h5py.File, target: h5py.File, left_out: Sequence[str]) -> None:
    target.attrs.update({name: value for name, value in source.attrs.items() if name not in left_out})
    series = tuple(f'{name}/' for name in series_names(source))

    def copy(name, item):
        if f'{name}/'.startswith(series):
            return
        if isinstance(item, h5py.Group):
            target.require_group(name).attrs.update(item.attrs)
        else:
            source.copy(item, target, name)

    source.visititems(copy)
