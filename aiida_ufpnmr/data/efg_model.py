"""EFG models as nodes."""

from __future__ import annotations

import typing as t
from pathlib import Path

from aiida_ufpnmr.data.checked_file import attribute
from aiida_ufpnmr.data.hdf5 import Hdf5Data
from aiida_ufpnmr.engine.settings import stated_values

if t.TYPE_CHECKING:
    from aiida_ufpnmr.engine.efg.model import EfgModel


class EfgModelData(Hdf5Data):
    """A model of EFG tensors with the settings of its fit and the hash of the set it was fitted to."""

    DEFAULT_FILENAME = 'efg-model.h5'

    @classmethod
    def describe(cls, path: Path) -> dict[str, t.Any]:
        from aiida_ufpnmr.engine.efg.hdf5_file import CONVENTION, IRREPS, UNIT  # takes a while to import
        from aiida_ufpnmr.engine.efg.model import EfgModel
        from aiida_ufpnmr.engine.hdf5 import content_hash

        model = EfgModel.load(path)
        return {
            'ion': model.species,
            'isotope': model.isotope,
            'species': list(model.known_species),
            'cutoff_angstrom': float(model.cutoff),
            'unit': UNIT,
            'convention': CONVENTION,
            'irreps': IRREPS,
            'penalty': model.penalty,
            'expects_errors': model.posterior is not None,
            'settings': stated_values(model.settings),
            'training_sha256': model.training_sha256,
            'sha256': content_hash(path),
        }

    def load(self) -> EfgModel:
        """The model as the engine predicts with it."""
        from aiida_ufpnmr.engine.efg.model import EfgModel

        with self.as_path() as path:
            return EfgModel.load(path)

    training_sha256 = attribute('training_sha256', 'Hash of the training set: the ``sha256`` of its ``DatasetData``.')
