"""The configurations of one run in a .castep file: what was computed, and the labels that belong to it.

A run that relaxes ions, or that moves them, prints cell and coordinates, then energy, then forces and stress, over and
over; one that corrects for its finite basis prints several energies for one configuration. Labels are taken together
that were printed after one energy and before the next, with the coordinates that were printed before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from ase.units import GPa

from aiida_ufpnmr.engine.errors import InputError

#: Species as CASTEP prints it, with the tag of a custom species, and its number: ``Li:Li1   12``.
_ION = r'([A-Z][^\s\[]*)(?:\s*\[[^\]]*\])?\s+(\d+)'
_NUMBER = r'[-+]?\d+\.\d+(?:[EeDd][-+]?\d+)?'

_LATTICE = re.compile(r'^\s*Real Lattice\((\S+?)\)')
_COORDINATES = re.compile(rf'^\s*x\s+{_ION}((?:\s+{_NUMBER}){{3}})\s+x\s*$')
#: Ions move from here on; coordinates from before are not those of the next energy.
_MOVE = re.compile(r'(starting|improving) .*iteration', re.IGNORECASE)
_ENERGY = re.compile(
    r'^\s*(Final energy|Final free energy|NB est\. 0K energy|Dispersion corrected final energy)\b'
    rf'.*?=\s*({_NUMBER})\s+(\S+)'
)
_FINAL = 'Final energy'
#: As many energies follow; only the last of them is at the cut-off that was asked for.
_CUTOFFS = re.compile(r'finite basis set correction with\s+(\d+) cut-off energies')
#: Lines that stand among the energies of one SCF. Only what follows after them says that none is missing.
_AMONG_ENERGIES = re.compile(r'energ|finite basis|dispersion|SEDC', re.IGNORECASE)
#: Total forces only: the boxes of their contributions have titles in lower case, and constrained ones are not forces.
_FORCES = re.compile(r'^\s*\*+ (?:Unconstrained )?(?:Symmetrised )?Forces \*+\s*$')
_STRESS = re.compile(r'^\s*\*+ (?:Symmetrised )?Stress Tensor \*+\s*$')
_UNIT = re.compile(r'components \((\S+)\)')
_ION_FORCE = re.compile(rf'^\s*\*\s+{_ION}\s+(.*\S)\s*\*\s*$')
_STRESS_ROW = re.compile(r'^\s*\*\s+([xyz])\s+(.*\S)\s*\*\s*$')
UNCONVERGED = 'SCF cycles performed but system has not reached the groundstate'


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
class Configuration:
    """One configuration and its labels; ``None`` stands for what the file does not say.

    Attributes:
        converged: no SCF cycle ended without reaching the ground state.
        ions, cell, fractional: what was computed: n ions, (3, 3) cell vectors in Å as rows, (n, 3) coordinates; no ions
            where the file does not say where they are.
        energy: eV, extrapolated to zero smearing (E − TS/2) where occupations are smeared.
        free_energy: eV, the one whose gradient the forces are (E − TS). Both with the dispersion correction where there
            is one, and without the finite basis set correction.
        force_ions, forces: (n, 3) in eV/Å, a row for each of ``force_ions``.
        stress: (3, 3) in eV/Å³; positive under tension, which is ASE's sign and CASTEP's.
    """

    converged: bool
    ions: Ions
    cell: np.ndarray | None
    fractional: np.ndarray
    energy: float | None
    free_energy: float | None
    force_ions: Ions
    forces: np.ndarray | None
    stress: np.ndarray | None


@dataclass
class _Geometry:
    """The tables of cell and coordinates that were printed last, while a file is walked through.

    Attributes:
        lattice: the heading of the cell and the three lines below.
        coordinates: a line an ion.
        moved: the ions have moved since then.
    """

    lattice: Sequence[str] = ()
    coordinates: Sequence[str] = ()
    moved: bool = False
    _last: int = -2

    def walk(self, lines: Sequence[str], number: int) -> None:
        """Take notice of one line."""
        line = lines[number]
        if _MOVE.search(line):
            self.moved = True
        elif _LATTICE.match(line):
            self.lattice, self.moved = lines[number : number + 4], False
        elif _COORDINATES.match(line):
            begun = self.coordinates if number == self._last + 1 else ()
            self.coordinates, self.moved, self._last = [*begun, line], False, number

    def section(self, scf: Sequence[str], labels: Sequence[str]) -> Section:
        """The configuration that these tables describe."""
        return Section(self.lattice, () if self.moved else self.coordinates, scf, labels)


@dataclass(frozen=True)
class Section:
    """The lines of one configuration.

    Attributes:
        lattice, coordinates: the tables that were printed before its energy.
        scf: all since the energy before it.
        labels: all from its energy to the next one.
    """

    lattice: Sequence[str]
    coordinates: Sequence[str]
    scf: Sequence[str]
    labels: Sequence[str]

    @property
    def held(self) -> int:
        """Number of labels (energy, forces, stress) that stand there to their end."""
        boxes = (_last_box(self.labels, title) for title in (_FORCES, _STRESS))
        return int(_energies_end(self.labels)) + sum(box is not None for box in boxes)

    def read(self, source: str) -> Configuration:
        """What the lines say.

        Raises:
            InputError: numbers in other units than CASTEP's own, or unreadable.
        """
        ions, fractional = _ions(self.coordinates)
        energy, free_energy = _energies(self.labels, source)
        force_ions, forces = _forces(self.labels, source)
        return Configuration(
            converged=not any(UNCONVERGED in line for line in self.scf),
            ions=ions,
            cell=_cell(self.lattice, source),
            fractional=fractional,
            energy=energy,
            free_energy=free_energy,
            force_ions=force_ions,
            forces=forces,
            stress=_stress(self.labels, source),
        )


def whole_sections(lines: Sequence[str]) -> list[Section]:
    """The configurations of a run that hold most labels, in their order; the one that a run was cut off in does not.

    A run without any energy is one section without labels.
    """
    found = sections(lines)
    held = [section.held for section in found]
    return [section for section, number in zip(found, held) if number == max(held)]


def sections(lines: Sequence[str]) -> list[Section]:
    """All configurations of a run, whatever was printed of them.

    Energies at lower cut-offs, which the correction of the finite basis begins with, are left out.
    """
    starts = [number for number, line in enumerate(lines) if (match := _ENERGY.match(line)) and match[1] == _FINAL]
    geometry, found, lower_cutoffs = _Geometry(), [], 0
    for begin, start, end in zip([0, *starts], [*starts, len(lines)], [*starts[1:], len(lines), len(lines)]):
        for number in range(begin, start):
            geometry.walk(lines, number)
            if match := _CUTOFFS.search(lines[number]):
                lower_cutoffs = int(match[1]) - 1
        if start < end and not lower_cutoffs:
            found.append(geometry.section(lines[begin:start], lines[start:end]))
        lower_cutoffs = max(0, lower_cutoffs - 1)
    return found or [geometry.section(lines, ())]


def _cell(lines: Sequence[str], source: str) -> np.ndarray | None:
    if not lines or (found := _LATTICE.match(lines[0])) is None:
        return None
    _require_unit(found[1], 'A', source)
    rows = [_numbers(row)[:3] for row in lines[1:]]
    return np.array(rows) if [len(row) for row in rows] == [3, 3, 3] else None


def _ions(lines: Sequence[str]) -> tuple[Ions, np.ndarray]:
    table = [row for line in lines if (row := _COORDINATES.match(line))]
    ions = Ions(tuple(row[1] for row in table), tuple(int(row[2]) for row in table))
    return ions, np.array([_numbers(row[3]) for row in table]).reshape(-1, 3)


def _energies_end(lines: Sequence[str]) -> bool:
    """Whether something follows after the energies of an SCF, so that none of them is missing."""
    return any(line.strip() and not _AMONG_ENERGIES.search(line) for line in lines)


def _energies(lines: Sequence[str], source: str) -> tuple[float | None, float | None]:
    """Extrapolated and free energy of an SCF; the same where occupations are fixed."""
    found: dict[str, float] = {}
    for line in lines:
        if match := _ENERGY.match(line):
            _require_unit(match[3], 'eV', source)
            found[match[1]] = _float(match[2])
    if _FINAL not in found or not _energies_end(lines):
        return None, None
    final = found[_FINAL]
    dispersion = found.get('Dispersion corrected final energy', final) - final
    return found.get('NB est. 0K energy', final) + dispersion, found.get('Final free energy', final) + dispersion


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
