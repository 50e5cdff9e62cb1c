"""Finished hops kept beside an output until all are done, so that a run that is killed goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import plain, whole_file
from aiida_ufpnmr.engine.piece_folder import PieceFolder


class Pieces(PieceFolder):
    """One file a hop, by key."""

    def _path(self, key: str) -> Path:
        return self.folder / f'{key}.npz'

    def has(self, key: str) -> bool:
        """Whether a hop is finished."""
        return self._path(key).is_file()

    def save(self, key: str, record: dict[str, Any], positions: np.ndarray) -> None:
        """Keep a hop: what was found, JSON-ready, and its images (n_images, n_atoms, 3) in Å."""
        with whole_file(self._path(key)) as partial:
            np.savez(partial, record=json.dumps(plain(record)), positions=positions)

    def load(self, key: str) -> tuple[dict[str, Any], np.ndarray]:
        """What was kept of a hop."""
        try:
            with np.load(self._path(key), allow_pickle=False) as found:
                return json.loads(str(found['record'])), found['positions']
        except (ValueError, KeyError, OSError) as error:
            raise InputError(f'{self._path(key)}: is damaged ({error}); remove it and run again') from error

    def forget(self) -> None:
        """Remove all of them, which the output holds now."""
        for path in self.folder.glob('*.npz'):
            path.unlink()
