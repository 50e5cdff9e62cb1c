"""Parser of ``ufpnmr md``."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode

from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class MdParser(UfpnmrParser):
    """Attaches the trajectory; one that a guard stopped goes under a name of its own, for labelling its last frames."""

    def nodes(self, folder: Path) -> dict[str, TrajectoryData]:
        return {'trajectory': TrajectoryData(existing(folder / MdCalculation.OUTPUT_FILE))}

    def failure(self, folder: Path) -> ExitCode | None:
        failure = super().failure(folder)
        if failure is None:
            return None
        guards = {
            'closest_approach': self.exit_codes.ERROR_ATOMS_TOO_CLOSE,
            'temperature': self.exit_codes.ERROR_TEMPERATURE_RAN_AWAY,
        }
        try:
            guard = guards[self.results()['stop_reason']]
            trajectory = TrajectoryData(existing(folder / MdCalculation.OUTPUT_FILE))
        except (KeyError, ValueError):
            return failure
        self.out('stopped_trajectory', trajectory)
        return guard.format(message=self.last_words)
