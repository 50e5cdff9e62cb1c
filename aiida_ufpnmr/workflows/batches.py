"""Batches of runs over structures, temperatures and replicas: of molecular dynamics, and of dynamic NMR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida.engine import ProcessBuilder
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, Float, StructureData

from aiida_ufpnmr.calculations.base import optional, plain_input, validate_ordered
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.workflows.batch import BatchWorkChain
from aiida_ufpnmr.workflows.batch_plan import Run
from aiida_ufpnmr.workflows.dynamic_nmr import ANALYSES, DynamicNmrWorkChain
from aiida_ufpnmr.workflows.md import MdWorkChain
from aiida_ufpnmr.workflows.protocols import merged, of_all
from aiida_ufpnmr.workflows.subprocesses import clean_input, expose_inputs


def validate_structures(structures: Mapping[str, StructureData], _: object) -> str | None:
    """Refuse no structure at all, and those with sites that are partly occupied or shared."""
    return validate_ordered(structures, _) if structures else 'give one structure or more'


def _structures_input(spec: WorkChainSpec) -> None:
    text = 'Where the runs start, by name.'
    spec.input_namespace('structures', dynamic=True, valid_type=StructureData, help=text)
    inputs: Any = spec.inputs
    inputs['structures'].validator = validate_structures
    text = 'Least height of the simulated cells, between opposite faces; each is repeated to reach it.'
    plain_input(spec, 'min_cell_height_angstrom', Float, text, required=False)


class MdBatchWorkChain(BatchWorkChain):
    """Molecular dynamics of several structures, at several temperatures, with replicas, as one batch."""

    RUN = MdWorkChain
    JOB = MdCalculation
    ANSWER = 'results'
    MORE_OUTPUT = {'trajectories': 'trajectory'}

    PROTOCOL = MdWorkChain.PROTOCOL
    PROTOCOL_ARGUMENTS = ('structures', 'potential', 'efg_model', *BatchWorkChain.BATCH_ARGUMENTS)

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        _structures_input(spec)
        spec.input('potential', valid_type=PotentialData, help='The potential that moves the atoms.')
        optional(spec.input, ('efg_model', EfgModelData, 'Predicts EFG tensors along the runs, where given.'))
        clean_input(spec)
        own = ('structure', 'potential', 'efg_model', 'checkpoint', 'remote_folder')
        expose_inputs(spec, MdCalculation, 'md', own, 'Molecular dynamics.')
        text = 'The trajectory of each run, by its label.'
        spec.output_namespace('trajectories', dynamic=True, valid_type=TrajectoryData, help=text)

    @classmethod
    def inputs_of(cls, inputs: Mapping[str, Any], run: Run) -> dict[str, Any]:
        models = {name: inputs[name] for name in ('potential', 'efg_model') if name in inputs}
        own = {'structure': inputs['structures'][run.structure], 'parameters': Dict(cls.parameters_of(inputs, run))}
        return {'md': {**inputs['md'], **models, **own}, 'clean_workdir': inputs['clean_workdir']}

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structures: Mapping[str, StructureData],
        potential: PotentialData,
        temperatures_K: Sequence[float],
        efg_model: EfgModelData | None = None,
        replicas: int = 1,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol of molecular dynamics; other arguments and errors as in
        :class:`~aiida_ufpnmr.workflows.protocols.ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            structures: where the runs start, by name.
            potential: moves the atoms.
            temperatures_K: of the runs.
            efg_model: predicts EFG tensors along the way, where given.
            replicas: runs of each structure at each temperature.
        """
        potential.check_elements(*structures.values())
        inputs = merged(of_all(('md',), code, options), cls.get_protocol_inputs(protocol, overrides))
        own: dict[str, Any] = {'structures': dict(structures), 'potential': potential, 'replicas': replicas}
        if efg_model is not None:
            own['efg_model'] = efg_model
        return cls.filled_builder({**inputs, **own, 'temperatures_K': list(temperatures_K)})


class DynamicNmrBatchWorkChain(BatchWorkChain):
    """Dynamic NMR of several structures, at several temperatures, with replicas, as one batch."""

    RUN = DynamicNmrWorkChain
    ANSWER = 'tau'

    PROTOCOL = DynamicNmrWorkChain.PROTOCOL
    PROTOCOL_ARGUMENTS = ('structures', 'potential', 'efg_model', *BatchWorkChain.BATCH_ARGUMENTS)

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        _structures_input(spec)
        spec.expose_inputs(DynamicNmrWorkChain, exclude=('structure',))

    @classmethod
    def inputs_of(cls, inputs: Mapping[str, Any], run: Run) -> dict[str, Any]:
        return inputs_of_nmr(inputs, cls.structures_of(inputs)[run.structure], cls.parameters_of(inputs, run))

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structures: Mapping[str, StructureData],
        potential: PotentialData,
        efg_model: EfgModelData,
        temperatures_K: Sequence[float],
        replicas: int = 1,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol of dynamic NMR; other arguments and errors as in
        :class:`~aiida_ufpnmr.workflows.protocols.ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            structures: where the runs start, by name.
            potential: moves the atoms.
            efg_model: predicts EFG tensors.
            temperatures_K: of the runs.
            replicas: runs of each structure at each temperature.
        """
        potential.check_elements(*structures.values())
        given = cls.get_protocol_inputs(protocol, overrides)
        inputs = DynamicNmrWorkChain.with_options(given, code, options, efg_model.base.attributes.get('ion'))
        own = {'structures': dict(structures), 'potential': potential, 'efg_model': efg_model, 'replicas': replicas}
        return cls.filled_builder({**inputs, **own, 'temperatures_K': list(temperatures_K)})


def inputs_of_nmr(inputs: Mapping[str, Any], structure: StructureData, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs of dynamic NMR for one run of a batch.

    Args:
        inputs: of the batch.
        structure: where the run starts.
        parameters: of its dynamics.
    """
    names = ('potential', 'efg_model', 'clean_workdir', *ANALYSES, 'analyses', 'analysis_files')
    shared = {name: inputs[name] for name in names if name in inputs}
    return {**shared, 'structure': structure, 'md': {**inputs['md'], 'parameters': Dict({**parameters})}}
