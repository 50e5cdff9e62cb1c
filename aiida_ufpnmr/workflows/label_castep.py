"""Labels of one structure from CASTEP, restarted where that helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida.engine import ProcessBuilder, ProcessHandlerReport, process_handler
from aiida.engine.processes.workchains.workchain import WorkChainSpec
from aiida.orm import AbstractCode, CalcJobNode, Float, StructureData

from aiida_ufpnmr.calculations.base import plain_input
from aiida_ufpnmr.calculations.label_castep import (
    SEED,
    LabelCastepCalculation,
    kpoints_as_list,
    missing_extra,
    settings_hash,
    validate_structure,
)
from aiida_ufpnmr.calculations.resources import DFT_CORES, Asked
from aiida_ufpnmr.engine.dft.castep import CastepRun, parse_castep
from aiida_ufpnmr.engine.dft.castep_settings import LADDER, normalised, rung_parameters, with_extra_bands
from aiida_ufpnmr.engine.dft.identity import label_sha256, structure_sha256
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.workflows.kpoints import castep_grid, castep_kpoints
from aiida_ufpnmr.workflows.label_restart import LabelRestartWorkChain
from aiida_ufpnmr.workflows.protocols import merged, of_all
from aiida_ufpnmr.workflows.subprocesses import expose_inputs

CODES = LabelCastepCalculation.exit_codes


def validate_together(inputs: Mapping[str, Any], _) -> str | None:
    """Refuse k-points chosen in no way or in two, and any input where aiida-castep, which writes it, is missing."""
    if missing_extra() is not None:
        return missing_extra()
    if ('kpoints_distance' in inputs) == ('kpoints' in inputs.get('calculation', {})):
        return 'give either `calculation.kpoints` or `kpoints_distance`'
    return None


class LabelCastepWorkChain(LabelRestartWorkChain):
    """Energy, forces, stress and EFG tensors of one structure from CASTEP.

    Climbs a ladder where the SCF does not converge, goes on from the check file where the run was cut off after it, and
    asks for more time where it was cut off before.
    """

    _process_class = LabelCastepCalculation

    DFT_CODE = 'castep'
    SUBJECT = 'structure'
    MANY = False

    PROTOCOL = 'label_castep'
    PROTOCOL_ENTRIES = ('pseudopotentials', 'cutoff_eV')
    PROTOCOL_ARGUMENTS = ('structure',)

    @classmethod
    def define(cls, spec: WorkChainSpec) -> None:
        super().define(spec)
        spec.input('structure', valid_type=StructureData, help='What to label.')
        text = 'Largest distance of k-points in 1/Å, with the factor 2π; the grid follows the cell.'
        plain_input(spec, 'kpoints_distance', Float, text, required=False)
        left_out = ('structure', 'parent_folder')
        expose_inputs(spec, LabelCastepCalculation, 'calculation', left_out, 'The attempts.')
        calculation: Any = spec.inputs['calculation']
        calculation['kpoints'].required = False
        spec.inputs.validator = validate_together

    @classmethod
    def get_builder_from_protocol(
        cls,
        code: AbstractCode,
        structure: StructureData,
        protocol: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        options: Asked = None,
    ) -> ProcessBuilder:
        """A builder with the inputs of a protocol; other arguments and errors as in :class:`ProtocolMixin`.

        Args:
            code: CASTEP.
            structure: what to label.
            overrides: nested as the inputs are, on top of the protocol; ``pseudopotentials`` is the name of an
                on-the-fly library, or a mapping by element with ``default`` for the others; ``cutoff_eV`` a number, or
                a mapping by element with ``default`` for the others, of which the largest that is needed is taken.
        """
        inputs = cls.inputs_for_elements(structure.get_symbols_set(), code, protocol, overrides, options)
        return cls.filled_builder({**inputs, 'structure': structure})

    @classmethod
    def inputs_for_elements(cls, elements, code, protocol, overrides, options) -> dict[str, Any]:
        """The inputs of a protocol for structures of these elements: all but the structure."""
        inputs = cls.get_protocol_inputs(protocol, overrides)
        given = inputs.pop('pseudopotentials')
        cutoff = inputs.pop('cutoff_eV')
        by_element = {
            'pseudopotentials': {
                element: _of_element(given, element, 'pseudopotentials') for element in sorted(elements)
            },
            'parameters': {
                'PARAM': {'cut_off_energy': max(_of_element(cutoff, element, 'cutoff_eV') for element in elements)}
            },
        }
        common = of_all(('calculation',), code, options, mpi=True, cores=DFT_CORES)
        return merged(merged(common, {'calculation': by_element}), inputs)

    @classmethod
    def refusal(cls, structure: StructureData, inputs: Mapping[str, Any]) -> str | None:
        refused = validate_structure(structure, None)
        if refused:
            return refused
        given = inputs['calculation']['pseudopotentials'].get_dict()
        bare = [kind.symbol for kind in structure.kinds if kind.name not in given and kind.symbol not in given]
        return f'no pseudopotential for {bare[0]}' if bare else None

    @classmethod
    def label_hashes(cls, structure: StructureData, inputs: Mapping[str, Any]) -> list[str]:
        calculation = inputs['calculation']
        if 'kpoints' in calculation:
            kpoints = kpoints_as_list(calculation['kpoints'])
        else:
            kpoints = castep_grid(structure.get_ase().cell.array, inputs['kpoints_distance'].value)
        first = calculation['parameters'].get_dict()
        # a run whose SCF was hard has labels with the settings of a rung of the ladder
        tried = (first, *(rung_parameters(first, rung) for rung in LADDER))
        hashes = [settings_hash(structure, calculation, kpoints, parameters) for parameters in tried]
        where = structure_sha256(structure.get_ase())
        return [label_sha256(where, settings) for settings in dict.fromkeys(hashes)]

    def setup(self) -> None:
        """Begin with the inputs as they were given, and k-points that follow the cell."""
        super().setup()
        inputs = self.ctx.inputs
        inputs.structure = self.inputs.structure
        inputs.parameters = normalised(inputs.parameters.get_dict())
        if 'kpoints_distance' in self.inputs:
            inputs.kpoints = castep_kpoints(self.inputs.structure, self.inputs.kpoints_distance)
        if inputs.code.with_mpi is not None:  # AiiDA refuses a code that contradicts the option, be it a default
            inputs.metadata.options.withmpi = inputs.code.with_mpi
        self.ctx.first_parameters = inputs.parameters

    @process_handler(priority=610, exit_codes=[CODES.ERROR_INPUT_REFUSED, CODES.ERROR_CASTEP_FAILED])
    def handle_bad_checkpoint(self, node: CalcJobNode) -> ProcessHandlerReport | None:
        """Start from the beginning, since the check file may be what CASTEP chokes on."""
        if self.ctx.inputs.pop('parent_folder', None) is None:
            return None
        return self.try_again(node, 'the same from the beginning')

    @process_handler(
        priority=590,
        exit_codes=[
            CODES.ERROR_CASTEP_FAILED,
            CODES.ERROR_LABELS_MISSING,
            CODES.ERROR_OUTPUT_UNUSABLE,
            CODES.ERROR_SCHEDULER_INVALID_ACCOUNT,
        ],
    )
    def handle_unrecoverable(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Give up, since no change could help."""
        return self.give_up(node, self.exit_codes.ERROR_UNRECOVERABLE)

    @process_handler(priority=500, exit_codes=[CODES.ERROR_SCF_NOT_CONVERGED])
    def handle_scf_not_converged(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Climb the ladder, from the density that CASTEP begins with."""
        if self.ctx.rung == len(LADDER):
            return self.give_up(node, self.exit_codes.ERROR_SCF_NOT_CONVERGED)
        rung = LADDER[self.ctx.rung]
        self.ctx.rung += 1
        self.ctx.inputs.parameters = rung_parameters(self.ctx.first_parameters, rung)
        self.ctx.inputs.pop('parent_folder', None)
        cycles = self.ctx.inputs.parameters['PARAM']['max_scf_cycles']
        return self.try_again(node, f'{rung.name}, {cycles} cycles')

    @process_handler(priority=490, exit_codes=[CODES.ERROR_TOO_FEW_BANDS])
    def handle_too_few_bands(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Take as many bands as CASTEP recommends, since energies of such a run cannot be trusted."""
        run = output_of(node)
        if run is None or run.extra_bands is None:
            return self.give_up(node, self.exit_codes.ERROR_UNRECOVERABLE)
        self.ctx.first_parameters = with_extra_bands(self.ctx.first_parameters, run.extra_bands)
        self.ctx.inputs.parameters = with_extra_bands(self.ctx.inputs.parameters, run.extra_bands)
        self.ctx.inputs.pop('parent_folder', None)
        return self.try_again(node, f'{run.extra_bands} extra bands')

    @process_handler(priority=400, exit_codes=[CODES.ERROR_OUT_OF_WALLTIME, CODES.ERROR_SCHEDULER_OUT_OF_WALLTIME])
    def handle_out_of_walltime(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Go on from the check file, which holds the ground state; where there is none yet, with more time."""
        went_on = 'parent_folder' in self.ctx.inputs
        if self.go_on_from(node) and not went_on:
            return self.try_again(node, 'on from its check file')
        return self.give_more_time(node, 'on from its check file with ' if 'parent_folder' in self.ctx.inputs else '')

    @process_handler(priority=390, exit_codes=[CODES.ERROR_INTERRUPTED])
    def handle_interrupted(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Go on from the check file where something killed the run, or start again, but not twice for nothing."""
        went_on = 'parent_folder' in self.ctx.inputs
        if self.go_on_from(node) and not went_on:
            return self.try_again(node, 'on from its check file')
        return self.try_again_once(node)

    @process_handler(priority=380, exit_codes=[CODES.ERROR_SCHEDULER_NODE_FAILURE, CODES.ERROR_NO_RETRIEVED_FOLDER])
    def handle_node_failure(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Run the same again, on from the check file where there is one: it was no fault of the calculation."""
        self.go_on_from(node)
        return self.try_again(node, 'the same on another node')

    @process_handler(
        priority=370, exit_codes=[CODES.ERROR_OUTPUT_MISSING, CODES.ERROR_OUTPUT_TRUNCATED, CODES.ERROR_OUTPUT_MIXED_UP]
    )
    def handle_lost_output(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Start from the beginning, but not twice: after a full disk or a broken copy nothing there can be trusted."""
        self.ctx.inputs.pop('parent_folder', None)
        return self.try_again_once(node, 'the same from the beginning')

    @process_handler(priority=360, exit_codes=[CODES.ERROR_NO_STRESS])
    def handle_no_stress(self, node: CalcJobNode) -> ProcessHandlerReport:
        """Make two runs, as this version of CASTEP needs, the second one from the ground state that is there."""
        self.ctx.inputs.separate_efg = True
        self.go_on_from(node)
        return self.try_again(node, 'a single point, then the EFG tensors')

    def go_on_from(self, node: CalcJobNode) -> str:
        """Take the check file of an attempt, if it wrote one to its end, or keep the one before."""
        run = output_of(node)
        if run is not None and run.checkpoint:
            self.ctx.inputs.parent_folder = node.outputs.remote_folder
        return 'on from its check file' if 'parent_folder' in self.ctx.inputs else ''


def output_of(node: CalcJobNode) -> CastepRun | None:
    """The content of the .castep file of an attempt, if there is one."""
    try:
        text = node.outputs.retrieved.base.repository.get_object_content(f'{SEED}.castep', mode='rb')
        return parse_castep(text.decode('utf-8', 'replace'))
    except (AttributeError, KeyError, FileNotFoundError, InputError):
        return None


def _of_element(given: Any, element: str, name: str) -> Any:
    if not isinstance(given, Mapping):
        return given
    if element not in given and 'default' not in given:
        raise ValueError(f'{name}: nothing for {element}, and no default')
    return given.get(element, given.get('default'))
