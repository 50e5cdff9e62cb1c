"""A folder beside an output for what is finished before all of it is."""

from __future__ import annotations

import fcntl
import shutil
from contextlib import suppress
from pathlib import Path, PurePath
from typing import TypeVar

from aiida_ufpnmr.engine.errors import InputError

AnyPath = TypeVar('AnyPath', bound=PurePath)


def pieces_folder(trajectory: AnyPath) -> AnyPath:
    """Folder of the pieces of a trajectory until they are joined, here or on another computer."""
    return trajectory.with_name(trajectory.name + '.pieces')


class PieceFolder:
    """The folder ``OUTPUT.pieces``; one run at a time may use it. Left empty, it goes."""

    def __init__(self, output: Path):
        self.output = output
        self.folder = pieces_folder(output)

    def __enter__(self):
        self.folder.mkdir(exist_ok=True)
        self._lock = open(self.folder / 'lock', 'w')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise InputError(f'{self.output}: another run is writing it; wait for it, or choose another name') from None
        return self

    def __exit__(self, *exception) -> None:
        self._lock.close()
        # nothing is left behind where nothing was done
        with suppress(OSError):
            if list(self.folder.iterdir()) == [self.folder / 'lock']:
                shutil.rmtree(self.folder)
