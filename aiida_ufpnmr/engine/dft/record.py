"""The record of a label: entries of a structure's comment line that say how its label was made, and of what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Beginnings of keys that go on with the name of an element or species, and the attributes that hold them.
_PREFIXES = {'dataset_': 'datasets', 'pseudopotential_': 'pseudopotentials'}


@dataclass(frozen=True)
class LabelRecord:
    """Origin of a label; the keys in ``atoms.info`` are the names of the attributes, and ``None`` stands for no entry.

    Attributes:
        source_file, source_row: the file that the structure was read from, and its place in it, counted from 0.
        source_sha256: hash of the structure, see :func:`~aiida_ufpnmr.engine.dft.identity.structure_sha256`.
        source_uuid: of the AiiDA node that holds the structure.
        engine_version: name and version of the DFT code, such as ``gpaw-26.7.0``.
        scf_attempt: the attempt that converged, counted from 1.
        smearing_ev: width of the smearing of that attempt, eV.
        datasets: by element, the file that stands for its core, as ``name:sha256``; keys ``dataset_Li``.
        pseudopotentials: by species, likewise of CASTEP; keys ``pseudopotential_Li``.
        xc: exchange-correlation functional.
        cutoff_ev: of the plane waves, eV, or ``default``.
        kpoints: the grid, such as ``2x2x1-gamma``.
        occupations: ``fixed`` or ``smeared``.
        engine: name of the engine.
        settings_sha256: hash of engine and settings.
        label_sha256: hash of structure and settings, by which a label is found again.
        label_id: a short name of the label.
        calculation_uuid: of the AiiDA calculation that made the label.
    """

    source_file: str | None = None
    source_row: int | None = None
    source_sha256: str | None = None
    source_uuid: str | None = None
    engine_version: str | None = None
    scf_attempt: int | None = None
    smearing_ev: float | None = None
    datasets: Mapping[str, str] = field(default_factory=dict)
    pseudopotentials: Mapping[str, str] = field(default_factory=dict)
    xc: str | None = None
    cutoff_ev: float | str | None = None
    kpoints: str | None = None
    occupations: str | None = None
    engine: str | None = None
    settings_sha256: str | None = None
    label_sha256: str | None = None
    label_id: str | None = None
    calculation_uuid: str | None = None

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> LabelRecord:
        """The record in a comment line, among whatever else it says."""
        entries = {key: info[key] for key in _KEYS if key in info}
        for prefix, name in _PREFIXES.items():
            entries[name] = {key.removeprefix(prefix): info[key] for key in info if key.startswith(prefix)}
        return cls(**entries)

    @staticmethod
    def owns(key: str) -> bool:
        """True for an entry of a comment line that speaks of the label, not of the structure alone."""
        return key in _KEYS or key.startswith(tuple(_PREFIXES))

    def entries(self) -> dict[str, Any]:
        """The entries for ``atoms.info``."""
        prefixes = {name: prefix for prefix, name in _PREFIXES.items()}
        entries: dict[str, Any] = {}
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if one.name in prefixes:
                entries |= {f'{prefixes[one.name]}{name}': value[name] for name in sorted(value)}
            elif value is not None:
                entries[one.name] = value
        return entries


_KEYS = frozenset(one.name for one in dataclasses.fields(LabelRecord)) - set(_PREFIXES.values())
