"""A generation of active learning: explore, choose, label, fit."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessSpec, ToContext, if_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import Dict, Float, Int, StructureData

from aiida_ufpnmr.calculations.base import optional, plain_input, validate_ordered
from aiida_ufpnmr.calculations.fit_efg import FitEfgCalculation
from aiida_ufpnmr.calculations.fit_potential import FitPotentialCalculation
from aiida_ufpnmr.calculations.learning_sets import merge_labels, packed_glass, strained, with_structures
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.calculations.select import SelectCalculation
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.engine.building.glass import GlassSettings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.settings import settings_from_keywords
from aiida_ufpnmr.workflows.label import LabelWorkChain, validate_count, validate_dft_code
from aiida_ufpnmr.workflows.md import MdWorkChain
from aiida_ufpnmr.workflows.repeat import FitsModels, SelectWorkChain
from aiida_ufpnmr.workflows.subprocesses import expose_inputs, reason

#: Errors on withheld structures that a generation reports, from either fit.
ERRORS = ('energy_rmse_meV_per_atom', 'forces_rmse_meV_per_angstrom', 'omega_q_mae_khz')
#: Seeds of the runs of a generation begin at this times its number.
SEEDS = 1000
#: Frames that a run of a given number of steps writes at most.
MOST_FRAMES = 2000
#: Exit status of a run whose units broke.
_UNITS_BROKEN = MdCalculation.exit_codes.ERROR_UNITS_BROKEN.status
#: Steps between two looks at the units of a glass, where the parameters of the runs do not say.
GUARD_UNITS = 100


def learning_inputs(spec: ProcessSpec) -> None:
    """The inputs that a generation and the loop over generations share."""
    spec.input('dataset', valid_type=DatasetData, help='Labels to begin with.')
    text = 'Labelled structures for the errors in all generations; without them groups of the growing set are withheld.'
    optional(spec.input, ('test_dataset', DatasetData, text))
    text = 'Structures from which exploration starts: crystals, glasses, melts.'
    spec.input_namespace('structures', valid_type=StructureData, dynamic=True, help=text)
    spec.inputs['structures'].validator = validate_ordered
    text = (
        '`temperatures_K`: of the runs from each structure, or a list of them for each stage; `steps`: of the runs by '
        'stage, those of `md` if not given; `replicas`: runs at each temperature, 1 if not given; `volume_strains`: '
        'taken by turns, 0 if not given. A generation goes on to the next stage, or stays at the last, where no guard '
        'stopped a run of the one before.'
    )
    plain_input(spec, 'exploration', Dict, text, validator=_validate_exploration)
    text = (
        'Glasses to explore beside the structures, by name: `units`, `ions`, `density_g_per_cm3` and others as of '
        '`ufpnmr build glass`; `number` of cells that are packed anew in each generation, 1 if not given.'
    )
    plain_input(spec, 'glasses', Dict, text, required=False, validator=_validate_glasses)
    labels = ('dataset', 'test_dataset')
    expose_inputs(spec, FitPotentialCalculation, 'fit_potential', labels, 'Fit of the potential.')
    expose_inputs(spec, FitEfgCalculation, 'fit_efg', labels, 'Fit of the EFG model, where wanted.', required=False)
    explored = ('structure', 'potential', 'efg_model', 'checkpoint')
    expose_inputs(spec, MdCalculation, 'md', explored, 'The runs; temperature and seed are set for each.')
    offered = ('potential', 'efg_model', 'committee', 'trajectories')
    expose_inputs(spec, SelectCalculation, 'select', offered, 'The choice of what to label.')
    expose_inputs(spec, LabelWorkChain, 'label', ('dataset', 'structures'), 'The labels.')
    spec.inputs['label'].validator = validate_dft_code


def _validate_exploration(value: Dict, _) -> str | None:
    content = value.get_dict()
    unknown = sorted(set(content) - {'temperatures_K', 'steps', 'replicas', 'volume_strains'})
    if unknown:
        return f'unknown entry {unknown[0]!r}; known are temperatures_K, steps, replicas and volume_strains'
    try:
        stages = temperature_stages(content)
        wrong = not all(stages) or min(map(min, stages)) <= 0
    except (LookupError, TypeError, ValueError):
        wrong = True
    if wrong:
        return 'temperatures_K must be a list of temperatures above 0, or a list of such lists'
    steps = content.get('steps', [1])
    if not isinstance(steps, list) or not steps or not all(type(one) is int and one > 0 for one in steps):
        return f'steps must be a list of numbers of steps by stage, not {steps!r}'
    replicas = content.get('replicas', 1)
    if type(replicas) is not int or not 0 < replicas < SEEDS:
        return f'replicas must be a number of runs, not {replicas!r}'
    if any(abs(strain) > 0.3 for strain in content.get('volume_strains', ())):
        return 'volume_strains must lie between -0.3 and 0.3'
    return None


def temperature_stages(exploration: Mapping[str, Any]) -> list[list[float]]:
    """Temperatures (K) of the runs by stage, the last for all that follow; one list where they do not rise."""
    given = exploration['temperatures_K']
    return given if isinstance(given[0], list) else [given]


def n_stages(exploration: Mapping[str, Any]) -> int:
    """The stage from which on runs are as hot and as long as they will be."""
    return max(len(temperature_stages(exploration)), len(exploration.get('steps', ())))


def at_stage(stages: list, stage: int) -> Any:
    """What holds at a stage, counted from 1, of what is given by stage, the last for all that follow."""
    return stages[min(max(stage, 1), len(stages)) - 1]


def with_length(parameters: Mapping[str, Any], exploration: Mapping[str, Any], stage: int) -> dict[str, Any]:
    """Parameters of runs with the number of steps of a stage, where there is one, and no more than so many frames."""
    if 'steps' not in exploration:
        return dict(parameters)
    steps = at_stage(exploration['steps'], stage)
    return {**parameters, 'steps': steps, 'every': max(parameters.get('every', 1), steps // MOST_FRAMES)}


def _validate_glasses(value: Dict, _) -> str | None:
    for name, glass in value.get_dict().items():
        if not name.isidentifier() or not isinstance(glass, Mapping):
            return f'{name!r} is no name of letters and digits with entries such as units, ions and density_g_per_cm3'
        number = glass.get('number', 1)
        if not isinstance(number, int) or not 0 < number < SEEDS:
            return f'{name}: number must be a number of cells, not {number!r}'
        try:
            settings_from_keywords(GlassSettings, _content(glass), name)
        except (InputError, TypeError) as error:
            return f'{name}: {error}'
    return None


def _content(glass: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a glass among its entries."""
    return {key: entry for key, entry in glass.items() if key != 'number'}


class LearningGenerationWorkChain(FitsModels):
    """Explores with a potential, labels what it knows least, and fits anew to all labels.

    Without a potential it only fits: that is how the first generation begins. A run that a guard stopped is what is
    looked for, one that failed is left out, and so are structures whose labels failed. Runs of glasses stop where a
    unit breaks; the frames around are labelled before others, and so is a glass whose units break when it is relaxed.
    """

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        learning_inputs(spec)
        plain_input(spec, 'number', Int, 'Of the generation, for the seeds of its runs.')
        text = 'Whose temperatures and steps its runs have, counted from 1; that of its number if not given.'
        plain_input(spec, 'stage', Int, text, required=False)
        text = 'Label no more than this, glasses whose units broke among them.'
        plain_input(spec, 'max_labels', Int, text, required=False, validator=validate_count)
        optional(
            spec.input,
            ('potential', PotentialData, 'That of the generation before.'),
            ('efg_model', EfgModelData, 'That of the generation before.'),
        )

        spec.outline(
            cls.begin,
            if_(cls.can_explore)(
                cls.pack, cls.explore, cls.inspect_runs, cls.choose, cls.inspect_choice, cls.label, cls.inspect_labels
            ),
            cls.fit,
            cls.inspect_fits,
        )

        spec.output('dataset', valid_type=DatasetData, help='All labels.')
        spec.output('chosen', valid_type=DatasetData, required=False, help='What was chosen to be labelled.')
        spec.output('potential', valid_type=PotentialData, help='Fitted to all labels.')
        spec.output('efg_model', valid_type=EfgModelData, required=False, help='Fitted to all labels.')
        spec.output('potential_errors', valid_type=Dict, help='Errors of the potential on withheld structures.')
        optional(spec.output, ('efg_errors', Dict, 'Errors of the EFG model on withheld structures.'))

        spec.exit_code(401, 'ERROR_NO_RUN', message='No run gave a trajectory, the first because: {message}')
        spec.exit_code(402, 'ERROR_NOTHING_CHOSEN', message='Nothing could be chosen: {message}')
        spec.exit_code(403, 'ERROR_NO_LABELS', message='Nothing that was chosen could be labelled: {message}')
        spec.exit_code(404, 'ERROR_FIT_FAILED', message='A fit failed: {message}')

    def begin(self) -> None:
        """Begin with the labels so far."""
        self.ctx.dataset = self.inputs.dataset
        self.ctx.glasses, self.ctx.broken = {}, {}
        self.ctx.most = self.inputs.max_labels.value if 'max_labels' in self.inputs else None

    def can_explore(self) -> bool:
        """Tell if there is a potential."""
        return 'potential' in self.inputs

    def pack(self) -> None:
        """Pack the glasses that are explored, and relax them; those that cannot be are left out."""
        glasses = self.inputs.glasses.get_dict() if 'glasses' in self.inputs else {}
        for name in sorted(glasses):
            for number in range(glasses[name].get('number', 1)):
                seed = glasses[name].get('seed', 0) + SEEDS * self.inputs.number.value + number
                label = f'{name}_{number}'
                label += '_packed' * (label in self.inputs.structures)
                inputs: dict[str, Any] = {
                    'glass': Dict({**_content(glasses[name]), 'seed': seed}),
                    'potential': self.inputs.potential,
                    'metadata': {'call_link_label': f'pack_{label}'},
                }
                _, node = packed_glass.run_get_node(**inputs)
                if not node.is_finished_ok:
                    self.report(f'without glass {label}: {reason(node)}')
                    continue
                self.ctx.glasses[label] = node.outputs.structure
                if not node.outputs.units['is_whole'] and self._may_be_labelled():
                    self.ctx.broken[label] = node.outputs.structure
                    self.report(f'units of glass {label} broke when it was relaxed; it is labelled')

    def _may_be_labelled(self) -> bool:
        """Whether another glass may be, beside one structure of the runs at least."""
        return self.ctx.most is None or len(self.ctx.broken) + 1 < self.ctx.most

    def explore(self) -> ToContext:
        """Submit runs from each structure, packed ones too, at each temperature."""
        exploration = self.inputs.exploration.get_dict()
        strains = exploration.get('volume_strains') or [0.0]
        generation = self.inputs.number.value
        stage = self.inputs.stage.value if 'stage' in self.inputs else generation
        temperatures = at_stage(temperature_stages(exploration), stage)
        given = with_length(self.inputs.md.parameters.get_dict(), exploration, stage)
        self.ctx.runs, running = [], {}
        structures = {**self.inputs.structures, **self.ctx.glasses}
        replicas = range(exploration.get('replicas', 1))
        for place, (name, temperature, replica) in enumerate(product(sorted(structures), temperatures, replicas)):
            strain = strains[(place + generation) % len(strains)]
            structure = structures[name]
            inputs = AttributeDict(self.exposed_inputs(MdCalculation, 'md'))
            inputs.structure = structure if strain == 0.0 else strained(structure, Float(strain))
            inputs.potential = self.inputs.potential
            chosen = {'temperature': float(temperature), 'seed': SEEDS * generation + place}
            guard = {'guard_units': GUARD_UNITS} if name in self.ctx.glasses else {}
            inputs.parameters = Dict({**guard, **given, **chosen})
            label = f'{name}_{temperature:g}K_generation{generation}'.replace('.', '_').replace('-', 'm')
            label += f'_run{replica + 1}' * (len(replicas) > 1)
            self.ctx.runs.append(label)
            running[label] = self.submit(MdWorkChain, md=inputs, metadata={'call_link_label': label})
        self.report(f'{len(running)} runs')
        return ToContext(**running)

    def inspect_runs(self) -> ExitCode | None:
        """Go on with what there is, whole or stopped by a guard."""
        self.ctx.trajectories = {}
        failures = []
        for label in self.ctx.runs:
            node = self.ctx[label]
            for output in ('trajectory', 'stopped_trajectory'):
                if output in node.outputs:
                    self.ctx.trajectories[label] = node.outputs[output]
            if label not in self.ctx.trajectories:
                failures.append(reason(node))
        if not self.ctx.trajectories:
            return self.exit_codes.ERROR_NO_RUN.format(message=failures[0])
        for failure in failures:
            self.report(f'without {failure}')
        return None

    def choose(self) -> ToContext:
        """Choose the structures whose labels would tell most."""
        inputs = AttributeDict(self.exposed_inputs(SelectCalculation, 'select'))
        inputs.potential = self.inputs.potential
        if 'efg_model' in self.inputs:
            inputs.efg_model = self.inputs.efg_model
        inputs.trajectories = self.ctx.trajectories
        if self.ctx.most is not None:
            given = inputs.parameters.get_dict()
            number = min(given.get('number', self.ctx.most), self.ctx.most - len(self.ctx.broken))
            inputs.parameters = Dict({**given, 'number': number})
        running = self.submit(SelectWorkChain, calculation=inputs, metadata={'call_link_label': 'select'})
        return ToContext(select=running)

    def inspect_choice(self) -> ExitCode | None:
        """Attach what was chosen."""
        if not self.ctx.select.is_finished_ok:
            return self.exit_codes.ERROR_NOTHING_CHOSEN.format(message=reason(self.ctx.select))
        self.out('chosen', self.ctx.select.outputs.dataset)
        return None

    def label(self) -> ToContext:
        """Label all that was chosen."""
        inputs = AttributeDict(self.exposed_inputs(LabelWorkChain, 'label'))
        inputs.dataset = self.ctx.select.outputs.dataset
        if self.ctx.broken:
            inputs.dataset = with_structures(inputs.dataset, **self.ctx.broken)
        inputs.setdefault('metadata', {})['call_link_label'] = 'label'
        return ToContext(labels=self.submit(LabelWorkChain, **inputs))

    def inspect_labels(self) -> ExitCode | None:
        """Add the new labels to those before."""
        if 'dataset' not in self.ctx.labels.outputs:
            return self.exit_codes.ERROR_NO_LABELS.format(message=reason(self.ctx.labels))
        if not self.ctx.labels.is_finished_ok:
            self.report(f'not all of what was chosen got labels: {reason(self.ctx.labels)}')
        self.ctx.dataset = merge_labels(self.inputs.dataset, self.ctx.labels.outputs.dataset)
        return None

    def fit(self) -> ToContext:
        """Fit both models, side by side."""
        return ToContext(**self.submit_fits(self.ctx.dataset))

    def inspect_fits(self) -> ExitCode | None:
        """Attach the models, their errors, and what they were fitted to."""
        self.out('dataset', self.ctx.dataset)
        for why in self.attach_fits().values():
            return self.exit_codes.ERROR_FIT_FAILED.format(message=why)
        return None


def generation_report(node) -> dict[str, Any]:
    """Summary of a generation that ended well, as plain numbers."""
    report: dict[str, Any] = {
        'generation': node.inputs.number.value,
        **({'stage': node.inputs.stage.value} if 'stage' in node.inputs else {}),
        'uuid': node.uuid,
        'labels': len(node.outputs.dataset.rows),
        'labels_new': len(node.outputs.dataset.rows) - len(node.inputs.dataset.rows),
    }
    for output in ('potential_errors', 'efg_errors'):
        if output in node.outputs:
            found = node.outputs[output].get_dict()
            report |= {key: found[key] for key in ERRORS if key in found}
    if 'chosen' in node.outputs:
        chosen = node.outputs.chosen.creator.outputs.results.get_dict()
        runs = [called for called in node.called if called.process_class is MdWorkChain]
        report |= {
            'runs': len(runs),
            'runs_stopped_by_guard': sum('stopped_trajectory' in run.outputs for run in runs),
            'runs_failed': sum(not run.is_finished_ok and 'stopped_trajectory' not in run.outputs for run in runs),
            'chosen': len(chosen['chosen']),
            'fraction_above_grade_1': chosen['fraction_above_grade_1'],
        }
        if broken := [run for run in runs if any(job.exit_status == _UNITS_BROKEN for job in run.called)]:
            report['runs_with_broken_units'] = len(broken)
    return report
