"""Claims about pictures: the view holds the numbers and asks for nothing, a slice has the atoms between its planes."""

import json
import re

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from click.testing import CliRunner
from frames import shaken, write_frames

from aiida_ufpnmr.engine.commands.view import view
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.pictures import AtomValues, SliceSettings, plot_slice, read_atom_values, view_page

SALT = bulk('NaCl', 'rocksalt', a=5.6, cubic=True).repeat(2)


def scene_of(page: str) -> dict:
    """The numbers in a page."""
    return json.loads(re.search(r'<script id="scene"[^>]*>(.*?)</script>', page, re.DOTALL)[1])


def test_the_view_holds_places_elements_cell_and_values_and_asks_for_nothing():
    values = np.full(len(SALT), np.nan)
    values[3:7] = [1.5, -2.0, 0.25, 1e-7]
    page = view_page(SALT, AtomValues(values, 'softness'))
    assert not re.findall(r'https?:|src=|url\(|@import|import\(|fetch|<(?:link|iframe|img)', page)
    assert "default-src 'none'" in page and len(page.splitlines()) <= 200
    scene = scene_of(page)
    shown = SALT.copy()
    shown.wrap()
    np.testing.assert_allclose(scene['places'], shown.positions, atol=5e-4)
    np.testing.assert_array_equal([scene['kinds'][k]['symbol'] for k in scene['kind']], SALT.symbols)
    np.testing.assert_allclose(scene['cell'], SALT.cell.array)
    assert scene['values'][3:7] == [1.5, -2.0, 0.25, 1e-7] and scene['values'][7] is None
    assert scene['span'] == [-2.0, 2.0] and scene['label'] == 'softness'


def test_names_cannot_end_the_script_of_a_view():
    page = view_page(SALT, AtomValues(np.arange(64.0), '</script><b>'), title='<i>salt</i>')
    assert scene_of(page)['label'] == '</script><b>' and '<b>' not in page and '<i>' not in page


@pytest.mark.parametrize('across', ['a', 'b', 'c'])
def test_a_slice_holds_the_atoms_between_its_planes_also_through_the_boundary(across):
    rng = np.random.default_rng(0)
    cell = np.array([[12.0, 0.0, 0.0], [4.0, 11.0, 0.0], [-3.0, 2.0, 13.0]])
    atoms = Atoms('Li300', scaled_positions=rng.random((300, 3)), cell=cell, pbc=True)
    figure = plot_slice(atoms, settings=SliceSettings(slice_across=across, slice_centre=0.05, slice_angstrom=3.0))
    (discs,) = figure.axes[0].collections[:1]
    k = 'abc'.index(across)
    height = 1 / np.linalg.norm(np.linalg.inv(cell)[:, k])
    apart = np.abs((atoms.get_scaled_positions()[:, k] - 0.05 + 0.5) % 1 - 0.5) * height
    assert len(discs.get_offsets()) == np.sum(apart <= 1.5) > 10
    # distances within a layer are those of the picture
    first, second = cell[(k + 1) % 3], cell[(k + 2) % 3]
    outline = figure.axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(np.linalg.norm(np.diff(outline, axis=0), axis=1)[:2],
                               [np.linalg.norm(first), np.linalg.norm(second)])  # fmt: skip


def test_a_slice_shows_values_by_colour_and_atoms_without_one_pale():
    values = np.where(SALT.symbols == 'Na', np.arange(64.0), np.nan)
    figure = plot_slice(SALT, AtomValues(values, 'softness'))
    colours = figure.axes[0].collections[0].get_facecolors()
    assert set(colours[:, 3]) == {0.25, 1.0}
    assert figure.axes[1].get_ylabel() == 'softness'


def test_colours_of_numbers_with_both_signs_part_at_zero():
    signed, plain = AtomValues(np.array([-1.0, np.nan, 3.0]), 'softness'), AtomValues(np.array([1.0, 3.0]), 'volume')
    assert signed.span == (-3.0, 3.0) and plain.span == (1.0, 3.0) and signed.colours != plain.colours


def test_values_are_read_from_tables_arrays_and_results(tmp_path):
    every, some, array = tmp_path / 'every.txt', tmp_path / 'some.txt', tmp_path / 'all_of_them.npy'
    np.savetxt(every, np.arange(5.0))
    np.savetxt(some, [[4, 0.5], [0, -1.0]])
    np.save(array, np.arange(5.0))
    np.testing.assert_array_equal(read_atom_values(str(every), 5).values, np.arange(5.0))
    np.testing.assert_array_equal(read_atom_values(str(some), 5).values, [-1.0, np.nan, np.nan, np.nan, 0.5])
    assert read_atom_values(str(array), 5).label == 'all of them'


def test_of_a_result_with_rows_by_frame_the_last_row_that_is_not_later_counts(tmp_path):
    path = tmp_path / 'softness.h5'
    with h5py.File(path, 'w') as file:
        file['atom'], file['frame'], file['softness'] = [1, 3], [2, 6], [[0.1, 0.3], [-0.1, -0.3]]
    for frame, expected in ((2, [0.1, 0.3]), (5, [0.1, 0.3]), (6, [-0.1, -0.3]), (99, [-0.1, -0.3])):
        values = read_atom_values(f'{path}:softness', 5, frame).values
        np.testing.assert_array_equal(values, [np.nan, expected[0], np.nan, expected[1], np.nan])
    with pytest.raises(InputError, match='begins at frame 2, after frame 1'):
        read_atom_values(f'{path}:softness', 5, 1)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('1\n2\n', 'has the shape'),
        ('0 1\n0 2\n', 'two numbers for one atom'),
        ('5 1\n', 'whole numbers from 0 to 4'),
        ('0.5 1\n', 'whole numbers from 0 to 4'),
        ('0 nan\n', 'no finite number'),
        ('soft\n', 'no table of numbers'),
    ],
)
def test_values_of_other_atoms_are_refused(tmp_path, text, words):
    path = tmp_path / 'values.txt'
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_atom_values(str(path), 5)


def test_the_command_colours_a_frame_by_the_result_of_an_analysis(tmp_path):
    import aiida_ufpnmr as un

    run = write_frames(tmp_path / 'run.h5', shaken(SALT, 2))
    un.voronoi(run, species='Na').save(tmp_path / 'v.h5')
    arguments = [str(run), '-o', str(tmp_path / 'v.html'), '--plot', str(tmp_path / 's.png'), '--colour-by']
    done = CliRunner().invoke(view, [*arguments, f'{tmp_path / "v.h5"}:volume_angstrom3'], catch_exceptions=False)
    assert done.exit_code == 0
    scene = scene_of((tmp_path / 'v.html').read_text())
    assert sum(value is not None for value in scene['values']) == 32 and scene['label'] == 'volume angstrom3'
    assert (tmp_path / 's.png').read_bytes().startswith(b'\x89PNG')
    for wrong, words in ((f'{tmp_path / "v.h5"}:softness', 'only volume_angstrom3'), ('none.txt', 'none.txt')):
        with pytest.raises(InputError, match=words):
            CliRunner().invoke(view, [*arguments, wrong], catch_exceptions=False)
    with pytest.raises(InputError, match='has no frame 2, only 2'):
        CliRunner().invoke(view, [*arguments[:3], '--frame', '2'], catch_exceptions=False)
    with pytest.raises(InputError, match='nothing to write'):
        CliRunner().invoke(view, [str(run)], catch_exceptions=False)
