"""The first cells and labels of a material, on record."""

from __future__ import annotations

from typing import Any

import numpy as np
from aiida.engine import ExitCode, calcfunction
from aiida.orm import Data, Dict, Int, SinglefileData, StructureData

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.building.drawing import AS_IT_IS, SQUEEZED, WITHHELD
from aiida_ufpnmr.engine.building.label_cells import LabelCellSettings, crystal_of, label_cells
from aiida_ufpnmr.engine.crystals import Crystal, read_crystal
from aiida_ufpnmr.engine.dataset import bare, energy
from aiida_ufpnmr.engine.duplicates import find_copies
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import settings_from_keywords

#: Of first structures, those squeezed may be this share where not all are paid for: without any, first runs collapse.
SQUEEZED_SHARE = 1 / 3


def crystal_in(node: Data) -> Crystal:
    """The crystal of a CIF file, or of a structure all sites of which are full.

    Raises:
        InputError: as :func:`read_crystal` and :func:`crystal_of`.
    """
    if isinstance(node, StructureData):
        return crystal_of(node.get_ase(), 'structure')
    assert isinstance(node, SinglefileData)
    with node.as_path() as path:
        found = read_crystal(path)
    return Crystal(found.cell, found.positions, found.occupancies, node.filename)


@calcfunction
def cells_for_labels(crystal: Data, settings: Dict) -> dict[str, Any] | ExitCode:
    """Cells to label of a crystal, ``cell_0`` and so on, and a report on their size and order.

    Exit code 410 says why there is none.
    """
    try:
        chosen = settings_from_keywords(LabelCellSettings, settings.get_dict(), 'cell')
        found = label_cells(crystal_in(crystal), chosen)
    except InputError as error:
        return ExitCode(410, str(error))
    cells = {f'cell_{number}': StructureData(ase=atoms) for number, atoms in enumerate(found.cells)}
    return {**cells, 'report': Dict(found.to_dict())}


@calcfunction
def gathered(most: Int, **drawn: DatasetData) -> DatasetData:
    """Structures of several sets in an order of which each beginning holds all of their groups, by their shares.

    Those squeezed are the same from each cell, and taken of the first. Where there are more than ``most``, they keep
    :data:`SQUEEZED_SHARE` of it, and the last are left out.
    """
    placed: dict[bool, list] = {True: [], False: []}  # squeezed or not
    seen = set()
    for number, name in enumerate(sorted(drawn)):
        rows = list(drawn[name].get_dataset())
        groups = [str(atoms.info['config_type']) for atoms in rows]
        for i, (atoms, group) in enumerate(zip(rows, groups)):
            nth = groups[:i].count(group)
            squeezed = group.startswith(SQUEEZED)
            if squeezed and (group, nth) in seen:
                continue
            seen.add((group, nth))
            plain = bare(atoms)
            plain.info = {name: atoms.info[name] for name in ('config_type', 'weight') if name in atoms.info}
            placed[squeezed].append(((nth + 0.5) / groups.count(group), number, i, plain))
    close, others = (sorted(placed[squeezed], key=_place) for squeezed in (True, False))
    n_close = min(len(close), max(int(SQUEEZED_SHARE * most.value), most.value - len(others)))
    kept = sorted([*close[:n_close], *others[: most.value - n_close]], key=_place)
    return DatasetData.of(atoms for *_, atoms in kept)


def _place(placed: tuple) -> tuple:
    return placed[:3]


@calcfunction
def rows_between(dataset: DatasetData, begin: Int, end: Int) -> DatasetData:
    """The rows of a set from ``begin`` up to ``end``, without that one."""
    return DatasetData.of(list(dataset.get_dataset())[begin.value : end.value])


@calcfunction
def part_withheld(**labels: DatasetData) -> dict[str, DatasetData]:
    """Labels of all sets to fit to (``dataset``), and those that no fit shall see (``test_dataset``), by group.

    A structure that is in several sets is taken once.
    """
    rows = [atoms for name in sorted(labels) for atoms in labels[name].get_dataset()]
    parts: dict[str, list] = {'dataset': [], 'test_dataset': []}
    for number in np.unique(find_copies(rows)):
        withheld = str(rows[number].info.get('config_type', '')).startswith(WITHHELD)
        parts['test_dataset' if withheld else 'dataset'].append(rows[number])
    return {name: DatasetData.of(part) for name, part in parts.items() if part}


def depth_below_crystal(labels: DatasetData) -> float:
    """How far the lowest energy of a set is below that of the cells as they are, eV/atom; 0 where it has none."""
    energies = [
        (atoms.info.get('config_type'), label / len(atoms))
        for atoms in labels.get_dataset()
        if (label := energy(atoms)) is not None
    ]
    of_crystal = [value for group, value in energies if group == AS_IT_IS]
    return min(of_crystal) - min(value for _, value in energies) if of_crystal else 0.0


@calcfunction
def describe_material(cells: Dict, ion: Dict, history: Dict, counts: Dict) -> Dict:
    """What was done for a material, and how far it came: cells, ion, first labels, and the verdict of learning."""
    return Dict({**ion.get_dict(), **counts.get_dict(), 'verdict': history['verdict'], 'cells': cells.get_dict()})
