"""Files as nodes: what a file holds becomes a node of its kind, and equal content is stored once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from aiida.common.hashing import make_hash
from aiida.orm import Data, QueryBuilder, StructureData

from aiida_ufpnmr.data import NAMED, DatasetData, EfgModelData, PotentialData, SoftnessModelData, TrajectoryData
from aiida_ufpnmr.engine.dataset import Dataset, read_structure
from aiida_ufpnmr.engine.dft.label_files import is_extended_xyz, read_labels
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input, file_sha256
from aiida_ufpnmr.engine.hdf5 import open_hdf5, recorded_versions
from aiida_ufpnmr.engine.label_names import LabelKeys
from aiida_ufpnmr.engine.trajectories.convert import own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.trajectories.readers import reader_of
from aiida_ufpnmr.engine.ufp.potential import FORMATS, UltraFastPotential

#: Extra of a node that was made of a file: name, SHA-256, versions that it was made with, and notes of its reader.
ORIGIN = 'ufpnmr_origin'


@dataclass(frozen=True)
class Given:
    """What is known about a file beside its content.

    Attributes:
        reading: what a trajectory of another program does not say itself.
        keys: names of the labels in extended XYZ where they are none of the usual ones.
        index: which of several structures.
        labels: what it holds, where that was read already.
    """

    reading: ReadingSettings = ReadingSettings()
    keys: LabelKeys = LabelKeys()
    index: int | None = None
    labels: Dataset | None = None


def _dataset(path: Path, given: Given) -> Data:
    found = given.labels or read_labels(path, keys=given.keys)
    as_it_is = is_extended_xyz(path) and not given.keys
    node = DatasetData(path.absolute(), dataset=found) if as_it_is else DatasetData.of(found)
    if found.notes:
        node.base.extras.set(ORIGIN, {'notes': list(found.notes)})
    return node


def _potential(path: Path, _: Given) -> Data:
    if path.suffix == '.h5':
        return PotentialData(path.absolute())
    with TemporaryDirectory() as folder:
        whole = Path(folder) / PotentialData.DEFAULT_FILENAME
        UltraFastPotential.load(path).save(whole)
        return PotentialData(whole)


def _efg_model(path: Path, _: Given) -> Data:
    return EfgModelData(path.absolute())


def _softness_model(path: Path, _: Given) -> Data:
    return SoftnessModelData(path.absolute())


def _trajectory(path: Path, given: Given) -> Data:
    with own_files([path], given.reading) as (files, lines):
        node = TrajectoryData(files[0].absolute())
    if lines:
        node.base.extras.set(ORIGIN, {'notes': lines})
    return node


def _structure(path: Path, given: Given) -> Data:
    return StructureData(ase=read_structure(path, given.index))


class Kind(NamedTuple):
    """A kind of node that a file can become: its type, and what makes an unstored node of a file."""

    type: type[Data]
    of_file: Callable[[Path, Given], Data]


#: By the name that ``--kind`` has for each.
KINDS = {
    'labels': Kind(NAMED['labels'], _dataset),
    'potential': Kind(NAMED['potential'], _potential),
    'efg-model': Kind(NAMED['efg-model'], _efg_model),
    'softness-model': Kind(NAMED['softness-model'], _softness_model),
    'trajectory': Kind(NAMED['trajectory'], _trajectory),
    'structure': Kind(NAMED['structure'], _structure),
}
#: Suffixes of trajectories that hold labels or a structure as often.
ALSO_STRUCTURES = ('.xyz', '.extxyz', '.traj')


def kind_of(path: Path, keys: LabelKeys = LabelKeys()) -> tuple[str, Dataset | None]:
    """The kind of a file, a key of :data:`KINDS`, told by what is in it, and its labels if these tell.

    Raises:
        InputError: an HDF5 file that no node is made of, or a file that is neither labels nor a structure.
    """
    if path.suffix in ('.h5', '.h5md', '.hdf5'):
        with open_hdf5(path) as file:
            named = str(file.attrs.get('format', ''))
            if 'h5md' in file or 'particles' in file:
                return 'trajectory', None
        kind = named.removeprefix('ufpnmr-')
        if kind not in KINDS:
            raise InputError(
                f'{path}: holds {named or "no format that is known"}; nodes are made of potentials, EFG and '
                'softness models, trajectories, labels and structures'
            )
        return kind, None
    if path.suffix in FORMATS:
        return 'potential', None
    if path.suffix == '.cif':
        return 'structure', None
    if reader_of(path) is not None and path.suffix not in ALSO_STRUCTURES:
        return 'trajectory', None
    try:
        found = read_labels(path, keys=keys)
    except InputError as error:
        if is_extended_xyz(path):  # whose labels would go without a word
            raise
        try:
            read_structure(path)
        except InputError:
            raise error from None
        return 'structure', None
    labelled = any(found.summary()[f'with_{what}'] for what in ('energy', 'forces', 'stress', 'efg'))
    return ('labels', found) if labelled or len(found) > 1 else ('structure', None)


def node_of(path: Path, kind: str | None = None, given: Given = Given()) -> Data:
    """An unstored node of a file, with its origin among its extras.

    Args:
        path: the file.
        kind: key of :data:`KINDS`; told by what the file holds where not given.
        given: what it does not say itself.

    Raises:
        InputError: the file cannot be read as what it should be.
    """
    if kind not in (None, *KINDS):
        raise InputError(f'{kind!r} is no kind of file; choose one of {", ".join(KINDS)}')
    path = check_input(path, 'data set' if kind == 'labels' else kind or 'file')
    if kind is None:
        kind, labels = kind_of(path, given.keys)
        given = replace(given, labels=labels)
    node = KINDS[kind].of_file(path, given)
    node.label = path.name
    origin: dict[str, Any] = {**node.base.extras.get(ORIGIN, {}), 'file': path.name, 'sha256': file_sha256(path)}
    if path.suffix == '.h5':
        origin['versions'] = recorded_versions(path)
    node.base.extras.set(ORIGIN, origin)
    return node


def same_label(node: Data) -> list[int]:
    """The pks of other nodes of its type that have the label of a node."""
    query = QueryBuilder().append(type(node), filters={'label': node.label, 'id': {'!==': node.pk}}, project='id')
    return sorted(query.all(flat=True))


def stored_once(node: Data) -> tuple[Data, bool]:
    """A node of the same content that is stored already, or this one, stored; and whether it is new."""
    if isinstance(node, StructureData):
        filters = {'extras._aiida_hash': make_hash(node.base.caching.get_objects_to_hash())}
    else:
        filters = {'attributes.sha256': node.base.attributes.get('sha256')}
    for stored in QueryBuilder().append(type(node), filters=filters).order_by({type(node): 'id'}).all(flat=True):
        if stored.base.attributes.get('rows', None) == node.base.attributes.get('rows', None):
            return stored, False
    return node.store(), True
