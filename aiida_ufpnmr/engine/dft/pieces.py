"""Finished labels of a batch, kept in a folder beside its output."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Collection
from pathlib import Path

import numpy as np

from aiida_ufpnmr.engine.dft.labels import Labels
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import write_json
from aiida_ufpnmr.engine.piece_folder import PieceFolder

ARRAYS = ('forces', 'stress', 'efg')


class Pieces(PieceFolder):
    """Finished labels beside an output, by key, and room for runs; one run at a time may use them."""

    def _path(self, key: str) -> Path:
        return self.folder / f'{key}.json'

    def has(self, key: str) -> bool:
        return self._path(key).is_file()

    def save(self, key: str, labels: Labels) -> None:
        write_json(self._path(key), dataclasses.asdict(labels))
        shutil.rmtree(self.checkpoints(key))

    def load(self, key: str) -> Labels:
        try:
            found = json.loads(self._path(key).read_text())
            return Labels(**(found | {name: np.array(found[name]) for name in ARRAYS if name in found}))
        except (ValueError, TypeError) as error:
            raise InputError(f'{self._path(key)}: is damaged ({error}); remove it and run again') from error

    def _scratch(self, number: int) -> Path:
        return self.folder / f'structure-{number}'

    def scratch(self, number: int) -> Path:
        """An empty folder for the run of one structure."""
        folder = self._scratch(number)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def checkpoints(self, key: str) -> Path:
        """A folder for what a run of one structure keeps to go on from; what an earlier run has left is still there."""
        folder = self.folder / f'{key}.checkpoints'
        folder.mkdir(exist_ok=True)
        return folder

    def forget(self, failed: Collection[int]) -> None:
        """Remove the labels, which are in the output now, and what all runs but those that failed have left."""
        for path in self.folder.glob('*.json'):
            path.unlink()
        kept = {self._scratch(number) for number in failed}
        for path in (*self.folder.glob('structure-*'), *self.folder.glob('*.checkpoints')):
            if path not in kept:
                shutil.rmtree(path)
