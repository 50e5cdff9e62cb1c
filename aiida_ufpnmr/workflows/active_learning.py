"""Active learning: explore, label what the models know least, fit, until that helps no more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, Float, Int, List, ProcessNode, Str, StructureData

from aiida_ufpnmr.calculations.base import plain_input
from aiida_ufpnmr.calculations.learning_sets import write_costs, write_history
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.workflows.budget import affordable, core_hours, label_core_hours
from aiida_ufpnmr.workflows.ions import with_ion
from aiida_ufpnmr.workflows.label import LabelWorkChain, labels_tried
from aiida_ufpnmr.workflows.learning_generation import (
    ERRORS,
    LearningGenerationWorkChain,
    generation_report,
    learning_inputs,
    n_stages,
)
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.subprocesses import reason

#: Outputs of the last generation that ended well.
OUTPUTS = ('dataset', 'potential', 'efg_model', 'potential_errors', 'efg_errors')


#: Endings in which labels would help no more.
GOAL_REACHED, NO_BETTER = 'goal reached', 'errors fall no more'


def validate_budget(value: Int | Float, _) -> str | None:
    """Refuse a budget below nothing."""
    return None if value.value >= 0 else f'must not be negative, as {value.value} is'


def is_known(report: Mapping[str, Any], most_above_grade: float) -> bool:
    """Whether no run of a generation was stopped by a guard, and hardly a frame lies outside of what models know.

    Args:
        report: of :func:`~aiida_ufpnmr.workflows.learning_generation.generation_report`.
        most_above_grade: share of frames that may lie outside.
    """
    share = report.get('fraction_above_grade_1', 1.0)
    return share <= most_above_grade and not report.get('runs_stopped_by_guard')


def _validate_goal(value: Dict, _) -> str | None:
    """Refuse errors that no generation reports."""
    content = value.get_dict()
    unknown = sorted(set(content) - set(ERRORS))
    if unknown:
        return f'unknown error {unknown[0]!r}; known are {", ".join(ERRORS)}'
    wrong = next((name for name, most in content.items() if type(most) not in (int, float) or not most > 0), None)
    return wrong and f'{wrong} must be a number above 0, not {content[wrong]}'


class ActiveLearningWorkChain(ProtocolMixin, WorkChain):
    """Improves a potential and an EFG model by labels of what they know least.

    Each generation explores with molecular dynamics, chooses structures by what their labels would tell, labels them
    with DFT and fits both models anew. Where no guard stopped a run of it, the next one explores at the next stage:
    hotter, or for longer. It ends where for some generations no error on withheld structures has fallen, or all are as
    small as the goal, and no run was stopped and hardly a frame lies outside of what is known, at the last stage; or
    where a budget of labels or core hours is spent. What there is by then is given, converged or not.
    """

    #: The command line prints its reports.
    TELLS: ClassVar[bool] = True
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
        text = f'Errors on withheld structures that are small enough, by name: {", ".join(ERRORS)}.'
        plain_input(spec, 'goal', Dict, text, required=False, validator=_validate_goal)
        text = 'No more structures than this are given to DFT, those labelled before by the same settings among them.'
        plain_input(spec, 'max_labels', Int, text, required=False, validator=validate_budget)
        text = 'No generation begins, and no more labels are asked for, than these core hours of all jobs pay for.'
        plain_input(spec, 'max_core_hours', Float, text, required=False, validator=validate_budget)
        text = 'What a label costs, where none of this workflow says so yet.'
        plain_input(spec, 'label_core_hours', Float, text, required=False, validator=validate_budget)

        spec.outline(cls.begin, while_(cls.should_go_on)(cls.run_generation, cls.inspect_generation), cls.finish)

        spec.expose_outputs(LearningGenerationWorkChain, include=OUTPUTS)
        for name in OUTPUTS:
            spec.outputs[name].required = False
        text = 'Errors, labels and runs by generation, and why it ended.'
        spec.output('history', valid_type=Dict, required=False, help=text)
        spec.output('timing', valid_type=Dict, required=False, help='Core hours by generation.')
        spec.exit_code(401, 'ERROR_GENERATION_FAILED', message='A generation failed, after what is given: {message}')
        text = '{message}: errors still fell, or much was unknown, in the last generation.'
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
        ion: str | None = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            label_code: what runs the DFT code.
            engine: the DFT code, ``castep`` or ``gpaw``.
            dataset: labels to begin with.
            structures: where exploration starts, by names that become groups of structures.
            test_dataset: labelled structures for the errors.
            ion: element or isotope whose EFG is learnt, Li if not given; none is of an ion without a quadrupole moment.
        """
        elements = {*dataset.base.attributes.get('species')}.union(*(s.get_symbols_set() for s in structures.values()))
        inputs = cls.inputs_for_elements(elements, code, label_code, engine, protocol, overrides, options, ion)
        inputs |= {'dataset': dataset, 'structures': dict(structures)}
        if test_dataset is not None:
            inputs['test_dataset'] = test_dataset
        return cls.filled_builder(inputs)

    @classmethod
    def inputs_for_elements(
        cls, elements, code, label_code, engine, protocol, overrides, options, ion=None
    ) -> dict[str, Any]:
        """The inputs of a protocol for structures of these elements: all but the structures and labels."""
        inputs = cls.get_protocol_inputs(
            protocol,
            overrides,
            label=lambda below: LabelWorkChain.inputs_for_elements(
                elements, label_code, engine, protocol, below, options
            ),
        )
        inputs = merged(of_all(('fit_potential', 'fit_efg', 'md', 'select'), code, options), inputs)
        return with_ion(inputs, ion, elements)

    def begin(self) -> None:
        """Begin with no generation."""
        self.ctx.reports = []
        self.ctx.stage = 1
        self.ctx.last = None
        self.ctx.best = {}
        self.ctx.idle = 0
        self.ctx.labels = 0
        self.ctx.core_hours = []
        self.ctx.price = self.inputs.label_core_hours.value if 'label_core_hours' in self.inputs else None
        self.ctx.before_labels = 0.0

    @property
    def reached_goal(self) -> bool:
        """True where errors and uncertainty of the last generation are as small as asked for."""
        goal = self.inputs.goal.get_dict() if 'goal' in self.inputs else {}
        last = self.ctx.reports[-1] if self.ctx.reports else {}
        errors = all(last.get(key) is not None and last[key] <= most for key, most in goal.items())
        return bool(goal) and errors and is_known(last, self.inputs.fraction_above_grade.value)

    @property
    def ending(self) -> str | None:
        """Why no other generation begins, in words; ``None`` where one does."""
        if not self.ctx.reports:  # the first fits, whatever is left
            return None
        if self.ctx.stage > n_stages(self.inputs.exploration.get_dict()):
            if self.reached_goal:
                return GOAL_REACHED
            if self.ctx.idle >= self.inputs.patience.value:
                return NO_BETTER
        if len(self.ctx.reports) > self.inputs.max_generations.value:
            return 'generations spent'
        return next((why for why, left in self._room().items() if left is not None and left < 1), None)

    def _room(self) -> dict[str, int | None]:
        """How many labels each budget leaves, ``None`` for any number, by what to say where it is spent."""
        room: dict[str, int | None] = {}
        if 'max_labels' in self.inputs:
            room['labels spent'] = self.inputs.max_labels.value - self.ctx.labels
        if 'max_core_hours' in self.inputs:
            left = self.inputs.max_core_hours.value - sum(self.ctx.core_hours)
            room['core hours spent'] = affordable(left, self.ctx.before_labels, self.ctx.price)
        return room

    def should_go_on(self) -> bool:
        """Tell if another generation may help, and is paid for."""
        return self.ending is None

    def run_generation(self) -> ToContext:
        """Submit the next generation, with the labels and the models of the one before."""
        number = len(self.ctx.reports)
        shared = LearningGenerationWorkChain.spec().inputs
        inputs = AttributeDict({name: given for name, given in self.inputs.items() if name in shared})
        last_stage = n_stages(self.inputs.exploration.get_dict())
        inputs.number = number
        if number:
            inputs.stage = min(self.ctx.stage, last_stage)
        room = [left for left in self._room().values() if left is not None] if number else []
        if room:  # shared with the generations to come whose runs are hotter or longer
            inputs.max_labels = -(-min(room) // (last_stage - inputs.stage + 1))
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
        most = f', {inputs.max_labels} more at most' if room else ''
        self.report(f'generation {number} <{running.pk}> with {len(inputs.dataset.rows)} labels{most}')
        return ToContext(generation=running)

    def inspect_generation(self) -> ExitCode | None:
        """Note what came out, and whether it was any better."""
        node = self.ctx.generation
        self._count(node)
        if not node.is_finished_ok:
            self._give('a generation failed')
            return self.exit_codes.ERROR_GENERATION_FAILED.format(message=reason(node))
        self.ctx.last = node
        report = generation_report(node)
        found = {key: report[key] for key in ERRORS if report.get(key) is not None}
        better = False
        for key, error in found.items():
            best = self.ctx.best.get(key, float('inf'))
            better |= error < best * (1 - self.inputs.improvement.value)
            self.ctx.best[key] = min(error, best)
        known = is_known(report, self.inputs.fraction_above_grade.value)
        self.ctx.idle = 0 if better or not known else self.ctx.idle + 1
        self.ctx.reports.append(report)
        stopped = report.get('runs_stopped_by_guard', 0)
        if report['generation'] and not stopped:
            self.ctx.stage += 1
        errors = ', '.join(f'{key} {error:.3g}' for key, error in found.items())
        errors += f', {stopped} runs stopped' * (stopped > 0)
        so_far = f'{self.ctx.labels} structures for DFT and {sum(self.ctx.core_hours):.3g} core hours so far'
        self.report(f'generation {report["generation"]}: {report["labels"]} labels, {errors}; {so_far}')
        return None

    def _count(self, node: ProcessNode) -> None:
        """Count what a generation has cost, and note what the next one may cost."""
        self.ctx.labels += labels_tried(node)
        spent = core_hours(node.called_descendants)
        self.ctx.core_hours.append(spent)
        labelling = [called for called in node.called if called.process_class is LabelWorkChain]
        self.ctx.before_labels = spent - sum(core_hours(called.called_descendants) for called in labelling)
        if labelling and 'dataset' in labelling[0].outputs:
            self.ctx.price = label_core_hours(labelling[0].outputs.dataset) or self.ctx.price

    def finish(self) -> ExitCode | None:
        """Give the models, the labels and the history."""
        ending = self.ending or 'generations spent'
        self._give(ending)
        converged = ending in (GOAL_REACHED, NO_BETTER)
        return None if converged else self.exit_codes.ERROR_NOT_CONVERGED.format(message=ending)

    def _give(self, ending: str) -> None:
        if self.ctx.last is None:
            return
        self.out_many({name: self.ctx.last.outputs[name] for name in OUTPUTS if name in self.ctx.last.outputs})
        self.out('history', write_history(List(self.ctx.reports), Str(ending)))
        self.out('timing', write_costs(List(self.ctx.core_hours)))
