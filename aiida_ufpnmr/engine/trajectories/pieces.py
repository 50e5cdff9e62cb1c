"""The closed pieces that a trajectory consists of while it is being written, in a folder that one process holds.

Pieces are numbered; one that was joined from several carries the first and last of their numbers. Joining makes a long
run have few pieces and writes every row no more than a few times: always ``FANOUT`` neighbours of like size become one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import whole_file
from aiida_ufpnmr.engine.piece_folder import pieces_folder
from aiida_ufpnmr.engine.trajectories.h5md import join_series
from aiida_ufpnmr.engine.trajectories.storage import Storage

#: So many pieces of like size are joined into one.
FANOUT = 16


@dataclass(frozen=True)
class Piece:
    """A file with rows of some series.

    Attributes:
        path: the file.
        first, last: numbers of the pieces that it was joined from.
        rows: how many rows of each series count; later ones in the file, if any, belong to a run that was cut off.
    """

    path: Path
    first: int
    last: int
    rows: Mapping[str, int]

    @property
    def level(self) -> int:
        """Number of times that it was joined."""
        count, level = self.last - self.first + 1, 0
        while count >= FANOUT:
            count, level = count // FANOUT, level + 1
        return level


def piece_name(first: int, last: int) -> str:
    """Name of the file of a piece with these numbers."""
    return f'{first:06d}.h5' if first == last else f'{first:06d}-{last:06d}.h5'


def pieces_in(folder: Path) -> tuple[list[Piece], list[Path]]:
    """Pieces on disk in order, their rows not counted yet, and files of which joined ones hold all rows."""
    there = []
    for path in folder.glob('[0-9]*.h5'):
        first, _, last = path.stem.partition('-')
        there.append(Piece(path, int(first), int(last or first), {}))
    kept: list[Piece] = []
    stale: list[Path] = []
    for piece in sorted(there, key=lambda piece: (piece.first, -piece.last)):
        if kept and piece.first <= kept[-1].last:
            stale.append(piece.path)
        else:
            kept.append(piece)
    return kept, stale


def link(file: Path, target: Path) -> None:
    """A second name for a file, where possible without a copy."""
    try:
        os.link(os.path.realpath(file), target)  # of the file itself, where it is named by a symbolic link
    except OSError:  # a file system without links, or another one
        with whole_file(target) as partial:
            shutil.copyfile(file, partial)


def write_index(file: h5py.File, pieces: Sequence[Piece]) -> None:
    """Make the series of a trajectory virtual datasets over its pieces, in their folder beside it."""
    for name in sorted({name for piece in pieces for name, count in piece.rows.items() if count}):
        _virtual_series(file, name, [piece for piece in pieces if piece.rows.get(name, 0)])


def _virtual_series(file: h5py.File, name: str, pieces: list[Piece]) -> None:
    group = file.create_group(name)
    for part in ('step', 'time', 'value'):
        with h5py.File(pieces[0].path, 'r') as first:
            shape, dtype = first[f'{name}/{part}'].shape[1:], first[f'{name}/{part}'].dtype
            attributes = dict(first[f'{name}/{part}'].attrs)
        virtual = h5py.VirtualLayout((sum(piece.rows[name] for piece in pieces), *shape), dtype)
        row = 0
        for piece in pieces:
            count = piece.rows[name]
            virtual[row : row + count] = h5py.VirtualSource(
                f'{piece.path.parent.name}/{piece.path.name}', f'{name}/{part}', (count, *shape), dtype
            )
            row += count
        # who reads while the pieces are joined shall not take the gap for zeros
        gap = np.nan if dtype.kind == 'f' else -1
        group.create_virtual_dataset(part, virtual, fillvalue=gap).attrs.update(attributes)


class PieceFolder:
    """The folder of pieces beside a trajectory; while this lives, no other process can write there.

    Raises:
        InputError: another process is writing.
    """

    def __init__(self, trajectory: Path):
        self.path = pieces_folder(trajectory)
        self.pieces: list[Piece] = []
        self.path.mkdir(exist_ok=True)
        descriptor = os.open(self.path, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise InputError(
                f'{trajectory}: another run is writing it; wait until it has ended, or choose another name'
            ) from None
        except OSError:  # a file system without locks
            pass

    def file_of(self, first: int, last: int) -> Path:
        """Name of the piece with these numbers."""
        return self.path / piece_name(first, last)

    def adopt(self, file: Path) -> None:
        """Make a whole file the first piece, where possible by a second link to it: it never vanishes."""
        link(file, self.file_of(1, 1))

    def add(self, content: bytes, rows: Mapping[str, int]) -> None:
        """Write a new piece, whole or not at all."""
        number = 1 + max((piece.last for piece in self.pieces), default=0)
        with whole_file(self.file_of(number, number)) as partial:
            partial.write_bytes(content)
        self.pieces.append(Piece(self.file_of(number, number), number, number, rows))

    def drop_last(self) -> None:
        """Remove the newest piece."""
        self.pieces.pop().path.unlink(missing_ok=True)

    def join_some(self, storage: Storage) -> list[Path]:
        """Join the newest pieces if enough of them are of like size; returns files that are not needed any more."""
        newest = self.pieces[-FANOUT:]
        if len(newest) < FANOUT or len({piece.level for piece in newest}) > 1:
            return []
        path = self.file_of(newest[0].first, newest[-1].last)
        rows = self.join(newest, path, storage)
        self.pieces[-FANOUT:] = [Piece(path, newest[0].first, newest[-1].last, rows)]
        return [piece.path for piece in newest]

    @staticmethod
    def join(pieces: list[Piece], path: Path, storage: Storage, write_static=lambda file: None) -> dict[str, int]:
        """Write the rows of some pieces into one file, whole or not at all; returns how many each series has."""
        rows: dict[str, int] = {}
        for piece in pieces:
            for name, count in piece.rows.items():
                rows[name] = rows.get(name, 0) + count
        files = [h5py.File(piece.path, 'r') for piece in pieces]
        try:
            with whole_file(path) as partial, h5py.File(partial, 'w') as target:
                write_static(target)
                for name in sorted(name for name, count in rows.items() if count):
                    sources = [(file, piece.rows.get(name, 0)) for file, piece in zip(files, pieces)]
                    join_series(sources, target, name, storage)
        except RuntimeError as error:  # what HDF5 makes of a full disk while it closes a file
            raise OSError(f'cannot be written ({error})') from error
        finally:
            for file in files:
                file.close()
        return rows

    def clear(self) -> None:
        """Remove all pieces."""
        self.pieces = []
        for path in self.path.iterdir():
            path.unlink()

    def remove(self) -> None:
        """Remove the folder and let others write."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.release()
