"""The workflow that finds activation energies: dynamic NMR at several temperatures, with replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida.engine import ExitCode, ProcessBuilder
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, List, SinglefileData, StructureData

from aiida_ufpnmr.calculations.arrhenius import fit_rates
from aiida_ufpnmr.calculations.base import optional, plain_input
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.engine.analyses.arrhenius import QUANTITIES, ArrheniusSettings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.workflows import batch
from aiida_ufpnmr.workflows.batch import BatchWorkChain
from aiida_ufpnmr.workflows.batch_plan import Run
from aiida_ufpnmr.workflows.batches import inputs_of_nmr
from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain
from aiida_ufpnmr.workflows.supercell import with_supercell


def validate_temperatures(value: List, _) -> str | None:
    """Refuse fewer than two temperatures, equal ones, and what is none."""
    refusal = batch.validate_temperatures(value, _)
    if refusal is None and len(value.get_list()) < 2:
        return f'the law of Arrhenius needs two temperatures or more, each given once, not {value.get_list()}'
    return refusal


def validate_extrapolation(value: List, _) -> str | None:
    """Refuse what is no temperature."""
    try:
        ArrheniusSettings(extrapolate_K=tuple(value.get_list()))
    except InputError as error:
        return str(error)
    return None


class ArrheniusWorkChain(BatchWorkChain):
    """Activation energies of diffusion, hops and the decay that NMR sees, of a structure and two models.

    Runs dynamic NMR at each temperature with some replicas as one batch, and fits the law of Arrhenius to the answers.
    A run that fails is left out.
    """

    RUN = DynamicNmrWorkChain
    ANSWER = 'tau'

    PROTOCOL = DynamicNmrWorkChain.PROTOCOL
    PROTOCOL_ENTRIES = DynamicNmrWorkChain.PROTOCOL_ENTRIES
    PROTOCOL_ARGUMENTS = (*DynamicNmrWorkChain.PROTOCOL_ARGUMENTS, *BatchWorkChain.BATCH_ARGUMENTS, 'extrapolate_K')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.expose_inputs(DynamicNmrWorkChain)
        inputs: Any = spec.inputs
        inputs['temperatures_K'].validator = validate_temperatures
        text = 'Temperatures at which the laws are wanted, K.'
        plain_input(spec, 'extrapolate_K', List, text, default=[300.0], validator=validate_extrapolation)

        text = 'The laws by quantity, with intervals and test for a kink, and why there is none of others.'
        spec.output('arrhenius', valid_type=Dict, help=text)
        optional(spec.output, ('figure', SinglefileData, 'All laws with the runs behind them, as PNG.'))
        text = 'Each law with all its runs, by quantity, as HDF5.'
        spec.output_namespace('laws', dynamic=True, required=False, valid_type=SinglefileData, help=text)
        text = 'The answers of the runs are there, but no law goes through them: {message}'
        spec.exit_code(501, 'ERROR_TOO_FEW_RUNS', message=text)

    @classmethod
    def after_runs(cls: Any) -> tuple[Any, ...]:
        return cls.fit, cls.inspect_fits

    @classmethod
    def structures_of(cls, inputs: Mapping[str, Any]) -> dict[str, StructureData]:
        return {'': inputs['structure']}

    @classmethod
    def inputs_of(cls, inputs: Mapping[str, Any], run: Run) -> dict[str, Any]:
        return inputs_of_nmr(inputs, inputs['structure'], cls.parameters_of(inputs, run))

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structure: StructureData,
        potential: PotentialData,
        efg_model: EfgModelData,
        temperatures_K: Sequence[float],
        replicas: int = 1,
        extrapolate_K: Sequence[float] = (300.0,),
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol of dynamic NMR; other arguments and errors as in
        :class:`~aiida_ufpnmr.workflows.protocols.ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            structure: where the dynamics starts.
            potential: moves the atoms.
            efg_model: predicts EFG tensors.
            temperatures_K: of the runs.
            replicas: runs at each temperature.
            extrapolate_K: temperatures at which the laws are wanted.
        """
        potential.check_elements(structure)
        given = cls.get_protocol_inputs(protocol, overrides)
        given = with_supercell(given, structure.get_ase().cell.array)
        inputs = DynamicNmrWorkChain.with_options(given, code, options, efg_model.base.attributes.get('ion'))
        models = {'structure': structure, 'potential': potential, 'efg_model': efg_model}
        runs = {'temperatures_K': list(temperatures_K), 'replicas': replicas, 'extrapolate_K': list(extrapolate_K)}
        return cls.filled_builder({**inputs, **models, **runs})

    def fit(self) -> None:
        """Fit the law of Arrhenius to each quantity."""
        temperatures = {label: run.temperature_K for label, run in self.plan(self.inputs).items()}
        parameters = {'temperatures_K': temperatures, 'extrapolate_K': self.inputs.extrapolate_K.get_list()}
        found = fit_rates(parameters=Dict(parameters), **self.outputs['runs'])
        self.out_many({f'laws.{name}' if name in QUANTITIES else name: node for name, node in found.items()})

    def inspect_fits(self) -> ExitCode | None:
        """Say so where there is no law at all."""
        if 'laws' in self.outputs:
            return None
        refused = self.outputs['arrhenius'].get_dict()['refused']
        return self.exit_codes.ERROR_TOO_FEW_RUNS.format(message='; '.join(refused.values()))
