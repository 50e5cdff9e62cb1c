"""Take one structure out of a labelled set, on record."""

from __future__ import annotations

from aiida.engine import calcfunction
from aiida.orm import Int, StructureData

from aiida_ufpnmr.data.dataset import DatasetData


@calcfunction
def select_structure(dataset: DatasetData, index: Int) -> StructureData:
    """Structure ``index`` of ``dataset``, without its labels."""
    return dataset.get_structure(index.value)
