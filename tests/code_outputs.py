"""Outputs as VASP, Quantum ESPRESSO, GIPAW and CP2K write them, made up from numbers; only what readers look at."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.units import Bohr, GPa, Hartree, Ry, bar

SYMBOLS = ('Li', 'F')


def rows(array, form: str = '{:16.9f}') -> list[str]:
    return [''.join(form.format(value) for value in np.ravel(row)) for row in array]


class Frame:
    """A structure with its labels in the units of ASE."""

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        self.cell = np.diag([4.0, 4.2, 4.4]) + 0.1 * rng.random((3, 3))
        self.positions = np.array([[0.1, 0.2, 0.3], [2.1, 2.0, 2.2]]) + 0.1 * rng.random((2, 3))
        self.energy = -9.0 - rng.random()
        force = rng.normal(size=3)
        self.forces = np.array([force, -force])
        self.stress = 0.01 * rng.normal(size=6)
        tensor = rng.normal(size=(2, 3, 3))
        tensor = tensor + tensor.swapaxes(1, 2)
        self.efg = 0.05 * (tensor - np.trace(tensor, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3)

    @property
    def atoms(self) -> Atoms:
        return Atoms(SYMBOLS, self.positions, cell=self.cell, pbc=True)

    @property
    def matrix(self) -> np.ndarray:
        return self.stress[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)


def outcar(frames: list[Frame], efg: bool = False) -> str:
    lines = [
        ' vasp.6.4.2 20Jul23 (build) complex',
        ' POTCAR:    PAW_PBE Li 17Jan2003',
        ' POTCAR:    PAW_PBE F 08Apr2002',
    ]
    lines += [
        ' POTCAR:    PAW_PBE Li 17Jan2003',
        ' POTCAR:    PAW_PBE F 08Apr2002',
        '   ISPIN  =      1    spin polarized',
    ]
    lines += [
        '   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=      8'
    ]
    lines += ['   number of dos      NEDOS =    301   number of ions     NIONS =      2']
    lines += [' k-points in reciprocal lattice and weights: G', '   0.00000000  0.00000000  0.00000000       1.000']
    lines += ['   ions per type =               1   1', '']
    for number, frame in enumerate(frames, 1):
        xx, yy, zz, yz, xz, xy = -frame.stress / (0.1 * GPa)
        lines += [
            f'--------------------------------------- Iteration {number:6d}(   1)  ---------------------------',
            '',
        ]
        lines += [f'------------------------ aborting loop because EDIFF is reached {"-" * 40}', '']
        lines += ['  FORCE on cell =-STRESS in cart. coord.  units (eV):']
        lines += ['  in kB ' + ''.join(f'{value:16.7f}' for value in (xx, yy, zz, xy, yz, xz)), '']
        lines += ['      direct lattice vectors                 reciprocal lattice vectors']
        lines += [a + b for a, b in zip(rows(frame.cell), rows(np.linalg.inv(frame.cell).T))] + ['']
        lines += [' POSITION                                       TOTAL-FORCE (eV/Angst)', ' ' + '-' * 83]
        lines += rows(np.hstack([frame.positions, frame.forces])) + [' ' + '-' * 83, '']
        lines += [
            '  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)',
            '  ---------------------------------------------------',
        ]
        lines += [f'  free  energy   TOTEN  = {frame.energy - 0.002:18.8f} eV', '']
        lines += [
            f'  energy  without entropy= {frame.energy + 0.002:18.8f}  energy(sigma->0) = {frame.energy:18.8f}',
            '',
        ]
        if efg:
            six = frame.efg.reshape(2, 9)[:, [0, 4, 8, 1, 2, 5]] * Hartree / Bohr**2
            lines += ['  Electric field gradients (V/A^2)', ' ' + '-' * 69]
            lines += ['  ion       V_xx      V_yy      V_zz      V_xy      V_xz      V_yz', ' ' + '-' * 69]
            lines += [f'{ion:5d}    ' + row for ion, row in enumerate(rows(six, '{:10.5f}'), 1)] + [' ' + '-' * 69, '']
    return '\n'.join([*lines, ' General timing and accounting informations for this job:', ''])


def vasprun(frames: list[Frame]) -> str:
    block = lambda name, array: [f'<varray name="{name}" >', *(f'<v>{row}</v>' for row in rows(array)), '</varray>']  # noqa: E731
    place = lambda frame: [  # noqa: E731
        '<crystal>', *block('basis', frame.cell), '</crystal>',
        *block('positions', frame.positions @ np.linalg.inv(frame.cell)), '</structure>',
    ]  # fmt: skip
    energies = lambda frame: [  # noqa: E731
        '<energy>', f'<i name="e_fr_energy">{frame.energy - 0.002:16.8f}</i>', f'<i name="e_wo_entrp">{0:16.8f}</i>',
        f'<i name="e_0_energy">{frame.energy:16.8f}</i>', '</energy>',
    ]  # fmt: skip
    lines = ['<?xml version="1.0" encoding="ISO-8859-1"?>', '<modeling>', '<kpoints>']
    lines += [*block('kpointlist', np.zeros((1, 3))), *block('weights', np.ones((1, 1))), '</kpoints>', '<parameters>']
    lines += ['</parameters>', '<atominfo>', '<array name="atoms" ><set>']
    lines += [f'<rc><c>{symbol} </c><c>{k}</c></rc>' for k, symbol in enumerate(SYMBOLS, 1)] + [
        '</set></array>',
        '</atominfo>',
    ]
    lines += ['<structure name="initialpos" >', *place(frames[0])]
    for frame in frames:
        lines += ['<calculation>', '<scstep>', *energies(frame), '</scstep>', '<structure>', *place(frame)]
        lines += block('forces', frame.forces) + block('stress', -frame.matrix / (0.1 * GPa))
        lines += [*energies(frame), '</calculation>']
    return '\n'.join([*lines, '</modeling>', ''])


def pw_out(frames: list[Frame]) -> str:
    first, alat = frames[0], 4.0
    lines = [
        '',
        '     Program PWSCF v.7.2 starts on  1Jan2026 at  0: 0: 0',
        '',
        '     bravais-lattice index     =            0',
    ]
    lines += ['     number of atoms/cell      =            2', '     number of atomic types    =            2']
    lines += [f'     celldm(1)= {alat / Bohr:11.7f}  celldm(2)=   0.000000  celldm(3)=   0.000000', '']
    lines += ['     crystal axes: (cart. coord. in units of alat)']
    lines += [f'               a({k}) = ( {row} )' for k, row in enumerate(rows(first.cell / alat, ' {:.9f}'), 1)]
    lines += ['', '     site n.     atom                  positions (alat units)']
    places = rows(first.positions / alat, ' {:.9f}')
    lines += [f'         {k}           {s}  tau({k:4d}) = ({p}  )' for k, (s, p) in enumerate(zip(SYMBOLS, places), 1)]
    for number, frame in enumerate(frames):
        if number:
            lines += ['', 'CELL_PARAMETERS (angstrom)', *rows(frame.cell), '', 'ATOMIC_POSITIONS (angstrom)']
            lines += [f'{symbol} {row}' for symbol, row in zip(SYMBOLS, rows(frame.positions))]
        lines += ['', f'!    total energy              = {frame.energy / Ry:16.8f} Ry', '']
        lines += ['     Forces acting on atoms (cartesian axes, Ry/au):', '']
        lines += [
            f'     atom {k:4d} type {k:2d}   force = {row}' for k, row in enumerate(rows(frame.forces / (Ry / Bohr)), 1)
        ]
        lines += ['', '          total   stress  (Ry/bohr**3)                   (kbar)     P=        0.00']
        lines += rows(np.hstack([-frame.matrix / (Ry / Bohr**3), -frame.matrix / (0.1 * GPa)])) + ['']
    return '\n'.join([*lines, '     JOB DONE.', ''])


def gipaw_out(frame: Frame) -> str:
    lines = ['', '     Program QE-GIPAW v.7.2 starts on  1Jan2026', '', '     ----- total EFG (symmetrized) -----']
    for ion, (symbol, tensor) in enumerate(zip(SYMBOLS, frame.efg), 1):
        lines += [f'     {symbol}{ion:3d}  ' + row for row in rows(tensor, '{:14.6f}  ')] + ['']
    return '\n'.join([*lines, '', '     NQR/NMR SPECTROSCOPIC PARAMETERS:', ''])


def cp2k_out(frames: list[Frame], old: bool = False) -> str:
    lines = [' CP2K| version string:                                        CP2K version 2024.1']
    for frame in frames:
        lines += [
            f' CELL| Vector {name} [angstrom]:  {row}   |{name}| = 4.0' for name, row in zip('abc', rows(frame.cell))
        ]
        lines += ['', ' MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM', '']
        lines += ['   Atom Kind Element         X             Y             Z       Z(eff)     Mass', '']
        charges = {'Li': 3, 'F': 9}
        lines += [
            f'  {k:6d} {k:4d} {symbol:<2s} {charges[symbol]:4d} {row}   3.0000   6.9410'
            for k, (symbol, row) in enumerate(zip(SYMBOLS, rows(frame.positions)), 1)
        ]
        unit = '[a.u.]:' if old else '[hartree]'
        lines += ['', f' ENERGY| Total FORCE_EVAL ( QS ) energy {unit} {frame.energy / Hartree:24.15f}', '']
        forces = rows(frame.forces / (Hartree / Bohr), '{:20.12f}')
        if old:
            lines += [
                ' ATOMIC FORCES in [a.u.]',
                '',
                ' # Atom   Kind   Element          X              Y              Z',
            ]
            lines += [f'{k:7d}{k:7d}      {s:<2s} {row}' for k, (s, row) in enumerate(zip(SYMBOLS, forces), 1)]
            lines += [' SUM OF ATOMIC FORCES          0.00000000     0.00000000     0.00000000     0.00000000']
        else:
            lines += [' FORCES| Atomic forces [hartree/bohr]', ' FORCES|   Atom     x     y     z     |f|']
            lines += [f' FORCES|{k:7d}{row}      0.100000000000' for k, row in enumerate(forces, 1)]
            lines += [' FORCES| Sum         0.000000000000      0.000000000000      0.000000000000']
        lines += [f' STRESS{" TENSOR" if old else "| Analytical stress tensor"} [{"GPa" if old else "bar"}]', '']
        mark = '' if old else ' STRESS|'
        stress = rows(-frame.matrix / (GPa if old else bar), '{:20.11f}')
        lines += [f'{mark}    x y z', *(f'{mark}      {axis} {row}' for axis, row in zip('xyz', stress)), '']
    return '\n'.join([*lines, '  **** PROGRAM ENDED AT', ''])


def magres(frame: Frame, atoms: bool = True) -> str:
    row = lambda array: ' '.join(f'{x:.12f}' for x in np.ravel(array))  # noqa: E731
    block = ['[atoms]', 'units lattice Angstrom', f'lattice {row(frame.cell)}', 'units atom Angstrom']
    block += [f'atom {s} {s} 1 {row(p)}' for s, p in zip(SYMBOLS, frame.positions)] + ['[/atoms]']
    tensors = [f'efg {s} 1 {row(t)}' for s, t in zip(SYMBOLS, frame.efg)]
    lines = ['#$magres-abinitio-v1.0', *(block if atoms else []), '[magres]', 'units efg au', *tensors, '[/magres]', '']
    return '\n'.join(lines)


def castep_relaxation(frames: list[Frame]) -> str:
    stars = ' ' + '*' * 60
    lines = [
        ' | Welcome to Academic Release CASTEP version 20.11 |',
        ' type of calculation    : geometry optimization',
        '',
    ]
    for number, frame in enumerate(frames):
        if number:
            lines += [f' LBFGS: starting iteration {number:9d} with trial guess (lambda=  1.000000)', '']
        lines += ['        Real Lattice(A)              Reciprocal Lattice(1/A)']
        lines += [a + b for a, b in zip(rows(frame.cell), rows(2 * np.pi * np.linalg.inv(frame.cell).T))] + ['']
        lines += ['            x  Element    Atom        Fractional coordinates of atoms  x']
        places = rows(frame.positions @ np.linalg.inv(frame.cell), '{:12.8f}')
        lines += [f'            x  {symbol:<8}     1   {place}   x' for symbol, place in zip(SYMBOLS, places)] + ['']
        lines += ['      1  -1.00000000E+001                    1.0E-001       1.00  <-- SCF']
        lines += [f'Final energy = {frame.energy:18.10f}     eV', '(energy not corrected for finite basis set)', '']
        lines += [' ************************** Forces **************************', ' * Cartesian components (eV/A) *']
        lines += [f' * {symbol:<8} 1 {force} *' for symbol, force in zip(SYMBOLS, rows(frame.forces))] + [stars, '']
        lines += [' ***************** Stress Tensor *****************', ' * Cartesian components (GPa) *']
        lines += [f' *  {axis} {row} *' for axis, row in zip('xyz', rows(frame.matrix / GPa))] + [stars, '']
    lines += [' LBFGS: Geometry optimization completed successfully.', '', 'Total time          =      2.00 s', '']
    return '\n'.join(lines)
