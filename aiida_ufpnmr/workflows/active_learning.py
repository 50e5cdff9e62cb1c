"""Active learning: explore, label what the models know least, fit, until that helps no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, Float, Int, List, StructureData

from aiida_ufpnmr.calculations.base import plain_input
from aiida_ufpnmr.calculations.learning_sets import write_history
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.workflows.label import LabelWorkChain
from aiida_ufpnmr.workflows.learning_generation import (
    ERRORS,
    LearningGenerationWorkChain,
    generation_report,
    learning_inputs,
)
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.subprocesses import reason

#: Outputs of the last generation that ended well.
OUTPUTS = ('dataset', 'potential', 'efg_model', 'potential_errors', 'efg_errors')


class ActiveLearningWorkChain(ProtocolMixin, WorkChain):
    """Improves a potential and an EFG model by labels of what they know least.

    Each generation explores with molecular dynamics, chooses structures by what their labels would tell, labels them
    with DFT and fits both models anew. It ends where for some generations no error on withheld structures has fallen
    and hardly a frame lies outside of what is known. What there is by then is given, converged or not.
    """

    PROTOCOL = 'active_learning'
    PROTOCOL_ARGUMENTS = ('dataset', 'test_dataset', 'structures')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        learning_inputs(spec)
        for name, kind, default, text in (
            ('max_generations', Int, 5, 'No more generations of labels than this.'),
            ('patience', Int, 2, 'Generations in a row without a smaller error after which it ends.'),
            ('improvement', Float, 0.02, 'Share by which an error must fall below the smallest so far to count.'),
            ('fraction_above_grade', Float, 0.05, 'Share of frames that may lie outside of what is known at the end.'),
            ('retune_every', Int, 0, 'Search the settings of both models anew every so many generations; 0 for never.'),
        ):
            plain_input(spec, name, kind, text, default=default)

        spec.outline(cls.begin, while_(cls.should_go_on)(cls.run_generation, cls.inspect_generation), cls.finish)

        spec.expose_outputs(LearningGenerationWorkChain, include=OUTPUTS)
        for name in OUTPUTS:
            spec.outputs[name].required = False
        spec.output('history', valid_type=Dict, required=False, help='Errors, labels and runs by generation.')
        spec.exit_code(401, 'ERROR_GENERATION_FAILED', message='A generation failed, after what is given: {message}')
        text = 'Errors still fell, or much was unknown, in the last generation.'
        spec.exit_code(501, 'ERROR_NOT_CONVERGED', message=text)

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        label_code: AbstractCode,
        engine: str,
        dataset: DatasetData,
        structures: Mapping[str, StructureData],
        test_dataset: DatasetData | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            label_code: what runs the DFT code.
            engine: the DFT code, ``castep`` or ``gpaw``.
            dataset: labels to begin with.
            structures: where exploration starts, by names that become groups of structures.
            test_dataset: labelled structures for the errors.
        """
        elements = {*dataset.base.attributes.get('species')}.union(*(s.get_symbols_set() for s in structures.values()))
        inputs = cls.get_protocol_inputs(
            protocol,
            overrides,
            label=lambda below: LabelWorkChain.inputs_for_elements(
                elements, label_code, engine, protocol, below, options
            ),
        )
        inputs = merged(of_all(('fit_potential', 'fit_efg', 'md', 'select'), code, options), inputs)
        inputs |= {'dataset': dataset, 'structures': dict(structures)}
        if test_dataset is not None:
            inputs['test_dataset'] = test_dataset
        return cls.filled_builder(inputs)

    def begin(self) -> None:
        """Begin with no generation."""
        self.ctx.reports = []
        self.ctx.last = None
        self.ctx.best = {}
        self.ctx.idle = 0

    @property
    def is_converged(self) -> bool:
        """True where labels have helped no more for long enough."""
        return self.ctx.idle >= self.inputs.patience.value

    def should_go_on(self) -> bool:
        """Tell if another generation may help."""
        # the first fits only
        return not self.is_converged and len(self.ctx.reports) <= self.inputs.max_generations.value

    def run_generation(self) -> ToContext:
        """Submit the next generation, with the labels and the models of the one before."""
        number = len(self.ctx.reports)
        shared = LearningGenerationWorkChain.spec().inputs
        inputs = AttributeDict({name: given for name, given in self.inputs.items() if name in shared})
        inputs.number = number
        if self.ctx.last is not None:
            inputs.dataset = self.ctx.last.outputs.dataset
            for name in ('potential', 'efg_model'):
                if name in self.ctx.last.outputs:
                    inputs[name] = self.ctx.last.outputs[name]
        every = self.inputs.retune_every.value
        if every and number and number % every == 0:
            for name in ('fit_potential', 'fit_efg'):
                if inputs.get(name):
                    given = inputs[name]['parameters'].get_dict()
                    inputs[name] = {**inputs[name], 'parameters': Dict({**given, 'tune': True})}
        inputs.metadata = {'call_link_label': f'generation_{number:02d}'}
        running = self.submit(LearningGenerationWorkChain, **inputs)
        self.report(f'generation {number} <{running.pk}> with {len(inputs.dataset.rows)} labels')
        return ToContext(generation=running)

    def inspect_generation(self) -> ExitCode | None:
        """Note what came out, and whether it was any better."""
        node = self.ctx.generation
        if not node.is_finished_ok:
            self._give()
            return self.exit_codes.ERROR_GENERATION_FAILED.format(message=reason(node))
        self.ctx.last = node
        report = generation_report(node)
        found = {key: report[key] for key in ERRORS if report.get(key) is not None}
        better = False
        for key, error in found.items():
            best = self.ctx.best.get(key, float('inf'))
            better |= error < best * (1 - self.inputs.improvement.value)
            self.ctx.best[key] = min(error, best)
        unknown = report.get('fraction_above_grade_1', 1.0) > self.inputs.fraction_above_grade.value
        self.ctx.idle = 0 if better or unknown else self.ctx.idle + 1
        self.ctx.reports.append(report)
        errors = ', '.join(f'{key} {error:.3g}' for key, error in found.items())
        self.report(f'generation {report["generation"]}: {report["labels"]} labels, {errors}')
        return None

    def finish(self) -> ExitCode | None:
        """Give the models, the labels and the history."""
        self._give()
        return None if self.is_converged else self.exit_codes.ERROR_NOT_CONVERGED

    def _give(self) -> None:
        if self.ctx.last is None:
            return
        self.out_many({name: self.ctx.last.outputs[name] for name in OUTPUTS if name in self.ctx.last.outputs})
        self.out('history', write_history(List(self.ctx.reports)))
