"""The workflow that finds a decay time with labelled structures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import ExitCode, ProcessBuilder, ToContext
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, Int, StructureData

from aiida_ufpnmr.calculations.base import optional, plain_input, validate_ordered
from aiida_ufpnmr.calculations.fit_efg import FitEfgCalculation
from aiida_ufpnmr.calculations.fit_potential import FitPotentialCalculation
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.calculations.select_structure import select_structure
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain, following
from aiida_ufpnmr.workflows.ions import with_ion
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.repeat import FitEfgWorkChain, FitPotentialWorkChain, FitsModels
from aiida_ufpnmr.workflows.subprocesses import clean_input, expose_inputs, reason


def validate_start(inputs: Mapping[str, Any], _) -> str | None:
    """Refuse no start of the dynamics, or two, or one that the data set lacks or does not cover."""
    if ('structure' in inputs) == ('structure_index' in inputs):
        return 'give either `structure` or `structure_index`'
    if 'structure_index' in inputs and 'dataset' in inputs:
        n, index = len(inputs['dataset'].rows), inputs['structure_index'].value
        if not 0 <= index < n:
            return f'structure_index {index} is not in the data set, which holds 0 to {n - 1}'
    if 'structure' in inputs and 'dataset' in inputs:
        labelled = inputs['dataset'].base.attributes.get('species')
        unknown = sorted(inputs['structure'].get_symbols_set() - set(labelled))
        if unknown:
            return (
                f'the structure holds {", ".join(unknown)}, of which the data set has no labels, '
                f'only of {", ".join(labelled)}'
            )
    return None


class PipelineWorkChain(ProtocolMixin, FitsModels):
    """A decay time with models fitted to labelled structures.

    Fits a potential and an EFG model to the same labels, side by side, and hands them to the dynamic NMR workflow.
    """

    PROTOCOL = 'pipeline'
    PROTOCOL_ARGUMENTS = ('dataset', 'structure', 'structure_index')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input('dataset', valid_type=DatasetData, help='Structures with energies, forces and EFG tensors.')
        text = 'Labelled structures for the errors of both models; otherwise groups of `dataset` are withheld.'
        optional(spec.input, ('test_dataset', DatasetData, text))
        optional(spec.input, ('structure', StructureData, 'The structure from which the dynamics starts.'))
        spec.inputs['structure'].validator = validate_ordered
        text = 'Start from this structure of `dataset` instead; counted from 0.'
        plain_input(spec, 'structure_index', Int, text, required=False)
        clean_input(spec)
        labels = ('dataset', 'test_dataset')
        expose_inputs(spec, FitPotentialCalculation, 'fit_potential', labels, 'Fit of the potential.')
        expose_inputs(spec, FitEfgCalculation, 'fit_efg', labels, 'Fit of the EFG model.')
        models = ('structure', 'potential', 'efg_model')
        expose_inputs(spec, DynamicNmrWorkChain, 'dynamic_nmr', models, 'Dynamics and its analyses.')
        spec.inputs.validator = validate_start

        spec.outline(
            cls.select_structure, cls.fit_models, cls.inspect_fits, cls.run_dynamic_nmr, cls.inspect_dynamic_nmr
        )

        spec.expose_outputs(FitPotentialWorkChain, include=('potential',))
        spec.expose_outputs(FitEfgWorkChain, include=('efg_model',))
        spec.output('potential_errors', valid_type=Dict, help='Errors of the potential on withheld structures.')
        spec.output('efg_errors', valid_type=Dict, help='Errors of the EFG model on withheld structures.')
        spec.expose_outputs(DynamicNmrWorkChain)

        for status, name, what in (
            (401, 'FIT_POTENTIAL', 'fit of the potential'),
            (402, 'FIT_EFG', 'fit of the EFG model'),
            (403, 'DYNAMIC_NMR', 'dynamic NMR workflow'),
        ):
            spec.exit_code(status, f'ERROR_SUB_PROCESS_FAILED_{name}', message=f'The {what} failed: {{message}}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        dataset: DatasetData,
        structure: StructureData | None = None,
        structure_index: int | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
        ion: str | None = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            dataset: labelled structures.
            structure: where the dynamics starts, or
            structure_index: the row of ``dataset`` to start from.
            ion: element or isotope whose EFG is learnt and followed, Li if not given.

        Raises:
            ValueError: not exactly one start, or an ion without a quadrupole moment.
        """
        start = {'structure': structure, 'structure_index': None if structure_index is None else Int(structure_index)}
        start = {name: value for name, value in start.items() if value is not None}
        problem = validate_start({'dataset': dataset, **start}, None)
        if problem:
            raise ValueError(problem)
        if structure_index is not None:
            structure = dataset.get_structure(structure_index)
        assert structure is not None  # as validate_start has seen
        inputs = cls.get_protocol_inputs(
            protocol,
            overrides,
            dynamic_nmr=lambda below: DynamicNmrWorkChain.inputs_for_structure(
                structure, code, protocol, below, options
            ),
        )
        inputs = merged(of_all(('fit_potential', 'fit_efg'), code, options), inputs)
        inputs = with_ion(inputs, ion, dataset.base.attributes.get('species'))
        if 'fit_efg' not in inputs:
            raise ValueError(
                'the ion has spin 1/2 and no quadrupole moment, so there is no EFG to learn; choose another'
            )
        inputs['dynamic_nmr'] = following(inputs['dynamic_nmr'], inputs['fit_efg']['parameters']['species'])
        return cls.filled_builder({**inputs, **start, 'dataset': dataset})

    def select_structure(self) -> None:
        """Take the starting structure, from the set where it is given by index."""
        if 'structure' in self.inputs:
            self.ctx.structure = self.inputs.structure
        else:
            self.ctx.structure = select_structure(self.inputs.dataset, self.inputs.structure_index)

    def fit_models(self) -> ToContext:
        """Fit both models, side by side."""
        running = self.submit_fits(self.inputs.dataset, clean_workdir=self.inputs.clean_workdir)
        fits = ', '.join(f'{name} <{node.pk}>' for name, node in running.items())
        self.report(f'fits to {len(self.inputs.dataset.rows)} structures: {fits}')
        return ToContext(**running)

    def inspect_fits(self) -> ExitCode | None:
        """Attach the models and their errors; the first that failed names the exit code."""
        for name, why in self.attach_fits().items():
            return self.exit_codes[f'ERROR_SUB_PROCESS_FAILED_{name.upper()}'].format(message=why)
        return None

    def run_dynamic_nmr(self) -> ToContext:
        """Submit the dynamics with both models, and its analyses."""
        inputs = self.exposed_inputs(DynamicNmrWorkChain, 'dynamic_nmr')
        inputs.structure = self.ctx.structure
        inputs.potential = self.ctx.fit_potential.outputs.potential
        inputs.efg_model = self.ctx.fit_efg.outputs.efg_model
        inputs.setdefault('metadata', {})['call_link_label'] = 'dynamic_nmr'
        return ToContext(dynamic_nmr=self.submit(DynamicNmrWorkChain, **inputs))

    def inspect_dynamic_nmr(self) -> ExitCode | None:
        """Attach the answer, and whatever there is if there is none."""
        node = self.ctx.dynamic_nmr
        self.out_many(self.exposed_outputs(node, DynamicNmrWorkChain))
        if not node.is_finished_ok:
            return self.exit_codes.ERROR_SUB_PROCESS_FAILED_DYNAMIC_NMR.format(message=reason(node))
        return None
