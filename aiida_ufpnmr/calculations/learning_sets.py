"""Changes that active learning makes to structures and labels between its calculations, on record."""

from __future__ import annotations

from aiida.engine import calcfunction
from aiida.orm import Dict, Float, List, StructureData

from aiida_ufpnmr.data.dataset import DatasetData


@calcfunction
def strained(structure: StructureData, volume_strain: Float) -> StructureData:
    """Change the volume of a structure by a share, and keep its shape and scaled positions."""
    atoms = structure.get_ase()
    atoms.set_cell(atoms.cell.array * (1.0 + volume_strain.value) ** (1 / 3), scale_atoms=True)
    return StructureData(ase=atoms)


@calcfunction
def merge_labels(before: DatasetData, new: DatasetData) -> DatasetData:
    """Put all labels into one set, the new ones last."""
    return DatasetData.of([*before.get_dataset(), *new.get_dataset()])


@calcfunction
def write_history(reports: List) -> Dict:
    """Put the reports of all generations, in order, into one node."""
    return Dict({'generations': reports.get_list()})
