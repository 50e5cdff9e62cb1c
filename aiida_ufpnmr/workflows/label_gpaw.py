"""Labels of a set of structures from GPAW, restarted where that helps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from aiida.engine import ProcessBuilder, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, CalcJobNode, StructureData

from aiida_ufpnmr.calculations.label_gpaw import LabelGpawCalculation, validate_structures
from aiida_ufpnmr.calculations.resources import DFT_CORES, Asked
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.dft.gpaw_engine import gpaw_settings
from aiida_ufpnmr.engine.dft.identity import label_sha256, settings_sha256, structure_sha256
from aiida_ufpnmr.workflows.label_restart import LabelRestartWorkChain
from aiida_ufpnmr.workflows.protocols import merged, of_all
from aiida_ufpnmr.workflows.subprocesses import expose_inputs

CODES = LabelGpawCalculation.exit_codes


class LabelGpawWorkChain(LabelRestartWorkChain):
    """Energy, forces, stress and EFG tensors of a set of structures from GPAW.

    Where the SCF of a structure does not converge, GPAW's own ladder of attempts is climbed within the job. A job that
    was cut off goes on with the structures that it had not labelled yet, and with the last density of those it was at.
    """

    _process_class = LabelGpawCalculation

    DFT_CODE = 'gpaw'
    SUBJECT = 'structures'
    MANY = True

    PROTOCOL = 'label_gpaw'
    PROTOCOL_ARGUMENTS = ('structures',)

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input('structures', valid_type=(DatasetData, StructureData), help='What to label.')
        left_out = ('structures', 'parent_folder')
        expose_inputs(spec, LabelGpawCalculation, 'calculation', left_out, 'The attempts.')
        spec.exit_code(440, 'ERROR_TOO_FEW_LABELS', message='Too few structures got labels: {message}')

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structures: DatasetData | StructureData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: the command ``ufpnmr``, where there is a Python with GPAW.
            structures: what to label.
        """
        if isinstance(structures, DatasetData):
            elements = structures.base.attributes.get('species')
        else:
            elements = structures.get_symbols_set()
        inputs = cls.inputs_for_elements(elements, code, protocol, overrides, options)
        return cls.filled_builder({**inputs, 'structures': structures})

    @classmethod
    def inputs_for_elements(cls, elements, code, protocol, overrides, options) -> dict[str, Any]:
        """The inputs of a protocol for structures of these elements: all but the structures."""
        inputs = cls.get_protocol_inputs(protocol, overrides)
        asked = (inputs['calculation']['parameters'], inputs['calculation'].get('settings'))
        cutoff = gpaw_settings(*asked, elements).cutoff_ev
        common = of_all(('calculation',), code, options, cores=DFT_CORES)
        if cutoff != gpaw_settings(*asked).cutoff_ev:
            # each job sees the elements of its own structures only, but all jobs shall have the same cut-off
            common['calculation']['parameters'] = {'cutoff_ev': cutoff}
        return merged(common, inputs)

    @classmethod
    def refusal(cls, structure: StructureData, inputs: Mapping[str, Any]) -> str | None:
        return validate_structures(structure, None)

    @classmethod
    def label_hashes(cls, structure: StructureData, inputs: Mapping[str, Any]) -> list[str]:
        calculation = inputs['calculation']
        changes = calculation['settings'].get_dict() if 'settings' in calculation else {}
        settings = gpaw_settings(calculation['parameters'].get_dict(), changes, structure.get_symbols_set())
        hashed = settings_sha256(cls.DFT_CODE, dataclasses.asdict(settings))
        return [label_sha256(structure_sha256(structure.get_ase()), hashed)]

    def setup(self) -> None:
        """Begin with all structures."""
        super().setup()
        self.ctx.inputs.structures = self.inputs.structures
        self.ctx.cut_at = 0

    @process_handler(priority=590, exit_codes=[CODES.ERROR_COMMAND_FAILED, CODES.ERROR_SCHEDULER_INVALID_ACCOUNT])
    def handle_unrecoverable(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Give up, since no change could help."""
        return self.give_up(node, self.exit_codes.ERROR_UNRECOVERABLE)

    @process_handler(priority=500, exit_codes=[CODES.ERROR_TOO_FEW_LABELLED])
    def handle_too_few_labels(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Give up, since every structure has had all attempts of the ladder."""
        return self.give_up(node, self.exit_codes.ERROR_TOO_FEW_LABELS)

    @process_handler(priority=400, exit_codes=[CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME])
    def handle_out_of_walltime(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Go on with what is left; at the second time in a row with more time, since one structure may need it all."""
        again = self.cut_again()
        self.go_on_from(node)
        if again:
            return self.give_more_time(node, 'on with what is left, with ')
        return self.try_again(node, 'on with what is left')

    @process_handler(priority=390, exit_codes=[CODES.ERROR_INTERRUPTED])
    def handle_interrupted(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Go on with what is left where something killed the job."""
        self.go_on_from(node)
        return self.try_again_once(node, 'on with what is left')

    @process_handler(priority=380, exit_codes=[CODES.ERROR_SCHEDULER_NODE_FAILURE, CODES.ERROR_NO_RETRIEVED_FOLDER])
    def handle_node_failure(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Go on with what is left, on another node: it was no fault of the calculation."""
        self.go_on_from(node)
        return self.try_again(node, 'on with what is left, on another node')

    @process_handler(priority=370, exit_codes=[CODES.ERROR_NO_RESULTS, CODES.ERROR_OUTPUT_UNUSABLE])
    def handle_lost_output(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Start from the beginning, but not twice: after a full disk or a broken copy nothing there can be trusted."""
        self.ctx.inputs.pop('parent_folder', None)
        return self.try_again_once(node, 'the same from the beginning')

    def cut_again(self) -> bool:
        """Note that this attempt was cut off, and tell if the one before it was, too."""
        again = self.ctx.cut_at and self.ctx.cut_at == self.ctx.iteration - 1
        self.ctx.cut_at = self.ctx.iteration
        return bool(again)

    def go_on_from(self, node: CalcJobNode) -> str:
        """Take over what an attempt had labelled."""
        if 'remote_folder' in node.outputs:
            self.ctx.inputs.parent_folder = node.outputs.remote_folder
        return 'on with what is left'
