"""The workflow that finds which ions are soft, what lies around them, and whether their barriers are lower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain, if_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Data, Dict, Int, ProcessNode, SinglefileData, Str

from aiida_ufpnmr.calculations.analyse import FILES, AnalyseCalculation, parameter_validator
from aiida_ufpnmr.calculations.barriers import BarriersCalculation
from aiida_ufpnmr.calculations.base import optional, plain_input
from aiida_ufpnmr.calculations.fit_softness import FitSoftnessCalculation
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.calculations.softness import (
    SoftnessCorrelationsCalculation,
    SoftnessOnsetCalculation,
    validate_temperatures,
)
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.softness_model import SoftnessModelData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.workflows.barriers import BarriersWorkChain
from aiida_ufpnmr.workflows.dynamic_nmr import ANALYSIS_OUTPUTS
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.repeat import (
    AnalyseWorkChain,
    FitSoftnessWorkChain,
    RepeatWorkChain,
    SoftnessCorrelationsWorkChain,
    SoftnessOnsetWorkChain,
)
from aiida_ufpnmr.workflows.subprocesses import clean_input, expose_inputs, reason

#: Temperatures that an onset temperature needs here: through two any two lines would meet.
FEWEST_TEMPERATURES = 3
#: The chain of each part that there is once, in the order in which they are said to have failed.
PARTS: dict[str, type[RepeatWorkChain]] = {
    'correlations': SoftnessCorrelationsWorkChain,
    'onset': SoftnessOnsetWorkChain,
    'barriers': BarriersWorkChain,
}
#: Names of the context for the softness of each run.
OF_RUN = 'softness_of_{}'


def validate_inputs(inputs: Mapping[str, Any], _: object) -> str | None:
    """Refuse no run at all, a model beside runs to judge a fit on, and names that no run has."""
    runs = inputs.get('trajectories', {})
    if not runs:
        return 'trajectories: give at least one'
    if 'softness_model' in inputs and inputs.get('withhold'):
        return 'withhold: nothing is fitted where softness_model is given; leave one of them out'
    named = {'temperatures_K': set(inputs['temperatures_K'].get_dict()) if 'temperatures_K' in inputs else set()}
    named['barriers_of'] = {inputs['barriers_of'].value} if 'barriers_of' in inputs else set()
    for name, labels in named.items():
        unknown = sorted(labels - set(runs))
        if unknown:
            return f'{name}: no trajectory is named {", ".join(unknown)}; there are {", ".join(sorted(runs))}'
    return None


def temperature_on_record(trajectory: TrajectoryData) -> float | None:
    """The temperature in K that the run of a trajectory was to keep all the time; ``None`` where none is on record."""
    creator = trajectory.creator
    results = creator.outputs.results.get_dict() if creator is not None and 'results' in creator.outputs else {}
    changes = results.get('final_temperature_K') or results.get('ensemble') == 'nve'
    return None if changes else results.get('temperature_K')


def run_of_barriers(inputs: Any) -> str:
    """Name of the trajectory whose hops are climbed: the one that is asked for, or the first."""
    return inputs['barriers_of'].value if 'barriers_of' in inputs else min(inputs['trajectories'])


class SoftnessWorkChain(ProtocolMixin, WorkChain):
    """Which ions of a glass are soft, what they have around them, and whether their barriers are lower.

    Fits a softness model to trajectories, or takes one, finds the softness along each, what it correlates with, the
    onset temperature where there are three temperatures or more, and the barriers of hops along one of them, parted by
    softness. A part that fails does not stop the others.
    """

    PROTOCOL = 'softness'
    PROTOCOL_ARGUMENTS = (*('trajectories', 'potential', 'softness_model', 'withhold', 'temperatures_K'), 'barriers_of')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        text = 'Runs of one glass or several, at one temperature or several.'
        spec.input_namespace('trajectories', valid_type=TrajectoryData, dynamic=True, help=text)
        text = 'Runs to judge the fit on, which nothing is fitted to.'
        spec.input_namespace('withhold', valid_type=TrajectoryData, dynamic=True, required=False, help=text)
        text = 'Of hops, and of the energy of each ion; the one that made the trajectories.'
        spec.input('potential', valid_type=PotentialData, help=text)
        optional(spec.input, ('softness_model', SoftnessModelData, 'A model; nothing is fitted then.'))
        text = 'Temperatures in K by names of trajectories; without three of them there is no onset temperature.'
        plain_input(spec, 'temperatures_K', Dict, text, default={}, validator=validate_temperatures)
        text = 'Most hops whose barriers are found, 0 for none; that of `barriers.parameters` if not given.'
        plain_input(spec, 'max_hops', Int, text, required=False, validator=_validate_max_hops)
        text = 'Name of the trajectory whose hops these are; the first by name if not given.'
        plain_input(spec, 'barriers_of', Str, text, required=False)
        clean_input(spec)
        expose_inputs(spec, FitSoftnessCalculation, 'fit', ('trajectories', 'withhold'), 'The fit of the model.')
        given = ('trajectory', 'analysis', *FILES)
        expose_inputs(spec, AnalyseCalculation, 'softness', given, 'The softness along each trajectory.')
        given = ('trajectories', 'model', 'potential')
        expose_inputs(spec, SoftnessCorrelationsCalculation, 'correlations', given, 'What softness correlates with.')
        given = ('softness', 'temperatures_K')
        expose_inputs(spec, SoftnessOnsetCalculation, 'onset', given, 'The law of several temperatures.')
        given = ('trajectory', 'potential', 'softness', 'parent_folder')
        expose_inputs(spec, BarriersCalculation, 'barriers', given, 'The barriers of hops.')
        inputs: Any = spec.inputs
        inputs['softness']['parameters'].validator = parameter_validator('softness')
        inputs.validator = validate_inputs

        spec.outline(
            if_(cls.needs_model)(cls.fit, cls.inspect_fit),
            cls.find_softness,
            cls.inspect_softness,
            cls.put_together,
            cls.inspect_parts,
        )

        optional(spec.output, ('softness_model', SoftnessModelData, 'The model, where one was fitted.'))
        fitted = {'help': 'Accuracy on what was withheld, and how it was found.', 'required': False}
        outputs = ('results', 'timing', 'figure')
        spec.expose_outputs(FitSoftnessWorkChain, namespace='fit', include=outputs, namespace_options=fitted)
        text = 'Of the softness along each trajectory, by name.'
        spec.output_namespace('softness', dynamic=True, valid_type=(Dict, SinglefileData), help=text)
        for name, chain in PARTS.items():
            text = f'Of the {name}.'
            spec.expose_outputs(chain, namespace=name, namespace_options={'help': text, 'required': False})
        spec.exit_code(401, 'ERROR_SUB_PROCESS_FAILED_FIT', message='The fit of the model failed: {message}')
        text = 'No trajectory has a softness: {message}'
        spec.exit_code(402, 'ERROR_SUB_PROCESSES_FAILED', message=text)
        text = 'Some parts are there, but others failed: {message}'
        spec.exit_code(501, 'ERROR_PARTS_FAILED', message=text)

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        trajectories: Mapping[str, TrajectoryData],
        potential: PotentialData,
        softness_model: SoftnessModelData | None = None,
        withhold: Mapping[str, TrajectoryData] | None = None,
        temperatures_K: Mapping[str, float] | None = None,
        barriers_of: str | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            trajectories: by a name of each.
            potential: moves the atoms.
            softness_model: where none shall be fitted.
            withhold: trajectories to judge the fit on.
            temperatures_K: by name of the trajectory; those of runs on record need not be given.
            barriers_of: name of the trajectory whose hops are climbed; the first by name if not given.
        """
        on_record = {name: temperature_on_record(node) for name, node in trajectories.items()}
        kelvin = {**{name: one for name, one in on_record.items() if one}, **(temperatures_K or {})}
        nodes: dict[str, Any] = {'trajectories': dict(trajectories), 'potential': potential, 'temperatures_K': kelvin}
        given = {'softness_model': softness_model, 'withhold': withhold, 'barriers_of': barriers_of}
        nodes |= {name: node for name, node in given.items() if node}
        climbing = {'barriers': BarriersWorkChain.get_protocol_inputs(protocol)[BarriersWorkChain.NAMESPACE]}
        inputs = merged(climbing, cls.get_protocol_inputs(protocol, overrides))
        return cls.filled_builder({**merged(of_all(('fit', 'softness', *PARTS), code, options), inputs), **nodes})

    def needs_model(self) -> bool:
        """Whether a model has to be fitted."""
        self.ctx.softness_model = self.inputs.get('softness_model')
        self.ctx.failures = []
        return self.ctx.softness_model is None

    def run_chain(
        self, name: str, chain: type[RepeatWorkChain], nodes: Mapping[str, Any], label: str = ''
    ) -> ProcessNode:
        """Submit the chain of a part, with its own inputs and ``nodes``."""
        inputs = AttributeDict({**self.exposed_inputs(chain._process_class, name), **nodes})
        metadata = {'call_link_label': label or name}
        return self.submit(chain, calculation=inputs, clean_workdir=self.inputs.clean_workdir, metadata=metadata)

    def fit(self) -> ToContext:
        """Fit a model to the trajectories."""
        runs = {name: self.inputs[name] for name in ('trajectories', 'withhold') if name in self.inputs}
        return ToContext(fit=self.run_chain('fit', FitSoftnessWorkChain, runs))

    def inspect_fit(self) -> ExitCode | None:
        """Go on only with a model."""
        if not self.ctx.fit.is_finished_ok:
            return self.exit_codes.ERROR_SUB_PROCESS_FAILED_FIT.format(message=reason(self.ctx.fit))
        self.out_many(self.exposed_outputs(self.ctx.fit, FitSoftnessWorkChain, namespace='fit', agglomerate=False))
        self.ctx.softness_model = self.ctx.fit.outputs.softness_model
        self.out('softness_model', self.ctx.softness_model)
        return None

    def find_softness(self) -> ToContext:
        """Softness along each trajectory, and over all of them what it correlates with."""
        model, runs, running = self.ctx.softness_model, self.inputs.trajectories, {}
        for name, run in runs.items():
            given = {'trajectory': run, 'model': model, 'analysis': Str('softness')}
            label = OF_RUN.format(name)
            running[label] = self.run_chain('softness', AnalyseWorkChain, given, label)
        given = {'trajectories': runs, 'model': model, 'potential': self.inputs.potential}
        return ToContext(correlations=self.run_chain('correlations', PARTS['correlations'], given), **running)

    def inspect_softness(self) -> ExitCode | None:
        """Attach the softness of each trajectory; those without are named."""
        for name in sorted(self.inputs.trajectories):
            node = self.ctx[OF_RUN.format(name)]
            if node.is_finished_ok:
                self.out_many({f'softness.{name}.{output}': node.outputs[output] for output in ANALYSIS_OUTPUTS})
            else:
                self.ctx.failures.append(f'{name}: {reason(node)}')
        if 'softness' not in self.outputs:
            return self.exit_codes.ERROR_SUB_PROCESSES_FAILED.format(message='; '.join(self.ctx.failures))
        return None

    def put_together(self) -> ToContext:
        """The law of several temperatures, and the barriers of hops by softness."""
        running = {}
        files = {name: found['functions'] for name, found in self.outputs['softness'].items()}
        kelvin = {name: one for name, one in self.inputs.temperatures_K.get_dict().items() if name in files}
        if len(set(kelvin.values())) >= FEWEST_TEMPERATURES:
            known = {'softness': {name: files[name] for name in kelvin}, 'temperatures_K': Dict(kelvin)}
            running['onset'] = self.run_chain('onset', PARTS['onset'], known)
        else:
            self.report(f'no onset temperature: softness is known at {len(set(kelvin.values()))} temperatures')
        most = self.inputs.get('max_hops')
        if most is None or most.value:
            name = run_of_barriers(self.inputs)
            nodes: dict[str, Data] = {'trajectory': self.inputs.trajectories[name], 'potential': self.inputs.potential}
            if most is not None:
                nodes['parameters'] = Dict({**self.inputs.barriers.parameters.get_dict(), 'max_hops': most.value})
            if name in files:
                nodes['softness'] = files[name]
            running['barriers'] = self.run_chain('barriers', PARTS['barriers'], nodes)
        return ToContext(**running)

    def inspect_parts(self) -> ExitCode | None:
        """Attach what the parts gave; those that failed are named."""
        for name, chain in PARTS.items():
            node = self.ctx.get(name)
            if node is None:
                continue
            if node.is_finished_ok:
                self.out_many(self.exposed_outputs(node, chain, namespace=name, agglomerate=False))
            else:
                self.ctx.failures.append(f'{name}: {reason(node)}')
        if self.ctx.failures:
            return self.exit_codes.ERROR_PARTS_FAILED.format(message='; '.join(self.ctx.failures))
        return None


def _validate_max_hops(value: Int, _: object) -> str | None:
    return None if value.value >= 0 else f'max_hops must be at least 0, not {value.value}'
