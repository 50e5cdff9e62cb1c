"""From a structure and two models to a decay time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import ExitCode, ProcessBuilder, ProcessSpec, ToContext, WorkChain
from aiida.orm import AbstractCode, Dict, StructureData

from aiida_ufpnmr.calculations.acf import AcfCalculation
from aiida_ufpnmr.calculations.analyse import AnalyseCalculation, parameter_validator
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.calculations.summarise import summarise
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.workflows.md import MdWorkChain
from aiida_ufpnmr.workflows.protocols import ProtocolMixin
from aiida_ufpnmr.workflows.protocols.mixin import merged
from aiida_ufpnmr.workflows.repeat import AcfWorkChain, AnalyseWorkChain
from aiida_ufpnmr.workflows.subprocesses import clean_input, expose_inputs, reason
from aiida_ufpnmr.workflows.supercell import repetitions

#: What each analysis gives to the outputs of the WorkChain.
ANALYSIS_OUTPUTS = ('results', 'timing', 'functions', 'figure')


class DynamicNmrWorkChain(ProtocolMixin, WorkChain):
    """How fast do the ions hop, as NMR would see it?

    Runs molecular dynamics with EFG tensors on the fly, correlates the quadrupolar frequency, counts hops and measures
    diffusion along the same trajectory, and puts the numbers side by side.
    """

    PROTOCOL = 'dynamic_nmr'
    PROTOCOL_ENTRIES = ('min_cell_height_angstrom',)
    PROTOCOL_ARGUMENTS = ('structure', 'potential', 'efg_model')

    @classmethod
    def define(cls, spec: ProcessSpec) -> None:
        super().define(spec)
        spec.input('structure', valid_type=StructureData, help='Where the dynamics starts.')
        spec.input('potential', valid_type=PotentialData, help='The potential that moves the atoms.')
        spec.input('efg_model', valid_type=EfgModelData, help='The model that predicts EFG tensors along the way.')
        clean_input(spec)
        models = ('structure', 'potential', 'efg_model')
        expose_inputs(spec, MdCalculation, 'md', (*models, 'checkpoint'), 'Molecular dynamics.')
        expose_inputs(spec, AcfCalculation, 'acf', ('trajectory',), 'Correlation functions and their decay.')
        analysis = ('trajectory', 'analysis')
        expose_inputs(spec, AnalyseCalculation, 'msd', analysis, 'Mean square displacement and diffusion.')
        expose_inputs(spec, AnalyseCalculation, 'hops', analysis, 'Hops between sites.')
        for name in ('msd', 'hops'):
            spec.inputs[name]['parameters'].validator = parameter_validator(name)

        spec.outline(
            cls.simulate,
            cls.inspect_simulation,
            cls.correlate_and_count,
            cls.inspect_analyses,
            cls.summarise,
        )

        spec.output(
            'tau',
            valid_type=Dict,
            help='The answer: decay time or its lower bound, hop rate and diffusion coefficient, with intervals.',
        )
        spec.expose_outputs(MdWorkChain, include=('trajectory',))
        spec.expose_outputs(
            MdWorkChain, namespace='md', include=('results', 'timing'), namespace_options={'help': 'Of the dynamics.'}
        )
        spec.expose_outputs(
            AcfWorkChain, namespace='acf', include=ANALYSIS_OUTPUTS, namespace_options={'help': 'Of the correlation.'}
        )
        for name in ('msd', 'hops'):
            spec.expose_outputs(
                AnalyseWorkChain, namespace=name, include=ANALYSIS_OUTPUTS, namespace_options={'help': f'Of {name}.'}
            )

        spec.exit_code(401, 'ERROR_SUB_PROCESS_FAILED_MD', message='The molecular dynamics failed: {message}')
        spec.exit_code(402, 'ERROR_SUB_PROCESS_FAILED_ACF', message='The correlation functions failed: {message}')
        spec.exit_code(403, 'ERROR_SUB_PROCESS_FAILED_MSD', message='The mean square displacement failed: {message}')
        spec.exit_code(404, 'ERROR_SUB_PROCESS_FAILED_HOPS', message='The count of hops failed: {message}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structure: StructureData,
        potential: PotentialData,
        efg_model: EfgModelData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol.

        Args:
            code: the command ``ufpnmr``.
            structure: where the dynamics starts.
            potential: moves the atoms.
            efg_model: predicts EFG tensors.
            protocol: ``fast``, ``balanced`` or ``stringent``.
            overrides: nested as the inputs are, on top of the protocol; ``min_cell_height_angstrom`` sets the
                supercell.
            options: ``metadata.options`` of all calculations.

        Raises:
            ValueError: an unknown protocol, override or value; the message names it.
        """
        builder = cls.get_builder()
        inputs = cls.inputs_for_cell(structure.get_ase().cell.array, code, protocol, overrides, options)
        cls.fill_builder(builder, {**inputs, 'structure': structure, 'potential': potential, 'efg_model': efg_model})
        return builder

    @classmethod
    def inputs_for_cell(cls, cell, code, protocol, overrides, options) -> dict[str, Any]:
        """The inputs of a protocol for a structure with this (3, 3) cell (Å): all but the structure and the models."""
        inputs = cls.get_protocol_inputs(protocol, overrides)
        height = inputs.pop('min_cell_height_angstrom')
        inputs = merged({'md': {'parameters': {'supercell': repetitions(cell, height)}}}, inputs)
        common = {'code': code, 'metadata': {'options': dict(options or {})}}
        return merged(dict.fromkeys(('md', 'acf', 'msd', 'hops'), common), inputs)

    def simulate(self) -> ToContext:
        """Molecular dynamics with EFG tensors on the fly."""
        inputs = self.exposed_inputs(MdCalculation, 'md')
        inputs.structure = self.inputs.structure
        inputs.potential = self.inputs.potential
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
        """Correlation functions, mean square displacement and hops, all at once."""
        running = {}
        for name, chain in (('acf', AcfWorkChain), ('msd', AnalyseWorkChain), ('hops', AnalyseWorkChain)):
            inputs = self.exposed_inputs(chain._process_class, name)
            inputs.trajectory = self.ctx.md.outputs.trajectory
            if chain is AnalyseWorkChain:
                inputs.analysis = name
            running[name] = self.submit(
                chain,
                calculation=inputs,
                clean_workdir=self.inputs.clean_workdir,
                metadata={'call_link_label': name},
            )
        self.report('analyses: ' + ', '.join(f'{name} <{node.pk}>' for name, node in running.items()))
        return ToContext(**running)

    def inspect_analyses(self) -> ExitCode | None:
        """Attach what the analyses gave; the first that failed names the exit code."""
        failure = None
        for name, chain, code in (
            ('acf', AcfWorkChain, self.exit_codes.ERROR_SUB_PROCESS_FAILED_ACF),
            ('msd', AnalyseWorkChain, self.exit_codes.ERROR_SUB_PROCESS_FAILED_MSD),
            ('hops', AnalyseWorkChain, self.exit_codes.ERROR_SUB_PROCESS_FAILED_HOPS),
        ):
            node = self.ctx[name]
            if node.is_finished_ok:
                self.out_many(self.exposed_outputs(node, chain, namespace=name, agglomerate=False))
            elif failure is None:
                failure = code.format(message=reason(node))
        return failure

    def summarise(self) -> None:
        """Put the numbers side by side."""
        results = {name: self.ctx[name].outputs.results for name in ('md', 'acf', 'msd', 'hops')}
        self.out('tau', summarise(**results))
