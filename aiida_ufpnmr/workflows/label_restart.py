"""The base of the restart chains of all DFT codes: what each must say of itself, and what comes after a failure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from aiida.common import AttributeDict
from aiida.engine import ProcessHandlerReport
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import CalcJobNode, Dict, StructureData

from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.workflows.protocols import ProtocolMixin
from aiida_ufpnmr.workflows.restart import RestartWorkChain

#: Time limits are doubled where a run made no progress, up to this many times the first one.
MOST_TIME = 4


class LabelRestartWorkChain(ProtocolMixin, RestartWorkChain):
    """Runs one labelling calculation until it ends well, or until another attempt cannot help.

    The labelling workflow sees a DFT code as a subclass of this one, whatever runs below.
    """

    #: The DFT code, by the name of its inputs in the labelling workflow.
    DFT_CODE: ClassVar[str]
    #: The input for what is to be labelled.
    SUBJECT: ClassVar[str]
    #: Whether one job labels many structures.
    MANY: ClassVar[bool]

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.output('dataset', valid_type=DatasetData, required=False, help='What was asked for, with its labels.')
        spec.output('results', valid_type=Dict, required=False, help='What the last attempt reports.')
        for status, label, message in (
            (410, 'ERROR_SCF_NOT_CONVERGED', 'The SCF did not converge, whatever was tried: {message}'),
            (420, 'ERROR_OUT_OF_WALLTIME', 'The time did not suffice: {message}'),
            (430, 'ERROR_OUTPUT_LOST_AGAIN', 'The output was lost twice in a row: {message}'),
        ):
            spec.exit_code(status, label, message=message)

    def setup(self) -> None:
        """Begin with the inputs as they were given, and the first attempt."""
        super().setup()
        self.ctx.rung = 0
        self.ctx.lost_at = 0
        self.ctx.time_factor = 1

    @classmethod
    def inputs_for_elements(cls, elements, code, protocol, overrides, options) -> dict[str, Any]:
        """The inputs of a protocol for structures of these elements: all but the structures."""
        raise NotImplementedError

    @classmethod
    def refusal(cls, structure: StructureData, inputs: Mapping[str, Any]) -> str | None:
        """The reason why this code, with these inputs of the chain, cannot label a structure, or ``None``."""
        raise NotImplementedError

    @classmethod
    def label_hashes(cls, structure: StructureData, inputs: Mapping[str, Any]) -> list[str]:
        """Hashes of labels of a structure that these inputs of the chain would give, the likeliest first."""
        raise NotImplementedError

    def get_outputs(self, node: CalcJobNode) -> AttributeDict:
        """The labels and the report of the attempt that ended well."""
        return AttributeDict({name: node.outputs[name] for name in ('dataset', 'results') if name in node.outputs})

    def try_again_once(self, node: CalcJobNode, remedy: str = 'the same again') -> ProcessHandlerReport:
        """Another attempt, unless the one before it was lost as well."""
        again = self.ctx.lost_at == self.ctx.iteration - 1 and self.ctx.iteration > 1
        self.ctx.lost_at = self.ctx.iteration
        if again:
            return self.give_up(node, self.exit_codes.ERROR_OUTPUT_LOST_AGAIN)
        return self.try_again(node, remedy)

    def give_more_time(self, node: CalcJobNode, remedy: str = '') -> ProcessHandlerReport:
        """Another attempt with twice the time; none where the limit is unknown or has grown often enough."""
        options = self.ctx.inputs.metadata.options
        seconds = options.get('max_wallclock_seconds')
        if seconds is None or self.ctx.time_factor >= MOST_TIME:
            return self.give_up(node, self.exit_codes.ERROR_OUT_OF_WALLTIME)
        self.ctx.time_factor *= 2
        options['max_wallclock_seconds'] = 2 * seconds
        return self.try_again(node, f'{remedy}a time limit of {2 * seconds} s')
