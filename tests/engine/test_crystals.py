"""Claims about CIF files as databases have them: what is read, and what is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.commands.shared import run
from aiida_ufpnmr.engine.crystals import read_crystal
from aiida_ufpnmr.engine.dataset import read_dataset, read_structure, read_structures
from aiida_ufpnmr.engine.dft.labels import read_sources
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr

ARGYRODITE = Path(__file__).parent / 'fixtures' / 'disordered_argyrodite.cif'
TEXT = ARGYRODITE.read_text()

ORDERED = """data_LiF
_cell_length_a 4.03
_cell_length_b 4.03
_cell_length_c 4.03
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
_chemical_formula_sum 'Li F'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Li1 0 0 0 1.0
F1 0.5 0.5 0.5 1.0
"""

#: What is wrong with a file: how it is made of a whole one, and words of the refusal.
DAMAGED = {
    'cut in a row': (TEXT[:-20], 'cannot be read as CIF, or is damaged'),
    'cut before the sites': ('\n'.join(TEXT.splitlines()[:6]), 'holds no crystal'),
    'cut in the heading': ('\n'.join(TEXT.splitlines()[:12]), 'lack _atom_site_fract_x'),
    'cut between rows': (ORDERED.replace('F1 0.5 0.5 0.5 1.0\n', ''), 'its formula is Li F'),
    'no cell': (TEXT.replace('_cell_length_b', '_no'), 'no full cell'),
    'a cell of NaN': (TEXT.replace('_a 9.86', '_a nan'), 'no full cell'),
    'an impossible cell': (TEXT.replace('alpha 90', 'alpha 10').replace('beta 90', 'beta 170'), 'no cell has such'),
    'a flat cell': (TEXT.replace('gamma 90', 'gamma 180'), 'no cell has such'),
    'an endless cell': (TEXT.replace('_a 9.86', '_a 1e30'), 'no cell has such'),
    'no symmetry': (TEXT.replace('_symmetry_', '_no_'), "'P 1' where all atoms"),
    'an unknown symmetry': (TEXT.replace('F -4 3 m', 'Q 7').replace('216', '999'), 'its symmetry cannot be used'),
    'NaN': (TEXT.replace('0.3170', 'nan'), 'site Li1: a coordinate is no number'),
    'an unknown coordinate': (TEXT.replace('0.3170', '?'), 'site Li1: a coordinate is no number'),
    'an occupancy of words': (TEXT.replace('0.6830 0.5', '0.6830 half'), 'occupancy half is no number'),
    'an unknown occupancy': (TEXT.replace('0.6830 0.5', '0.6830 ?'), r'occupancy \? is no number'),
    'too large an occupancy': (TEXT.replace('0.6830 0.5', '0.6830 1.5'), 'occupancy 1.5 is no number from 0 to 1'),
    'an unknown element': (TEXT.replace('Li1 Li', 'Li1 Xx'), 'site Li1: Xx is no element'),
    'a site of too many': (TEXT.replace('0.75 0.6', '0.75 0.9'), 'a site of S and Cl holds 1.3 atoms'),
    'an atom that is listed twice': (
        ORDERED.replace('F m -3 m', 'P 1').replace('225', '1') + 'F2 0.5 0.5 0.499 1.0\n',
        'sites F1 and F2 are at one place',
    ),
    'a heading of no rows': (ORDERED[: ORDERED.index('Li1 ')], 'no row of sites'),
    'a symmetry of another cell': (ORDERED.replace('_c 4.03', '_c 5'), r'changes the cell; correct the space group'),
    'a name and a number of two groups': (ORDERED.replace('225', '14'), 'is number 225, and numbered 14'),
    'no text': ('', 'is empty'),
    'another text': ('Dear colleague,\n\nhere is the structure.', 'cannot be read as CIF'),
    'two crystals': (TEXT + ORDERED, 'holds 2 crystals'),
}


@pytest.fixture
def put(tmp_path):
    """Write a CIF file, and give its path."""

    def put(text, name='crystal.cif'):
        (tmp_path / name).write_text(text, encoding='utf-8')
        return tmp_path / name

    return put


def refusal(monkeypatch, capsys, *arguments) -> str:
    """The one line of a command that ends with status 2."""
    monkeypatch.setattr('sys.argv', ['ufpnmr', *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run(ufpnmr, 'ufpnmr')
    lines = capsys.readouterr().err.strip().splitlines()
    lines = [line for line in lines if 'compiling kernels' not in line]
    assert ended.value.code == 2 and len(lines) == 1
    return lines[0]


def test_a_mark_of_byte_order_is_no_damage(put):
    path = put('\ufeff' + ORDERED)
    assert path.read_bytes()[:3] == b'\xef\xbb\xbf' and read_crystal(path).composition == {'Li': 4.0, 'F': 4.0}


@pytest.mark.parametrize('name', DAMAGED)
def test_a_damaged_file_gives_one_line_and_status_2(name, put, tmp_path, monkeypatch, capsys):
    text, words = DAMAGED[name]
    path = put(text, 'Lï₆ argyrodite.cif')
    said = refusal(monkeypatch, capsys, 'build', 'order', path, '-o', tmp_path / 'cells.extxyz')
    assert said.startswith(f'ufpnmr: error: {path}')
    assert not (tmp_path / 'cells.extxyz').exists()
    with pytest.raises(InputError, match=words):
        read_crystal(path)


@pytest.mark.parametrize('command', [('build', 'order'), ('build', 'strain', '--volume-percent', '1')])
def test_a_folder_is_no_crystal(command, tmp_path, monkeypatch, capsys):
    assert 'not a regular file' in refusal(monkeypatch, capsys, *command, tmp_path, '-o', tmp_path / 'cells.extxyz')


def test_a_file_that_is_whole_is_read_from_any_path(put):
    crystal = read_crystal(put(TEXT, 'Lï₆ argyrodite.CIF'))
    assert crystal.composition == pytest.approx({'Li': 24, 'P': 4, 'S': 20, 'Cl': 4})
    assert len(crystal.positions) == 76


PARTIAL = {
    'half-filled sites': (TEXT, '0.5 Li; 0.6 S \\+ 0.4 Cl'),
    'nearly full sites': (ORDERED.replace('0 0 0 1.0', '0 0 0 0.999'), '0.999 Li'),
    'empty sites': (ORDERED.replace("'Li F'", '?').replace('0 0 0 1.0', '0 0 0 0.0'), '0 Li'),
    'a site that symmetry shares': (
        ORDERED.replace('Li1 0 0 0 1.0', 'Li1 0 0 0 0.5\nNa1 0.5 0.5 0 0.5').replace("'Li F'", '?'),
        '0.5 Li \\+ 0.5 Na',
    ),
}


@pytest.mark.parametrize('name', PARTIAL)
def test_partial_and_shared_sites_are_refused_wherever_a_structure_is_read(name, put, tmp_path, monkeypatch, capsys):
    text, words = PARTIAL[name]
    path = put(text)
    for reader in (read_structure, read_structures, lambda path: read_sources(path, ':')):
        with pytest.raises(InputError, match=f'{words}.*ufpnmr build order'):
            reader(path)
    said = refusal(monkeypatch, capsys, 'build', 'supercell', path, 2, 1, 1, '-o', tmp_path / 'large.extxyz')
    assert 'ufpnmr build order' in said


def test_occupancies_that_ase_wrote_into_extended_xyz_are_refused(tmp_path):
    write(tmp_path / 'average.extxyz', read(ARGYRODITE))
    for reader in (read_dataset, read_structures):
        with pytest.raises(InputError, match='average that cannot be run'):
            reader(tmp_path / 'average.extxyz')


def test_two_elements_on_one_site_are_refused_without_any_occupancy(put):
    text = ORDERED.replace('_atom_site_occupancy\n', '').replace(' 1.0\n', '\n').replace("'Li F'", '?')
    with pytest.raises(InputError, match='a site of Li and Na holds 2 atoms'):
        read_structure(put(text.replace('Li1 0 0 0', 'Li1 0 0 0\nNa1 0.5 0.5 0')))


def test_full_sites_closer_than_half_an_angstrom_are_no_two_atoms(put):
    text = ORDERED.replace('Li1 0 0 0 1.0', 'Li1 0.05 0 0 1.0').replace("'Li F'", '?')
    with pytest.raises(InputError, match='closer than 0.5 Å'):
        read_structure(put(text))


@pytest.mark.parametrize('change', [('1.0\n', '.\n'), ('1.0\n', '1\n'), ('1.0\n', '1.000(5)\n')])
def test_full_sites_are_read_as_ase_reads_them(change, put):
    atoms, expected = read_structure(put(ORDERED.replace(*change))), bulk('LiF', 'rocksalt', 4.03, cubic=True)
    assert sorted(atoms.symbols) == sorted(expected.symbols)
    assert np.array_equal(atoms.positions, read(put(ORDERED)).positions)


def test_an_atom_that_is_listed_and_made_by_symmetry_too_is_one(put):
    path = put(ORDERED.replace('F1 0.5', 'Li2 0.5 0.5 0 1.0\nF1 0.5'))
    assert len(read_structure(path)) == 8
    assert read_crystal(path).composition == {'Li': 4.0, 'F': 4.0}


@needs('structures')
@pytest.mark.parametrize(
    ('name', 'composition'),
    [
        ('cNa3PS4', {'Na': 48, 'P': 16, 'S': 64}),
        ('obelix_122', {'Li': 24, 'P': 4, 'S': 20, 'Cl': 4}),
        ('obelix_joc', {'Li': 6, 'P': 2, 'S': 7.82}),
        ('obelix_mdp', {'Li': 14, 'P': 6, 'S': 22}),
        ('obelix_mtn', {'Li': 20, 'Ge': 2, 'P': 4, 'S': 24}),
        ('obelix_nhq', {'Li': 12, 'P': 4, 'S': 16}),
    ],
)
def test_files_of_databases_give_the_composition_that_they_state(name, composition):
    assert read_crystal(FOLDER / 'structures' / f'{name}.cif').composition == pytest.approx(composition)
