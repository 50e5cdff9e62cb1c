"""Labels of one structure from CASTEP, whose input files aiida-castep writes."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from typing import Any

from aiida.common import AttributeDict, CalcInfo, CodeInfo, CodeRunMode
from aiida.common.folders import Folder
from aiida.common.warnings import AiidaDeprecationWarning
from aiida.engine import CalcJob, CalcJobProcessSpec
from aiida.orm import AbstractCode, Bool, Dict, KpointsData, RemoteData, StructureData
from aiida.orm.utils.managers import NodeLinksManager

from aiida_ufpnmr.calculations.base import OUT_OF_MEMORY, failures, job_defaults, optional, plain_input
from aiida_ufpnmr.calculations.label_sets import structure_refusal
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.dft import castep_settings

SEED = 'label'
#: Seed of the second run where energies and EFG tensors are asked for separately.
EFG_SEED = 'label-efg'
PARENT = 'parent'


def missing_extra() -> str | None:
    """The remedy where aiida-castep is not installed, or ``None`` where it is."""
    if importlib.util.find_spec('aiida_castep') is not None:
        return None
    return (
        'aiida-castep, which writes the input of CASTEP, is not installed; "pip install aiida-ufpnmr[castep]" does it'
    )


def validate_parameters(value: Dict, _) -> str | None:
    """Refuse keywords that the run sets itself."""
    return castep_settings.refusal(value.get_dict())


def validate_structure(value: StructureData, _) -> str | None:
    """Refuse structures that CASTEP cannot compute."""
    return structure_refusal(value, 'CASTEP')


def validate_pseudopotentials(value: Dict, _) -> str | None:
    """Refuse an entry that is no text."""
    wrong = next((name for name, text in value.get_dict().items() if not isinstance(text, str) or not text), None)
    return None if wrong is None else f'the pseudopotential of {wrong} must be text, such as C19'


def validate_together(inputs: Mapping[str, Any], _) -> str | None:
    """Refuse a species without a pseudopotential, and any input where aiida-castep, which writes it, is missing."""
    if missing_extra() is not None:
        return missing_extra()
    if 'structure' not in inputs or 'pseudopotentials' not in inputs:
        return None  # exposed by a workflow, which fills them in
    given = inputs['pseudopotentials'].get_dict()
    for kind in inputs['structure'].kinds:
        if kind.name not in given and kind.symbol not in given:
            return f'no pseudopotential for {kind.name}; give one for {kind.symbol}, such as C19'
    return None


class LabelCastepCalculation(CalcJob):
    """Energy, forces, stress and EFG tensors of one structure from CASTEP.

    One run with ``task : magres`` and ``magres_task : efg`` gives all of them. Where a version of CASTEP leaves the
    stress out of such a run, ``separate_efg`` makes two runs in one job: a single point, then the EFG from its check
    file.
    """

    CACHE_VERSION = 1

    @classmethod
    def define(cls, spec: CalcJobProcessSpec) -> None:
        super().define(spec)
        spec.input('code', valid_type=AbstractCode, help='CASTEP on the computer that shall run it.')
        text = 'The structure to label. Kinds with names of their own become species of their own.'
        spec.input('structure', valid_type=StructureData, validator=validate_structure, help=text)
        text = 'Keywords of CASTEP under PARAM and CELL, as aiida-castep has them.'
        plain_input(spec, 'parameters', Dict, text, validator=validate_parameters)
        spec.input('kpoints', valid_type=KpointsData, help='k-points of the SCF.')
        text = 'By element or kind: the name of an on-the-fly library such as C19, or the text that generates one.'
        plain_input(spec, 'pseudopotentials', Dict, text, validator=validate_pseudopotentials)
        plain_input(spec, 'efg', Bool, 'Whether to compute EFG tensors.', default=True)
        text = 'Two runs in one job: a single point, then EFG tensors from its check file.'
        plain_input(spec, 'separate_efg', Bool, text, default=False)
        text = 'Working directory of an earlier attempt whose check file is continued.'
        optional(spec.input, ('parent_folder', RemoteData, text))
        spec.inputs.validator = validate_together
        job_defaults(spec, withmpi=True, parser_name='ufpnmr.label_castep')
        optional(
            spec.output,
            ('dataset', DatasetData, 'The structure with its labels.'),
            ('results', Dict, 'What the run reports; keys carry their units.'),
            ('timing', Dict, 'Wall time; no content hash covers it.'),
        )
        spec.default_output_node = 'results'

        failures(
            spec,
            (210, 'ERROR_INPUT_REFUSED', 'CASTEP refused its input: {message}'),
            (310, 'ERROR_CASTEP_FAILED', 'CASTEP stopped with an error: {message}'),
            (320, 'ERROR_LABELS_MISSING', 'CASTEP ended well, but its output lacks what was asked for: {message}'),
            (330, 'ERROR_OUTPUT_UNUSABLE', 'The output cannot be used: {message}'),
            (400, 'ERROR_INTERRUPTED', 'CASTEP was cut off before it ended.'),
            (OUT_OF_MEMORY, 'ERROR_OUT_OF_MEMORY', 'CASTEP ran out of memory ({message}); give it more.'),
            (410, 'ERROR_SCF_NOT_CONVERGED', 'The SCF did not converge within {message} cycles.'),
            (411, 'ERROR_TOO_FEW_BANDS', 'Too few bands are empty; CASTEP recommends {message} more.'),
            (420, 'ERROR_OUT_OF_WALLTIME', 'CASTEP stopped because its time ran out.'),
            (430, 'ERROR_OUTPUT_MISSING', 'An output file is missing: {message}'),
            (440, 'ERROR_OUTPUT_TRUNCATED', 'An output file is cut off: {message}'),
            (450, 'ERROR_OUTPUT_MIXED_UP', 'The output is mixed up with another: {message}'),
            (460, 'ERROR_NO_STRESS', 'This CASTEP gives no stress beside EFG tensors; ask for them separately.'),
        )

    def prepare_for_submission(self, folder: Folder) -> CalcInfo:
        parent = f'{PARENT}/{SEED}.check' if 'parent_folder' in self.inputs else None
        efg, separate = self.inputs.efg.value, self.inputs.separate_efg.value
        self._write_input(folder, SEED, efg=efg and not separate, stress=True, continuation=parent)
        seeds = [SEED]
        if efg and separate:
            self._write_input(folder, EFG_SEED, efg=True, stress=False, continuation=f'{SEED}.check')
            seeds.append(EFG_SEED)

        calcinfo = CalcInfo()
        calcinfo.codes_info = []
        for seed in seeds:
            codeinfo = CodeInfo()
            codeinfo.code_uuid = self.inputs.code.uuid
            codeinfo.cmdline_params = [seed]
            calcinfo.codes_info.append(codeinfo)
        calcinfo.codes_run_mode = CodeRunMode.SERIAL
        if parent is not None:
            remote = self.inputs.parent_folder
            calcinfo.remote_symlink_list = [(remote.computer.uuid, remote.get_remote_path(), PARENT)]
        calcinfo.retrieve_list = [('*.err', '.', 0), f'{SEED}.castep']
        if efg:
            calcinfo.retrieve_list.append(f'{seeds[-1]}.magres')
        if len(seeds) > 1:
            calcinfo.retrieve_list.append(f'{EFG_SEED}.castep')
        return calcinfo

    def _write_input(self, folder: Folder, seed: str, efg: bool, stress: bool, continuation: str | None) -> None:
        """Let aiida-castep write the .cell and .param file of one run."""
        from aiida_castep.calculations.inpgen import CastepInputGenerator
        from aiida_castep.data.otfg import OTFGData

        parameters = castep_settings.normalised(self.inputs.parameters.get_dict())
        run: dict[str, Any] = {'task': 'magres', 'magres_task': 'efg'} if efg else {'task': 'singlepoint'}
        if stress:
            run['calculate_stress'] = True
        if continuation is not None:
            run['continuation'] = continuation
        parameters['PARAM'].update(run)
        given = self.inputs.pseudopotentials.get_dict()
        seconds = self.inputs.metadata.options.get('max_wallclock_seconds')
        generator = CastepInputGenerator()
        with warnings.catch_warnings():  # of its use of methods that aiida-core will drop in version 3
            warnings.simplefilter('ignore', AiidaDeprecationWarning)
            pseudopotentials = {
                kind.name: OTFGData(otfg_entry=given.get(kind.name, given.get(kind.symbol)))
                for kind in self.inputs.structure.kinds
            }
            generator.inputs = AttributeDict(
                {
                    'structure': self.inputs.structure,
                    'parameters': Dict(parameters),
                    'kpoints': self.inputs.kpoints,
                    'pseudos': pseudopotentials,
                    'metadata': {'options': {'use_kpoints': True, 'max_wallclock_seconds': seconds}},
                }
            )
            generator.prepare_inputs()
        for suffix, file in (('cell', generator.cell_file), ('param', generator.param_file)):
            with folder.open(f'{seed}.{suffix}', 'w') as handle:
                handle.write(file.get_string())


def kpoints_as_list(kpoints: KpointsData) -> list:
    """Mesh and offset, or points and weights, as plain lists."""
    try:
        mesh, offset = kpoints.get_kpoints_mesh()
        return [list(mesh), list(offset)]
    except AttributeError:
        try:
            points, weights = kpoints.get_kpoints(also_weights=True)
            return [points.tolist(), weights.tolist()]
        except AttributeError:
            return [kpoints.get_kpoints().tolist()]


def settings_hash(
    structure: StructureData, inputs: Mapping[str, Any] | NodeLinksManager, kpoints: list, parameters: Mapping[str, Any]
) -> str:
    """Hash of all that decides about the numbers of a label, but for the places of the atoms.

    Args:
        structure: what is labelled.
        inputs: of the calculation.
        kpoints: as :func:`kpoints_as_list` has them.
        parameters: those of the attempt.
    """
    kinds = structure.get_site_kindnames() if any(kind.name != kind.symbol for kind in structure.kinds) else []
    settings = castep_settings.label_settings(
        parameters, kpoints, inputs['pseudopotentials'].get_dict(), efg=inputs['efg'].value, kinds=kinds
    )
    return castep_settings.castep_settings_sha256(settings)
