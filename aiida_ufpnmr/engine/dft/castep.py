"""Reader of .castep files: how the run ended, and its labels.

CASTEP appends to a .castep file that is there already, so a file may hold several runs; the last one counts. Ions stand
there species by species, numbered within each, whatever their order was in the .cell file: each row of forces is kept
with its species and number, and :func:`aiida_ufpnmr.engine.dft.castep_sites.site_of_each_ion` finds whose it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiida_ufpnmr.engine.dft.castep_configurations import UNCONVERGED, Configuration, whole_sections
from aiida_ufpnmr.engine.dft.castep_configurations import Ions as Ions
from aiida_ufpnmr.engine.dft.refusals import MissingLabel
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input

_START = re.compile(r'Welcome to .*CASTEP version\s*([\d.]+)')
_CHECKPOINT = re.compile(r'^\s*Writing model to (\S+)\.check\s*$')
_TOTAL_TIME = re.compile(r'^\s*Total time\s+=\s*([\d.]+)\s*s')
_TASK = re.compile(r'^\s*type of calculation\s+:\s+(.*\S)')
_PSEUDOPOTENTIALS = 'Files used for pseudopotentials:'

_MORE_BANDS = re.compile(r'Recommend using nextra_bands of\s+\d+\s+to\s+(\d+)')
_OUT_OF_TIME = 'Insufficient time for another'
_RELAXED = 'Geometry optimization completed successfully'
_SCF = '<-- SCF'
_CYCLE = re.compile(rf'^\s*(\d+)\s.*{_SCF}')
_FIRST_CYCLE = re.compile(rf'Initial .*{_SCF}')


@dataclass(frozen=True)
class CastepRun(Configuration):
    """One run as its .castep file tells it, with the labels of its last whole configuration.

    ``None`` stands for what the file does not say.

    Attributes:
        version: of CASTEP.
        task: type of calculation in CASTEP's words.
        runs: how many there are in the file.
        started: an SCF cycle began, so the input was accepted.
        converged: no SCF cycle ended without reaching the ground state.
        geometry_converged: whether the relaxation reached its end; ``None`` where nothing was relaxed.
        relaxation_steps: steps of the relaxation that ended, whatever was printed of them.
        finished: the summary at the end is there.
        extra_bands: how many CASTEP recommends, where too few bands were empty for smeared occupations up to the end of
            the last SCF.
        out_of_time: CASTEP stopped itself before ``run_time`` ran out.
        checkpoint: a .check file was written, and written to its end.
        scf_cycles: iterations of the last SCF.
        wall_s: wall time, s.
        pseudopotentials: by species, the text that generates it or the name of its file.
    """

    version: str
    task: str | None
    runs: int
    started: bool
    geometry_converged: bool | None
    relaxation_steps: int
    finished: bool
    extra_bands: int | None
    out_of_time: bool
    checkpoint: bool
    scf_cycles: int | None
    wall_s: float | None
    pseudopotentials: dict[str, str]


def is_castep(head: str) -> bool:
    """Whether a file that begins so is a .castep file."""
    return _START.search(head) is not None


def read_castep(path: str | os.PathLike) -> CastepRun:
    """The last run in a .castep file.

    Raises:
        InputError: no such file, or not one of CASTEP; numbers in other units than CASTEP's own, or unreadable.
    """
    path = check_input(path, '.castep file')
    return parse_castep(_text(path), str(path))


def read_configurations(path: str | os.PathLike) -> tuple[CastepRun, list[Configuration]]:
    """The last run in a .castep file and all its whole configurations, in their order.

    Raises:
        InputError: as :func:`read_castep`.
    """
    path = check_input(path, '.castep file')
    text, source = _text(path), str(path)
    return parse_castep(text, source), [section.read(source) for section in whole_sections(_last_run(text, source)[1])]


def parse_castep(text: str, source: str = 'castep output') -> CastepRun:
    """The last run in the text of a .castep file; ``source`` names it in messages.

    Raises:
        InputError: not the output of CASTEP; numbers in other units than CASTEP's own, or unreadable.
    """
    starts, lines = _last_run(text, source)
    total_time, task = _first(_TOTAL_TIME, lines), _first(_TASK, lines)
    last = vars(whole_sections(lines)[-1].read(source))
    return CastepRun(
        **last | {'converged': not any(UNCONVERGED in line for line in lines)},
        version=starts[-1][1],
        task=task,
        runs=len(starts),
        started=any(_SCF in line for line in lines),
        geometry_converged=any(_RELAXED in line for line in lines) if 'geometry' in (task or '') else None,
        relaxation_steps=sum(': finished iteration' in line for line in lines),
        finished=total_time is not None,
        extra_bands=_extra_bands(lines),
        out_of_time=any(_OUT_OF_TIME in line for line in lines),
        checkpoint=_checkpoint(lines),
        scf_cycles=_scf_cycles(lines),
        wall_s=None if total_time is None else float(total_time),
        pseudopotentials=_pseudopotentials(lines),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding='utf-8', errors='replace')


def _last_run(text: str, source: str) -> tuple[list[re.Match], list[str]]:
    """The banners of all runs, and the lines of the last."""
    starts = list(_START.finditer(text))
    if not starts:
        raise InputError(f'{source}: not the output of CASTEP, whose banner is missing')
    return starts, text[starts[-1].start() :].splitlines()


def require_labels(run: Configuration, stress: bool, source: str) -> None:
    """Refuse a configuration without energy, forces or, where asked, stress.

    Raises:
        MissingLabel: one of them is not there; the message names it.
    """
    if run.energy is None:
        raise MissingLabel(f'{source}: holds no final energy')
    if run.forces is None:
        raise MissingLabel(f'{source}: holds no forces')
    if stress and run.stress is None:
        raise MissingLabel(f'{source}: holds no stress; ask for it with "calculate_stress : true"')


def _first(pattern: re.Pattern, lines: Sequence[str]) -> str | None:
    return next((found[1] for line in lines if (found := pattern.match(line))), None)


def _checkpoint(lines: Sequence[str]) -> bool:
    """CASTEP announces the file before it writes it: only a line after that says that it is whole."""
    announced = False
    for line in lines:
        if announced and line.strip():
            return True
        announced = announced or _CHECKPOINT.match(line) is not None
    return False


def _scf_cycles(lines: Sequence[str]) -> int | None:
    cycles = [int(found[1]) for line in lines if (found := _CYCLE.match(line))]
    return cycles[-1] if cycles else None


def _extra_bands(lines: Sequence[str]) -> int | None:
    """What CASTEP recommends at the end of the last SCF; warnings that went away before do not count."""
    recommended, cycles_since = None, 0
    for line in lines:
        if found := _MORE_BANDS.search(line):
            recommended, cycles_since = int(found[1]), 0
        elif _CYCLE.match(line):
            cycles_since += 1
        elif _FIRST_CYCLE.search(line):
            recommended = None
    return recommended if cycles_since < 2 else None


def _pseudopotentials(lines: Sequence[str]) -> dict[str, str]:
    found = {}
    start = next((number for number, line in enumerate(lines) if _PSEUDOPOTENTIALS in line), len(lines))
    for line in lines[start + 1 :]:
        words = line.split()
        if len(words) != 2:
            break
        found[words[0]] = words[1]
    return found
