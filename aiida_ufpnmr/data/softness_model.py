"""Softness models as nodes."""

from __future__ import annotations

import typing as t
from pathlib import Path

from aiida_ufpnmr.data.checked_file import attribute
from aiida_ufpnmr.data.hdf5 import Hdf5Data
from aiida_ufpnmr.engine.settings import stated_values

if t.TYPE_CHECKING:
    from aiida_ufpnmr.engine.softness.model import SoftnessModel


class SoftnessModelData(Hdf5Data):
    """A plane between mobile and immobile surroundings with the settings of its fit and the hash of its runs."""

    DEFAULT_FILENAME = 'softness-model.h5'

    @classmethod
    def describe(cls, path: Path) -> dict[str, t.Any]:
        from aiida_ufpnmr.engine.hdf5 import content_hash
        from aiida_ufpnmr.engine.softness.model import SoftnessModel  # takes a while to import

        model = SoftnessModel.load(path)
        return {
            'ion': model.features.species,
            'species': list(model.features.functions.partners),
            'features': len(model.features.names),
            'settings': stated_values(model.settings),
            'training_sha256': model.training_sha256,
            'sha256': content_hash(path),
        }

    def load(self) -> SoftnessModel:
        """The model as the engine uses it."""
        from aiida_ufpnmr.engine.softness.model import SoftnessModel

        with self.as_path() as path:
            return SoftnessModel.load(path)

    training_sha256 = attribute('training_sha256', 'Hash of the contents of the runs that it was fitted to.')
