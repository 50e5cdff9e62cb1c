"""Claims about broken labels and crystals: one line that says where and what helps, status 2, and nothing written."""

import gzip
import os
import re
from pathlib import Path

import pytest
from code_outputs import Frame, castep_relaxation, cp2k_out, outcar, pw_out, vasprun
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.commands.shared import run as run_group
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.dft.label_files import read_labels
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.ufp import fit_potential

INPUTS = Path(__file__).with_name('inputs')
CIF = (Path(__file__).with_name('fixtures') / 'disordered_argyrodite.cif').read_text()
#: Two structures of two atoms with energy, forces and stress.
LABELS = '\n'.join(
    [
        *('2', 'Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T T" '
          'stress="1 0 0 0 1 0 0 0 1"', 'Li 0.0 0.0 0.0 0.1 0.0 0.0', 'S 2.4 0.1 0.0 -0.1 0.0 0.0'),
        *('2', 'Lattice="5 0 0 0 5 0 0 0 6" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.4 pbc="T T T"',
          'Li 0.0 0.0 0.0 0.2 0.0 0.0', 'S 2.3 0.1 0.0 -0.2 0.0 0.0'),
        '',
    ]
)  # fmt: skip


def changed(text, old, new):
    assert old in text
    return text.replace(old, new, 1)


def labels(old, new):
    return changed(LABELS, old, new)


def crystal(old, new):
    return changed(CIF, old, new)


FRAMES = [Frame(0), Frame(1)]
BROKEN_LABELS = {
    'cut in a frame': ('a.extxyz', LABELS[:-9], r'line 8 \(structure 1\): . columns, but Properties names 7; restore'),
    'cut at a frame': ('a.extxyz', LABELS[: LABELS.rindex('S ')], 'ends inside a structure of 2 atoms (truncated)'),
    'too few columns': ('a.extxyz', labels(' 0.1 0.0 0.0\nS', ' 0.1 0.0\nS'), r'line 3 \(structure 0\): 6 columns'),
    'too many columns': ('a.extxyz', labels(' 0.1 0.0 0.0\nS', ' 0.1 0.0 0.0 7\nS'), 'line 3 .*8 columns'),
    'NaN position': ('a.extxyz', labels('Li 0.0', 'Li nan'), 'structure 0, atom 0: position is NaN or infinite; corr'),
    'NaN force': ('a.extxyz', labels('-0.2', 'nan'), 'structure 1, atom 1: NaN or infinite forces; relabel or remove'),
    'infinite energy': ('a.extxyz', labels('-1.4', 'inf'), 'structure 1: NaN or infinite energy; relabel or remove'),
    'NaN stress': ('a.extxyz', labels('stress="1', 'stress="nan'), 'structure 0: NaN or infinite stress; relabel'),
    'NaN cell': ('a.extxyz', labels('Lattice="5', 'Lattice="nan'), 'structure 0: cell is NaN or infinite; correct'),
    'a word for a number': (
        'a.extxyz',
        labels('2.4', 'two'),
        "structure 0: .*'two'.*; correct or remove the structure",
    ),
    'a word for an energy': ('a.extxyz', labels('-1.4', 'low'), 'structure 1: energy is not as many numbers as'),
    'a decimal comma': ('a.extxyz', labels('-1.4', '-1,4'), 'structure 1: energy is not as many numbers as it should'),
    'no element': (
        'a.extxyz',
        labels('\nLi', '\nXx'),
        "structure 0: .*unknown name 'Xx'.*; correct or remove the struc",
    ),
    'numbers of types': ('a.extxyz', labels('\nLi', '\n1'), "structure 0: .*unknown name '1'"),
    'no energy': (
        'a.extxyz',
        labels('energy=-1.4', 'e=-1.4'),
        'structure 1: no energy; there are .* e: name the right',
    ),
    'no forces': ('a.extxyz', LABELS.replace('forces', 'f'), 'structure 0: no forces; there are .*f.*--forces-key'),
    'two energies': ('a.extxyz', labels('energy=-1.5', 'energy=-1.5 energy=2'), 'energy is given twice; remove one'),
    'energies that differ': ('a.extxyz', labels('energy=-1.5', 'energy=-1.5 REF_energy=2'), 'hold different numbers;'),
    'eight numbers of a cell': ('a.extxyz', labels('"5 0 0 0 5 0 0 0 5"', '"5 0 0 0 5 0 0 5"'), 'structure 0: cannot'),
    'a flat cell': ('a.extxyz', labels('0 5 0 0 0 5', '0 0.1 0 0 0 5'), 'opposite faces of the cell are closer than'),
    'no cell': ('a.extxyz', labels('Lattice="5 0 0 0 5 0 0 0 5"', 'a="b"'), 'periodic but without a full cell; give'),
    'five numbers of a stress': (
        'a.extxyz',
        labels('"1 0 0 0 1 0 0 0 1"', '"1 0 0 0 1"'),
        'structure 0: cannot be read',
    ),
    'a stress that is not symmetric': ('a.extxyz', labels('"1 0', '"1 7'), 'stress is not symmetric; check the order'),
    'atoms on one another': ('a.extxyz', labels('2.4 0.1', '0.1 0.1'), 'atoms 0 and 1: closer than 0.5 Å'),
    'positions in bohr of others': ('a.extxyz', labels('2.4 0.1', '0.9 0.1'), 'less than half of a bond'),
    'a weight below zero': (
        'a.extxyz',
        labels('energy=-1.5', 'energy=-1.5 weight=-1'),
        'is no positive number; correct',
    ),
    'too many atoms': ('a.extxyz', labels('2\n', '3\n'), r'structure 0\): .* columns, but Properties names 7'),
    'no number of atoms': ('a.extxyz', 'two\n' + LABELS[2:], "line 1 .* expected a number of atoms, found 'two'; the"),
    'fewer atoms than none': ('a.extxyz', '-2\n' + LABELS[2:], 'expected a number of atoms'),
    'no atoms': ('a.extxyz', '0\n\n', 'structure 0: no atoms'),
    'no frames': ('a.extxyz', '\n\n', 'holds no structure'),
    'nothing': ('a.extxyz', '', 'the data set is empty'),
    'Latin-1': (
        'a.extxyz',
        labels('energy', 'von=für energy').encode('latin-1'),
        'line 2: letters that are not UTF-8; conv',
    ),
    'UTF-16': ('a.extxyz', LABELS.encode('utf-16'), 'not a text file; an extended XYZ file is expected'),
    'bytes': ('a.extxyz', bytes(range(256)) * 9, 'not a text file'),
    'a compressed file that was cut': ('a.extxyz.gz', gzip.compress(LABELS.encode())[:-20], 'cannot be unpacked'),
    'a compressed file that is none': ('a.extxyz.gz', b'1f8b', 'cannot be unpacked .*; restore it'),
    'a text': ('a.txt', 'hello\nworld\n', 'neither extended XYZ, .* convert it to extended XYZ'),
    'OUTCAR that was cut': ('OUTCAR', outcar(FRAMES)[:900], 'let the code finish'),
    'vasprun.xml that was cut': ('vasprun.xml', vasprun(FRAMES)[:700], 'let the code finish'),
    'pw.x that was cut': ('scf.out', pw_out(FRAMES)[:300], 'holds no structure with labels; let the code finish'),
    'pw.x that was cut in its forces': ('scf.out', '\n'.join(pw_out(FRAMES).splitlines()[:21]), 'let the code finish'),
    'CP2K that was cut': ('cp2k.out', cp2k_out(FRAMES)[:400], 'holds no energy; let CP2K finish, or remove the file'),
    'CASTEP that was cut': ('a.castep', castep_relaxation(FRAMES)[:200], 'let CASTEP finish|let the code finish'),
    'magres that was cut': ('a.magres', '#$magres-abinitio-v1.0\n[atoms]\n', 'ends inside its block .atoms'),
    'a folder': ('a.extxyz', None, 'not a regular file; give the data set itself'),
    'no file': ('missing.extxyz', ..., 'no such data set'),
    'no file of a pattern': ('*.nothing', ..., 'no file matches; check the pattern'),
}
BROKEN_CRYSTALS = {
    'cut': ('a.cif', CIF[: CIF.index('loop_') + 40], 'restore|correct|give'),
    'no cell': ('a.cif', crystal('_cell_length_a', '_cell_width_a'), 'no full cell; give six numbers'),
    'NaN cell': ('a.cif', crystal('_cell_length_a ', '_cell_length_a nan # '), 'no full cell; give six numbers'),
    'NaN place': ('a.cif', crystal('0.3170', 'nan'), 'site Li1: a coordinate is no number; correct or remove the site'),
    'no element': ('a.cif', crystal('P1 P', 'P1 Xx'), 'site P1: Xx is no element; correct _atom_site_type_symbol'),
    'too full a site': ('a.cif', crystal('0.75 0.4', '0.75 0.9'), 'holds 1.5 atoms; correct the occupancies'),
    'a share above one': ('a.cif', crystal('0.75 0.4', '0.75 4'), 'site Cl2: occupancy 4 is no number from 0 to 1'),
    'a flat cell': ('a.cif', crystal('gamma 90', 'gamma 180'), 'no cell has such lengths and angles; correct'),
    'no symmetry': ('a.cif', re.sub('_symmetry.*', '', CIF), 'no symmetry; give its operations'),
    'no columns for what its rows hold': (
        'a.cif',
        crystal('_atom_site_occupancy\n', ''),
        'a row of its sites is damaged .Wrong number 6 of tokens, expected 5',
    ),
    'a row with too many columns': (
        'a.cif',
        crystal('0.3170', '0 0.3170'),
        'a row of its sites is damaged .Wrong number',
    ),
    'bytes': ('a.cif', bytes(range(256)) * 9, 'cannot be read as CIF|holds no crystal'),
    'nothing': ('a.cif', '', 'the structure is empty'),
    'a text': ('a.cif', 'hello\n', 'cannot be read as CIF, or is damaged .incomplete'),
    'a folder': ('a.cif', None, 'not a regular file'),
    'no file': ('a.cif', ..., 'no such structure'),
}


def put(folder: Path, name: str, content) -> Path:
    """A file with this content; a folder for ``None``, nothing for ``...``."""
    path = folder / name
    if content is None:
        path.mkdir()
    elif isinstance(content, str):
        path.write_text(content, encoding='utf-8')
    elif content is not ...:
        path.write_bytes(content)
    return path


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Claims that a command refuses a file in one line, and leaves nothing; in folders with blanks and umlauts."""
    given, out = tmp_path / 'meine Daten ä', tmp_path / 'out'
    given.mkdir()
    out.mkdir()

    def run(name, content, match, *words):
        path = put(given, name, content)
        arguments = [{'FILE': path, 'OUT': out / 'out.extxyz'}.get(word, word) for word in words]
        monkeypatch.setattr('sys.argv', ['ufpnmr', *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_group(ufpnmr, 'ufpnmr')
        printed, said = capsys.readouterr()
        assert (ended.value.code, printed, said.count('\n')) == (2, '', 1), said
        assert str(path) in said and re.search(match.replace('(truncated)', r'\(truncated\)'), said), said
        assert os.listdir(out) == []

    return run


@pytest.mark.parametrize('kind', BROKEN_LABELS)
def test_broken_labels_give_one_line_and_leave_nothing(kind, refused):
    refused(*BROKEN_LABELS[kind], 'fit-potential', 'FILE', '-o', 'OUT')


@pytest.mark.parametrize('kind', BROKEN_CRYSTALS)
def test_broken_crystals_give_one_line_and_leave_nothing(kind, refused):
    refused(*BROKEN_CRYSTALS[kind], 'build', 'order', 'FILE', '-o', 'OUT')


@pytest.mark.skipif(os.geteuid() == 0, reason='nothing is closed to root')
def test_labels_that_may_not_be_read_are_said_to_be(tmp_path):
    path = put(tmp_path, 'a.extxyz', LABELS)
    path.chmod(0)
    with pytest.raises(InputError, match='cannot be read; check its permissions'):
        read_labels(path)


def test_a_byte_order_mark_line_ends_of_windows_and_compression_change_nothing(tmp_path):
    text = (INPUTS / 'names_of_gpumd.extxyz').read_text()
    plain = read_labels(put(tmp_path, 'a.extxyz', text))
    for name, content in (
        ('b.extxyz', b'\xef\xbb\xbf' + text.encode()),
        ('c.extxyz', text.replace('\n', '\r\n').encode()),
        ('d.extxyz.gz', gzip.compress(text.encode())),
    ):
        found = read_labels(put(tmp_path, name, content))
        assert found.content_hash == plain.content_hash and found.source == str(tmp_path / name)
        assert [note.partition(': ')[2] for note in found.notes] == [note.partition(': ')[2] for note in plain.notes]
        assert all(note.startswith(str(tmp_path / name)) for note in found.notes) and found.notes


@needs('castep_out')
def test_forces_on_a_lone_atom_leave_no_print_of_a_library(capfd):
    fit_potential(read_labels(FOLDER / 'castep_out' / 'matador_Li-bcc_0.1A.castep', ('energy', 'forces')))
    assert 'DSYRK' not in ''.join(capfd.readouterr())


def test_labels_of_this_file_are_right_where_nothing_is_broken(tmp_path):
    assert len(read_dataset(put(tmp_path, 'a.extxyz', LABELS), ('energy', 'forces'))) == 2
