"""Molecular dynamics that goes on where a time limit, or a machine that broke down, cut it off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict
from aiida.engine import ExitCode, ProcessBuilder, ProcessHandlerReport, ToContext, process_handler, while_
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, CalcJobNode, Data, Dict, Int, StructureData

from aiida_ufpnmr.calculations.join_parts import join_parts, join_stopped, with_statistics
from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.calculations.resources import Asked
from aiida_ufpnmr.calculations.trajectories import JoinTrajectoryCalculation
from aiida_ufpnmr.data.efg_model import EfgModelData
from aiida_ufpnmr.data.potential import PotentialData
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.workflows.protocols import ProtocolMixin, merged, of_all
from aiida_ufpnmr.workflows.restart import RestartWorkChain
from aiida_ufpnmr.workflows.subprocesses import expose_inputs
from aiida_ufpnmr.workflows.supercell import with_supercell
from aiida_ufpnmr.workflows.wall_time import with_wall_time

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
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        expose_inputs(spec, MdCalculation, 'md', ('checkpoint',), 'Molecular dynamics.')
        most: Any = spec.inputs['max_iterations']
        most.default = lambda: Int(1000)
        spec.outline(
            cls.setup, while_(cls.should_run_process)(cls.run_process, cls.inspect_process), cls.join, cls.results
        )
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
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``.
            structure: where the dynamics starts.
            potential: moves the atoms.
            efg_model: predicts EFG tensors along the way, where given.
            overrides: nested as the inputs are, on top of the protocol; ``min_cell_height_angstrom`` sets the
                supercell.
            options: what each job asks for; without a time limit, a scheduler is asked for what the steps should need.
        """
        potential.check_elements(structure)
        inputs = with_supercell(cls.get_protocol_inputs(protocol, overrides), structure.cell)
        nodes: dict[str, Data] = {'structure': structure, 'potential': potential}
        if efg_model is not None:
            nodes['efg_model'] = efg_model
        plain = with_wall_time(merged(of_all(('md',), code, options), inputs), len(structure.sites), code)
        return cls.filled_builder(merged(plain, {'md': nodes}))

    def setup(self) -> None:
        """Begin with the inputs as they were given, and no part of the run."""
        super().setup()
        self.ctx.parts = []
        self.ctx.step = None
        self.ctx.idle = 0

    def join(self) -> ToContext | None:
        """Join the parts where some of them stay on the computer, by a job there."""
        parts = self._parts_and(self.ctx.children[self.ctx.iteration - 1].outputs.trajectory)
        if len(parts) == 1 or not any(part.kept for part in parts.values()):
            return None
        inputs = AttributeDict({'code': self.ctx.inputs.code, 'parts': parts})
        given = self.ctx.inputs.metadata.options
        options = {name: given[name] for name in given if name not in ('max_wallclock_seconds', 'parser_name')}
        inputs.metadata = {'options': options, 'call_link_label': 'join'}
        return ToContext(joined=self.submit(JoinTrajectoryCalculation, **inputs))

    def results(self) -> ExitCode | None:
        """Attach the trajectory, joined from its parts where there are several."""
        node = self.ctx.children[self.ctx.iteration - 1]
        outputs = {name: node.outputs[name] for name in ('trajectory', 'results', 'timing')}
        joined = self.ctx.get('joined')
        if joined is not None and not joined.is_finished_ok:
            return self.exit_codes.ERROR_UNRECOVERABLE.format(message=joined.exit_message or 'the parts are not joined')
        if joined is not None:
            outputs |= with_statistics(outputs['results'], joined.outputs.results)
            outputs['trajectory'] = joined.outputs.trajectory
        elif self.ctx.parts:
            outputs |= join_parts(results=outputs['results'], **self._parts_and(outputs['trajectory']))
        self.out_many(outputs)
        return None

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
        where = self.go_on_from(node)
        if where:
            self.ctx.idle = 0
            return self.try_again(node, where)
        self.ctx.idle += 1
        if self.ctx.idle >= MOST_IDLE:
            return self.give_up(node, self.exit_codes.ERROR_NO_PROGRESS)
        return self.try_again(node, 'the same again')

    def go_on_from(self, node: CalcJobNode) -> str:
        """Take the checkpoint of an attempt, if it is newer than the one that it began from, and its frames."""
        self.ctx.inputs.pop('remote_folder', None)  # what was taken up from there is in the nodes now
        step = node.outputs.checkpoint.base.attributes.get('step') if 'checkpoint' in node.outputs else None
        # nothing goes on from the last step: a job that was killed after it is run again
        is_on_its_way = step is not None and step < self.ctx.inputs.parameters['steps']
        if not is_on_its_way or (self.ctx.step is not None and step <= self.ctx.step):
            return ''
        self.ctx.step = step
        self.ctx.parts.append(node.outputs.trajectory_part)
        self.ctx.inputs.checkpoint = node.outputs.checkpoint
        return f'on from step {step}'

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
            parts = self._parts_and(stopped)
            is_kept = any(part.kept for part in parts.values())  # then each part is there for itself
            self.out('stopped_trajectory', join_stopped(**parts) if self.ctx.parts and not is_kept else stopped)
        return self.give_up(node, self.exit_codes.ERROR_STOPPED_BY_GUARD)

    @process_handler(priority=200, exit_codes=[CODES.ERROR_COMMAND_FAILED])
    def handle_unrecoverable(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Give up, since no change could help."""
        return self.give_up(node, self.exit_codes.ERROR_UNRECOVERABLE)
