"""DFT codes as the labelling workflow sees them: one interface, whatever runs below."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

from aiida.orm import StructureData

from aiida_ufpnmr.calculations.label_castep import kpoints_as_list, settings_hash, validate_structure
from aiida_ufpnmr.calculations.label_gpaw import validate_structures
from aiida_ufpnmr.engine.dft.castep_settings import LADDER, rung_parameters
from aiida_ufpnmr.engine.dft.gpaw_engine import gpaw_settings
from aiida_ufpnmr.engine.dft.identity import label_sha256, settings_sha256, structure_sha256
from aiida_ufpnmr.workflows.kpoints import castep_grid
from aiida_ufpnmr.workflows.label_castep import LabelCastepWorkChain
from aiida_ufpnmr.workflows.label_gpaw import LabelGpawWorkChain
from aiida_ufpnmr.workflows.label_restart import LabelRestartWorkChain


class DftCode(Protocol):
    """A DFT code as the labelling workflow sees it; ``inputs`` are those of its restart chain."""

    #: The name under which its inputs stand.
    name: str
    #: The chain that labels structures and restarts where that helps.
    chain: type[LabelRestartWorkChain]
    #: The input of ``chain`` that takes what is to be labelled.
    subject: str
    #: Whether one job labels many structures.
    many: bool

    def refusal(self, structure: StructureData, inputs: Mapping[str, Any]) -> str | None:
        """The reason why this code cannot label a structure, or ``None``."""

    def label_hashes(self, structure: StructureData, inputs: Mapping[str, Any]) -> list[str]:
        """Hashes of labels of this structure that these inputs would give, the likeliest first."""


class Castep(DftCode):
    """CASTEP: one run a structure."""

    name = 'castep'
    chain = LabelCastepWorkChain
    subject = 'structure'
    many = False

    def refusal(self, structure: StructureData, inputs: Mapping[str, Any]) -> str | None:
        refused = validate_structure(structure, None)
        if refused:
            return refused
        given = inputs['calculation']['pseudopotentials'].get_dict()
        bare = [kind.symbol for kind in structure.kinds if kind.name not in given and kind.symbol not in given]
        return f'no pseudopotential for {bare[0]}' if bare else None

    def label_hashes(self, structure: StructureData, inputs: Mapping[str, Any]) -> list[str]:
        calculation = inputs['calculation']
        if 'kpoints' in calculation:
            kpoints = kpoints_as_list(calculation['kpoints'])
        else:
            kpoints = castep_grid(structure.get_ase().cell.array, inputs['kpoints_distance'].value)
        first = calculation['parameters'].get_dict()
        # a run whose SCF was hard has labels with the settings of a rung of the ladder
        settings = [
            settings_hash(
                structure, parameters, kpoints, calculation['pseudopotentials'].get_dict(), calculation['efg'].value
            )
            for parameters in (first, *(rung_parameters(first, rung) for rung in LADDER))
        ]
        where = structure_sha256(structure.get_ase())
        return [label_sha256(where, hashed) for hashed in dict.fromkeys(settings)]


class Gpaw(DftCode):
    """GPAW: many structures a job."""

    name = 'gpaw'
    chain = LabelGpawWorkChain
    subject = 'structures'
    many = True

    def refusal(self, structure: StructureData, inputs: Mapping[str, Any]) -> str | None:
        return validate_structures(structure, None)

    def label_hashes(self, structure: StructureData, inputs: Mapping[str, Any]) -> list[str]:
        calculation = inputs['calculation']
        changes = calculation['settings'].get_dict() if 'settings' in calculation else {}
        settings = gpaw_settings(calculation['parameters'].get_dict(), changes, structure.get_symbols_set())
        return [
            label_sha256(
                structure_sha256(structure.get_ase()), settings_sha256(self.name, dataclasses.asdict(settings))
            )
        ]


DFT_CODES: dict[str, DftCode] = {dft_code.name: dft_code for dft_code in (Castep(), Gpaw())}
