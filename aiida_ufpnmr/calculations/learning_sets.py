"""Changes that active learning makes to structures and labels between its calculations, on record."""

from __future__ import annotations

from aiida.engine import ExitCode, calcfunction
from aiida.orm import Dict, Float, List, Str, StructureData

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.engine.building.glass import GlassSettings
from aiida_ufpnmr.engine.building.glass_packing import pack_glass
from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.md.relaxation import relax


@calcfunction
def strained(structure: StructureData, volume_strain: Float) -> StructureData:
    """Change the volume of a structure by a share, and keep its shape and scaled positions."""
    atoms = structure.get_ase()
    atoms.set_cell(atoms.cell.array * (1.0 + volume_strain.value) ** (1 / 3), scale_atoms=True)
    return StructureData(ase=atoms)


@calcfunction
def packed_glass(glass: Dict, potential: PotentialData) -> dict | ExitCode:
    """Pack a glass of whole units and relax it with a potential: the structure, and a report on its units.

    Exit code 410 says why it could not be packed.
    """
    try:
        made = pack_glass(GlassSettings(**glass.get_dict()))
        relaxed = made.moved(relax(made.atoms, potential.load()))
    except InputError as error:
        return ExitCode(410, str(error))
    wrapped = bare(relaxed.atoms)
    wrapped.wrap()
    return {'structure': StructureData(ase=wrapped), 'units': Dict({**relaxed.to_dict(), 'is_whole': relaxed.is_whole})}


@calcfunction
def with_structures(dataset: DatasetData, **structures: StructureData) -> DatasetData:
    """Put structures in front of a set that is to be labelled; their names become their groups."""
    added = []
    for name, structure in sorted(structures.items()):
        atoms = structure.get_ase()
        atoms.info['config_type'] = name
        added.append(atoms)
    return DatasetData.of([*added, *dataset.get_dataset()])


@calcfunction
def merge_labels(before: DatasetData, new: DatasetData) -> DatasetData:
    """Put all labels into one set, the new ones last."""
    return DatasetData.of([*before.get_dataset(), *new.get_dataset()])


@calcfunction
def write_history(reports: List, verdict: Str | None = None) -> Dict:
    """Put the reports of all generations, in order, into one node, with why it ended."""
    ending = {} if verdict is None else {'verdict': verdict.value}
    return Dict({'generations': reports.get_list(), **ending})


@calcfunction
def write_costs(generations: List) -> Dict:
    """Put the core hours of all generations, in order, into one node, which no content hash covers."""
    return Dict({'core_hours': sum(generations.get_list()), 'core_hours_by_generation': generations.get_list()})
