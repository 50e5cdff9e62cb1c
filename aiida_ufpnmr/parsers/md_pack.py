"""Parser of ``ufpnmr batch``."""

from __future__ import annotations

from pathlib import Path

from aiida.engine import ExitCode
from aiida.orm import Dict

from aiida_ufpnmr.parsers.base import UfpnmrParser


class MdPackParser(UfpnmrParser):
    """Attaches how far each run came; what the runs gave is taken up by calculations of their own.

    The command says that at each change, so it is known where the job was killed, too.
    """

    def parse(self, retrieved_temporary_folder: str | None = None, **_) -> ExitCode | None:
        try:
            results = self.results()
            states = [run['state'] for run in results['runs'].values()]
        except (ValueError, KeyError) as error:
            if self.node.exit_status:  # the scheduler has said why the job ended
                return None
            failure = self.failure(Path())
            return failure or self.exit_codes.ERROR_NO_RESULTS.format(message=str(error))
        timing = results.pop('timing', {})
        self.out('results', Dict(results))
        self.out('timing', Dict(timing))
        left = len(states) - states.count('ended')
        if left and not self.node.exit_status:
            reason = results.get('stop_reason') or 'killed'
            return self.exit_codes.ERROR_RUNS_LEFT.format(message=f'{reason} with {left} of {len(states)} runs left')
        return None
