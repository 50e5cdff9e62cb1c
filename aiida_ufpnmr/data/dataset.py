"""Labelled structures as a node."""

from __future__ import annotations

import math
import numbers
import tempfile
import typing as t
from collections.abc import Collection, Iterable
from pathlib import Path

from aiida.orm import QueryBuilder, StructureData

from aiida_ufpnmr.data.checked_file import CheckedFileData, attribute

if t.TYPE_CHECKING:
    from ase import Atoms

    from aiida_ufpnmr.engine.dataset import Dataset


class DatasetData(CheckedFileData):
    """Labelled structures in extended XYZ; every row is checked when the node is made.

    The attributes hold the summary of the set (``structures``, ``species``, ``groups``, …) and, under ``rows``, where
    each labelled structure came from, so that a query can find it.

    Args:
        dataset: what the file holds, where it was read already; else it is read.
    """

    DEFAULT_FILENAME = 'dataset.extxyz'

    def __init__(self, file: str | Path | t.IO, *args: t.Any, dataset: Dataset | None = None, **kwargs: t.Any):
        self._read_already = dataset
        super().__init__(file, *args, **kwargs)

    @classmethod
    def describe(cls, path: Path) -> dict[str, t.Any]:
        from aiida_ufpnmr.engine.dataset import read_dataset  # takes a while to import

        return _attributes(read_dataset(path))

    def _described(self, path: Path) -> dict[str, t.Any]:
        return self.describe(path) if self._read_already is None else _attributes(self._read_already)

    @classmethod
    def of(cls, structures: Iterable[Atoms]) -> DatasetData:
        """An unstored node of these structures with their labels; :class:`InputError` where one cannot be used."""
        from aiida_ufpnmr.engine.dataset import Dataset, write_dataset

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / cls.DEFAULT_FILENAME
            write_dataset(path, Dataset(tuple(structures)))
            return cls(path)

    def get_dataset(self) -> Dataset:
        """The structures with their labels."""
        from aiida_ufpnmr.engine.dataset import Dataset, read_dataset

        with self.as_path() as path:
            return Dataset(read_dataset(path).structures, f'DatasetData<{self.pk}>')

    rows = attribute(
        'rows', 'One entry a structure: ``index``, ``group``, ``formula``, ``atoms``, and its comment line.'
    )

    def row(self, index: int) -> dict[str, t.Any]:
        """Origin of structure ``index``; :class:`IndexError` if there is no such structure."""
        return self.rows[index]

    def get_structure(self, index: int) -> StructureData:
        """Structure ``index`` as an unstored node, without its labels; :class:`IndexError` if there is none."""
        return StructureData(ase=self.get_dataset().structures[index])


def find_labels(hashes: Collection[str]) -> dict[str, tuple[int, int]]:
    """Places of labels in this profile, each label told by the hash of its structure and settings.

    Returns:
        pk of the oldest data set that holds a label and its row there, for each hash that was found.
    """
    from aiida_ufpnmr.engine.dft.record import LabelRecord

    wanted = set(hashes)
    found: dict[str, tuple[int, int]] = {}
    query = QueryBuilder()
    query.append(
        DatasetData, tag='set', filters={'attributes.with_energy': {'>': 0}}, project=['id', 'attributes.rows']
    ).order_by({'set': 'id'})
    for pk, rows in query.iterall():
        for row in rows:
            label = LabelRecord.of(row).label_sha256
            if label in wanted:
                found.setdefault(label, (pk, row['index']))
    return found


def _attributes(dataset: Dataset) -> dict[str, t.Any]:
    return {**dataset.summary(), 'rows': _rows(dataset)}


def _rows(dataset: Dataset) -> list[dict[str, t.Any]]:
    """The origin of each structure: what attributes of a node can hold of its comment line, text and finite numbers."""
    rows = []
    for index, (atoms, group) in enumerate(zip(dataset, dataset.groups)):
        origin = {
            key: value.item() if hasattr(value, 'item') else value
            for key, value in atoms.info.items()
            if isinstance(value, str) or (isinstance(value, numbers.Real) and math.isfinite(value))
        }
        facts = {'index': index, 'group': group, 'formula': atoms.get_chemical_formula(), 'atoms': len(atoms)}
        rows.append({**origin, **facts})
    return rows
