"""Molecular dynamics that goes on where a time limit, or a machine that broke down, cut it off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import ProcessBuilder, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, CalcJobNode, Data, Dict, Int, StructureData

from aiida_ufpnmr.calculations.join_parts import join_parts, join_stopped
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.restart import RestartWorkChain
from aiida_ufpnmr.workflows.subprocesses import expose_inputs
from aiida_ufpnmr.workflows.supercell import with_supercell

CODES = MdCalculation.exit_codes
#: Attempts that bring no step forward before the run is given up.
MOST_IDLE = 2


class MdWorkChain(ProtocolMixin, RestartWorkChain):
    """A run of any length, in as many jobs as its time limits ask for.

    A job that was cut off leaves its frames and a checkpoint, from which the next one goes on to the bit. In the end
    the parts are joined into one trajectory, which is the one that a single job would have written.
    """

    _process_class = MdCalculation
    NAMESPACE = 'md'

    PROTOCOL = 'md'
    PROTOCOL_ENTRIES = ('min_cell_height_angstrom',)
    PROTOCOL_ARGUMENTS = ('structure', 'potential', 'efg_model')

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        expose_inputs(spec, MdCalculation, 'md', ('checkpoint',), 'Molecular dynamics.')
        most: Any = spec.inputs['max_iterations']
        most.default = lambda: Int(1000)
        spec.output('trajectory', valid_type=TrajectoryData, required=False, help='The whole run.')
        spec.output('results', valid_type=Dict, required=False, help='What the run reports; keys carry their units.')
        spec.output('timing', valid_type=Dict, required=False, help='Of the last job.')
        spec.expose_outputs(MdCalculation, include=('stopped_trajectory',))
        for status, label, message in (
            (410, 'ERROR_STOPPED_BY_GUARD', 'The potential no longer knew what it did: {message}'),
            (420, 'ERROR_NO_PROGRESS', f'Cut off {MOST_IDLE} times before any step was saved: {{message}}'),
        ):
            spec.exit_code(status, label, message=message)

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structure: StructureData,
        potential: PotentialData,
        efg_model: EfgModelData | None = None,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            structure: where the dynamics starts.
            potential: moves the atoms.
            efg_model: predicts EFG tensors along the way, where given.
            overrides: nested as the inputs are, on top of the protocol; ``min_cell_height_angstrom`` sets the
                supercell.
            options: ``metadata.options`` of all jobs; ``max_wallclock_seconds`` is the time of each.
        """
        inputs = with_supercell(cls.get_protocol_inputs(protocol, overrides), structure.get_ase().cell.array)
        nodes: dict[str, Data] = {'structure': structure, 'potential': potential}
        if efg_model is not None:
            nodes['efg_model'] = efg_model
        return cls.filled_builder(merged(merged(of_all(('md',), code, options), {'md': nodes}), inputs))

    def setup(self) -> None:
        """Begin with the inputs as they were given, and no part of the run."""
        super().setup()
        self.ctx.parts = []
        self.ctx.step = None
        self.ctx.idle = 0

    def results(self) -> None:
        """Attach the trajectory, joined from its parts where there are several."""
        node = self.ctx.children[self.ctx.iteration - 1]
        outputs = {name: node.outputs[name] for name in ('trajectory', 'results', 'timing')}
        if self.ctx.parts:
            outputs |= join_parts(results=outputs['results'], **self._parts_and(outputs['trajectory']))
        self.out_many(outputs)

    def _parts_and(self, last: TrajectoryData) -> dict[str, TrajectoryData]:
        return {f'part_{number:06d}': part for number, part in enumerate([*self.ctx.parts, last])}

    @process_handler(
        priority=500,
        exit_codes=[
            CODES.ERROR_OUT_OF_TIME,
            CODES.ERROR_INTERRUPTED,
            CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME,
            CODES.ERROR_SCHEDULER_NODE_FAILURE,
            CODES.ERROR_NO_RETRIEVED_FOLDER,
        ],
    )
    def handle_cut_off(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Go on from the newest checkpoint; give up after :data:`MOST_IDLE` attempts that bring no newer one."""
        step = node.outputs.checkpoint.base.attributes.get('step') if 'checkpoint' in node.outputs else None
        # nothing goes on from the last step: a job that was killed after it is run again
        is_on_its_way = step is not None and step < self.ctx.inputs.parameters['steps']
        self.ctx.inputs.pop('remote_folder', None)  # what was taken up from there is in the nodes now
        if is_on_its_way and (self.ctx.step is None or step > self.ctx.step):
            self.ctx.step, self.ctx.idle = step, 0
            self.ctx.parts.append(node.outputs.trajectory_part)
            self.ctx.inputs.checkpoint = node.outputs.checkpoint
            return self.try_again(node, f'on from step {step}')
        self.ctx.idle += 1
        if self.ctx.idle >= MOST_IDLE:
            return self.give_up(node, self.exit_codes.ERROR_NO_PROGRESS)
        return self.try_again(node, 'the same again')

    @process_handler(
        priority=400,
        exit_codes=[
            CODES.ERROR_ATOMS_TOO_CLOSE,
            CODES.ERROR_TEMPERATURE_RAN_AWAY,
            CODES.ERROR_FORCE_RAN_AWAY,
            CODES.ERROR_ATOM_MOVED_TOO_FAR,
            CODES.ERROR_EXTRAPOLATION,
            CODES.ERROR_UNITS_BROKEN,
        ],
    )
    def handle_guard(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Keep the frames, which active learning wants, and give up, since the same would happen again."""
        if 'stopped_trajectory' in node.outputs:
            stopped = node.outputs.stopped_trajectory
            self.out('stopped_trajectory', join_stopped(**self._parts_and(stopped)) if self.ctx.parts else stopped)
        return self.give_up(node, self.exit_codes.ERROR_STOPPED_BY_GUARD)

    @process_handler(priority=200, exit_codes=[CODES.ERROR_COMMAND_FAILED, CODES.ERROR_SCHEDULER_OUT_OF_MEMORY])
    def handle_unrecoverable(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Give up, since no change could help."""
        return self.give_up(node, self.exit_codes.ERROR_UNRECOVERABLE)
