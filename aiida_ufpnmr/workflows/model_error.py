"""What the error of the models does to the answer: dynamic NMR with models drawn from what the labels leave open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, Int, StructureData

from aiida_ufpnmr.calculations.base import optional, plain_input
from aiida_ufpnmr.calculations.drawn_models import compare_answers, drawn_models
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain, ion_followed
from aiida_ufpnmr.workflows.label import validate_count
from aiida_ufpnmr.workflows.protocols import ProtocolMixin
from aiida_ufpnmr.workflows.subprocesses import expose_inputs, reason


class ModelErrorWorkChain(ProtocolMixin, WorkChain):
    """Dynamic NMR with fitted models, and with models drawn from what their labels leave open.

    Each draw is as far from the fitted models as these are expected to err, and has a run with a seed of its own. What
    the answers differ by holds the error of the models and that of sampling; the interval of the run of the fitted
    models, of sampling alone, tells them apart.
    """

    #: The command line prints its reports.
    TELLS: ClassVar[bool] = True
    PROTOCOL = 'model_error'
    PROTOCOL_ARGUMENTS = ('structure', 'potential', 'efg_model')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input('structure', valid_type=StructureData, help='Where each run starts.')
        spec.input('potential', valid_type=PotentialData, help='The fitted potential, with its posterior.')
        optional(spec.input, ('efg_model', EfgModelData, 'The fitted EFG model, with its posterior.'))
        plain_input(spec, 'number', Int, 'Models that are drawn.', default=8, validator=validate_count)
        plain_input(spec, 'seed', Int, 'Seed of the first draw; the others count up.', default=0)
        given = ('structure', 'potential', 'efg_model')
        expose_inputs(spec, DynamicNmrWorkChain, 'dynamic_nmr', given, 'Dynamics and analyses of each model.')

        spec.outline(cls.run_fitted, cls.run_drawn, cls.compare)

        spec.expose_outputs(DynamicNmrWorkChain)
        spec.output('model_error', valid_type=Dict, help='Each quantity over the drawn models, with an interval.')
        spec.exit_code(401, 'ERROR_FITTED_FAILED', message='The run of the fitted models failed: {message}')
        spec.exit_code(402, 'ERROR_NOTHING_DRAWN', message='No model can be drawn: {message}')
        spec.exit_code(403, 'ERROR_ALL_FAILED', message='Every run of a drawn model failed, the first: {message}')

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
        """A builder with the inputs of a protocol; arguments and errors as those of dynamic NMR."""
        ion = ion_followed(structure, efg_model, ion)
        potential.check_elements(structure)
        inputs = cls.get_protocol_inputs(
            protocol,
            overrides,
            dynamic_nmr=lambda below: DynamicNmrWorkChain.inputs_for_structure(
                structure, code, protocol, below, options, ion, efg_model is not None
            ),
        )
        inputs |= {'structure': structure, 'potential': potential}
        return cls.filled_builder(inputs if efg_model is None else {**inputs, 'efg_model': efg_model})

    def run_fitted(self) -> ToContext:
        """Submit the run of the fitted models."""
        return ToContext(fitted=self._submit(self._models(), 'fitted', 0))

    def run_drawn(self) -> ExitCode | ToContext:
        """Draw models, as wide as errors are expected along that run, and submit a run of each."""
        node = self.ctx.fitted
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_FITTED_FAILED.format(message=reason(node))
        self.out_many(self.exposed_outputs(node, DynamicNmrWorkChain))
        fitted, number = self._models(), self.inputs.number
        drawn, drawing = drawn_models.run_get_node(node.outputs.trajectory, number, self.inputs.seed, **fitted)
        if not drawing.is_finished_ok:
            return self.exit_codes.ERROR_NOTHING_DRAWN.format(message=drawing.exit_message)
        found: Any = drawn
        running = {}
        for place in range(number.value):
            label, models = f'drawn_{place:03d}', {name: found[f'{name}_{place:03d}'] for name in fitted}
            running[label] = self._submit(models, label, place + 1)
        self.report(f'runs of {len(running)} drawn models')
        self.ctx.runs = list(running)
        return ToContext(**running)

    def compare(self) -> ExitCode | None:
        """Put the answers side by side."""
        nodes = {name: self.ctx[name] for name in self.ctx.runs}
        answers = {name: node.outputs.tau for name, node in nodes.items() if 'tau' in node.outputs}
        failures = [reason(node) for name, node in nodes.items() if name not in answers]
        for failure in failures:
            self.report(f'without {failure}')
        if not answers:
            return self.exit_codes.ERROR_ALL_FAILED.format(message=failures[0])
        self.out('model_error', compare_answers(self.ctx.fitted.outputs.tau, self.inputs.number, **answers))
        return None

    def _models(self) -> dict[str, Any]:
        """The fitted models by name."""
        return {name: self.inputs[name] for name in ('potential', 'efg_model') if name in self.inputs}

    def _submit(self, models: Mapping[str, Any], name: str, shift: int) -> Any:
        """Submit dynamic NMR with models, and with a seed of its own."""
        inputs = AttributeDict(self.exposed_inputs(DynamicNmrWorkChain, 'dynamic_nmr'))
        inputs.structure = self.inputs.structure
        inputs.update(models)
        parameters = inputs.md.parameters.get_dict()
        inputs.md.parameters = Dict({**parameters, 'seed': parameters.get('seed', 0) + shift})
        inputs.setdefault('metadata', {})['call_link_label'] = name
        return self.submit(DynamicNmrWorkChain, **inputs)
