"""Identity of a label: the structure and the settings behind it, each as one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms

#: Decimals of lengths (Å) that count: those that extended XYZ keeps of a position, so that a structure is the same
#: before and after it went through a file.
DECIMALS = 8


def structure_sha256(atoms: Atoms) -> str:
    """Hash of elements, positions, cell and periodicity, in the order of the atoms."""
    digest = hashlib.sha256(np.ascontiguousarray(atoms.numbers, np.int64).tobytes())
    for lengths in (atoms.positions, atoms.cell.array):
        # rounded as the file rounds, which goes by the exact value where another digit 5 follows
        written = np.char.mod(f'%.{DECIMALS}f', np.asarray(lengths, float)).astype(float)
        digest.update(np.rint(written * 10**DECIMALS).astype(np.int64).tobytes())
    digest.update(np.ascontiguousarray(atoms.pbc, np.uint8).tobytes())
    return digest.hexdigest()


def settings_sha256(engine: str, settings: Mapping[str, Any]) -> str:
    """Hash of the name of the engine and of settings made of what JSON knows, in any order of names."""
    content = json.dumps({'engine': engine, 'settings': settings}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def label_sha256(structure: str, settings: str) -> str:
    """Hash of a label, from those of its structure and its settings."""
    return hashlib.sha256((structure + settings).encode()).hexdigest()
