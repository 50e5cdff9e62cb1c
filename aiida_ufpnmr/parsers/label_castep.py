"""Parser of a CASTEP run that makes labels."""

from __future__ import annotations

import re

from aiida.engine import ExitCode
from aiida.orm import Dict, KpointsData, StructureData
from aiida.parsers import Parser
from ase import Atoms

from aiida_ufpnmr.calculations.label_castep import EFG_SEED, SEED, kpoints_as_list, settings_hash
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.dft import castep_settings
from aiida_ufpnmr.engine.dft.castep import CastepRun, parse_castep, require_labels
from aiida_ufpnmr.engine.dft.castep_label import castep_label
from aiida_ufpnmr.engine.dft.castep_sites import species_of_each_site
from aiida_ufpnmr.engine.dft.identity import label_sha256, structure_sha256
from aiida_ufpnmr.engine.dft.magres import Tensors, parse_magres
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.engine.dft.refusals import MissingLabel, TruncatedOutput, WrongStructure
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.parsers.memory import out_of_memory

#: Trace that a failed SCF leaves in a .err file.
_SCF_TRACE = 'electronic_minimisation of initial cell failed'


class LabelCastepParser(Parser):
    """Turns a run that ended well into a labelled structure; any other leaves an exit code and no label."""

    CACHE_VERSION = 1

    def parse(self, **_) -> ExitCode | None:
        try:
            label, run = self.label()
        except Failure as failure:
            sign = out_of_memory(self.node)
            if sign is not None:
                return self.exit_codes.ERROR_OUT_OF_MEMORY.format(message=sign)
            # what the scheduler says goes before what a file that was cut off says
            return None if self.node.exit_status and failure.is_cut else failure.exit_code
        results = {
            'energy_eV': run.energy,
            'free_energy_eV': run.free_energy,
            'castep_version': run.version,
            'scf_cycles': run.scf_cycles,
            'atoms': len(label),
            'has_efg': 'efg' in label.arrays,
        }
        try:
            dataset = DatasetData.of((label,))
        except InputError as error:
            return self.failure(error).exit_code
        self.out('dataset', dataset)
        self.out('results', Dict(results))
        self.out('timing', Dict({'wall_s': run.wall_s}))
        return ExitCode(0)  # whatever the scheduler says: the output is whole

    def label(self) -> tuple[Atoms, CastepRun]:
        """The labelled structure and the run behind it; :class:`Failure` if there is none."""
        inputs = self.node.inputs
        separate = inputs.efg.value and inputs.separate_efg.value
        magres = f'{EFG_SEED if separate else SEED}.magres'
        run = self.run(f'{SEED}.castep')
        if inputs.efg.value and not separate and run.stress is None:
            raise Failure(self.exit_codes.ERROR_NO_STRESS)
        if separate:
            self.run(f'{EFG_SEED}.castep')
        tensors = self.tensors(magres) if inputs.efg.value else None
        structure: StructureData = inputs.structure
        atoms = structure.get_ase()
        species = species_of_each_site(atoms.get_chemical_symbols(), structure.get_site_kindnames())
        try:
            label = castep_label(atoms, species, run, tensors, source=f'{SEED}.castep', tensor_source=magres)
        except InputError as error:
            raise self.failure(error) from error
        label.info.update(self.record(structure, run).entries())
        return label, run

    def record(self, structure: StructureData, run: CastepRun) -> LabelRecord:
        """The record of the labels, for the comment line of the structure."""
        inputs = self.node.inputs
        param = castep_settings.normalised(inputs.parameters.get_dict())['PARAM']
        structure_hash = structure_sha256(structure.get_ase())
        settings = settings_hash(structure, inputs, kpoints_as_list(inputs.kpoints), inputs.parameters.get_dict())
        return LabelRecord(
            engine='castep',
            engine_version=f'CASTEP {run.version}',
            xc=str(param.get('xc_functional', 'LDA')),
            cutoff_ev=param.get('cut_off_energy', 'default'),
            kpoints=_grid(inputs.kpoints),
            occupations='fixed' if castep_settings.fixes_occupations(param) else 'smeared',
            pseudopotentials={species.replace(':', '_'): text for species, text in run.pseudopotentials.items()},
            source_sha256=structure_hash,
            settings_sha256=settings,
            label_sha256=label_sha256(structure_hash, settings),
        )

    def run(self, name: str) -> CastepRun:
        """A run that ended well; :class:`Failure` if it did not."""
        text, errors = self.text(name), self.errors()
        try:
            run = None if text is None else parse_castep(text, name)
        except InputError as error:
            # a file without its banner, or with half a number, was cut off in the middle
            cut = 'Total time' not in (text or '')
            raise (Failure(self.exit_codes.ERROR_INTERRUPTED, is_cut=True) if cut else self.failure(error)) from error
        if run is not None and not run.converged or _SCF_TRACE in errors:
            cycles = 'the allowed' if run is None or run.scf_cycles is None else run.scf_cycles
            raise Failure(self.exit_codes.ERROR_SCF_NOT_CONVERGED.format(message=cycles))
        if run is not None and run.out_of_time:
            raise Failure(self.exit_codes.ERROR_OUT_OF_WALLTIME)
        if errors and (run is None or not run.finished):
            started = run is not None and run.started
            code = self.exit_codes.ERROR_CASTEP_FAILED if started else self.exit_codes.ERROR_INPUT_REFUSED
            raise Failure(code.format(message=last_words(errors)))
        if run is None:
            raise Failure(self.exit_codes.ERROR_OUTPUT_MISSING.format(message=name), is_cut=True)
        if not run.finished:
            raise Failure(self.exit_codes.ERROR_INTERRUPTED, is_cut=True)
        if run.extra_bands is not None:
            raise Failure(self.exit_codes.ERROR_TOO_FEW_BANDS.format(message=run.extra_bands))
        try:
            require_labels(run, stress=False, source=name)
        except MissingLabel as error:
            raise self.failure(error) from error
        return run

    def tensors(self, name: str) -> Tensors:
        """The EFG tensors; :class:`Failure` if they cannot be used."""
        text = self.text(name)
        if not text:
            raise Failure(self.exit_codes.ERROR_OUTPUT_MISSING.format(message=name))
        try:
            return parse_magres(text, name)
        except InputError as error:
            raise self.failure(error) from error

    def failure(self, error: InputError) -> Failure:
        """The exit code for what the engine refuses."""
        codes = {
            TruncatedOutput: self.exit_codes.ERROR_OUTPUT_TRUNCATED,
            WrongStructure: self.exit_codes.ERROR_OUTPUT_MIXED_UP,
            MissingLabel: self.exit_codes.ERROR_LABELS_MISSING,
        }
        return Failure(codes.get(type(error), self.exit_codes.ERROR_OUTPUT_UNUSABLE).format(message=str(error)))

    def errors(self) -> str:
        """The text of the .err files of CASTEP."""
        names = self.retrieved.base.repository.list_object_names()
        return '\n'.join(self.text(name) or '' for name in names if name.endswith('.err')).strip()

    def text(self, name: str) -> str | None:
        """The text of a retrieved file, or ``None``."""
        try:
            return self.retrieved.base.repository.get_object_content(name, mode='rb').decode('utf-8', 'replace')
        except FileNotFoundError:
            return None


def _grid(kpoints: KpointsData) -> str:
    """The grid, or how many points there are, in one word."""
    numbers = kpoints_as_list(kpoints)[0]
    is_grid = all(isinstance(number, int) for number in numbers)
    return 'x'.join(map(str, numbers)) if is_grid else f'{len(numbers)}-points'


class Failure(Exception):
    """Ends the parsing with an exit code; ``is_cut`` where the job may have been stopped from outside."""

    def __init__(self, exit_code: ExitCode, is_cut: bool = False) -> None:
        super().__init__(exit_code.message)
        self.exit_code = exit_code
        self.is_cut = is_cut


def last_words(errors: str) -> str:
    """The line of a .err file that says what was wrong."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    told = [line for line in lines if re.match(r'error\b', line, re.IGNORECASE)]
    return next(iter(told or lines), 'it said nothing')
