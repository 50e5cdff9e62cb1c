"""The workflow that finds activation energies: dynamic NMR at several temperatures, with replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiida.engine import ExitCode, ProcessBuilder, ToContext, WorkChain
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, Dict, Int, List, ProcessNode, SinglefileData, StructureData

from aiida_ufpnmr.calculations.arrhenius import fit_rates
from aiida_ufpnmr.calculations.base import optional, plain_input
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.engine.analyses.arrhenius import QUANTITIES, ArrheniusSettings
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.workflows.dynamic_nmr import DynamicNmrWorkChain
from aiida_ufpnmr.workflows.protocols import ProtocolMixin
from aiida_ufpnmr.workflows.subprocesses import reason


def validate_temperatures(value: List, _) -> str | None:
    """Refuse fewer than two temperatures, equal ones, and what is none."""
    temperatures = value.get_list()
    if not all(type(one) in (int, float) and 0 < one < float('inf') for one in temperatures):
        return f'temperatures must be numbers above zero, in K, not {temperatures}'
    if len(set(temperatures)) < max(2, len(temperatures)):
        return f'the law of Arrhenius needs two temperatures or more, each given once, not {temperatures}'
    return None


def validate_extrapolation(value: List, _) -> str | None:
    """Refuse what is no temperature."""
    try:
        ArrheniusSettings(extrapolate_K=tuple(value.get_list()))
    except InputError as error:
        return str(error)
    return None


class ArrheniusWorkChain(ProtocolMixin, WorkChain):
    """Activation energies of diffusion, hops and the decay that NMR sees, of a structure and two models.

    Runs dynamic NMR at each temperature with some replicas, all at once, and fits the law of Arrhenius to the answers.
    A run that fails is left out.
    """

    PROTOCOL = DynamicNmrWorkChain.PROTOCOL
    PROTOCOL_ENTRIES = DynamicNmrWorkChain.PROTOCOL_ENTRIES
    PROTOCOL_ARGUMENTS = (*DynamicNmrWorkChain.PROTOCOL_ARGUMENTS, 'temperatures_K', 'replicas', 'extrapolate_K')

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.expose_inputs(DynamicNmrWorkChain)
        text = 'Temperatures of the runs, K; they take the place of `md.parameters`.'
        plain_input(spec, 'temperatures_K', List, text, validator=validate_temperatures)
        text = (
            'Runs at each temperature. The seed of `md.parameters` is that of the first run; each other has the next.'
        )
        plain_input(spec, 'replicas', Int, text, default=1, validator=_validate_replicas)
        text = 'Temperatures at which the laws are wanted, K.'
        plain_input(spec, 'extrapolate_K', List, text, default=[300.0], validator=validate_extrapolation)

        spec.outline(cls.simulate, cls.inspect_runs, cls.fit, cls.inspect_fits)

        text = 'The laws by quantity, with intervals and test for a kink, and why there is none of others.'
        spec.output('arrhenius', valid_type=Dict, help=text)
        optional(spec.output, ('figure', SinglefileData, 'All laws with the runs behind them, as PNG.'))
        text = 'Each law with all its runs, by quantity, as HDF5.'
        spec.output_namespace('laws', dynamic=True, required=False, valid_type=SinglefileData, help=text)
        text = 'The answer of each run, by its label.'
        spec.output_namespace('runs', dynamic=True, valid_type=Dict, help=text)
        spec.exit_code(401, 'ERROR_SUB_PROCESSES_FAILED', message='No run has an answer: {message}')
        text = 'The answers of the runs are there, but no law goes through them: {message}'
        spec.exit_code(501, 'ERROR_TOO_FEW_RUNS', message=text)

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
        :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            structure: where the dynamics starts.
            potential: moves the atoms.
            efg_model: predicts EFG tensors.
            temperatures_K: of the runs.
            replicas: runs at each temperature.
            extrapolate_K: temperatures at which the laws are wanted.
        """
        inputs = DynamicNmrWorkChain.inputs_for_structure(structure, code, protocol, overrides, options)
        models = {'structure': structure, 'potential': potential, 'efg_model': efg_model}
        runs = {'temperatures_K': list(temperatures_K), 'replicas': replicas, 'extrapolate_K': list(extrapolate_K)}
        return cls.filled_builder({**inputs, **models, **runs})

    def simulate(self) -> ToContext:
        """Dynamic NMR at all temperatures, with a seed for each run."""
        self.ctx.temperatures_K = {}
        running: dict[str, ProcessNode] = {}
        for temperature in sorted(self.inputs.temperatures_K.get_list()):
            for _ in range(self.inputs.replicas.value):
                label = f'run_{len(running) + 1:03d}'
                inputs = self.exposed_inputs(DynamicNmrWorkChain)
                given = inputs.md.parameters.get_dict()
                seed = given.get('seed', 0) + len(running)
                inputs.md.parameters = Dict({**given, 'temperature': float(temperature), 'seed': seed})
                inputs.metadata = {'call_link_label': label}
                running[label] = self.submit(DynamicNmrWorkChain, **inputs)
                self.ctx.temperatures_K[label] = float(temperature)
                self.report(f'{label} <{running[label].pk}>: {temperature:g} K, seed {seed}')
        return ToContext(**running)

    def inspect_runs(self) -> ExitCode | None:
        """Attach the answers; runs without one are left out."""
        failures = []
        for label, temperature in self.ctx.temperatures_K.items():
            node = self.ctx[label]
            if 'tau' in node.outputs:
                self.out(f'runs.{label}', node.outputs.tau)
            else:
                failures.append(reason(node))
                self.report(f'{label} ({temperature:g} K) is left out: {failures[-1]}')
        if len(failures) == len(self.ctx.temperatures_K):
            return self.exit_codes.ERROR_SUB_PROCESSES_FAILED.format(message=failures[0])
        return None

    def fit(self) -> None:
        """Fit the law of Arrhenius to each quantity."""
        parameters = {'temperatures_K': self.ctx.temperatures_K, 'extrapolate_K': self.inputs.extrapolate_K.get_list()}
        found = fit_rates(parameters=Dict(parameters), **self.outputs['runs'])
        self.out_many({f'laws.{name}' if name in QUANTITIES else name: node for name, node in found.items()})

    def inspect_fits(self) -> ExitCode | None:
        """Say so where there is no law at all."""
        if 'laws' in self.outputs:
            return None
        refused = self.outputs['arrhenius'].get_dict()['refused']
        return self.exit_codes.ERROR_TOO_FEW_RUNS.format(message='; '.join(refused.values()))


def _validate_replicas(value: Int, _) -> str | None:
    return None if value.value > 0 else f'replicas must be at least 1, not {value.value}'
