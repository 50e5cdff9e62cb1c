"""Parser of ``ufpnmr label``."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiida.engine import ExitCode
from aiida.orm import Data
from ase import Atoms

from aiida_ufpnmr.calculations.label_gpaw import LabelGpawCalculation
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.engine.dft.identity import label_sha256, structure_sha256
from aiida_ufpnmr.engine.dft.record import LabelRecord
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class LabelGpawParser(UfpnmrParser):
    """Attaches the labelled structures, each with its origin."""

    def nodes(self, folder: Path) -> dict[str, Data]:
        path = existing(folder / LabelGpawCalculation.OUTPUT_FILE)
        dataset = DatasetData(path)
        structures = self.node.inputs.structures
        asked = list(structures.get_dataset()) if isinstance(structures, DatasetData) else [structures.get_ase()]
        taken: set[int] = set()
        for number, atoms in enumerate(dataset.get_dataset()):
            row = LabelRecord.of(atoms.info).source_row
            if row is None or not is_label_of(asked, row, atoms) or row in taken:
                raise ValueError(f'{path.name}: structure {number} is not the one whose labels it claims to hold')
            taken.add(row)
        return {'dataset': dataset}

    def failure(self, folder: Path) -> ExitCode | None:
        failure = super().failure(folder)
        if failure is None:
            return None
        try:
            results = self.results()
            if results['enough']:
                return failure
            reasons = [
                f'structure {entry["number"]}: {entry["reason"]}' for entry in results['refused'] + results['failed']
            ]
        except (KeyError, TypeError, ValueError):
            return failure
        message = f'{results["labelled"]} of {results["structures"]}; {"; ".join(reasons[:3])}'
        return self.exit_codes.ERROR_TOO_FEW_LABELLED.format(message=message)


def is_label_of(asked: Sequence[Atoms], row: Any, labelled: Atoms) -> bool:
    """Check that ``labelled`` is structure ``row`` of those that were asked for, and that its record says so, too."""
    if not isinstance(row, numbers.Integral) or row not in range(len(asked)):
        return False
    wanted, record = structure_sha256(asked[int(row)]), LabelRecord.of(labelled.info)
    key = label_sha256(wanted, str(record.settings_sha256))
    return structure_sha256(labelled) == record.source_sha256 == wanted and record.label_sha256 == key
