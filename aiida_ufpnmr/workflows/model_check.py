"""How wrong models are where they are used: on frames of a run of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, Int, Str, StructureData

from aiida_ufpnmr.calculations.base import optional, plain_input
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.calculations.model_checks import errors_of_models, evenly_spaced
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.workflows.label import LabelWorkChain, validate_count, validate_dft_code
from aiida_ufpnmr.workflows.md import MdWorkChain
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.subprocesses import expose_inputs, reason

#: Outputs that it always gives, and those that it gives where there is an EFG model.
OUTPUTS = ('dataset', 'potential_errors', 'efg_errors')


class ModelCheckWorkChain(ProtocolMixin, WorkChain):
    """Runs dynamics with models, labels frames of it with DFT, and says how far the models are off.

    The frames are those of the thermal motion that answers rest on, at the temperature of the run, and no fit has seen
    them. A run that a guard stopped is checked up to there.
    """

    PROTOCOL = 'model_check'
    PROTOCOL_ARGUMENTS = ('structure', 'potential', 'efg_model')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        expose_inputs(spec, MdCalculation, 'md', ('structure', 'potential', 'efg_model', 'checkpoint'), 'The run.')
        spec.input('structure', valid_type=StructureData, help='Where the run starts: small enough for DFT.')
        spec.input('potential', valid_type=PotentialData, help='Moves the atoms, and is judged.')
        optional(spec.input, ('efg_model', EfgModelData, 'Is judged, too, where given.'))
        text = 'Frames that are labelled, at equal times from each other.'
        plain_input(spec, 'frames', Int, text, default=10, validator=validate_count)
        expose_inputs(spec, LabelWorkChain, 'label', ('dataset', 'structures'), 'The labels.')
        spec.inputs['label'].validator = validate_dft_code

        spec.outline(cls.run_dynamics, cls.label, cls.evaluate)

        spec.output('dataset', valid_type=DatasetData, help='The frames with their labels.')
        spec.output('potential_errors', valid_type=Dict, help='Errors of the potential, beside those it expects.')
        optional(spec.output, ('efg_errors', Dict, 'Errors of the EFG model, beside those it expects.'))
        spec.exit_code(401, 'ERROR_NO_RUN', message='The run gave no trajectory: {message}')
        spec.exit_code(402, 'ERROR_NO_LABELS', message='No frame could be labelled: {message}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        label_code: AbstractCode,
        engine: str,
        structure: StructureData,
        potential: PotentialData,
        efg_model: EfgModelData | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            label_code: what runs the DFT code.
            engine: the DFT code, ``castep`` or ``gpaw``.
            structure: where the run starts; DFT gets frames of that size.
            potential: moves the atoms, and is judged.
            efg_model: is judged, too.
        """
        potential.check_elements(structure)
        elements = structure.get_symbols_set()
        inputs = cls.get_protocol_inputs(
            protocol,
            overrides,
            label=lambda below: LabelWorkChain.inputs_for_elements(
                elements, label_code, engine, protocol, below, options
            ),
        )
        inputs = merged(of_all(('md',), code, options), inputs)
        inputs |= {'structure': structure, 'potential': potential}
        return cls.filled_builder(inputs if efg_model is None else {**inputs, 'efg_model': efg_model})

    def run_dynamics(self) -> ToContext:
        """Submit the run."""
        inputs = AttributeDict(self.exposed_inputs(MdCalculation, 'md'))
        inputs.update({name: self.inputs[name] for name in ('structure', 'potential')})
        return ToContext(run=self.submit(MdWorkChain, md=inputs, metadata={'call_link_label': 'md'}))

    def label(self) -> ExitCode | ToContext:
        """Label frames of the run, whole or stopped by a guard."""
        node = self.ctx.run
        found = next(
            (node.outputs[name] for name in ('trajectory', 'stopped_trajectory') if name in node.outputs), None
        )
        if found is None:
            return self.exit_codes.ERROR_NO_RUN.format(message=reason(node))
        if not node.is_finished_ok:
            self.report(f'checked up to where it stopped: {reason(node)}')
        inputs = AttributeDict(self.exposed_inputs(LabelWorkChain, 'label'))
        temperature = self.inputs.md.parameters.get_dict().get('temperature')
        group = 'run' if temperature is None else f'run_{temperature:g}K'.replace('.', '_')
        inputs.dataset = evenly_spaced(found, self.inputs.frames, Str(group))
        inputs.setdefault('metadata', {})['call_link_label'] = 'label'
        return ToContext(labels=self.submit(LabelWorkChain, **inputs))

    def evaluate(self) -> ExitCode | None:
        """Say how far the models are off on what got labels."""
        if 'dataset' not in self.ctx.labels.outputs:
            return self.exit_codes.ERROR_NO_LABELS.format(message=reason(self.ctx.labels))
        dataset = self.ctx.labels.outputs.dataset
        models = {'efg_model': self.inputs.efg_model} if 'efg_model' in self.inputs else {}
        self.out('dataset', dataset)
        self.out_many(errors_of_models(dataset, self.inputs.potential, **models))
        return None
