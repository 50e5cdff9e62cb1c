"""Parser of ``ufpnmr label``."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode

from aiida_ufpnmr.calculations.label_gpaw import LabelGpawCalculation
from aiida_ufpnmr.data.dataset import DatasetData
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class LabelGpawParser(UfpnmrParser):
    """Attaches the labelled structures, each with its origin."""

    def nodes(self, folder: Path) -> dict[str, DatasetData]:
        return {'dataset': DatasetData(existing(folder / LabelGpawCalculation.OUTPUT_FILE))}

    def failure(self, folder: Path) -> ExitCode | None:
        failure = super().failure(folder)
        if failure is None:
            return None
        try:
            results = self.results()
            if results['enough']:
                return failure
            reasons = [f'structure {entry["number"]}: {entry["reason"]}' for entry in results['refused'] + results['failed']]
        except (KeyError, TypeError, ValueError):
            return failure
        message = f'{results["labelled"]} of {results["structures"]}; {"; ".join(reasons[:3])}'
        return self.exit_codes.ERROR_TOO_FEW_LABELLED.format(message=message)
