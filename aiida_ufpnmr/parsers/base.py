"""The base of all parsers: it finds out how a command ended, and makes nodes only where all is well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from aiida.common.exceptions import ValidationError
from aiida.engine import ExitCode
from aiida.orm import Computer, Data, Dict, SinglefileData
from aiida.parsers import Parser

from aiida_ufpnmr.calculations.base import (
    FIGURE_FILE,
    KERNEL_KILLED,
    RESULTS_FILE,
    STATUS_FILE,
    STDERR_FILE,
    UfpnmrCalculation,
)
from aiida_ufpnmr.data.trajectory import TrajectoryData
from aiida_ufpnmr.parsers.memory import out_of_memory

#: Exit status of ``ufpnmr`` for bad input.
BAD_INPUT = 2

#: The status that a shell gives a command that got SIGKILL, the kernel's when memory runs out, or SIGTERM, a
#: scheduler's.
KILLED = (128 + 9, 128 + 15)


class UfpnmrParser(Parser):
    """Turns the files that a ``ufpnmr`` sub-command left into output nodes; a failed run leaves none.

    The output file becomes the node that the calculation declares as its ``OUTPUT``.
    """

    CACHE_VERSION = 1

    @property
    def calculation(self) -> type[UfpnmrCalculation]:
        """The class of the calculation whose files are parsed."""
        return cast(type[UfpnmrCalculation], self.node.process_class)

    def parse(self, retrieved_temporary_folder: str | None = None, **_) -> ExitCode | None:
        folder = Path(retrieved_temporary_folder or '.')
        failure = self.failure(folder)
        if failure is not None:
            return failure
        if self.node.exit_status:  # the scheduler has said why the job ended
            return None
        try:
            results = self.results()
        except ValueError as error:
            return self.exit_codes.ERROR_NO_RESULTS.format(message=str(error))
        try:
            nodes = {**self.nodes(folder)}
            if self.calculation.HAS_FIGURE:
                nodes['figure'] = SinglefileData(existing(folder / FIGURE_FILE))
        except (ValueError, ValidationError) as error:
            return self.exit_codes.ERROR_OUTPUT_UNUSABLE.format(message=str(error).replace(f'{folder}/', ''))
        timing = results.pop('timing', {})
        results.pop('kept', None)  # where things are, which the nodes say
        for name, node in {**nodes, 'results': Dict(results), 'timing': Dict(timing)}.items():
            self.out(name, node)
        return None

    def nodes(self, folder: Path) -> Mapping[str, Data]:
        """The output nodes made of the files in ``folder``; :class:`ValueError` where one is missing or unusable."""
        if self.calculation.OUTPUT is None:
            return {}
        name, kind, _ = self.calculation.OUTPUT
        if kind is TrajectoryData:
            return {name: self.trajectory(folder)}
        return {name: kind(existing(folder / self.calculation.OUTPUT_FILE))}

    def trajectory(self, folder: Path) -> TrajectoryData:
        """The trajectory that a run made: in ``folder``, or where it stays; :class:`ValueError` where it is nowhere."""
        try:
            kept = self.results().get('kept')
        except ValueError:  # a run that was killed
            kept = None
        if kept is not None:
            return TrajectoryData.kept_on(cast(Computer, self.node.computer), kept)
        return TrajectoryData(existing(folder / self.calculation.OUTPUT_FILE))

    def failure(self, folder: Path) -> ExitCode | None:
        """The exit code that says how the command failed; ``None`` if it ended well or the scheduler has spoken."""
        words = self._text(STATUS_FILE).split()
        status = int(words[0]) if words and words[0].isdigit() else None
        if status == 0:
            return None
        sign = out_of_memory(self.node, self._text(STDERR_FILE), status == KILLED[0], KERNEL_KILLED in words)
        if sign is not None:
            return self.exit_codes.ERROR_OUT_OF_MEMORY.format(message=sign)
        if status is None:
            return None if self.node.exit_status else self.exit_codes.ERROR_INTERRUPTED
        if status in KILLED:
            return self.exit_codes.ERROR_INTERRUPTED
        code = self.exit_codes.ERROR_INPUT_REFUSED if status == BAD_INPUT else self.exit_codes.ERROR_COMMAND_FAILED
        return code.format(message=self.last_words)

    @property
    def last_words(self) -> str:
        """The line that the command gave as its error."""
        lines = [line for line in self._text(STDERR_FILE).splitlines() if line.strip()]
        return lines[-1].removeprefix('ufpnmr: error: ') if lines else 'it said nothing'

    def results(self) -> dict[str, Any]:
        """The JSON results; :class:`ValueError` where they are missing or no JSON object."""
        text = self._text(RESULTS_FILE)
        if not text:
            raise ValueError(f'{RESULTS_FILE} is missing')
        try:
            results = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f'{RESULTS_FILE} is not valid JSON ({error})') from error
        if not isinstance(results, dict):
            raise ValueError(f'{RESULTS_FILE} holds no JSON object')
        return results

    def _text(self, name: str) -> str:
        try:
            return self.retrieved.base.repository.get_object_content(name, mode='r')
        except FileNotFoundError:
            return ''


def existing(path: Path) -> Path:
    """``path`` if there is a file with something in it, otherwise :class:`ValueError`."""
    if not path.is_file() or path.stat().st_size == 0:
        raise ValueError(f'{path.name} is missing or empty')
    return path
