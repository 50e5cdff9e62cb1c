"""Parser of ``ufpnmr md``."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode
from aiida.orm import SinglefileData

from aiida_ufpnmr.calculations.md import MdCalculation
from aiida_ufpnmr.parsers.base import UfpnmrParser, existing


class MdParser(UfpnmrParser):
    """Attaches the trajectory.

    One that a guard stopped goes under a name of its own, for labelling its last frames, and so does one that was cut
    off, with the checkpoint from which the run can go on.
    """

    def failure(self, folder: Path) -> ExitCode | None:
        failure = super().failure(folder)
        if failure is None and not self.node.exit_status:
            return None
        reason = self._stop_reason()
        guards = {
            'closest_approach': self.exit_codes.ERROR_ATOMS_TOO_CLOSE,
            'temperature': self.exit_codes.ERROR_TEMPERATURE_RAN_AWAY,
            'force': self.exit_codes.ERROR_FORCE_RAN_AWAY,
            'displacement': self.exit_codes.ERROR_ATOM_MOVED_TOO_FAR,
            'extrapolation': self.exit_codes.ERROR_EXTRAPOLATION,
            'units': self.exit_codes.ERROR_UNITS_BROKEN,
        }
        if reason in guards:
            return self._stopped(folder, guards[reason]) or failure
        if reason == 'interrupted':
            failure = self.exit_codes.ERROR_INTERRUPTED
        cuts = (self.exit_codes.ERROR_INTERRUPTED.status, self.exit_codes.ERROR_OUT_OF_MEMORY.status)
        by_others = failure is None or failure.status in cuts
        if (by_others or reason == 'wall_time') and self._cut_off(folder) and reason == 'wall_time':
            return self.exit_codes.ERROR_OUT_OF_TIME.format(message=self.results()['stop_message'])
        return failure

    def _stop_reason(self) -> str | None:
        try:
            return self.results()['stop_reason']
        except (KeyError, ValueError):
            return None

    def _stopped(self, folder: Path, guard: ExitCode) -> ExitCode | None:
        """Attach what a guard stopped."""
        try:
            self.out('stopped_trajectory', self.trajectory(folder))
        except ValueError:
            return None
        return guard.format(message=self.last_words)

    def _cut_off(self, folder: Path) -> bool:
        """Attach the part of a run that was cut off, and its checkpoint, if both are there."""
        from aiida_ufpnmr.engine.md.checkpoint import checkpoint_step  # takes a while to import

        try:
            file = existing(folder / MdCalculation.CHECKPOINT_FILE)
            checkpoint = SinglefileData(file)
            checkpoint.base.attributes.set('step', checkpoint_step(file))
            part = self.trajectory(folder)
        except ValueError:
            return False
        self.out('trajectory_part', part)
        self.out('checkpoint', checkpoint)
        return True
