"""The workflow that makes a labelled data set of structures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Bool, Dict, Float, Int, List, ProcessNode, Str, StructureData, load_node

from aiida_ufpnmr.calculations.base import plain_input
from aiida_ufpnmr.calculations.label_sets import collect_labels, gather_structures, select_structures
from aiida_ufpnmr.calculations.resources import IN_QUEUE, Asked, jobs_at_a_time, starts_at_once
from aiida_ufpnmr.calculations.select_structure import select_structure
from aiida_ufpnmr.data.dataset import DatasetData, find_labels
from aiida_ufpnmr.engine.dft.identity import structure_sha256
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.engine.dft.screening import unsuitable
from aiida_ufpnmr.workflows.label_castep import LabelCastepWorkChain
from aiida_ufpnmr.workflows.label_gpaw import LabelGpawWorkChain
from aiida_ufpnmr.workflows.label_restart import LabelRestartWorkChain
from aiida_ufpnmr.workflows.protocols import ProtocolMixin
from aiida_ufpnmr.workflows.subprocesses import expose_inputs, reason

#: Restart chains of the DFT codes, by the names of their inputs.
DFT_CODES: dict[str, type[LabelRestartWorkChain]] = {
    chain.DFT_CODE: chain for chain in (LabelCastepWorkChain, LabelGpawWorkChain)
}


def validate_together(inputs: Mapping[str, Any], _) -> str | None:
    """Refuse inputs without anything to label, or without one DFT code."""
    if not inputs.get('structures') and 'dataset' not in inputs:
        return 'give `dataset` or `structures`'
    return validate_dft_code(inputs, None)


def validate_dft_code(inputs: Mapping[str, Any], _) -> str | None:
    """Refuse the inputs of no DFT code, or of several."""
    given = [name for name in DFT_CODES if inputs.get(name)]
    return None if len(given) == 1 else f'give the inputs of exactly one DFT code: {", ".join(DFT_CODES)}'


def validate_fraction(value: Float, _) -> str | None:
    """Refuse what is no fraction."""
    return None if 0 <= value.value <= 1 else f'must lie between 0 and 1, not {value.value}'


def validate_count(value: Int, _) -> str | None:
    """Refuse a number of things below 1."""
    return None if value.value > 0 else f'must be positive, not {value.value}'


class LabelWorkChain(ProtocolMixin, WorkChain):
    """Energy, forces, stress and EFG tensors of many structures, from CASTEP or GPAW.

    Leaves out what DFT would choke on, and says why; takes what is labelled already, with the same settings, from where
    it is; labels the rest in batches, each restarted where that helps; and collects all in one data set, in the order
    of the structures, whose rows know where they come from. A structure that fails does not stop the others.
    """

    PROTOCOL = 'label'
    PROTOCOL_ARGUMENTS = ('dataset', 'structures')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input('dataset', valid_type=DatasetData, required=False, help='Structures to label.')
        text = 'Structures to label, instead of `dataset` or after it, in the order of their names.'
        spec.input_namespace('structures', valid_type=StructureData, dynamic=True, required=False, help=text)
        text = 'Group of structures that name none, for splitting.'
        plain_input(spec, 'config_type', Str, text, required=False)
        text = 'Take labels that this profile has already of the same structure with the same settings.'
        plain_input(spec, 'reuse', Bool, text, default=True)
        text = 'Share of the structures that must get labels for the workflow to count as successful.'
        plain_input(spec, 'min_success_fraction', Float, text, default=0.8, validator=validate_fraction)
        text = (
            f'The number of jobs that run at a time. By default {IN_QUEUE}, or where jobs start at once as many as the '
            'machine has cores for.'
        )
        plain_input(spec, 'max_concurrent', Int, text, required=False, validator=validate_count)
        text = (
            'The number of structures that one job labels at most, where the DFT code takes many; fewer where jobs '
            'start at once and cores would be idle.'
        )
        plain_input(spec, 'batch_size', Int, text, default=8, validator=validate_count)
        for name, dft_code in DFT_CODES.items():
            described = f'Labelling with {name}.'
            expose_inputs(spec, dft_code, name, (dft_code.SUBJECT,), described, required=False)
        spec.inputs.validator = validate_together

        spec.outline(cls.screen, while_(cls.is_waiting)(cls.label, cls.inspect_labels), cls.collect)

        spec.output('dataset', valid_type=DatasetData, required=False, help='The structures with their labels.')
        spec.output('results', valid_type=Dict, required=False, help='What happened to every structure.')

        spec.exit_code(210, 'ERROR_ALL_REFUSED', message='Every structure was refused, the first because: {message}')
        spec.exit_code(401, 'ERROR_NO_LABELS', message='No structure could be labelled, the first because: {message}')
        text = 'Only {message} structures were labelled; the data set holds those.'
        spec.exit_code(501, 'ERROR_TOO_FEW_LABELS', message=text)

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        engine: str,
        dataset: DatasetData | None = None,
        structures: Sequence[StructureData] | Mapping[str, StructureData] | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: what runs the DFT code.
            engine: the name of the DFT code, ``castep`` or ``gpaw``.
            dataset: structures to label.
            structures: more of them, or instead: a list, or a mapping with names.

        Raises:
            ValueError: nothing to label.
        """
        if dataset is None and not structures:
            raise ValueError('give `dataset` or `structures`')
        subjects: dict[str, Any] = {}
        elements: set[str] = set()
        if dataset is not None:
            elements.update(dataset.base.attributes.get('species'))
            subjects['dataset'] = dataset
        if structures:
            subjects['structures'] = structures if isinstance(structures, Mapping) else _named(structures)
            elements.update(*(structure.get_symbols_set() for structure in subjects['structures'].values()))
        inputs = cls.inputs_for_elements(elements, code, engine, protocol, overrides, options)
        return cls.filled_builder({**inputs, **subjects})

    @classmethod
    def inputs_for_elements(cls, elements, code, engine, protocol, overrides, options) -> dict[str, Any]:
        """The inputs of a protocol for structures of these elements: all but the structures."""
        if engine not in DFT_CODES:
            raise ValueError(f'unknown DFT code {engine!r}; known are {", ".join(DFT_CODES)}')
        other = next((name for name in DFT_CODES if name in (overrides or {}) and name != engine), None)
        if other is not None:
            raise ValueError(f'override {other!r} is of another DFT code than {engine}')

        def inputs_of_code(below: Mapping[str, Any] | None) -> dict[str, Any]:
            return DFT_CODES[engine].inputs_for_elements(elements, code, protocol, below, options)

        return cls.get_protocol_inputs(protocol, overrides, **{engine: inputs_of_code})

    @property
    def dft_code(self) -> type[LabelRestartWorkChain]:
        """The chain of the DFT code whose inputs were given."""
        return next(dft_code for name, dft_code in DFT_CODES.items() if self.inputs.get(name))

    def screen(self) -> None:
        """Tell what cannot be labelled, what is labelled already, and what waits."""
        self.ctx.entries = []
        dft_code, inputs = self.dft_code, self.inputs[self.dft_code.DFT_CODE]
        hashes: list[list[str]] = []
        seen: set[str] = set()
        for structure, where in self._structures():
            refused = dft_code.refusal(structure, inputs) or unsuitable(structure.get_ase())
            sha256 = '' if refused else structure_sha256(structure.get_ase())
            hashes.append([] if refused else dft_code.label_hashes(structure, inputs))
            self.ctx.entries.append({**where, 'sha256': sha256, 'refused': refused})
        known = find_labels({h for per_structure in hashes for h in per_structure}) if self.inputs.reuse else {}
        self.ctx.labels, self.ctx.failed, self.ctx.waiting = {}, {}, []
        for i, (item, per_structure) in enumerate(zip(self.ctx.entries, hashes)):
            label = next((known[h] for h in per_structure if h in known), None)
            if label is not None:
                self.ctx.labels[item['sha256']] = list(label)
            elif not item['refused'] and item['sha256'] not in seen:
                self.ctx.waiting.append(i)
                seen.add(item['sha256'])
        self.ctx.before = list(self.ctx.labels)
        self.report(
            f'{len(self.ctx.entries)} structures: {sum(bool(item["refused"]) for item in self.ctx.entries)} refused, '
            f'{sum(item["sha256"] in self.ctx.labels for item in self.ctx.entries)} labelled before, '
            f'{len(self.ctx.waiting)} to label with {dft_code.DFT_CODE}'
        )

    def is_waiting(self) -> bool:
        """Tell if there is more to label."""
        return bool(self.ctx.waiting)

    def label(self) -> ToContext:
        """Submit as many jobs as may run at a time."""
        dft_code = self.dft_code
        calculation = self.inputs[dft_code.DFT_CODE][dft_code.NAMESPACE]
        at_a_time = self.inputs.get('max_concurrent', 0) or jobs_at_a_time(calculation)
        size = self.inputs.batch_size.value if dft_code.MANY else 1
        if starts_at_once(calculation.code):  # all cores shall have some
            size = min(size, math.ceil(len(self.ctx.waiting) / at_a_time))
        self.ctx.running = []
        jobs: dict[str, Any] = {}
        while self.ctx.waiting and len(jobs) < at_a_time:
            batch = self._next_batch(size)
            self.ctx.waiting = self.ctx.waiting[len(batch) :]
            inputs = AttributeDict(self.exposed_inputs(dft_code, dft_code.DFT_CODE))
            inputs[dft_code.SUBJECT] = self._subject(batch)
            inputs.setdefault('metadata', {})['call_link_label'] = f'label_{batch[0]:05d}'
            name = f'job_{batch[0]:05d}'
            jobs[name] = self.submit(dft_code, **inputs)
            self.ctx.running.append([name, batch])
        self.report(f'{len(jobs)} jobs with {dft_code.DFT_CODE}, {len(self.ctx.waiting)} structures wait')
        return ToContext(**jobs)

    def inspect_labels(self) -> None:
        """Note for each structure where its labels are, or why it has none."""
        for name, batch in self.ctx.running:
            node = self.ctx.pop(name)
            found: dict[int, int] = {}
            why = {}
            if node.is_finished_ok:
                dataset = node.outputs.dataset
                # the parsers let no row pass that is not the structure which it says it is
                found = {row.get('source_row', 0): row['index'] for row in dataset.rows}
                told = node.outputs.results.get_dict()
                why = {e['number']: e['reason'] for e in (*told.get('refused', ()), *told.get('failed', ()))}
            for place, i in enumerate(batch):
                sha256 = self.ctx.entries[i]['sha256']
                if place in found:
                    self.ctx.labels[sha256] = [dataset.pk, found[place]]
                else:
                    self.ctx.failed[sha256] = why.get(place) or reason(node)

    def collect(self) -> ExitCode | None:
        """Attach a data set of all labels, and a report of what has none."""
        items = self.ctx.entries
        labelled = [item for item in items if item['sha256'] in self.ctx.labels]

        def unlabelled(reasons: Sequence[str | None]) -> list[dict[str, Any]]:
            told = zip(items, reasons)
            return [{'index': i, 'name': item['name'], 'reason': why} for i, (item, why) in enumerate(told) if why]

        report: dict[str, Any] = {
            'engine': self.dft_code.DFT_CODE,
            'structures': len(items),
            'labelled': len(labelled),
            'labelled_before': sum(item['sha256'] in self.ctx.before for item in labelled),
            'refused': unlabelled([item['refused'] for item in items]),
            'failed': unlabelled([self.ctx.failed.get(item['sha256']) for item in items]),
            'success_fraction': len(labelled) / len(items),
            'min_success_fraction': self.inputs.min_success_fraction.value,
        }
        pks = sorted({self.ctx.labels[item['sha256']][0] for item in labelled})
        datasets: dict[str, Any] = {f'labels_{pk}': load_node(pk) for pk in pks}
        rows = [self._row(item) for item in labelled]
        if 'dataset' in self.inputs:
            datasets['source'] = self.inputs.dataset
        self.out_many(collect_labels(Dict({'rows': rows}), Dict(report), **datasets))
        if len(report['refused']) == len(items):
            return self.exit_codes.ERROR_ALL_REFUSED.format(message=report['refused'][0]['reason'])
        if not labelled:
            return self.exit_codes.ERROR_NO_LABELS.format(message=report['failed'][0]['reason'])
        if report['success_fraction'] < self.inputs.min_success_fraction.value:
            return self.exit_codes.ERROR_TOO_FEW_LABELS.format(message=f'{len(labelled)} of {len(items)}')
        return None

    def _row(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The entry of one structure in the plan of :func:`collect_labels`."""
        pk, row = self.ctx.labels[item['sha256']]
        creator = load_node(pk).creator
        made_by = creator.uuid if creator else ''
        info = LabelRecord(source_uuid=item['uuid'], calculation_uuid=made_by, source_row=item['row']).entries()
        if item['group'] is None and 'config_type' in self.inputs:
            info['config_type'] = self.inputs.config_type.value
        return {'dataset': f'labels_{pk}', 'row': row, 'source_row': item['row'], 'info': info}

    def _structures(self) -> Iterator[tuple[StructureData, dict[str, Any]]]:
        """All structures, each with its origin."""
        if 'dataset' in self.inputs:
            for row, atoms in enumerate(self.inputs.dataset.get_dataset().structures):
                where = {'name': f'row {row}', 'uuid': self.inputs.dataset.uuid, 'row': row}
                yield StructureData(ase=atoms), {**where, 'group': atoms.info.get('config_type')}
        for name in sorted(self.inputs.get('structures', {})):
            structure = self.inputs.structures[name]
            yield structure, {'name': name, 'uuid': structure.uuid, 'row': None, 'group': None}

    def _next_batch(self, size: int) -> list[int]:
        """The next structures to label in one job: all rows of the data set, or none."""
        from_dataset = self.ctx.entries[self.ctx.waiting[0]]['row'] is not None
        batch = self.ctx.waiting[:size]
        return [i for i in batch if (self.ctx.entries[i]['row'] is not None) == from_dataset]

    def _subject(self, batch: Sequence[int]) -> StructureData | DatasetData:
        """The structures of one job, as a node whose origin is on record."""
        entries = [self.ctx.entries[i] for i in batch]
        if entries[0]['row'] is not None:
            rows = [entry['row'] for entry in entries]
            if self.dft_code.MANY:
                return select_structures(self.inputs.dataset, List(rows))
            return select_structure(self.inputs.dataset, Int(rows[0]))
        chosen = {entry['name']: self.inputs.structures[entry['name']] for entry in entries}
        return gather_structures(**chosen) if self.dft_code.MANY else next(iter(chosen.values()))


def _named(structures: Sequence[StructureData]) -> dict[str, StructureData]:
    """Structures by names whose order is theirs."""
    width = len(str(len(structures)))
    return {f'structure_{i:0{width}d}': structure for i, structure in enumerate(structures)}


def labels_tried(node: ProcessNode) -> int:
    """How many structures were given to DFT under a process, or by it, or had labels of the same settings already."""
    counted = [called for called in (node, *node.called_descendants) if called.process_class is LabelWorkChain]
    results = [called.outputs.results.get_dict() for called in counted if 'results' in called.outputs]
    return sum(found['structures'] - len(found['refused']) for found in results)
