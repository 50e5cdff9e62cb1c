"""The workflow that finds a decay time with a structure and two models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, ProcessNode, SinglefileData, StructureData

from aiida_ufpnmr.calculations.analyse import (
    FILES,
    AcfCalculation,
    AnalyseCalculation,
    by_identifier,
    files_of,
    lacking,
    options_of,
    parameter_validator,
)
from aiida_ufpnmr.calculations.base import optional, validate_ordered
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.calculations.summarise import summarise
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.workflows.ions import USUAL_ION
from aiida_ufpnmr.workflows.md import MdWorkChain
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.repeat import AcfWorkChain, AnalyseWorkChain, RepeatWorkChain
from aiida_ufpnmr.workflows.subprocesses import clean_input, expose_inputs, reason
from aiida_ufpnmr.workflows.supercell import with_supercell
from aiida_ufpnmr.workflows.wall_time import with_wall_time

#: Analyses of the trajectory by the names of their inputs and outputs: the chain of each, and its name in messages.
ANALYSES: dict[str, tuple[type[RepeatWorkChain], str]] = {
    'acf': (AcfWorkChain, 'correlation functions'),
    'msd': (AnalyseWorkChain, 'mean square displacement'),
    'hops': (AnalyseWorkChain, 'count of hops'),
}
#: Outputs of each that the WorkChain passes on.
ANALYSIS_OUTPUTS = ('results', 'timing', 'functions', 'figure')


def validate_chosen(parameters: Mapping[str, Dict], _) -> str | None:
    """Refuse analyses that do not exist, and parameters that they do not take."""
    for name, node in parameters.items():
        analysis = by_identifier(name)
        if analysis is None:
            return f'{name}: no such analysis; see "ufpnmr analyse --help"'
        refusal = parameter_validator(analysis)(node, None)
        if refusal:
            return refusal
    return None


def validate_files(inputs: Mapping[str, Any], _) -> str | None:
    """Refuse files that none of the chosen analyses reads, and analyses without a file that they need."""
    chosen, given = list(filter(None, map(by_identifier, inputs.get('analyses', {})))), inputs.get('analysis_files', {})
    unread = sorted(set(given) - {name for analysis in chosen for name in files_of(analysis)})
    if unread:
        return f'analysis_files: none of the chosen analyses reads {", ".join(unread)}'
    refusal = next(filter(None, (lacking(analysis, given) for analysis in chosen)), None)
    return refusal and f'analysis_files: {refusal}'


def validate_together(inputs: Mapping[str, Any], _) -> str | None:
    """Refuse correlation functions without EFG tensors, tensors without them, and files that do not go together."""
    alone = 'structure' in inputs  # else a workflow around this one gives structure and models
    if alone and 'efg_model' in inputs and not inputs.get('acf'):
        return 'give the inputs `acf` beside `efg_model`'
    if alone and inputs.get('acf') and 'efg_model' not in inputs:
        return 'give `efg_model`, whose tensors `acf` correlates, or leave `acf` out'
    return validate_files(inputs, None)


def chosen_analyses(chosen: Any, shared: Mapping[str, Any]) -> dict[str, Dict]:
    """Parameters of the chosen analyses as nodes, by the names of their inputs, on top of those that they share.

    Raises:
        ValueError: no mapping, an unknown analysis, or parameters that it does not take.
    """
    if not isinstance(chosen, Mapping):
        raise ValueError(f'override \'analyses\' must hold "name: parameters" entries, not {chosen!r}')
    nodes = {name.replace('-', '_'): Dict({**shared, **(given or {})}) for name, given in chosen.items()}
    refusal = validate_chosen(nodes, None)
    if refusal:
        raise ValueError(f'analyses: {refusal}')
    return nodes


def following(inputs: dict[str, Any], ion: str) -> dict[str, Any]:
    """Inputs whose analyses follow the element ``ion``, unless they say otherwise, if they follow ions at all."""
    if ion == USUAL_ION:  # which they follow by themselves
        return inputs
    analyses = {
        name: Dict(
            {**({'species': ion} if 'species' in options_of(str(by_identifier(name))) else {}), **node.get_dict()}
        )
        for name, node in inputs['analyses'].items()
    }
    shared = {name: {'parameters': {'species': ion}} for name in ('msd', 'hops')}
    return {**merged(shared, inputs), 'analyses': analyses}


def ion_followed(structure: StructureData, efg_model: EfgModelData | None, ion: str | None) -> str:
    """The element that is followed: that which is named, that of the EFG model, or Li without one.

    Raises:
        ValueError: no EFG model, and the structure holds no such element.
    """
    ion = ion or (USUAL_ION if efg_model is None else efg_model.base.attributes.get('ion'))
    if efg_model is None and ion not in structure.get_symbols_set():
        raise ValueError(
            f'the structure holds no {ion}, only {", ".join(sorted(structure.get_symbols_set()))}; say --ion'
        )
    return ion


class DynamicNmrWorkChain(ProtocolMixin, WorkChain):
    """The rate at which ions hop, as NMR would see it, of a structure and two models.

    Runs molecular dynamics with EFG tensors on the fly, correlates the quadrupolar frequency, counts hops and measures
    diffusion along the same trajectory, and puts the numbers side by side; other analyses of it as chosen. Without a
    model of the EFG, as where the ion has no quadrupole moment, hops and diffusion are the answer.
    """

    PROTOCOL = 'dynamic_nmr'
    PROTOCOL_ENTRIES = ('min_cell_height_angstrom',)
    PROTOCOL_ARGUMENTS = ('structure', 'potential', 'efg_model')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        start = 'Where the dynamics starts.'
        spec.input('structure', valid_type=StructureData, validator=validate_ordered, help=start)
        spec.input('potential', valid_type=PotentialData, help='The potential that moves the atoms.')
        text = 'The model that predicts EFG tensors along the way; without it there is no NMR, but motion.'
        optional(spec.input, ('efg_model', EfgModelData, text))
        clean_input(spec)
        models = ('structure', 'potential', 'efg_model')
        expose_inputs(spec, MdCalculation, 'md', (*models, 'checkpoint'), 'Molecular dynamics.')
        expose_inputs(
            spec, AcfCalculation, 'acf', ('trajectory',), 'Correlation functions and their decay.', required=False
        )
        analysis = ('trajectory', 'analysis', *FILES)
        expose_inputs(spec, AnalyseCalculation, 'msd', analysis, 'Mean square displacement and diffusion.')
        expose_inputs(spec, AnalyseCalculation, 'hops', analysis, 'Hops between sites.')
        inputs: Any = spec.inputs
        for name in ('msd', 'hops'):
            inputs[name]['parameters'].validator = parameter_validator(name)

        chosen = 'Other analyses by name, with underscores for hyphens, and their parameters, as in `silent_hops: {}`.'
        spec.input_namespace('analyses', dynamic=True, required=False, valid_type=Dict, help=chosen)
        inputs['analyses'].validator = validate_chosen
        files = (
            'Files that chosen analyses read, by the name of the option, as `sites` of `jumps`, `model` of `softness`.'
        )
        spec.input_namespace('analysis_files', dynamic=True, required=False, valid_type=SinglefileData, help=files)
        inputs.validator = validate_together

        spec.outline(
            cls.simulate,
            cls.inspect_simulation,
            cls.correlate_and_count,
            cls.inspect_analyses,
            cls.summarise,
            cls.inspect_chosen_analyses,
        )

        answer = 'The answer: decay time or its lower bound, hop rate and diffusion coefficient, with intervals.'
        spec.output('tau', valid_type=Dict, help=answer)
        spec.expose_outputs(MdWorkChain, include=('trajectory',))
        options = {'help': 'Of the dynamics.'}
        spec.expose_outputs(MdWorkChain, namespace='md', include=('results', 'timing'), namespace_options=options)
        for name, (chain, what) in ANALYSES.items():
            options = {'help': f'Of the {what}.'}
            spec.expose_outputs(chain, namespace=name, include=ANALYSIS_OUTPUTS, namespace_options=options)
        of_chosen = 'Of the chosen analyses, by name.'
        spec.output_namespace('analyses', dynamic=True, valid_type=(Dict, SinglefileData), help=of_chosen)
        spec.exit_code(401, 'ERROR_SUB_PROCESS_FAILED_MD', message='The molecular dynamics failed: {message}')
        for status, (name, (_, what)) in enumerate(ANALYSES.items(), 402):
            label = f'ERROR_SUB_PROCESS_FAILED_{name.upper()}'
            spec.exit_code(status, label, message=f'The {what} failed: {{message}}')
        failed = 'The answer is there, but chosen analyses failed: {message}'
        spec.exit_code(501, 'ERROR_SUB_PROCESS_FAILED_ANALYSES', message=failed)

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structure: StructureData,
        potential: PotentialData,
        efg_model: EfgModelData | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
        ion: str | None = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            structure: where the dynamics starts.
            potential: moves the atoms.
            efg_model: predicts EFG tensors; without it the ions are followed alone.
            overrides: nested as the inputs are, on top of the protocol; ``min_cell_height_angstrom`` sets the
                supercell. Analyses that are named leave out as much of the start as those of the protocol.
            ion: element that is followed; that of the EFG model, if not given, or Li without one.
        """
        ion = ion_followed(structure, efg_model, ion)
        potential.check_elements(structure)
        with_efg = efg_model is not None
        inputs = cls.inputs_for_structure(structure, code, protocol, overrides, options, ion, with_efg)
        models = {'potential': potential, 'efg_model': efg_model} if with_efg else {'potential': potential}
        return cls.filled_builder({**inputs, 'structure': structure, **models})

    @classmethod
    def inputs_for_structure(
        cls, structure, code, protocol, overrides, options, ion=USUAL_ION, with_efg=True
    ) -> dict[str, Any]:
        """The inputs of a protocol for a structure, all but this and the models; see :meth:`inputs_for_cell`."""
        cell, n_atoms = structure.cell, len(structure.sites)
        return cls.inputs_for_cell(cell, n_atoms, code, protocol, overrides, options, ion, with_efg)

    @classmethod
    def inputs_for_cell(
        cls, cell, n_atoms, code, protocol, overrides, options, ion=USUAL_ION, with_efg=True
    ) -> dict[str, Any]:
        """The inputs of a protocol for ``n_atoms`` in this (3, 3) cell (Å); see :meth:`with_options`."""
        inputs = with_supercell(cls.get_protocol_inputs(protocol, overrides), cell)
        return with_wall_time(cls.with_options(inputs, code, options, ion, with_efg), n_atoms, code)

    @classmethod
    def with_options(cls, inputs, code, options, ion=USUAL_ION, with_efg=True) -> dict[str, Any]:
        """Inputs of a protocol with code and options of all calculations, and chosen analyses as nodes.

        Analyses follow the element ``ion``, unless they say otherwise; without EFG tensors nothing is correlated.
        """
        skip = {name: value for name, value in inputs['acf']['parameters'].items() if name == 'skip_ps'}
        inputs['analyses'] = chosen_analyses(inputs.get('analyses', {}), skip)
        names = tuple(name for name in ('md', *ANALYSES) if with_efg or name != 'acf')
        if not with_efg:
            del inputs['acf']
        return following(merged(of_all(names, code, options), inputs), ion)

    @property
    def analyses(self) -> dict[str, tuple[type[RepeatWorkChain], str]]:
        """Those of :data:`ANALYSES` that this run has: all, or without correlation functions where there is no EFG."""
        return {name: known for name, known in ANALYSES.items() if self.inputs.get(name)}

    def simulate(self) -> ToContext:
        """Molecular dynamics, with EFG tensors on the fly where there is a model of them."""
        inputs = self.exposed_inputs(MdCalculation, 'md')
        inputs.structure = self.inputs.structure
        inputs.potential = self.inputs.potential
        if 'efg_model' in self.inputs:
            inputs.efg_model = self.inputs.efg_model
        running = self.submit(
            MdWorkChain, md=inputs, clean_workdir=self.inputs.clean_workdir, metadata={'call_link_label': 'md'}
        )
        self.report(f'molecular dynamics <{running.pk}>: {inputs.parameters["steps"]} steps')
        return ToContext(md=running)

    def inspect_simulation(self) -> ExitCode | None:
        """Go on only with a trajectory that ran to its end."""
        if not self.ctx.md.is_finished_ok:
            return self.exit_codes.ERROR_SUB_PROCESS_FAILED_MD.format(message=reason(self.ctx.md))
        self.out_many(self.exposed_outputs(self.ctx.md, MdWorkChain, agglomerate=False))
        self.out_many(self.exposed_outputs(self.ctx.md, MdWorkChain, namespace='md'))
        return None

    def correlate_and_count(self) -> ToContext:
        """Correlation functions, mean square displacement, hops, and what was chosen, all at once."""
        running = {}
        for name, (chain, _) in self.analyses.items():
            inputs = self.exposed_inputs(chain._process_class, name)
            if chain is AnalyseWorkChain:
                inputs.analysis = name
            running[name] = self.submit_analysis(chain, name, inputs)
        files = self.inputs.get('analysis_files', {})
        for name, parameters in self.inputs.get('analyses', {}).items():
            inputs = self.exposed_inputs(AnalyseCalculation, 'hops')
            analysis = by_identifier(name)
            assert analysis is not None  # or the inputs would have been refused
            inputs.analysis, inputs.parameters = analysis, parameters
            inputs.update({file: files[file] for file in files_of(analysis) if file in files})
            running[_chosen(name)] = self.submit_analysis(AnalyseWorkChain, name, inputs)
        self.report('analyses: ' + ', '.join(f'{name} <{node.pk}>' for name, node in running.items()))
        return ToContext(**running)

    def submit_analysis(self, chain: type[RepeatWorkChain], name: str, inputs: Any) -> ProcessNode:
        """Submit an analysis of the trajectory of the dynamics."""
        inputs.trajectory = self.ctx.md.outputs.trajectory
        return self.submit(
            chain, calculation=inputs, clean_workdir=self.inputs.clean_workdir, metadata={'call_link_label': name}
        )

    def inspect_analyses(self) -> ExitCode | None:
        """Attach what the analyses gave; the first that failed names the exit code."""
        failure = None
        for name, (chain, _) in self.analyses.items():
            node = self.ctx[name]
            if node.is_finished_ok:
                self.out_many(self.exposed_outputs(node, chain, namespace=name, agglomerate=False))
            elif failure is None:
                code = self.exit_codes[f'ERROR_SUB_PROCESS_FAILED_{name.upper()}']
                failure = code.format(message=reason(node))
        return failure

    def summarise(self) -> None:
        """Put the numbers side by side."""
        results = {name: self.ctx[name].outputs.results for name in ('md', *self.analyses)}
        self.out('tau', summarise(**results))

    def inspect_chosen_analyses(self) -> ExitCode | None:
        """Attach what the chosen analyses gave, beside the answer; those that failed are named."""
        failures = []
        for name in self.inputs.get('analyses', {}):
            node = self.ctx[_chosen(name)]
            if node.is_finished_ok:
                for output in ANALYSIS_OUTPUTS:
                    self.out(f'analyses.{name}.{output}', node.outputs[output])
            else:
                failures.append(reason(node))
        if failures:
            return self.exit_codes.ERROR_SUB_PROCESS_FAILED_ANALYSES.format(message='; '.join(failures))
        return None


def _chosen(name: str) -> str:
    """Where the context holds a chosen analysis."""
    return f'chosen_{name}'
