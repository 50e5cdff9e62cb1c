"""Barriers of single hops along a trajectory, in as many jobs as it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import ProcessBuilder, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, CalcJobNode, Data, Int, SinglefileData

from aiida_ufpnmr.calculations.barriers import BarriersCalculation
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.repeat import RepeatWorkChain

CODES = BarriersCalculation.exit_codes


class BarriersWorkChain(ProtocolMixin, RepeatWorkChain):
    """Finds the barriers of single hops along a trajectory; where a job was cut off, the next takes up what is left."""

    _process_class = BarriersCalculation

    PROTOCOL = 'barriers'

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        most: Any = spec.inputs['max_iterations']
        most.default = lambda: Int(20)

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        trajectory: TrajectoryData,
        potential: PotentialData,
        softness: SinglefileData | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            trajectory: whose hops are wanted.
            potential: moves the atoms.
            softness: of its ions, where soft ones shall be compared with hard ones.
        """
        nodes: dict[str, Data] = {'trajectory': trajectory, 'potential': potential}
        if softness is not None:
            nodes['softness'] = softness
        given = merged(of_all((cls.NAMESPACE,), code, options), {cls.NAMESPACE: nodes})
        return cls.filled_builder(merged(given, cls.get_protocol_inputs(protocol, overrides)))

    @process_handler(
        priority=400,
        exit_codes=[CODES.ERROR_INTERRUPTED, CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME, CODES.ERROR_SCHEDULER_NODE_FAILURE],
    )
    def handle_time(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Go on with the hops that are left, up to ``max_iterations`` times."""
        return self.try_again(node, self.go_on_from(node))

    def go_on_from(self, node: CalcJobNode) -> str:
        """Take over the hops that an attempt had finished."""
        if 'remote_folder' in node.outputs:
            self.ctx.inputs.parent_folder = node.outputs.remote_folder
        return 'on with the hops that are left'
