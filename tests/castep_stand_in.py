#!/usr/bin/env python3
"""A stand-in for CASTEP, which is licensed: reads SEED.cell and SEED.param as CASTEP would, and writes what it would.

The physics is that of point charges and soft spheres in the nearest images, a few lines that tests repeat with numpy.
Ions come out species by species in order of atomic number, whatever their order in the .cell file, as those of CASTEP.

What happens in a run is said by the keyword COMMENT of the .param file: the name of a plan, a text file beside this one
with a line for each run; after the last line runs are ``ok``.

==================  ===============================================================================================
``ok``              all goes well
``unconverged``     the SCF does not converge
``needs KEY VALUE`` the SCF converges only where the .param file has this keyword with this value
``few bands N``     too few empty bands unless the .param file has N of them
``refused``         the input is refused
``crash``           an error after the SCF
``killed``          killed after the check file was written
``killed early``    killed within the SCF
``out of time``     stops itself after the SCF, and says so
``out early``       stops itself within the SCF, and says so
``no output``       nothing is written
``no magres``       the .magres file is missing
``cut magres``      the .magres file ends in the middle
``shieldings``      the .magres file holds no EFG
``stranger``        the output is that of another structure
``no stress``       EFG runs leave the stress out
``sleep SECONDS``   all goes well, but later
``hold``            all goes well, as soon as somebody removes the file ``held`` from the working directory
==================  ===============================================================================================
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import signal
import sys
import time
from pathlib import Path

#: The elements that it knows: atomic number and charge (e).
ELEMENTS = {'H': (1, 1.0), 'Li': (3, 1.0), 'O': (8, -2.0), 'P': (15, 5.0), 'S': (16, -2.0), 'Si': (14, 4.0)}
PARAM_KEYWORDS = {
    'task', 'magres_task', 'calculate_stress', 'xc_functional', 'cut_off_energy', 'fix_occupancy', 'elec_method',
    'elec_energy_tol', 'max_scf_cycles', 'popn_calculate', 'rand_seed', 'iprint', 'comment', 'run_time', 'grid_scale',
    'continuation', 'mix_charge_amp', 'mix_history_length', 'smearing_width', 'perc_extra_bands', 'nextra_bands',
    'spin_polarized',
}  # fmt: skip
CELL_KEYWORDS = {'lattice_cart', 'positions_abs', 'kpoints_mp_grid', 'kpoints_mp_offset', 'species_pot'}
VERSION = '99.1'
HARTREE, BOHR, GPA = 27.211386245988, 0.529177210903, 160.21766208


class Refused(Exception):
    """CASTEP would write this to a .err file and stop."""


def read_input(path: Path, known: set[str]) -> dict[str, object]:
    """Keywords with their text, blocks with their lines."""
    found: dict[str, object] = {}
    block, lines = None, []
    for line in path.read_text().splitlines():
        words = line.split('#')[0].split()
        if not words:
            continue
        if words[0].upper() == '%BLOCK':
            block, lines = words[1].lower(), []
        elif words[0].upper() == '%ENDBLOCK':
            found[block], block = lines, None
        elif block is not None:
            lines.append(words)
        else:
            name, _, value = line.partition(':')
            found[name.strip().lower()] = value.strip()
    unknown = sorted(set(found) - known)
    if unknown:
        raise Refused(f'Error in {path.suffix[1:]}_read: unknown keyword {unknown[0]}')
    return found


def vectors(rows) -> list[list[float]]:
    return [[float(word) for word in row] for row in rows]


def inverse(m):
    (a, b, c), (d, e, f), (g, h, i) = m
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return [
        [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
        [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
        [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
    ]


def row_times(row, matrix):
    return [sum(row[k] * matrix[k][a] for k in range(3)) for a in range(3)]


def labels(cell, positions, charges):
    """Energy (eV), forces (eV/Å), stress (eV/Å³, positive under tension) and EFG tensors (a.u.) of the nearest images.

    Each pair has exp(-r) as energy, and each charge the field gradient q (3 r r - r² 1) / r⁵ of the others.
    """
    back = inverse(cell)
    n = len(positions)
    energy, stress = 0.0, [[0.0] * 3 for _ in range(3)]
    forces = [[0.0] * 3 for _ in range(n)]
    efg = [[[0.0] * 3 for _ in range(3)] for _ in range(n)]
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            d = row_times([positions[j][a] - positions[i][a] for a in range(3)], back)
            d = row_times([x - round(x) for x in d], cell)
            r = math.sqrt(sum(x * x for x in d))
            energy += 0.5 * math.exp(-r)
            for a in range(3):
                forces[i][a] -= math.exp(-r) * d[a] / r
                for b in range(3):
                    stress[a][b] -= 0.5 * math.exp(-r) * d[a] * d[b] / r
                    gradient = (3 * d[a] * d[b] - (r * r if a == b else 0.0)) / r**5
                    efg[i][a][b] += charges[j] * gradient * BOHR**3
    volume = abs(
        sum(cell[0][a] * (cell[1][a - 2] * cell[2][a - 1] - cell[1][a - 1] * cell[2][a - 2]) for a in range(3))
    )
    return energy, forces, [[x / volume for x in row] for row in stress], efg


class Castep:
    """One run."""

    def __init__(self, folder: Path, seed: str, behaviour=None) -> None:
        self.folder, self.seed = folder, seed
        self.param = read_input(folder / f'{seed}.param', PARAM_KEYWORDS)
        self.cell_file = read_input(folder / f'{seed}.cell', CELL_KEYWORDS)
        self.behaviour = behaviour or plan(self.param.get('comment', ''))
        self.check_input()
        self.cell = vectors(self.cell_file['lattice_cart'])
        names = [row[0] for row in self.cell_file['positions_abs']]
        positions = vectors(row[1:] for row in self.cell_file['positions_abs'])
        charges = [ELEMENTS[name.split(':')[0]][1] for name in names]
        shift = 0.3 if self.behaviour == 'stranger' else 0.0
        positions = [[x + shift * (k == 0) for x in p] for k, p in enumerate(positions)]
        self.energy, forces, self.stress, efg = labels(self.cell, positions, charges)
        species = sorted(dict.fromkeys(names), key=lambda name: (ELEMENTS[name.split(':')[0]][0], name))
        self.ions = []
        for name in species:
            for number, k in enumerate((k for k, other in enumerate(names) if other == name), 1):
                fractional = row_times(positions[k], inverse(self.cell))
                self.ions.append((name, number, positions[k], fractional, forces[k], efg[k]))
        text = repr((self.cell_file['lattice_cart'], self.cell_file['positions_abs'], self.param['cut_off_energy']))
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def check_input(self) -> None:
        """What CASTEP insists on."""
        for name in ('lattice_cart', 'positions_abs', 'species_pot', 'kpoints_mp_grid'):
            if name not in self.cell_file:
                raise Refused(f'Error in cell_read: {name} is missing')
        if self.param.get('task') not in ('singlepoint', 'magres'):
            raise Refused('Error in parameters_read: this stand-in knows the tasks singlepoint and magres only')
        if self.param['task'] == 'magres' and self.param.get('magres_task') != 'efg':
            raise Refused('Error in parameters_read: this stand-in knows "magres_task : efg" only')
        with_potential = {row[0] for row in self.cell_file['species_pot']}
        for row in self.cell_file['positions_abs']:
            if row[0].split(':')[0] not in ELEMENTS:
                raise Refused(f'Error in cell_read: no such element {row[0]}')
            if row[0] not in with_potential:
                raise Refused(f'Error in ion_read: no pseudopotential for {row[0]}')
        if self.behaviour == 'refused':
            raise Refused('Error in parameters_validate: this input is refused')

    def run(self) -> None:
        """Write the files, and end as planned."""
        behaviour = self.behaviour
        if behaviour == 'no output':
            return
        if behaviour.startswith('sleep'):
            self.write(self.banner() + self.contents())  # visible from the first moment, as that of CASTEP
            time.sleep(float(behaviour.split()[1]))
        if behaviour == 'hold':
            self.write(self.banner() + self.contents())
            wait_while_held(self.folder / 'held')
        continuation = self.param.get('continuation')
        if continuation:
            check = self.folder / continuation
            if not check.is_file() or check.read_text() != self.fingerprint:
                raise Refused(f'Error in model_continuation: cannot read {continuation}')
        self.write(self.banner() + self.contents())
        cycles = int(self.param.get('max_scf_cycles', 30))
        if behaviour == 'unconverged' or self.lacks_what_it_needs():
            self.write(self.scf(cycles))
            self.write('*Warning* max. SCF cycles performed but system has not reached the groundstate.\n\n')
            self.write(f'Current energy, E             =  {self.energy:.10f}     eV\n')
            raise Refused('Error in check_elec_ground_state : electronic_minimisation of initial cell failed.')
        if behaviour == 'killed early':
            self.write(self.scf(3))
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == 'out early':
            self.write(self.scf(3) + ' Insufficient time for another iteration: stopping\n')
            return
        self.write(self.scf(1 if continuation else 8) + self.final_energy())
        (self.folder / f'{self.seed}.check').write_text(self.fingerprint)
        self.write(f'\nWriting model to {self.seed}.check\n')
        efg = self.param['task'] == 'magres'
        if efg:
            self.write('  + Calculation of Nuclear Magnetic Resonance Parameters +\n')
        if behaviour == 'killed':
            self.write('\n ************************** Forces ***')
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == 'out of time':
            self.write('\n Insufficient time for another iteration: stopping\n')
            return
        if behaviour == 'crash':
            self.write('\n')
            raise Refused('Error in wave_allocate : insufficient memory')
        words = behaviour.split()
        if behaviour.startswith('few bands') and self.param.get('nextra_bands') != words[2]:
            self.write(
                f' Warning: occupied bands. Recommend using nextra_bands of {int(words[2]) - 2} to {words[2]}.\n'
            )
        self.write(self.forces())
        wants_stress = self.param.get('calculate_stress', '').lower() == 'true'
        if wants_stress and not (efg and behaviour == 'no stress'):
            self.write(self.stress_box())
        if efg and behaviour != 'no magres':
            magres = self.magres()
            (self.folder / f'{self.seed}.magres').write_text(
                magres[: len(magres) // 2] if behaviour == 'cut magres' else magres
            )
        self.write('\nInitialisation time =      1.00 s\nTotal time          =      2.00 s\n')

    def lacks_what_it_needs(self) -> bool:
        words = self.behaviour.split()
        return words[0] == 'needs' and self.param.get(words[1], '').lower() != words[2].lower()

    def write(self, text: str) -> None:
        with open(self.folder / f'{self.seed}.castep', 'a') as handle:
            handle.write(text)

    def banner(self) -> str:
        task = 'Magnetic Resonance' if self.param['task'] == 'magres' else 'single point energy'
        return (
            f' +----+\n | CASTEP stand-in |\n | Welcome to Academic Release CASTEP version {VERSION} |\n +----+\n\n'
            f' type of calculation                            : {task}\n\n'
        )

    def contents(self) -> str:
        lines = [
            '                                      Unit Cell',
            '        Real Lattice(A)              Reciprocal Lattice(1/A)',
        ]
        back = inverse(self.cell)
        for a in range(3):
            reciprocal = [2 * math.pi * back[k][a] for k in range(3)]
            lines.append(
                ''.join(f'{x:14.7f}' for x in self.cell[a]) + '   ' + ''.join(f'{x:14.9f}' for x in reciprocal)
            )
        lines += [
            '',
            '            ' + 'x' * 60,
            '            x  Element    Atom        Fractional coordinates of atoms  x',
        ]
        for name, number, _, fractional, _, _ in self.ions:
            lines.append(
                f'            x  {name:<8}{number:6d}      ' + ''.join(f'{x:11.6f}' for x in fractional) + '   x'
            )
        lines += ['            ' + 'x' * 60, '', '                          Files used for pseudopotentials:']
        lines += [
            f'                                    {name} 1|{text}' for name, text in self.cell_file['species_pot']
        ]
        return '\n'.join([*lines, '', ''])

    def scf(self, cycles: int) -> str:
        rows = [f'Initial   {self.energy + 9:15.8E}                                        1.00  <-- SCF']
        rows += [
            f'{k:7d}  {self.energy + 9 / (k + 1):15.8E}                    {1e-3:15.8E}  {1 + k / 10:9.2f}  <-- SCF'
            for k in range(1, cycles + 1)
        ]
        return '\n'.join(['-' * 72 + ' <-- SCF', *rows, '-' * 72 + ' <-- SCF', '', ''])

    def final_energy(self) -> str:
        if self.param.get('fix_occupancy', '').lower() == 'true':
            return f'Final energy =  {self.energy:.10f}     eV\n(energy not corrected for finite basis set)\n'
        return (
            f'Final energy, E             =  {self.energy + 2e-3:.10f}     eV\n'
            f'Final free energy (E-TS)    =  {self.energy:.10f}     eV\n'
            '(energies not corrected for finite basis set)\n\n'
            f'NB est. 0K energy (E-0.5TS)      =  {self.energy + 1e-3:.10f}     eV\n'
        )

    def forces(self) -> str:
        rows = [' * Cartesian components (eV/A) *', ' * ------- *']
        rows += [
            f' * {name:<8}{number:9d}' + ''.join(f'{x:13.5f}' for x in force) + ' *'
            for name, number, _, _, force, _ in self.ions
        ]
        return '\n'.join(['', ' ' + '*' * 26 + ' Forces ' + '*' * 26, *rows, ' ' + '*' * 60, '', ''])

    def stress_box(self) -> str:
        rows = [
            f' *  {axis}  ' + ''.join(f'{x * GPA:14.6f}' for x in row) + '  *' for axis, row in zip('xyz', self.stress)
        ]
        pressure = -sum(self.stress[a][a] for a in range(3)) / 3 * GPA
        return '\n'.join(
            ['', ' ' + '*' * 17 + ' Stress Tensor ' + '*' * 17, ' * Cartesian components (GPa) *', *rows,
             f' *  Pressure: {pressure:10.4f} *', ' ' + '*' * 49, '', '']
        )  # fmt: skip

    def magres(self) -> str:
        numbers = lambda rows: ' '.join(f'{x:23.16E}' for row in rows for x in row)  # noqa: E731
        lines = [
            '#$magres-abinitio-v1.0',
            '[calculation]',
            'calc_code CASTEP',
            f'calc_code_version {VERSION}',
            '[/calculation]',
        ]
        lines += ['[atoms]', 'units lattice Angstrom', 'lattice ' + numbers(self.cell), 'units atom Angstrom']
        for name, number, position, _, _, _ in self.ions:
            lines.append(f'atom {name:<7} {name:<7}{number:4d} ' + numbers([position]))
        lines += ['[/atoms]', '[magres]']
        if self.behaviour == 'shieldings':
            lines += ['units ms ppm'] + [f'ms {name}{number:3d} ' + numbers(efg) for name, number, *_, efg in self.ions]
        else:
            lines += ['units efg au', 'units efg_local au']
            for name, number, *_, efg in self.ions:
                lines.append(f'efg_local {name}{number:3d} ' + numbers([[0.5 * x for x in row] for row in efg]))
            lines += [f'efg {name}{number:3d} ' + numbers(efg) for name, number, *_, efg in self.ions]
        return '\n'.join([*lines, '[/magres]', ''])


def plan(name: str) -> str:
    """What this run does: the first line of its plan that no run has taken yet."""
    folder = Path(__file__).resolve().parent
    path = folder / f'{name}.plan'
    if not name or not path.is_file():
        return 'ok'
    with open(folder / f'{name}.taken', 'a+') as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        taken = len(handle.read())
        handle.write('.')
    lines = path.read_text().splitlines()
    return lines[taken] if taken < len(lines) else 'ok'


def wait_while_held(file: Path) -> None:
    """Until somebody removes the file, or has forgotten it."""
    file.touch()
    end = time.time() + 300
    while file.exists() and time.time() < end:
        time.sleep(0.1)


def main() -> None:
    folder, seed = Path.cwd(), sys.argv[1]
    try:
        Castep(folder, seed).run()
    except Refused as error:
        (folder / f'{seed}.0001.err').write_text(f'{error}\nCurrent trace stack:\n castep\n')
        sys.exit(1)


if __name__ == '__main__':
    main()
