"""Labels for a batch of structures: several side by side, each safe as soon as it is done, none computed twice.

Until the batch is done, finished labels lie in the folder ``NAME.pieces`` beside the output, one file for each
structure, found again by the content of structure and settings, beside the checkpoints of what is at work. Then the
output appears, whole, and is itself what a later run starts from.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, read_dataset, write_dataset
from aiida_ufpnmr.engine.dft.identity import label_sha256, settings_sha256, structure_sha256
from aiida_ufpnmr.engine.dft.labels import Engine, LabellingError, Labels, Source, labelled_atoms, labels_of
from aiida_ufpnmr.engine.dft.pieces import Pieces
from aiida_ufpnmr.engine.dft.programs import Programs
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.engine.dft.screening import unsuitable
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.signals import SECONDS_BETWEEN_LOOKS, termination_as_interrupt


def label_structures(
    sources: Sequence[Source],
    engine: Engine,
    output: str | os.PathLike,
    *,
    cores: int = 1,
    min_success_fraction: float = 0.8,
) -> dict[str, Any]:
    """Label ``sources`` and write ``output`` (extended XYZ), in their order and without those that gave no labels.

    Labels that ``output`` or its pieces hold already, of the same structures with the same settings, are taken from
    there.

    Args:
        sources: the structures.
        engine: what labels them.
        output: the file; with too few labels it is not written, and what is done stays in its pieces.
        cores: processes that may run at a time: structures side by side first; what is left over shares a structure,
            where the engine can.
        min_success_fraction: share of the structures that must have got labels.

    Returns:
        Results: counts, settings, versions, data sets, and each row that was ``refused`` or ``failed`` with its reason.

    Raises:
        InputError: ``output`` holds labels that would be lost, or another run is writing it.
        KeyboardInterrupt: Ctrl-C or SIGTERM; finished labels stay in the pieces.
    """
    output = Path(output)
    began, cpu_began = time.perf_counter(), _children_cpu()
    batch = Batch.of(sources, engine)
    before = _labelled_before(output, set(batch.keys.values()))
    with Pieces(output) as pieces:
        waiting = batch.waiting(lambda key: key not in before and not pieces.has(key))
        failures = _run(sources, waiting, engine, pieces, cores, len(sources) - len(waiting))
        failed = {number: failures[key] for number, key in batch.keys.items() if key in failures}
        labels = {
            number: before[key] if key in before else pieces.load(key)
            for number, key in batch.keys.items()
            if number not in failed
        }
        rows = [batch.row(number, found) for number, found in labels.items()]
        fraction = len(rows) / len(sources)
        enough = bool(rows) and fraction >= min_success_fraction
        if enough:
            write_dataset(output, Dataset(tuple(rows), str(output)))
            pieces.forget(failed)
    wall = time.perf_counter() - began
    return {
        'engine': engine.name,
        'engine_versions': sorted({found.version for found in labels.values()}),
        'settings': batch.settings,
        'settings_sha256': batch.settings_sha256,
        'datasets': _datasets(labels.values()),
        'structures': len(sources),
        'labelled': len(rows),
        'labelled_before': sum(key not in waiting for key in batch.keys.values()),
        'refused': [_entry(sources, number, reason) for number, reason in batch.refused.items()],
        'failed': [_entry(sources, number, reason) for number, reason in failed.items()],
        'converged_late': sum(found.attempt > 1 for found in labels.values()),
        'success_fraction': fraction,
        'min_success_fraction': min_success_fraction,
        'enough': enough,
        'data_sha256': read_dataset(output).content_hash if enough else None,  # of what the file keeps of the digits
        'versions': versions(),
        'timing': {
            'wall_s': wall,
            'cpu_s': _children_cpu() - cpu_began,
            'wall_s_per_structure': wall / len(waiting) if waiting else None,
        },
    }


@dataclass(frozen=True)
class Batch:
    """Structures that an engine is to label, known by what decides their labels.

    Attributes:
        sources: the structures.
        engine: what labels them.
        settings: those of the engine, by name.
        settings_sha256: hash of engine and settings.
        refused: why DFT would choke on a structure, by its number.
        keys: hash of structure and settings of all others, by their number; equal structures have one key.
    """

    sources: Sequence[Source]
    engine: Engine
    settings: dict[str, Any]
    settings_sha256: str
    refused: dict[int, str]
    keys: dict[int, str]

    @classmethod
    def of(cls, sources: Sequence[Source], engine: Engine) -> Batch:
        """A batch of structures, each looked at and hashed."""
        settings = dataclasses.asdict(engine.settings)
        settings_hash = settings_sha256(engine.name, settings)
        reasons = ((number, unsuitable(source.atoms)) for number, source in enumerate(sources))
        refused = {number: reason for number, reason in reasons if reason is not None}
        keys = {
            number: label_sha256(structure_sha256(source.atoms), settings_hash)
            for number, source in enumerate(sources)
            if number not in refused
        }
        return cls(
            sources=sources, engine=engine, settings=settings, settings_sha256=settings_hash, refused=refused, keys=keys
        )

    def waiting(self, is_missing: Callable[[str], bool]) -> dict[str, int]:
        """The keys whose labels are missing, each with the number of the first structure that has it."""
        waiting: dict[str, int] = {}
        for number, key in self.keys.items():
            if is_missing(key):
                waiting.setdefault(key, number)
        return waiting

    def row(self, number: int, labels: Labels) -> Atoms:
        """A structure with its labels and the record of how they were made."""
        source = self.sources[number]
        record = LabelRecord(
            engine=self.engine.name,
            settings_sha256=self.settings_sha256,
            label_sha256=self.keys[number],
            **self.engine.describe(source.atoms),
        )
        return labelled_atoms(source, labels, record)


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _datasets(labels: Iterable[Labels]) -> dict[str, list[str]]:
    """The PAW data sets or pseudopotentials that were used, by element."""
    used = sorted({item for found in labels for item in found.datasets.items()})
    return {symbol: [name for other, name in used if other == symbol] for symbol, _ in used}


def _entry(sources: Sequence[Source], number: int, reason: str) -> dict[str, Any]:
    return {'number': number, 'source_file': sources[number].file, 'source_row': sources[number].row, 'reason': reason}


def _labelled_before(output: Path, wanted: set[str]) -> dict[str, Labels]:
    """The labels that an earlier run has left in ``output``, by their key."""
    if not output.exists():
        return {}
    rows = list(read_dataset(output))
    keys = [str(LabelRecord.of(atoms.info).label_sha256) for atoms in rows]
    lost = sum(key not in wanted for key in keys)
    if lost:
        raise InputError(
            f'{output}: holds {lost} of {len(rows)} structures that are not asked for now, or were labelled with '
            'other settings, and would be lost; choose another name'
        )
    try:
        return {key: labels_of(atoms) for key, atoms in zip(keys, rows)}
    except (AttributeError, KeyError) as error:
        raise InputError(
            f'{output}: a structure has lost its label or record {error}; move the file away to label anew'
        ) from error


def _run(
    sources: Sequence[Source], waiting: dict[str, int], engine: Engine, pieces: Pieces, cores: int, done: int
) -> dict[str, str]:
    """Label what is waiting, by key; why it failed for those that did."""
    failures: dict[str, str] = {}
    if not waiting:
        return failures
    side_by_side = min(cores, len(waiting))
    processes = cores // side_by_side if engine.shares_structures else 1

    def label(key: str) -> str | None:
        folder = pieces.scratch(waiting[key])
        try:
            labels = engine.label(sources[waiting[key]].atoms, folder, pieces.checkpoints(key), programs, processes)
        except LabellingError as error:
            return f'{error}; see {folder}'
        pieces.save(key, labels)
        shutil.rmtree(folder)
        return None

    with (
        termination_as_interrupt(),
        progress(done + len(waiting), 'label', 'structure', initial=done) as bar,
        ThreadPoolExecutor(side_by_side) as pool,
        Programs() as programs,  # leaves first, so that what still runs is stopped before its thread is waited for
    ):
        try:
            futures = {pool.submit(label, key): key for key in waiting}
            running = set(futures)
            while running:
                ended, running = wait(running, SECONDS_BETWEEN_LOOKS, FIRST_COMPLETED)
                for future in ended:
                    reason = future.result()
                    if reason is not None:
                        failures[futures[future]] = reason
                    bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures
