"""The base of all restarting chains: attempts one after the other, words about each, and cleaning in the end."""

from __future__ import annotations

from typing import Any, ClassVar

from aiida.common import AttributeDict
from aiida.engine import (
    BaseRestartWorkChain,
    CalcJob,
    ExitCode,
    ProcessHandlerReport,
    WorkChain,
    process_handler,
    while_,
)
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import CalcJobNode

from aiida_ufpnmr.calculations.base import OUT_OF_MEMORY
from aiida_ufpnmr.calculations.resources import in_words, node_of
from aiida_ufpnmr.workflows.calls_once import CallsOnce
from aiida_ufpnmr.workflows.subprocesses import clean_input, clean_working_directories

#: The status with which each calculation refuses its input.
INPUT_REFUSED = ExitCode(210)
NO_MEMORY = [ExitCode(OUT_OF_MEMORY), CalcJob.exit_codes.ERROR_SCHEDULER_OUT_OF_MEMORY]


class RestartWorkChain(CallsOnce, BaseRestartWorkChain):
    """Runs a calculation until it ends well, or until another attempt cannot help.

    A failed attempt never gives results: the outputs are those of the attempt that ended well.
    """

    _process_class: type[CalcJob]
    #: The name under which the inputs of the calculation stand.
    NAMESPACE: ClassVar[str] = 'calculation'

    @classmethod
    def define(cls: Any, spec: WorkChainSpec) -> None:
        super().define(spec)
        clean_input(spec)
        spec.outline(cls.setup, while_(cls.should_run_process)(cls.run_process, cls.inspect_process), cls.results)
        spec.exit_code(210, 'ERROR_INPUT_REFUSED', message='The input was refused: {message}')
        spec.exit_code(310, 'ERROR_UNRECOVERABLE', message='No other attempt can help: {message}')
        spec.exit_code(
            320, 'ERROR_OUT_OF_MEMORY', message='Give it more memory (--memory), or more machines: {message}'
        )

    def setup(self) -> None:
        """Begin with the inputs as they were given."""
        super().setup()
        self.ctx.inputs = AttributeDict(self.exposed_inputs(self.process_class, self.NAMESPACE))
        self.ctx.has_more_memory = False

    def try_again(self, node: CalcJobNode, remedy: str) -> ProcessHandlerReport:
        """Start another attempt, with what was changed in words."""
        self.report(f'{node.process_label}<{node.pk}> {node.exit_message} Next: {remedy}.')
        return ProcessHandlerReport(do_break=True)

    def give_up(self, node: CalcJobNode, exit_code: ExitCode) -> ProcessHandlerReport:
        """End with ``exit_code``, whose message may hold what the attempt says."""
        self.report(f'{node.process_label}<{node.pk}> {node.exit_message} Giving up.')
        if '{message}' in (exit_code.message or ''):
            exit_code = exit_code.format(message=node.exit_message or 'it did not say why')
        return ProcessHandlerReport(do_break=True, exit_code=exit_code)

    @process_handler(priority=600, exit_codes=[INPUT_REFUSED])
    def handle_refused_input(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Give up, since the same input would be refused again."""
        return self.give_up(node, self.exit_codes.ERROR_INPUT_REFUSED)

    @process_handler(priority=595, exit_codes=NO_MEMORY)
    def handle_out_of_memory(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Ask for twice the memory once; give up where none was asked for, or where nodes have no more."""
        options, computer = self.ctx.inputs.metadata.options, node.computer
        assert computer is not None  # as it ran
        memory = options.get('max_memory_kb') or computer.get_default_memory_per_machine()
        more = min(2 * memory, node_of(computer).get('memory_kb', 2 * memory)) if memory else 0
        if self.ctx.has_more_memory or not memory or more <= memory:
            return self.give_up(node, self.exit_codes.ERROR_OUT_OF_MEMORY)
        self.ctx.has_more_memory = True
        options['max_memory_kb'] = more
        where = self.go_on_from(node)
        return self.try_again(node, f'{where or "the same"} with {in_words(more)} of memory')

    def go_on_from(self, node: CalcJobNode) -> str:
        """Take along what an attempt left for the next one; where that goes on, empty if from the beginning."""
        return ''

    def on_terminated(self) -> None:
        """Remove the working directories, if asked for and if all went well."""
        WorkChain.on_terminated(self)
        if self.inputs.clean_workdir and self.node.is_finished_ok:
            clean_working_directories(node for node in self.node.called if isinstance(node, CalcJobNode))
