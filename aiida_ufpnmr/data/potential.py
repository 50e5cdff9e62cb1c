"""Ultra-fast potentials as nodes."""

from __future__ import annotations

import typing as t
from pathlib import Path

from aiida_ufpnmr.data.checked_file import attribute
from aiida_ufpnmr.data.hdf5 import Hdf5Data
from aiida_ufpnmr.engine.settings import stated_values

if t.TYPE_CHECKING:
    from aiida.orm import StructureData

    from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential


class PotentialData(Hdf5Data):
    """An ultra-fast potential with the settings of its fit and the hash of the set it was fitted to."""

    DEFAULT_FILENAME = 'potential.h5'

    @classmethod
    def describe(cls, path: Path) -> dict[str, t.Any]:
        from aiida_ufpnmr.engine.hdf5 import content_hash
        from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential  # takes a while to import

        potential = UltraFastPotential.load(path)
        return {
            'species': list(potential.species),
            'cutoff_angstrom': potential.cutoff,
            'settings': {} if potential.settings is None else stated_values(potential.settings),
            'training_sha256': potential.training_sha256,
            'sha256': content_hash(path),
        }

    def check_elements(self, *structures: StructureData) -> None:
        """:class:`ValueError` where a structure holds an element that the potential was not fitted to."""
        known = self.base.attributes.get('species')
        unknown = sorted(set().union(*(structure.get_symbols_set() for structure in structures)) - set(known))
        if unknown:
            raise ValueError(f'the potential does not know {", ".join(unknown)}; it was fitted to {", ".join(known)}')

    def load(self) -> UltraFastPotential:
        """The potential as the engine computes with it."""
        from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential

        with self.as_path() as path:
            return UltraFastPotential.load(path)

    training_sha256 = attribute('training_sha256', 'Hash of the training set: the ``sha256`` of its ``DatasetData``.')
