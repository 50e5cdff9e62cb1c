"""Claims about labels in the files of other codes: made-up outputs, with numbers that are known."""

import re
from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from code_outputs import Frame, castep_relaxation, cp2k_out, gipaw_out, magres, outcar, pw_out, vasprun

from aiida_ufpnmr.engine.dataset import energy, forces, read_structure, stress
from aiida_ufpnmr.engine.dft.label_files import read_labels
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.label_names import LabelKeys

FRAMES = [Frame(0), Frame(1), Frame(2)]
TEXTS = {
    'OUTCAR': outcar(FRAMES),
    'vasprun.xml': vasprun(FRAMES),
    'scf.out': pw_out(FRAMES),
    'cp2k.out': cp2k_out(FRAMES),
    'old-cp2k.out': cp2k_out(FRAMES, old=True),
    'opt.castep': castep_relaxation(FRAMES),
}


def saved(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def same(atoms, frame, energy_only=False):
    """Whether a structure has the places and all the labels that it has of one frame."""
    np.testing.assert_allclose(atoms.positions, frame.positions, atol=1e-6)
    np.testing.assert_allclose(atoms.cell.array, frame.cell, atol=1e-6)
    for found, expected in (
        (energy(atoms), frame.energy),
        (forces(atoms), frame.forces),
        (stress(atoms), frame.matrix),
    ):
        if found is not None:
            np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize('name', TEXTS)
def test_outputs_of_codes_give_their_labels_in_our_units(tmp_path, name):
    dataset = read_labels(saved(tmp_path, name, TEXTS[name]), ('energy', 'forces', 'stress'))
    assert len(dataset) == 3 and dataset.notes == ()
    for atoms, frame in zip(dataset, FRAMES):
        same(atoms, frame)


@pytest.mark.parametrize('name', TEXTS)
def test_wherever_an_output_ends_its_labels_belong_together(tmp_path, name):
    text, seen = TEXTS[name], Counter()
    for end in (match.end() for match in re.finditer('\n', text)):
        try:
            dataset = read_labels(saved(tmp_path, name, text[:end]), ('energy', 'forces'))
        except InputError as error:
            assert name in str(error) and '\n' not in str(error)
            seen[0] += 1
            continue
        seen[len(dataset)] += 1
        for atoms, frame in zip(dataset, FRAMES):
            same(atoms, frame)
    assert set(seen) == {0, 1, 2, 3}


def test_tensors_of_vasp_are_read_in_atomic_units(tmp_path):
    path = saved(tmp_path, 'OUTCAR', outcar(FRAMES, efg=True))
    dataset = read_labels(path, ('efg',), 'Li')
    for atoms, frame in zip(dataset, FRAMES):
        np.testing.assert_allclose(atoms.arrays['efg'], frame.efg, atol=1e-7)
    cut = outcar(FRAMES[:1], efg=True)
    with pytest.raises(InputError, match='holds 1 ions only'):
        read_labels(saved(tmp_path, 'OUTCAR', cut[: cut.index('\n    2   ')]), ('efg',))
    single = outcar(FRAMES[:1], efg=True)
    many = single.replace(' General timing', outcar(FRAMES).partition('ions per type =               1   1\n')[2])
    (note,) = read_labels(saved(tmp_path, 'OUTCAR', many), ('energy',)).notes
    assert '1 tables of EFG for 4 structures, not read' in note


def test_tensors_of_gipaw_go_with_the_structure_of_pw(tmp_path):
    path, structure = saved(tmp_path, 'efg.out', gipaw_out(FRAMES[2])), saved(tmp_path, 'scf.out', TEXTS['scf.out'])
    (atoms,) = read_labels(path, ('efg',), 'Li', structure=structure)
    np.testing.assert_allclose(atoms.arrays['efg'], FRAMES[2].efg, atol=1e-6)
    np.testing.assert_allclose(atoms.positions, FRAMES[2].positions, atol=1e-6)
    with pytest.raises(InputError, match='name the output of pw.x with --structure'):
        read_labels(path, ('efg',))
    write(tmp_path / 'other.xyz', Atoms('LiLi', FRAMES[0].positions, cell=FRAMES[0].cell, pbc=True))
    with pytest.raises(InputError, match='of other atoms'):
        read_labels(path, ('efg',), structure=tmp_path / 'other.xyz')
    text = gipaw_out(FRAMES[2])
    with pytest.raises(InputError, match='truncated'):
        read_labels(saved(tmp_path, 'efg.out', text[: text.rindex('     F')]), ('efg',), structure=structure)


def test_many_magres_files_are_one_set_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / 'Läufe von heute'
    folder.mkdir()
    for number, frame in enumerate(FRAMES):
        saved(folder, f'run-{number}.magres', magres(frame))
    dataset = read_labels(folder / '*.magres', ('efg',), 'Li')
    assert len(dataset) == 3
    for atoms, frame in zip(dataset, FRAMES):
        np.testing.assert_allclose(atoms.arrays['efg'], frame.efg, atol=1e-9)
    with pytest.raises(InputError, match='no file matches'):
        read_labels(folder / '*.mag')


def test_a_magres_without_atoms_takes_its_structure_from_elsewhere(tmp_path):
    path = saved(tmp_path, 'run.magres', magres(FRAMES[0], atoms=False))
    with pytest.raises(InputError, match=r'no atoms, for want of a block \[atoms\]\); give .* with --structure'):
        read_labels(path, ('efg',))
    write(tmp_path / 'start.cif', FRAMES[0].atoms)
    (atoms,) = read_labels(path, ('efg',), structure=tmp_path / 'start.cif')
    np.testing.assert_allclose(atoms.arrays['efg'], FRAMES[0].efg, atol=1e-9)


LAMMPS_DATA = """LAMMPS data file

2 atoms
2 atom types
0 10 xlo xhi
0 10 ylo yhi
0 10 zlo zhi

Masses

1 6.94
2 32.06

Atoms # atomic

1 1 0 0 0
2 2 3 3 3
"""


def test_a_data_file_of_lammps_is_a_structure_where_masses_tell_the_elements(tmp_path):
    atoms = read_structure(saved(tmp_path, 's.data', LAMMPS_DATA))
    assert str(atoms.symbols) == 'LiS' and atoms.cell.cellpar()[0] == 10
    head, tail = LAMMPS_DATA.split('Masses')
    path = saved(tmp_path, 't.data', head + tail[tail.index('Atoms') :])
    with pytest.raises(InputError, match='t.data: a data file of LAMMPS without masses, which tell its elements'):
        read_structure(path)


@pytest.mark.parametrize(
    'name, text, message',
    [
        (
            'POSCAR',
            'LiF\n1.0\n4 0 0\n0 4 0\n0 0 4\nLi F\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n',
            'no energy in it, but no labels',
        ),
        ('s.data', LAMMPS_DATA, 'a data file of LAMMPS, which holds a structure without labels'),
        ('notes.abc', 'some words\n', 'neither extended XYZ, nor .magres, nor the output of a code'),
        ('set.extxyz', 'some words\n', 'line 1 (structure 0): expected a number of atoms'),
        ('set.extxyz', '', 'the data set is empty'),
        ('OUTCAR', ' vasp.6.4.2\n', 'cannot be read as vasp-out'),
        ('run.castep', ' | Welcome to Academic Release CASTEP version 20.11 |\n', 'holds no converged energy'),
        ('cp2k.out', ' CP2K| version string: 2024\n', 'holds no energy'),
        ('cp2k.out', TEXTS['cp2k.out'].replace('[bar]', '[atm]'), 'stress in atm'),
        (
            'cp2k.out',
            TEXTS['cp2k.out'].replace('COORDINATES', 'PLACES'),
            'an energy without cell and coordinates before it',
        ),
    ],
)
def test_files_without_labels_are_refused_in_one_line_that_names_them(tmp_path, name, text, message):
    path = saved(tmp_path, name, text)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_labels(path, ('energy', 'forces'))
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_keys_are_for_extended_xyz_alone(tmp_path):
    with pytest.raises(InputError, match='is no extended XYZ'):
        read_labels(saved(tmp_path, 'OUTCAR', TEXTS['OUTCAR']), keys=LabelKeys(energy='E'))


def test_what_is_left_out_is_said(tmp_path):
    text = TEXTS['scf.out']
    cut = text[: text.rindex('     Forces acting')]
    (note,) = read_labels(saved(tmp_path, 'scf.out', cut), ('energy', 'forces')).notes
    assert note.endswith('1 of 3 structures without forces left out')
    said = text.replace('\n!', '\n     convergence NOT achieved after 100 iterations: stopping\n!', 1)
    (note,) = read_labels(saved(tmp_path, 'scf.out', said)).notes
    assert '1 SCF cycles did not converge' in note


@pytest.mark.parametrize('name', ['relax.traj', 'relax.json', 'relax.db'])
def test_files_of_ase_keep_what_their_calculators_hold(name, tmp_path):
    frames = []
    for frame in FRAMES:
        atoms = frame.atoms
        atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces, stress=frame.stress)
        frames.append(atoms)
    write(tmp_path / name, frames)
    dataset = read_labels(tmp_path / name, ('energy', 'forces', 'stress'))
    for atoms, frame in zip(dataset, FRAMES, strict=True):
        same(atoms, frame)


def test_groups_and_weights_of_a_trajectory_of_ase_count(tmp_path):
    atoms = FRAMES[0].atoms
    atoms.calc = SinglePointCalculator(atoms, energy=FRAMES[0].energy)
    atoms.info.update(config_type='melt', weight=0.5)
    write(tmp_path / 'a.traj', atoms)
    (found,) = read_labels(tmp_path / 'a.traj')
    assert found.info == {'config_type': 'melt', 'weight': 0.5}


def test_a_castep_file_says_which_run_and_which_steps_are_read(tmp_path):
    text = castep_relaxation(FRAMES)
    dataset = read_labels(saved(tmp_path, 'opt.castep', text), ('energy', 'forces', 'stress'))
    assert len(dataset) == 3 and dataset.notes == ()
    for atoms, frame in zip(dataset, FRAMES):
        same(atoms, frame)
    end = text.rindex(' LBFGS: Geometry')
    notes = read_labels(saved(tmp_path, 'opt.castep', text + text[:end]), ('energy', 'forces')).notes
    assert [note.split('castep: ')[1] for note in notes] == [
        'holds 2 runs, of which the last is read',
        'the relaxation did not converge; its steps are labels all the same',
        'the run was cut off; what is whole is read',
    ]
    warning = '*Warning* max. SCF cycles performed but system has not reached the groundstate.\n'
    unconverged = text[::-1].replace('Final energy ='[::-1], f'{warning}Final energy ='[::-1], 1)[::-1]
    dataset = read_labels(saved(tmp_path, 'opt.castep', unconverged), ('energy', 'forces'))
    assert len(dataset) == 2 and dataset.notes[0].endswith('1 of 3 SCF cycles did not converge, left out')


def test_steps_of_a_relaxation_that_print_no_labels_are_said(tmp_path):
    text = castep_relaxation(FRAMES)
    assert not read_labels(saved(tmp_path, 'opt.castep', text)).notes
    count = len(FRAMES) + 2
    bare = ''.join(f' BFGS: finished iteration     {n} with enthalpy= -2.1E+002 eV\n' for n in range(count))
    (note,) = read_labels(saved(tmp_path, 'opt.castep', text + bare)).notes
    assert f'2 of {count} steps of the relaxation print no forces' in note
