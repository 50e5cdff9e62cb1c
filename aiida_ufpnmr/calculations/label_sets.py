"""Structures for labelling, checked and put into sets, and their labels in one data set, on record."""

from __future__ import annotations

from typing import Any

from aiida.engine import calcfunction
from aiida.orm import Dict, List, StructureData

from aiida_ufpnmr.calculations.base import validate_ordered
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.dataset import bare
from aiida_ufpnmr.engine.dft.record import LabelRecord


def structure_refusal(structure: StructureData, dft_code: str) -> str | None:
    """The reason why a plane-wave code cannot compute a structure, or ``None``."""
    if not all(structure.pbc):
        return f'{dft_code} computes crystals: the structure must be periodic in all directions'
    return validate_ordered(structure, None)


@calcfunction
def select_structures(dataset: DatasetData, indices: List) -> DatasetData:
    """The structures of ``dataset`` with these indices, without their labels."""
    structures = dataset.get_dataset().structures
    return DatasetData.of(bare(structures[index]) for index in indices.get_list())


@calcfunction
def gather_structures(**structures: StructureData) -> DatasetData:
    """Structures in one set, in the order of their names."""
    return DatasetData.of(bare(structures[name].get_ase()) for name in sorted(structures))


@calcfunction
def collect_labels(plan: Dict, report: Dict, **datasets: DatasetData) -> dict[str, Any]:
    """Put labels that several calculations gave into one data set.

    Args:
        plan: under ``rows``, one entry a structure: in which of ``datasets`` and which row of it its labels are, which
            row of the dataset ``source`` it was, null if of none, and what to write into its comment line.
        report: what happened to every structure; comes out with the hash of the set.
        datasets: by name.
    """
    opened = {name: dataset.get_dataset().structures for name, dataset in datasets.items()}
    rows = []
    for entry in plan['rows']:
        found = opened[entry['dataset']][entry['row']]
        origin = {} if entry['source_row'] is None else opened['source'][entry['source_row']].info
        labelled = found.copy()
        labelled.calc = found.calc
        labelled.info = {
            **{key: value for key, value in origin.items() if not LabelRecord.owns(key)},
            **{key: value for key, value in found.info.items() if LabelRecord.owns(key)},
            **entry['info'],
            'label_id': found.info['label_sha256'][:12],
        }
        rows.append(labelled)
    if not rows:
        return {'results': Dict(report.get_dict())}
    dataset = DatasetData.of(rows)
    return {'dataset': dataset, 'results': Dict({**report.get_dict(), 'data_sha256': dataset.sha256})}
