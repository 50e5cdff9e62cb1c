"""Reader of .castep files: end of the run, energy, forces and stress.

CASTEP appends to a .castep file that is there already, so a file may hold several runs; the last one counts. Ions stand
there species by species, numbered within each, whatever their order was in the .cell file: each row of forces is kept
with its species and number, and :func:`aiida_ufpnmr.engine.dft.castep_sites.site_of_each_ion` finds whose it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase.units import GPa

from aiida_ufpnmr.engine.dft.refusals import MissingLabel
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.files import check_input

#: Species as CASTEP prints it, with the tag of a custom species, and its number: ``Li:Li1   12``.
_ION = r'([A-Z][^\s\[]*)(?:\s*\[[^\]]*\])?\s+(\d+)'
_NUMBER = r'[-+]?\d+\.\d+(?:[EeDd][-+]?\d+)?'

_START = re.compile(r'Welcome to .*CASTEP version\s*([\d.]+)')
_LATTICE = re.compile(r'^\s*Real Lattice\((\S+?)\)')
_COORDINATES = re.compile(rf'^\s*x\s+{_ION}((?:\s+{_NUMBER}){{3}})\s+x\s*$')
_ENERGY = re.compile(
    r'^\s*(Final energy|Final free energy|NB est\. 0K energy|Dispersion corrected final energy)\b'
    rf'.*?=\s*({_NUMBER})\s+(\S+)'
)
#: Total forces only: the boxes of their contributions have titles in lower case, and constrained ones are not forces.
_FORCES = re.compile(r'^\s*\*+ (?:Unconstrained )?(?:Symmetrised )?Forces \*+\s*$')
_STRESS = re.compile(r'^\s*\*+ (?:Symmetrised )?Stress Tensor \*+\s*$')
_UNIT = re.compile(r'components \((\S+)\)')
_ION_FORCE = re.compile(rf'^\s*\*\s+{_ION}\s+(.*\S)\s*\*\s*$')
_STRESS_ROW = re.compile(r'^\s*\*\s+([xyz])\s+(.*\S)\s*\*\s*$')
_CHECKPOINT = re.compile(r'^\s*Writing model to (\S+)\.check\s*$')
_TOTAL_TIME = re.compile(r'^\s*Total time\s+=\s*([\d.]+)\s*s')
_TASK = re.compile(r'^\s*type of calculation\s+:\s+(.*\S)')
_PSEUDOPOTENTIALS = 'Files used for pseudopotentials:'

_UNCONVERGED = 'SCF cycles performed but system has not reached the groundstate'
_MORE_BANDS = re.compile(r'Recommend using nextra_bands of\s+\d+\s+to\s+(\d+)')
_OUT_OF_TIME = 'Insufficient time for another'
_SCF = '<-- SCF'


@dataclass(frozen=True)
class Ions:
    """Ions in the order of a file, by the name that CASTEP gives each.

    Attributes:
        species: as in the .cell file, ``Li`` or, where a species has several kinds of atoms, ``Li:Li1``.
        numbers: counted from 1 within each species.
    """

    species: tuple[str, ...]
    numbers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.species)

    @property
    def keys(self) -> list[tuple[str, int]]:
        """Species and number of each."""
        return list(zip(self.species, self.numbers))


@dataclass(frozen=True)
class CastepRun:
    """One run as its .castep file tells it; ``None`` stands for what it does not say.

    Attributes:
        version: of CASTEP.
        task: type of calculation in CASTEP's words.
        started: an SCF cycle began, so the input was accepted.
        converged: no SCF cycle ended without reaching the ground state.
        finished: the summary at the end is there.
        extra_bands: how many CASTEP recommends, where too few bands were empty for smeared occupations.
        out_of_time: CASTEP stopped itself before ``run_time`` ran out.
        checkpoint: a .check file was written, and written to its end.
        scf_cycles: iterations of the last SCF.
        wall_s: wall time, s.
        pseudopotentials: by species, the text that generates it or the name of its file.
        ions, cell, fractional: what was computed: n ions, (3, 3) cell vectors in Å as rows, (n, 3) coordinates.
        energy: eV, extrapolated to zero smearing (E − TS/2) where occupations are smeared.
        free_energy: eV, the one whose gradient the forces are (E − TS). Both with the dispersion correction where there
            is one, and without the finite basis set correction.
        force_ions, forces: (n, 3) in eV/Å, a row for each of ``force_ions``; those of the last configuration.
        stress: (3, 3) in eV/Å³; positive under tension, which is ASE's sign and CASTEP's.
    """

    version: str
    task: str | None
    started: bool
    converged: bool
    finished: bool
    extra_bands: int | None
    out_of_time: bool
    checkpoint: bool
    scf_cycles: int | None
    wall_s: float | None
    pseudopotentials: dict[str, str]
    ions: Ions
    cell: np.ndarray | None
    fractional: np.ndarray
    energy: float | None
    free_energy: float | None
    force_ions: Ions
    forces: np.ndarray | None
    stress: np.ndarray | None


def read_castep(path: str | os.PathLike) -> CastepRun:
    """The last run in a .castep file.

    Raises:
        InputError: no such file, or not one of CASTEP; numbers in other units than CASTEP's own, or unreadable.
    """
    path = check_input(path, '.castep file')
    return parse_castep(path.read_text(encoding='utf-8', errors='replace'), str(path))


def parse_castep(text: str, source: str = 'castep output') -> CastepRun:
    """The last run in the text of a .castep file; ``source`` names it in messages.

    Raises:
        InputError: not the output of CASTEP; numbers in other units than CASTEP's own, or unreadable.
    """
    starts = list(_START.finditer(text))
    if not starts:
        raise InputError(f'{source}: not the output of CASTEP, whose banner is missing')
    lines = text[starts[-1].start() :].splitlines()
    ions, fractional = _ions(lines)
    force_ions, forces = _forces(lines, source)
    energy, free_energy = _energies(lines, source)
    total_time = _first(_TOTAL_TIME, lines)
    return CastepRun(
        version=starts[-1][1],
        task=_first(_TASK, lines),
        started=any(_SCF in line for line in lines),
        converged=not any(_UNCONVERGED in line for line in lines),
        finished=total_time is not None,
        extra_bands=next((int(found[1]) for line in lines if (found := _MORE_BANDS.search(line))), None),
        out_of_time=any(_OUT_OF_TIME in line for line in lines),
        checkpoint=_checkpoint(lines),
        scf_cycles=_scf_cycles(lines),
        wall_s=None if total_time is None else float(total_time),
        pseudopotentials=_pseudopotentials(lines),
        ions=ions,
        cell=_cell(lines, source),
        fractional=fractional,
        energy=energy,
        free_energy=free_energy,
        force_ions=force_ions,
        forces=forces,
        stress=_stress(lines, source),
    )


def require_labels(run: CastepRun, stress: bool, source: str) -> None:
    """Refuse a finished run without energy, forces or, where asked, stress.

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
    cycles = [int(found[1]) for line in lines if (found := re.match(rf'^\s*(\d+)\s.*{_SCF}', line))]
    return cycles[-1] if cycles else None


def _cell(lines: Sequence[str], source: str) -> np.ndarray | None:
    cell = None
    for number, line in enumerate(lines):
        found = _LATTICE.match(line)
        if found:
            _require_unit(found[1], 'A', source)
            rows = [_numbers(row)[:3] for row in lines[number + 1 : number + 4]]
            cell = np.array(rows) if [len(row) for row in rows] == [3, 3, 3] else None
    return cell


def _ions(lines: Sequence[str]) -> tuple[Ions, np.ndarray]:
    """The last table of fractional coordinates."""
    table: list[re.Match] = []
    last = -2
    for number, line in enumerate(lines):
        found = _COORDINATES.match(line)
        if found:
            table = [*table, found] if number == last + 1 else [found]
            last = number
    ions = Ions(tuple(row[1] for row in table), tuple(int(row[2]) for row in table))
    return ions, np.array([_numbers(row[3]) for row in table]).reshape(-1, 3)


def _energies(lines: Sequence[str], source: str) -> tuple[float | None, float | None]:
    """Extrapolated and free energy of the last SCF; the same where occupations are fixed."""
    found: dict[str, float] = {}
    for line in lines:
        match = _ENERGY.match(line)
        if match is None:
            continue
        _require_unit(match[3], 'eV', source)
        if match[1] == 'Final energy':
            found.clear()
        found[match[1]] = _float(match[2])
    if 'Final energy' not in found:
        return None, None
    final = found['Final energy']
    dispersion = found.get('Dispersion corrected final energy', final) - final
    return found.get('NB est. 0K energy', final) + dispersion, found.get('Final free energy', final) + dispersion


def _pseudopotentials(lines: Sequence[str]) -> dict[str, str]:
    found = {}
    start = next((number for number, line in enumerate(lines) if _PSEUDOPOTENTIALS in line), len(lines))
    for line in lines[start + 1 :]:
        words = line.split()
        if len(words) != 2:
            break
        found[words[0]] = words[1]
    return found


def _forces(lines: Sequence[str], source: str) -> tuple[Ions, np.ndarray | None]:
    """The last box of total forces."""
    box = _last_box(lines, _FORCES)
    if box is None:
        return Ions((), ()), None
    _require_box_unit(box, 'eV/A', source)
    rows = [row for line in box if (row := _ION_FORCE.match(line))]
    values = [_numbers(row[3]) for row in rows]
    bad = next((row for row, value in zip(rows, values) if len(value) != 3), None)
    if bad is not None:
        raise InputError(f'{source}: the force on {bad[1]} {bad[2]} is not three numbers; check the structure')
    ions = Ions(tuple(row[1] for row in rows), tuple(int(row[2]) for row in rows))
    return ions, np.array(values).reshape(-1, 3)


def _stress(lines: Sequence[str], source: str) -> np.ndarray | None:
    """The last stress tensor."""
    box = _last_box(lines, _STRESS)
    if box is None:
        return None
    _require_box_unit(box, 'GPa', source)
    rows = {row[1]: _numbers(row[2]) for line in box if (row := _STRESS_ROW.match(line))}
    if [len(rows.get(axis, ())) for axis in 'xyz'] != [3, 3, 3]:
        raise InputError(f'{source}: the stress tensor is not nine numbers; check the structure')
    return np.array([rows[axis] for axis in 'xyz']) * GPa


def _last_box(lines: Sequence[str], title: re.Pattern) -> list[str] | None:
    """The lines of the last starred box with this title, if it is closed."""
    box = None
    for number, line in enumerate(lines):
        if title.match(line):
            content = list(_until_closed(lines[number + 1 :]))
            box = content if len(content) < len(lines) - number - 1 else None
    return box


def _until_closed(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        stripped = line.strip()
        if len(stripped) > 5 and set(stripped) == {'*'}:
            return
        yield line


def _require_box_unit(box: Sequence[str], unit: str, source: str) -> None:
    found = next((match[1] for line in box if (match := _UNIT.search(line))), None)
    _require_unit(found, unit, source)


def _require_unit(found: str | None, expected: str, source: str) -> None:
    if found != expected:
        raise InputError(
            f'{source}: numbers in {found}, not {expected}; leave the "_unit" keywords out of the .param file'
        )


def _numbers(text: str) -> list[float]:
    return [_float(number) for number in re.findall(_NUMBER, text)]


def _float(text: str) -> float:
    return float(text.replace('D', 'E').replace('d', 'e'))
