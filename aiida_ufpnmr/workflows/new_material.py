"""The workflow that goes from the crystal of a material to its models, and to how fast its ions move."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, if_, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, Float, Int, SinglefileData, StructureData

from aiida_ufpnmr.calculations.base import optional, plain_input
from aiida_ufpnmr.calculations.draw import DrawCalculation
from aiida_ufpnmr.calculations.first_sets import (
    cells_for_labels,
    crystal_in,
    depth_below_crystal,
    describe_material,
    gathered,
    part_withheld,
    rows_between,
)
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.building.label_cells import LabelCellSettings, cell_to_repeat, label_cells
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import settings_from_keywords
from aiida_ufpnmr.workflows.active_learning import GOAL_REACHED, OUTPUTS, ActiveLearningWorkChain, validate_budget
from aiida_ufpnmr.workflows.budget import affordable, core_hours, label_core_hours
from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain
from aiida_ufpnmr.workflows.ions import ion_of
from aiida_ufpnmr.workflows.label import LabelWorkChain, labels_tried
from aiida_ufpnmr.workflows.learning_generation import ERRORS, n_stages, with_length
from aiida_ufpnmr.workflows.model_check import OUTPUTS as CHECKED
from aiida_ufpnmr.workflows.model_check import ModelCheckWorkChain
from aiida_ufpnmr.workflows.new_material_inputs import potential_settings, staged_exploration, with_short_steps
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.repeat import DrawWorkChain
from aiida_ufpnmr.workflows.subprocesses import expose_inputs, reason

#: Fewer labels than this are no start.
FEWEST_LABELS = 8
#: Of a budget, the first labels take this share at most: the models ask for the others.
FIRST_SHARE = 0.5
#: And those of frames of a run that check the models in the end, this share.
CHECK_SHARE = 0.125
#: Where core hours are limited, so many structures are labelled first, to learn what a label costs.
PROBE = 4
#: What is rattled, strained or hot is not so far below the crystal, eV/atom, where that is one of the material.
FAR_BELOW_eV = 0.03
#: Structures that a cell is drawn from at least, where there are several cells.
FEWEST_OF_A_CELL = 10


def _validate_cell(value: Dict, _) -> str | None:
    try:
        settings_from_keywords(LabelCellSettings, value.get_dict(), 'cell')
    except InputError as error:
        return str(error)
    return None


def _validate_max_labels(value: Int, _) -> str | None:
    return None if value.value >= FEWEST_LABELS else f'must be at least {FEWEST_LABELS}, not {value.value}'


class NewMaterialWorkChain(ProtocolMixin, WorkChain):
    """From a crystal to a potential, an EFG model, and the rate at which ions hop, as NMR would see it.

    Orders the crystal where it must, draws first structures, labels them, and learns from labels of what the models
    know least, at rising temperatures, until errors and uncertainty are small enough or the budget is spent. Frames of
    a run at the temperature of the answer are labelled to say how wrong the models are there; then dynamic NMR is run
    with what there is. An ion without a quadrupole moment is followed without EFG.
    """

    #: The command line prints its reports.
    TELLS: ClassVar[bool] = True
    PROTOCOL = 'new_material'
    PROTOCOL_ENTRIES = ('temperature_fractions', 'exploration_steps', 'max_generations', 'goal')
    PROTOCOL_ARGUMENTS = ('crystal', 'ion', 'dataset')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        text = 'The crystal: a CIF file, or a structure all sites of which are full.'
        spec.input('crystal', valid_type=(SinglefileData, StructureData), help=text)
        plain_input(spec, 'ion', Dict, 'The ion: `species`, `isotope` and `spin_half`, the last two may be null.')
        text = 'Size and order of the cells that are labelled: settings as of `ufpnmr build label-cell`.'
        plain_input(spec, 'cell', Dict, text, default={}, validator=_validate_cell)
        text = 'Labels that there are, by the same settings of DFT: they join the first ones, and count in no budget.'
        optional(spec.input, ('dataset', DatasetData, text))
        text = 'No more structures than this are given to DFT, those labelled before by the same settings among them.'
        plain_input(spec, 'max_labels', Int, text, validator=_validate_max_labels)
        text = 'Core hours that labels, runs and fits of learning may cost; the dynamics for the answer comes on top.'
        plain_input(spec, 'max_core_hours', Float, text, required=False, validator=validate_budget)
        text = 'Frames of a run at the temperature of the answer that are labelled to check the models; 0 for none.'
        plain_input(spec, 'check_frames', Int, text, default=10, validator=validate_budget)
        expose_inputs(
            spec, DrawCalculation, 'draw', ('structure',), 'First structures; the number is that of all cells.'
        )
        given = ('dataset', 'test_dataset', 'structures', 'max_labels', 'max_core_hours', 'label_core_hours')
        expose_inputs(spec, ActiveLearningWorkChain, 'learning', given, 'Labels, fits and exploration.')
        models = ('structure', 'potential', 'efg_model')
        expose_inputs(spec, DynamicNmrWorkChain, 'dynamic_nmr', models, 'Dynamics for the answer, and its analyses.')

        spec.outline(
            cls.make_cells,
            cls.draw,
            cls.inspect_drawing,
            while_(cls.should_label)(cls.label, cls.inspect_labels),
            cls.learn,
            cls.inspect_learning,
            if_(cls.should_check)(cls.check, cls.inspect_check),
            cls.run_dynamic_nmr,
            cls.finish,
        )

        spec.expose_outputs(ActiveLearningWorkChain, include=(*OUTPUTS, 'history', 'timing'))
        spec.output('test_dataset', valid_type=DatasetData, required=False, help='Labels that no fit has seen.')
        spec.output('material', valid_type=Dict, required=False, help='Cells, ion, numbers of labels and the verdict.')
        spec.expose_outputs(
            ModelCheckWorkChain, namespace='check', include=CHECKED, namespace_options={'required': False}
        )
        spec.expose_outputs(DynamicNmrWorkChain)
        tau: Any = spec.outputs['tau']
        tau.required = False
        spec.outputs['trajectory'].required = False
        for namespace in ('md', 'acf', 'msd', 'hops', 'analyses'):
            spec.outputs[namespace].required = False
        spec.exit_code(210, 'ERROR_NO_CELL', message='No cell can be made of the crystal: {message}')
        spec.exit_code(401, 'ERROR_NOTHING_DRAWN', message='No first structures: {message}')
        spec.exit_code(402, 'ERROR_NO_LABELS', message='No first labels: {message}')
        spec.exit_code(403, 'ERROR_NO_MODELS', message='No models: {message}')
        spec.exit_code(
            404, 'ERROR_SUB_PROCESS_FAILED_DYNAMIC_NMR', message='The dynamic NMR workflow failed: {message}'
        )
        text = 'The answer is there, but models are not as good as asked for: {message}.'
        spec.exit_code(501, 'ERROR_GOAL_NOT_REACHED', message=text)

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        label_code: AbstractCode,
        engine: str,
        crystal: SinglefileData | StructureData,
        ion: str,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
        labels: DatasetData | None = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            label_code: what runs the DFT code.
            engine: the DFT code, ``castep`` or ``gpaw``.
            crystal: where all begins.
            ion: element or isotope whose ions are followed.
            labels: those that there are already.
        """
        found = crystal_in(crystal)
        elements = sorted(found.composition)
        learning = ActiveLearningWorkChain.inputs_for_elements
        inputs = cls.get_protocol_inputs(
            protocol,
            overrides,
            learning=lambda below: learning(elements, code, label_code, engine, protocol, below, options, ion),
            dynamic_nmr=lambda below: {},  # made below, of the cell
        )
        isotope = inputs['learning'].get('fit_efg', {}).get('settings', {}).get('isotope')
        who = ion_of(ion, elements, isotope)
        cell = settings_from_keywords(LabelCellSettings, inputs['cell'], 'cell')
        made = label_cells(found, cell)  # what cannot be ordered is refused before anything is stored
        repeated = cell_to_repeat(found, cell).repeated(made.supercell)
        n_atoms, with_efg = round(sum(repeated.composition.values())), who.spin_half is None
        below = (overrides or {}).get('dynamic_nmr')
        try:
            inputs['dynamic_nmr'] = DynamicNmrWorkChain.inputs_for_cell(
                repeated.cell, n_atoms, code, protocol, below, options, who.species, with_efg
            )
        except ValueError as error:
            raise ValueError(f'dynamic_nmr: {error}') from error
        temperature = inputs['dynamic_nmr']['md']['parameters']['temperature']
        asked = (overrides or {}).get('learning') or {}
        staged = {name: inputs.pop(name) for name in ('temperature_fractions', 'exploration_steps')}
        own = {
            'exploration': staged_exploration(temperature, **staged, asked=asked),
            'goal': inputs.pop('goal'),
            'max_generations': inputs.pop('max_generations'),
            'fit_potential': {'settings': potential_settings(repeated, who.species)},
        }
        inputs['learning'] = merged(merged(inputs['learning'], own), {k: asked[k] for k in own if k in asked})
        inputs = merged(of_all(('draw',), code, options), inputs)
        inputs = with_short_steps(inputs, elements, overrides or {})
        if labels is not None:
            foreign = {*labels.base.attributes.get('species')} - {*elements}
            if foreign:
                raise ValueError(f'labels hold {", ".join(sorted(foreign))}, which the crystal does not')
            inputs['dataset'] = labels
        return cls.filled_builder({**inputs, 'crystal': crystal, 'ion': who._asdict()})

    def make_cells(self) -> ExitCode | None:
        """Order the crystal where it must be, and repeat it to cells for labels."""
        inputs = {
            'crystal': self.inputs.crystal,
            'settings': self.inputs.cell,
            'metadata': {'call_link_label': 'cells'},
        }
        made, node = cells_for_labels.run_get_node(**inputs)
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_NO_CELL.format(message=node.exit_message)
        found: Any = made
        self.ctx.cells = {name: found[name] for name in sorted(found) if name.startswith('cell_')}
        self.ctx.report_on_cells = found['report']
        for line in (f'{len(self.ctx.cells)} cells of {found["report"]["atoms"]} atoms', *found['report']['remarks']):
            self.report(line)
        ion = self.inputs.ion.get_dict()
        if ion['spin_half']:
            self.report(
                f'{ion["spin_half"]} has no quadrupole moment: no EFG is learnt; hops and diffusion are the answer'
            )
        return None

    def draw(self) -> ToContext:
        """Draw the first structures, from some cells side by side."""
        given = self.inputs.draw.parameters.get_dict()
        most = self._most_first
        wanted = int(min(given.get('number', most), most))
        cells = list(self.ctx.cells)[: max(1, wanted // FEWEST_OF_A_CELL)]
        running = {}
        for place, name in enumerate(cells):
            number = wanted // len(cells) + (place < wanted % len(cells))
            inputs = AttributeDict(self.exposed_inputs(DrawCalculation, 'draw'))
            inputs.structure = self.ctx.cells[name]
            inputs.parameters = Dict({**given, 'number': number, 'seed': given.get('seed', 0) + place})
            metadata = {'call_link_label': f'draw_{name}'}
            running[f'draw_{name}'] = self.submit(DrawWorkChain, calculation=inputs, metadata=metadata)
        self.ctx.drawing = list(running)
        return ToContext(**running)

    def inspect_drawing(self) -> ExitCode | None:
        """Put what was drawn into one set."""
        nodes = [self.ctx[name] for name in self.ctx.drawing]
        for node in nodes:
            if not node.is_finished_ok:
                return self.exit_codes.ERROR_NOTHING_DRAWN.format(message=reason(node))
        drawn = {name: node.outputs.dataset for name, node in zip(self.ctx.drawing, nodes)}
        self.ctx.drawn = gathered(Int(self._most_first), **drawn)
        self.ctx.at, self.ctx.number, self.ctx.labels, self.ctx.tried = 0, len(self.ctx.drawn.rows), {}, 0
        if 'max_core_hours' in self.inputs:
            self.ctx.number = min(PROBE, self.ctx.number)
        return None

    def should_label(self) -> bool:
        """Tell if there are first structures to label, which are paid for."""
        return self.ctx.at < self.ctx.number

    def label(self) -> ToContext:
        """Label first structures: all, or a few to see what they cost, and then as many as that allows."""
        inputs = AttributeDict(self.inputs.learning.label)
        inputs.dataset = rows_between(self.ctx.drawn, Int(self.ctx.at), Int(self.ctx.number))
        inputs.metadata = {'call_link_label': f'label_{self.ctx.at:03d}'}
        running = self.submit(LabelWorkChain, **inputs)
        self.report(f'labels of structures {self.ctx.at} to {self.ctx.number - 1} <{running.pk}>')
        return ToContext(labelling=running)

    def inspect_labels(self) -> ExitCode | None:
        """Count labels and core hours, and say what the rest may cost."""
        node = self.ctx.labelling
        self.ctx.tried += labels_tried(node)
        if 'dataset' in node.outputs:
            self.ctx.labels[f'labels_{self.ctx.at:03d}'] = node.outputs.dataset
            self.ctx.price = label_core_hours(node.outputs.dataset)
            self._say_if_far_below(node.outputs.dataset)
        elif not self.ctx.labels:
            return self.exit_codes.ERROR_NO_LABELS.format(message=reason(node))
        probed, self.ctx.at = self.ctx.at == 0, self.ctx.number
        if 'max_core_hours' in self.inputs and probed:
            more = affordable(FIRST_SHARE * self._left_of_hours(), 0.0, self.ctx.price)
            rest = len(self.ctx.drawn.rows) - self.ctx.at
            self.ctx.number += rest if more is None else min(more, rest)
        if self.ctx.price:
            left = self._left_of_labels(self.ctx.tried)
            self.report(
                f'a label costs {self.ctx.price:.3g} core hours: {left} more may be asked for, in '
                f'{left * self.ctx.price:.3g} core hours'
            )
        return None

    def learn(self) -> ToContext:
        """Fit, explore and label with what is left of the budget."""
        given = {'given': self.inputs.dataset} if 'dataset' in self.inputs else {}
        parts = part_withheld(**given, **self.ctx.labels)
        inputs = AttributeDict(self.exposed_inputs(ActiveLearningWorkChain, 'learning'))
        inputs.update(parts)
        self.out_many({name: node for name, node in parts.items() if name == 'test_dataset'})
        inputs.structures = self.ctx.cells
        inputs.max_labels = self._left_of_labels(self.ctx.tried + self._frames_to_check)
        if 'max_core_hours' in self.inputs:
            inputs.max_core_hours = max(0.0, self._left_of_hours() - self._frames_to_check * (self.ctx.price or 0.0))
        if self.ctx.price:
            inputs.label_core_hours = self.ctx.price
        inputs.setdefault('metadata', {})['call_link_label'] = 'learning'
        running = self.submit(ActiveLearningWorkChain, **inputs)
        self.report(f'active learning <{running.pk}> with {inputs.max_labels} labels at most')
        return ToContext(learning=running)

    def inspect_learning(self) -> ExitCode | None:
        """Go on with the models that there are."""
        node = self.ctx.learning
        if 'history' not in node.outputs:
            return self.exit_codes.ERROR_NO_MODELS.format(message=reason(node))
        self.out_many(self.exposed_outputs(node, ActiveLearningWorkChain))
        self.ctx.first, self.ctx.tried = self.ctx.tried, self.ctx.tried + labels_tried(node)
        history = node.outputs.history
        last = history['generations'][-1]
        self.report(
            f'{history["verdict"]}: {last["labels"]} labels to fit to, {self.ctx.tried} of '
            f'{self.inputs.max_labels.value}'
        )
        self._say_if_far_below(self.outputs['dataset'])
        return None

    def _say_if_far_below(self, labels: DatasetData) -> None:
        below = depth_below_crystal(labels)
        if below > FAR_BELOW_eV:
            self.report(
                f'a labelled structure lies {1000 * below:.0f} meV/atom below the crystal as its file has it: look '
                'whether its places, distances and lattice parameters are right'
            )

    def should_check(self) -> bool:
        """Tell if frames of a run are to be labelled."""
        return self._frames_to_check > 0

    def check(self) -> ToContext:
        """Submit a run at the temperature of the answer, as long as those of the last stage, and labels of frames."""
        inputs: dict[str, Any] = {name: self.inputs.learning[name] for name in ('md', 'label')}
        temperature = self.inputs.dynamic_nmr.md.parameters['temperature']
        exploration = self.inputs.learning.exploration.get_dict()
        parameters = with_length(inputs['md']['parameters'].get_dict(), exploration, n_stages(exploration))
        inputs['md'] = {**inputs['md'], 'parameters': Dict({**parameters, 'temperature': temperature})}
        inputs |= {'structure': self.ctx.cells['cell_0'], 'frames': Int(self._frames_to_check), **self._models}
        return ToContext(checking=self.submit(ModelCheckWorkChain, **inputs, metadata={'call_link_label': 'check'}))

    def inspect_check(self) -> None:
        """Attach how wrong the models are along the run."""
        node = self.ctx.checking
        self.ctx.tried += labels_tried(node)
        if not node.is_finished_ok:
            self.report(f'models are not checked: {reason(node)}')
            return
        self.out_many(self.exposed_outputs(node, ModelCheckWorkChain, 'check', agglomerate=False))
        errors = self._errors_of_check()
        self.report('on frames of a run: ' + ', '.join(f'{key} {error:.3g}' for key, error in errors.items()))

    def _errors_of_check(self) -> dict[str, float]:
        """The errors of the check, where there was one, of the names that goals have."""
        check = self.outputs.get('check', {})
        found = [check[name].get_dict() for name in CHECKED[1:] if name in check]
        return {key: errors[key] for key in ERRORS for errors in found if errors.get(key) is not None}

    def run_dynamic_nmr(self) -> ToContext:
        """Submit the dynamics with the final models, and its analyses."""
        inputs = self.exposed_inputs(DynamicNmrWorkChain, 'dynamic_nmr')
        counts = {
            'labels_first': self.ctx.first,
            'labels_tried': self.ctx.tried,
            'max_labels': self.inputs.max_labels.value,
        }
        history = self.ctx.learning.outputs.history
        self.out('material', describe_material(self.ctx.report_on_cells, self.inputs.ion, history, Dict(counts)))
        inputs.structure = self.ctx.cells['cell_0']
        inputs.update(self._models)
        inputs.setdefault('metadata', {})['call_link_label'] = 'dynamic_nmr'
        return ToContext(dynamic_nmr=self.submit(DynamicNmrWorkChain, **inputs))

    def finish(self) -> ExitCode | None:
        """Attach the answer, or what there is of it; say so where the goal was not reached."""
        node = self.ctx.dynamic_nmr
        self.out_many(self.exposed_outputs(node, DynamicNmrWorkChain))
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_SUB_PROCESS_FAILED_DYNAMIC_NMR.format(message=reason(node))
        verdict = self.ctx.learning.outputs.history['verdict']
        if verdict == GOAL_REACHED:
            goal = self.inputs.learning.goal.get_dict()
            found = self._errors_of_check()
            verdict = ', '.join(
                f'{key} {error:.3g} on frames of a run' for key, error in found.items() if error > goal.get(key, error)
            )
            if not verdict:
                return None
        return self.exit_codes.ERROR_GOAL_NOT_REACHED.format(message=verdict)

    @property
    def _most_first(self) -> int:
        """How many labels drawn structures may have."""
        return int(FIRST_SHARE * self.inputs.max_labels.value)

    @property
    def _models(self) -> dict[str, Any]:
        """The models that learning gave, by name."""
        found = self.ctx.learning.outputs
        return {name: found[name] for name in ('potential', 'efg_model') if name in found}

    @property
    def _frames_to_check(self) -> int:
        """How many frames of a run are labelled in the end, as the budget of labels allows."""
        return min(self.inputs.check_frames.value, int(CHECK_SHARE * self.inputs.max_labels.value))

    def _left_of_labels(self, tried: int) -> int:
        return max(0, self.inputs.max_labels.value - tried)

    def _left_of_hours(self) -> float:
        """What is left of the core hours, after all that has ended so far."""
        return self.inputs.max_core_hours.value - core_hours(self.node.called_descendants)
