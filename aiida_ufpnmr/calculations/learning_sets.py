"""Changes that active learning makes to structures and labels between its calculations, on record."""

from __future__ import annotations

from aiida.engine import calcfunction
from aiida.orm import Dict, Float, List, StructureData

from aiida_ufpnmr.data.dataset import DatasetData


@calcfunction
def strained(structure: StructureData, volume_strain: Float) -> StructureData:
    """The structure with its volume changed by this share, its shape and scaled positions kept."""
    atoms = structure.get_ase()
    atoms.set_cell(atoms.cell.array * (1.0 + volume_strain.value) ** (1 / 3), scale_atoms=True)
    return StructureData(ase=atoms)


@calcfunction
def merge_labels(before: DatasetData, new: DatasetData) -> DatasetData:
    """One set of all labels, the new ones last."""
    return DatasetData.of([*before.get_dataset(), *new.get_dataset()])


@calcfunction
def write_history(reports: List) -> Dict:
    """The reports of all generations, in order."""
    return Dict({'generations': reports.get_list()})
