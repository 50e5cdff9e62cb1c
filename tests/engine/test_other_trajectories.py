"""Claims about trajectories that other programs wrote, and about what is read of them."""

import gzip
import json
import os
import re
import shutil
import sys
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from reference_data import FOLDER, needs

from aiida_ufpnmr.engine.analyses import get_analysis
from aiida_ufpnmr.engine.commands.analyse import analyse
from aiida_ufpnmr.engine.commands.convert_trajectory import convert_trajectory as command
from aiida_ufpnmr.engine.commands.shared import run as run_group
from aiida_ufpnmr.engine.dataset import read_dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.main import ufpnmr
from aiida_ufpnmr.engine.notebook import fit_efg
from aiida_ufpnmr.engine.trajectories.convert import convert_trajectory, own_files
from aiida_ufpnmr.engine.trajectories.frames import ReadingSettings
from aiida_ufpnmr.engine.trajectories.trajectory import Trajectory, TrajectoryWriter

MDAnalysis = pytest.importorskip('MDAnalysis')

#: A frame every ten steps of 2 fs.
TIMESTEP_FS, EVERY, FRAMES = 2.0, 10, 160
CELL = np.array([[9.0, 0.0, 0.0], [1.5, 8.0, 0.0], [-0.8, 0.6, 10.0]])
SYMBOLS = ['Li'] * 8 + ['S'] * 6
#: What a format keeps of a position, Å.
PRECISION = {'lammpstrj': 1e-5, 'dcd': 2e-5, 'xtc': 6e-3, 'trr': 2e-5, 'nc': 2e-5, 'xdatcar': 1e-5, 'xyz': 1e-7}


@pytest.fixture(scope='module')
def walk():
    """Unwrapped positions (frames, atoms, 3): Li diffuses through several cells, S vibrates."""
    rng = np.random.default_rng(3)
    steps = rng.normal(0, 0.45, (FRAMES, len(SYMBOLS), 3))
    steps[0] = 0
    steps[:, 8:] = 0
    path = rng.random((len(SYMBOLS), 3)) @ CELL + np.cumsum(steps, axis=0)
    path[:, 8:] += rng.normal(0, 0.05, (FRAMES, 6, 3))
    return path


def test_columns_of_fractions_that_hold_angstrom_are_refused(walk, tmp_path):
    path = lammps_dump(tmp_path / 'a.dump', walk[:3], 'id type x y z')
    path.write_text(path.read_text().replace('x y z', 'xs ys zs', 1).replace('id type x y z', 'id type xs ys zs'))
    with pytest.raises(InputError, match='a.dump, frame 0: .*has xs ys zs up to .* fractions of the cell'):
        convert_trajectory([path], tmp_path / 'a.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))


@pytest.fixture(scope='module')
def own(walk, tmp_path_factory):
    """The same as a trajectory of this package."""
    path = tmp_path_factory.mktemp('own') / 'own.h5'
    with TrajectoryWriter(path, Atoms(SYMBOLS, cell=CELL, pbc=True)) as writer:
        for frame, positions in enumerate(walk):
            for name, value in (('particles/all/position', positions), ('particles/all/box/edges', CELL)):
                writer.append(name, EVERY * frame, EVERY * frame * TIMESTEP_FS, value)
        writer.close()
    return path


def wrapped(positions):
    fractional = positions @ np.linalg.inv(CELL)
    return (fractional - np.floor(fractional)) @ CELL


def lammps_dump(path, frames, columns='id type x y z', steps=None, types=None):
    """A dump with atoms in another order in each frame."""
    rng = np.random.default_rng(0)
    types = types or [1 if symbol == 'Li' else 2 for symbol in SYMBOLS]
    (xx, _, _), (xy, yy, _), (xz, yz, zz) = CELL
    low, high = min(0, xy, xz, xy + xz), max(0, xy, xz, xy + xz)
    lines = []
    for number, positions in enumerate(frames):
        lines += ['ITEM: TIMESTEP', str(EVERY * number if steps is None else steps[number])]
        lines += ['ITEM: NUMBER OF ATOMS', str(len(positions)), 'ITEM: BOX BOUNDS xy xz yz pp pp pp']
        lines += [f'{low} {xx + high} {xy}', f'{min(0, yz)} {yy + max(0, yz)} {xz}', f'0 {zz} {yz}']
        lines.append(f'ITEM: ATOMS {columns}')
        whole = wrapped(positions)
        images = np.round((positions - whole) @ np.linalg.inv(CELL)).astype(int)
        for atom in rng.permutation(len(positions)):
            values = {'id': atom + 1, 'type': types[atom], 'element': SYMBOLS[atom]}
            values |= dict(zip(('x', 'y', 'z'), np.round(whole[atom], 6)))
            values |= dict(zip(('xs', 'ys', 'zs'), np.round(whole[atom] @ np.linalg.inv(CELL), 8)))
            values |= dict(zip(('xu', 'yu', 'zu'), np.round(positions[atom], 6)))
            values |= dict(zip(('ix', 'iy', 'iz'), images[atom]))
            lines.append(' '.join(str(values[name]) for name in columns.split()))
    path.write_text('\n'.join(lines) + '\n')
    return path


def xdatcar(frames):
    rows = ['Li8 S6', '1.0', *(' '.join(f'{x:.9f}' for x in vector) for vector in CELL), 'Li S', '8 6']
    for number, positions in enumerate(frames, 1):
        rows.append(f'Direct configuration= {number:5d}')
        rows += [' '.join(f'{x:.8f}' for x in row) for row in wrapped(positions) @ np.linalg.inv(CELL)]
    return '\n'.join(rows) + '\n'


def write_cp2k(frames, folder):
    """Positions, and cells in a file of their own."""
    rows, cells = [], ['# Step Time [fs] Ax Ay Az Bx By Bz Cx Cy Cz Volume']
    for number, positions in enumerate(frames):
        step = EVERY * number
        rows += [str(len(SYMBOLS)), f' i = {step:8d}, time = {step * TIMESTEP_FS:12.3f}, E =   -1113.5']
        rows += [f'{s} {x:.8f} {y:.8f} {z:.8f}' for s, (x, y, z) in zip(SYMBOLS, positions)]
        cells.append(f'{step} {step * TIMESTEP_FS} ' + ' '.join(f'{x:.8f}' for x in CELL.ravel()) + ' 720.0')
    (folder / 'run-pos-1.xyz').write_text('\n'.join(rows) + '\n')
    (folder / 'run-1.cell').write_text('\n'.join(cells) + '\n')


def write_gro(frames, path):
    """A structure of GROMACS with names such as LI1."""
    universe = MDAnalysis.Universe.empty(len(SYMBOLS), n_residues=1, atom_resindex=[0] * 14, trajectory=True)
    names = {'names': [f'{symbol.upper()}{n}' for n, symbol in enumerate(SYMBOLS)], 'resnames': ['X'], 'resids': [1]}
    for name, values in names.items():
        universe.add_TopologyAttr(name, values)
    universe.atoms.positions, universe.dimensions = frames[0], Atoms(cell=CELL).cell.cellpar()
    universe.atoms.write(str(path))


def structures(frames):
    return [Atoms(SYMBOLS, wrapped(positions), cell=CELL, pbc=True) for positions in frames]


def written(kind, frames, folder):
    """A file of a kind with wrapped positions, and the settings that it takes to read it."""
    given = {'timestep_fs': TIMESTEP_FS, 'every': EVERY}
    if kind in ('dcd', 'xtc', 'trr', 'nc'):
        universe = MDAnalysis.Universe.empty(len(SYMBOLS), trajectory=True)
        path, topology = folder / f'run.{kind}', folder / 'start.extxyz'
        write(topology, structures(frames[:1]))
        with MDAnalysis.Writer(str(path), len(SYMBOLS), dt=TIMESTEP_FS * EVERY * 1e-3) as writer:
            for number, positions in enumerate(frames):
                universe.atoms.positions = wrapped(positions)
                universe.dimensions = structures(frames[:1])[0].cell.cellpar()
                universe.trajectory.ts.time = number * TIMESTEP_FS * EVERY * 1e-3
                universe.trajectory.ts.frame = number
                writer.write(universe.atoms)
        return path, {'topology': str(topology), **(given if kind == 'dcd' else {})}
    if kind == 'lammpstrj':
        return lammps_dump(folder / 'run.lammpstrj', frames), {'timestep_fs': TIMESTEP_FS, 'elements': 'Li,S'}
    if kind == 'xdatcar':
        path = folder / 'XDATCAR.gz'
        path.write_bytes(gzip.compress(xdatcar(frames).encode()))
        return path, given
    path = folder / f'run.{kind}'
    if kind == 'npy':
        np.save(path, np.array([atoms.get_scaled_positions() for atoms in structures(frames)]))
        write(folder / 'start.cif', structures(frames[:1]))
        return path, {**given, 'topology': str(folder / 'start.cif'), 'fractional': True}
    write(path, structures(frames), **({'columns': ['symbols', 'positions']} if kind == 'extxyz' else {}))
    return path, given


@pytest.mark.parametrize('kind', ['lammpstrj', 'dcd', 'xtc', 'trr', 'nc', 'xdatcar', 'extxyz', 'traj', 'npy'])
def test_what_was_written_wrapped_is_read_unwrapped(kind, walk, tmp_path):
    path, given = written(kind, walk, tmp_path)
    convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(**given))
    with Trajectory(tmp_path / 'read.h5') as found:
        assert found.symbols == SYMBOLS
        np.testing.assert_allclose(found.time_fs, np.arange(FRAMES) * EVERY * TIMESTEP_FS, rtol=1e-9)
        moved = found.positions() - found.positions(0, 1)
        np.testing.assert_allclose(moved, walk - walk[0], atol=2 * PRECISION.get(kind, 1e-5))
        np.testing.assert_allclose(found.cells(0, 1)[0], CELL, atol=1e-5)


@pytest.mark.parametrize('kind', ['lammpstrj', 'dcd', 'xdatcar', 'extxyz'])
@pytest.mark.parametrize('name', ['msd', 'hops', 'sites'])
def test_an_analysis_gives_the_same_of_any_file(name, kind, walk, own, tmp_path):
    path, given = written(kind, walk, tmp_path)
    analysis = get_analysis(name)
    with own_files([path], ReadingSettings(**given)) as (files, lines):
        found = analysis(files).to_dict()
    expected = analysis(own).to_dict()
    assert len(lines) == 1 and str(path) in lines[0]
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, float):
            assert found[key] == pytest.approx(value, rel=1e-3, abs=1e-3), key
        elif not isinstance(value, (dict, list, str)):
            assert found[key] == value, key


@pytest.mark.parametrize(
    ('columns', 'atol'),
    [('id element xs ys zs', 1e-5), ('id element xu yu zu', 1e-5), ('id type x y z ix iy iz', 1e-5)],
)
def test_a_dump_is_read_with_any_columns_of_positions(columns, atol, walk, tmp_path):
    path = lammps_dump(tmp_path / 'dump.run', walk, columns)
    convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))
    with Trajectory(tmp_path / 'read.h5') as found:
        np.testing.assert_allclose(found.positions() - found.positions(0, 1), walk - walk[0], atol=atol)


@pytest.mark.parametrize(('written', 'elements'), [('C', 'Li,S'), ('Na', 'Li,S')])
def test_types_are_named_by_the_user_also_where_a_dump_names_elements(written, elements, walk, tmp_path):
    path = lammps_dump(tmp_path / 'a.dump', walk[:5], 'id type element x y z')
    text = path.read_text()
    for symbol in ('Li', 'S'):
        text = text.replace(f' {symbol} ', f' {written} ')
    path.write_text(text)
    found = convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements=elements))
    assert list(found.atoms.symbols) == SYMBOLS
    if written == 'C':  # what LAMMPS writes for types that nobody named
        with pytest.raises(InputError, match='which elements 1, 2 are is not known'):
            convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2))


@pytest.mark.parametrize(
    ('columns', 'elements', 'match'),
    [
        ('id element x y z', 'Li,Na', 'names Li, Na, its atoms are called Li, S; name those, such as --elements Li=Li'),
        ('id element x y z', 'LI1=Li', 'names LI1, its atoms are called Li, S'),
        ('id type x y z', 'LI1=Li,1=Li,2=S', 'names LI1, its atoms are called 1, 2'),
        ('id element x y z', '1=Na', 'names Na, its atoms are called Li, S'),
        ('id element x y z', 'Li,S', None),
        ('id element x y z', 'Li,S,P', None),
    ],
)
def test_elements_that_were_given_agree_with_those_of_the_file_or_are_refused(columns, elements, match, walk, tmp_path):
    path = lammps_dump(tmp_path / 'a.dump', walk[:3], columns)
    settings = ReadingSettings(timestep_fs=2, elements=elements)
    if match:
        with pytest.raises(InputError, match=f'a.dump, frame 0: --elements {match}'):
            convert_trajectory([path], tmp_path / 'read.h5', settings)
    else:
        assert list(convert_trajectory([path], tmp_path / 'read.h5', settings).atoms.symbols) == SYMBOLS


def test_elements_of_types_that_contradict_the_column_of_elements_are_said(walk, tmp_path):
    path = lammps_dump(tmp_path / 'a.dump', walk[:3], 'id type element x y z')
    for elements, notes in (
        ('Li,S', ()),
        ('Na,S', ('types have the elements of --elements, not those of its column (Li for 1)',)),
    ):
        settings = ReadingSettings(timestep_fs=2, elements=elements)
        assert convert_trajectory([path], tmp_path / 'read.h5', settings).notes == notes


def test_cells_that_change_are_unwrapped_in_fractional_coordinates(walk, tmp_path):
    fractional = walk @ np.linalg.inv(CELL)
    cells = CELL * (1 + 0.05 * np.sin(np.arange(FRAMES) / 5))[:, None, None]
    frames = [Atoms(SYMBOLS, (row - np.floor(row)) @ cell, cell=cell, pbc=True) for row, cell in zip(fractional, cells)]
    write(tmp_path / 'npt.extxyz', frames)
    convert_trajectory([tmp_path / 'npt.extxyz'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2))
    with Trajectory(tmp_path / 'read.h5') as found:
        read_fractional = found.positions() @ np.linalg.inv(found.cells())
    np.testing.assert_allclose(read_fractional - read_fractional[0], fractional - fractional[0], atol=1e-6)


def test_a_jump_that_nearest_images_cannot_tell_is_refused(walk, tmp_path):
    jumped = walk.copy()
    jumped[7:, 3] += 0.47 * CELL[0]
    jumped[7, 3] = jumped[6, 3] + 0.47 * CELL[0]
    write(tmp_path / 'jump.extxyz', structures(jumped))
    with pytest.raises(InputError, match=r'jump.extxyz, frame 7: atom 3 moves by 0.47 .* write frames more often'):
        convert_trajectory([tmp_path / 'jump.extxyz'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2))
    assert os.listdir(tmp_path) == ['jump.extxyz']
    unwrapped = [Atoms(SYMBOLS, positions, cell=CELL, pbc=True) for positions in jumped]
    write(tmp_path / 'jump.extxyz', unwrapped)
    convert_trajectory([tmp_path / 'jump.extxyz'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, unwrapped=True))
    with Trajectory(tmp_path / 'read.h5') as found:
        np.testing.assert_allclose(found.positions(), jumped, atol=1e-5)


def test_what_a_restart_made_again_replaces_what_was_there(walk, tmp_path):
    other = walk.copy()
    other[30:, :8] += 0.3
    first = lammps_dump(tmp_path / 'a.dump', walk[:35], steps=EVERY * np.arange(35))
    second = lammps_dump(tmp_path / 'b.dump', other[28:], steps=EVERY * np.arange(28, FRAMES))
    together = tmp_path / 'both.dump'
    together.write_text(first.read_text() + second.read_text())
    expected = np.concatenate([walk[:28], other[28:]])
    for files in ([first, second], [second, first], [together]):
        found = convert_trajectory(files, tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))
        assert found.repeated == 7
        with Trajectory(tmp_path / 'read.h5') as run:
            np.testing.assert_array_equal(run.time_fs, 2 * EVERY * np.arange(FRAMES))
            np.testing.assert_allclose(run.positions() - run.positions(0, 1), expected - expected[0], atol=1e-5)


def test_a_first_frame_that_stands_twice_counts_once(walk, tmp_path):
    path = lammps_dump(tmp_path / 'a.dump', walk[[0, 0, 1, 2]], steps=[0, 0, 10, 20])
    found = convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))
    assert found.repeated == 1 and found.time_fs.tolist() == [0, 20, 40]


@pytest.mark.parametrize('steps', [[0, 200, 100, 300], [0, 100, 200, 0, 100]])
def test_frames_out_of_order_and_runs_that_begin_anew_are_refused(steps, walk, tmp_path):
    path = lammps_dump(tmp_path / 'a.dump', walk[: len(steps)], steps=steps)
    with pytest.raises(InputError, match=r'a.dump, frame [23]: its time, .* give the frames of one run, in order'):
        convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))


@pytest.mark.parametrize(
    ('columns', 'types', 'atoms', 'match'),
    [
        ('id type x y z', None, 13, 'has 13 atoms, the first frame has 14'),
        ('id type x y z', [2] * 6 + [1] * 8, 14, 'its atoms are other elements than in the first frame'),
        ('id type xu yu zu', None, 14, 'its positions are unwrapped and those of the first frame are not'),
    ],
)
def test_parts_of_other_runs_are_refused(columns, types, atoms, match, walk, tmp_path):
    first = lammps_dump(tmp_path / 'a.dump', walk[:5])
    second = lammps_dump(tmp_path / 'b.dump', walk[5:9, :atoms], columns, EVERY * np.arange(5, 9), types)
    with pytest.raises(InputError, match=f'b.dump, frame 0: {match}'):
        convert_trajectory([first, second], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))


def test_an_xdatcar_of_constant_pressure_or_without_a_title_is_read(walk, tmp_path):
    parts = [xdatcar(walk[n : n + 1]).replace('Li8 S6', ' ' * n, 1) for n in range(4)]
    (tmp_path / 'XDATCAR').write_text(''.join(parts) + '\n\n')
    convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=20))
    with Trajectory(tmp_path / 'read.h5') as found:
        np.testing.assert_allclose(found.positions() - found.positions(0, 1), walk[:4] - walk[0], atol=1e-5)


def test_a_frame_that_stands_twice_at_the_seam_of_files_without_times_counts_once(walk, tmp_path):
    for name, part in (('XDATCAR-1', walk[:30]), ('XDATCAR-2', walk[29:])):
        (tmp_path / name).write_text(xdatcar(part))
    found = convert_trajectory(
        [tmp_path / 'XDATCAR-1', tmp_path / 'XDATCAR-2'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=20)
    )
    assert found.repeated == 1 and len(found.time_fs) == FRAMES


def numbered(numbers, frames):
    """An XDATCAR whose frames have numbers of their own."""
    found = iter(numbers)
    return re.sub(r'configuration= +\d+', lambda _: f'configuration= {next(found):5d}', xdatcar(frames))


ASSUMED = 'each frame was taken for one step, as there is no --every'


@pytest.mark.parametrize(
    ('numbers', 'order', 'kept'),
    [
        # made again from frame 5 on
        ([1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8], [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 7], range(8)),
        # numbering begins anew: at the next frame, at the last one, at an earlier one
        ([1, 2, 3, 1, 2, 3], [0, 1, 2, 3, 4, 5], range(6)),
        ([1, 2, 3, 1, 2, 3], [0, 1, 2, 2, 3, 4], range(5)),
        ([1, 2, 3, 4, 1, 2, 3], [0, 1, 2, 3, 2, 3, 4], range(5)),
        # numbers of steps, a frame that stands twice
        ([10, 20, 30, 30, 40], [0, 1, 2, 2, 3], range(4)),
        ([1, 2, 3, 4], [0, 1, 1, 2], range(3)),
    ],
)
def test_frames_of_an_xdatcar_that_a_restart_repeats_are_sorted_out(numbers, order, kept, walk, tmp_path):
    (tmp_path / 'XDATCAR').write_text(numbered(numbers, walk[order]))
    found = convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=20))
    assert found.repeated == len(order) - len(kept) and found.notes == (ASSUMED,)
    with Trajectory(tmp_path / 'read.h5') as run:
        np.testing.assert_array_equal(run.time_fs, 20.0 * np.arange(len(kept)))
        np.testing.assert_allclose(run.positions() - run.positions(0, 1), walk[kept] - walk[0], atol=1e-5)


@pytest.mark.parametrize(
    ('numbers', 'order', 'match'),
    [
        ([1, 2, 3, 1, 2, 3], [0, 1, 2, 0, 1, 2], 'frame 3: its time, 0 fs, comes after 40 fs and is not that of'),
        ([1, 3, 4], [0, 1, 2], 'frame 2: its number is 4 after 3, no multiple of the 2 before'),
    ],
)
def test_an_xdatcar_that_stands_twice_in_a_file_is_refused(numbers, order, match, walk, tmp_path):
    (tmp_path / 'XDATCAR').write_text(numbered(numbers, walk[order]))
    with pytest.raises(InputError, match=f'XDATCAR, {match}'):
        convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=20))


def test_parts_without_times_that_overlap_are_joined_where_they_meet(walk, tmp_path):
    for name, part in (('a.extxyz', walk[:30]), ('b.extxyz', walk[25:40])):
        write(tmp_path / name, structures(part))
    files = [tmp_path / 'a.extxyz', tmp_path / 'b.extxyz']
    found = convert_trajectory(files, tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, every=10))
    assert found.repeated == 5 and len(found.time_fs) == 40 and found.notes == ()


def test_frames_that_are_missing_are_said(walk, tmp_path):
    (tmp_path / 'XDATCAR').write_text(numbered([1, 2, 3, 7, 8, 20], walk[:6] * 0 + walk[0] + 0.01 * walk[:6]))
    found = convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, every=5))
    assert str(found).endswith('; frames are missing from 20 to 60 fs and at 1 more places')
    path = lammps_dump(tmp_path / 'a.dump', walk[:5], steps=[0, 10, 20, 50, 60])
    found = convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))
    assert str(found).endswith('; frames are missing from 40 to 100 fs')
    with pytest.raises(InputError, match='frames are not equally spaced in time.*60 fs where 20 .*3 frames.*--frames'):
        get_analysis('msd')([tmp_path / 'read.h5'])


def test_a_row_of_a_dump_with_too_many_columns_is_refused(walk, tmp_path):
    path = lammps_dump(tmp_path / 'a.dump', walk[:3])
    lines = path.read_text().splitlines()
    lines[-4] += ' 7'
    path.write_text('\n'.join(lines) + '\n')
    with pytest.raises(InputError, match='frame 2: .*rows that do not hold the 5 columns'):
        convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))


def test_times_of_an_unknown_unit_are_said_not_to_be_read(walk, tmp_path):
    frames = structures(walk[:4])
    for atoms, time in zip(frames, (0, 1, 2, 7)):
        atoms.info['Time'] = time
    write(tmp_path / 'a.extxyz', frames)
    found = convert_trajectory([tmp_path / 'a.extxyz'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, every=5))
    assert found.notes == ('Time of its comment lines is not read, as its unit is not known',)


def test_an_xdatcar_has_the_times_of_the_incar_beside_it(walk, tmp_path):
    (tmp_path / 'XDATCAR').write_text(xdatcar(walk[:5]))
    (tmp_path / 'INCAR').write_text('IBRION = 0 ; POTIM= 1.5 # fs\n NBLOCK =4\n! POTIM = 3\n')
    found = convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5')
    assert found.time_fs.tolist() == [0, 6, 12, 18, 24]
    assert 'times of the INCAR beside it (POTIM 1.5 fs, a frame in 4 steps)' in str(found)
    found = convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, every=10))
    assert found.time_fs.tolist() == [0, 20, 40, 60, 80] and found.notes == ()
    (tmp_path / 'INCAR').write_text('IBRION = 2\nPOTIM = 0.5\n')
    with pytest.raises(InputError, match='holds no times; give --timestep, and --every'):
        convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5')


def test_an_xdatcar_without_elements_takes_them_from_the_user(walk, tmp_path):
    (tmp_path / 'XDATCAR').write_text(xdatcar(walk[:4]).replace('Li S\n', ''))
    with pytest.raises(InputError, match='which elements 1, 2 are is not known; name them, such as --elements Li,P,S'):
        convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2))
    settings = ReadingSettings(timestep_fs=2, elements='Li,S')
    assert list(convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5', settings).atoms.symbols) == SYMBOLS
    (tmp_path / 'XDATCAR').write_text('  14  14  1\n 0.7E+01 0.9E-09 0.2E-14\n 300.0\n CAR\n title\n\n 0.1 0.2 0.3\n')
    with pytest.raises(InputError, match='is of VASP 4, which writes no cell and no elements'):
        convert_trajectory([tmp_path / 'XDATCAR'], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2))


def foreign_h5md(path, walk, *, group='all', position=None, unit='Angstrom', time=1.0, time_unit='fs', image=None,
                 boundary=('periodic',) * 3, edges=None, species=(3,) * 8 + (16,) * 6, scalar_time=False):  # fmt: skip
    """H5MD as other programs may write it; what is ``None`` is left out."""
    with h5py.File(path, 'w') as file:
        file.create_group('h5md').attrs['version'] = np.array([1, 1], np.int32)
        particles = file.create_group(f'particles/{group}')
        for name, value in (('position', walk if position is None else position), ('image', image)):
            if value is None:
                continue
            series = particles.create_group(name)
            series['step'] = EVERY if scalar_time else np.arange(FRAMES) * EVERY
            if time is not None:
                spacing = EVERY * TIMESTEP_FS * time
                series['time'] = spacing if scalar_time else np.arange(FRAMES) * spacing
                series['time'].attrs['unit'] = time_unit
            series['value'] = value
            if name == 'position' and unit:
                series['value'].attrs['unit'] = unit
        box = particles.create_group('box')
        box.attrs['dimension'] = 3
        if boundary is not None:
            box.attrs['boundary'] = boundary
        if edges is None:
            box['edges/value'] = np.tile(CELL * (0.1 if unit == 'nm' else 1.0), (FRAMES, 1, 1))
        else:
            box['edges'] = edges
        if species is not None:
            particles['species'] = species
    return path


@pytest.mark.parametrize(
    'change',
    [
        {'time': 1e-3, 'time_unit': 'ps'},
        {'time': 1e-3, 'time_unit': b'ps', 'scalar_time': True},
        {'unit': 'nm'},
        {'image': True},
        {'position': 'wrapped'},
        {'boundary': np.array([b'periodic'] * 3)},
        {'boundary': None},
        {'edges': CELL},
        {'group': 'trajectory'},
        {'species': np.array([0] * 8 + [1] * 6, h5py.enum_dtype({'Li': 0, 'S': 1}, basetype='i'))},
    ],
    ids=str,
)
def test_h5md_of_other_programs_is_read_as_the_format_says(change, walk, tmp_path):
    if change.get('unit') == 'nm':
        change = {**change, 'position': walk / 10}
    if 'image' in change:
        inside = wrapped(walk)
        change = {'position': inside, 'image': np.round((walk - inside) @ np.linalg.inv(CELL)).astype(np.int32)}
    if isinstance(change.get('position'), str):
        change = {'position': wrapped(walk)}
    if 'species' in change:
        change = {'species': change['species'].astype(h5py.enum_dtype({'Li': 0, 'S': 1}, basetype='i'))}
    path = foreign_h5md(tmp_path / 'other.h5', walk, **change)
    convert_trajectory([path], tmp_path / 'read.h5')
    with Trajectory(tmp_path / 'read.h5') as found:
        assert found.symbols == SYMBOLS and found.pbc.all()
        np.testing.assert_allclose(found.time_fs, np.arange(FRAMES) * EVERY * TIMESTEP_FS)
        np.testing.assert_allclose(found.positions() - found.positions(0, 1), walk - walk[0], atol=1e-5)
        np.testing.assert_allclose(found.cells(FRAMES - 1), CELL[None])


def test_a_box_without_a_unit_has_that_of_positions_and_a_word(walk, tmp_path):
    path = foreign_h5md(tmp_path / 'other.h5', walk / 10, unit='nm')
    found = convert_trajectory([path], tmp_path / 'read.h5')
    assert str(found).endswith('; its box states no unit, read in that of positions (nm)')


@pytest.mark.parametrize(
    ('change', 'given', 'match'),
    [
        ({'species': None}, {'elements': 'Li8S6'}, 'does not name its 14 atoms; give --topology'),
        ({'time': None}, {'timestep_fs': TIMESTEP_FS}, 'holds no times; give --timestep'),
        ({'time_unit': 'lj'}, {}, "states times in 'lj'"),
        ({'unit': ''}, {'length_unit': 'Angstrom'}, 'states no unit of positions; give --length-unit'),
        ({'unit': 'lj'}, {}, "states lengths in 'lj'"),
        ({'species': (1,) * 8 + (2,) * 6}, {'elements': 'Li,S'}, 'which elements 1, 2 are is not known'),
        ({'edges': np.zeros(3)}, {}, 'its cell is flat'),
    ],
)
def test_what_h5md_of_other_programs_does_not_say_is_asked_for(change, given, match, walk, tmp_path):
    path = foreign_h5md(tmp_path / 'other.h5', walk, **change)
    with pytest.raises(InputError, match=match) as refused:
        convert_trajectory([path], tmp_path / 'read.h5')
    assert str(path) in str(refused.value)
    if given:
        convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(**given))
        with Trajectory(tmp_path / 'read.h5') as found:
            assert found.symbols == SYMBOLS
            np.testing.assert_allclose(found.positions(), walk, atol=1e-5)


def test_h5md_of_mdanalysis_is_read(walk, tmp_path):
    universe = MDAnalysis.Universe.empty(len(SYMBOLS), trajectory=True)
    units = {'timeunit': 'ps', 'lengthunit': 'nm'}
    with MDAnalysis.Writer(str(tmp_path / 'a.h5md'), len(SYMBOLS), velocities=False, forces=False, **units) as writer:
        for number, positions in enumerate(walk):
            universe.atoms.positions, universe.dimensions = positions, Atoms(cell=CELL).cell.cellpar()
            universe.trajectory.ts.time = number * 0.02
            writer.write(universe.atoms)
    convert_trajectory([tmp_path / 'a.h5md'], tmp_path / 'read.h5', ReadingSettings(elements='Li8S6'))
    with Trajectory(tmp_path / 'read.h5') as found:
        np.testing.assert_allclose(found.time_fs, 20.0 * np.arange(FRAMES))
        np.testing.assert_allclose(found.positions(), walk, atol=1e-5)


def test_h5md_of_other_programs_is_never_read_as_our_own(walk, tmp_path):
    path = foreign_h5md(tmp_path / 'other.h5', walk, time_unit='ps')
    with pytest.raises(InputError, match='H5MD of another program; convert it with "ufpnmr convert-trajectory'):
        Trajectory(path)


def run(monkeypatch, capsys, group, *arguments):
    """Status, stdout and stderr of a command."""
    monkeypatch.setattr('sys.argv', ['ufpnmr', *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run_group(group, 'ufpnmr')
    return ended.value.code, *capsys.readouterr()


def damaged(kind, walk, folder):
    """A broken file, and what shall be said of it."""
    frames = structures(walk[:20])
    dump = lammps_dump(folder / 'run.dump', walk[:20]).read_text()
    path = folder / 'mein Lauf Ä.dump'
    if kind == 'cut dump':
        path.write_text(dump[: int(0.72 * len(dump))])
        return path, r'frame 14: cannot be read \(ends within a frame\); give --frames 14'
    if kind == 'columns':
        path.write_text(dump.replace('\n5 1 ', '\n5 ', 1))
        return path, 'frame 0: cannot be read'
    if kind == 'NaN':
        lines = dump.splitlines()
        row = next(n for n, line in enumerate(lines) if n > 60 and line.startswith('4 1 '))
        lines[row] = '4 1 nan 0 0'
        path.write_text('\n'.join(lines) + '\n')
        return path, r'frame 2: a position is NaN or infinite'
    if kind == 'other elements':
        frames[6].symbols[2] = 'Na'
        path = folder / 'run.extxyz'
        write(path, frames)
        return path, 'frame 6: its atoms are other elements than in the first frame'
    if kind == 'fewer atoms':
        path = folder / 'run.extxyz'
        write(path, [*frames[:6], frames[6][:-1]])
        return path, 'frame 6: has 13 atoms, the first frame has 14'
    if kind in ('cut dcd', 'cut xtc', 'cut extxyz', 'cut xdatcar', 'cut traj', 'cut nc'):
        path, _ = written(kind[4:], walk[:20], folder)
        content = path.read_bytes()
        if path.suffix == '.gz':
            content = gzip.compress(gzip.decompress(content)[:-100])
            path.write_bytes(content)
        else:
            path.write_bytes(content[: -max(len(content) // 60, 60)])
        return path, r'(frame \d+: )?cannot be read'
    if kind == 'flipped bytes':
        path = folder / 'run.dump.gz'
        content = bytearray(gzip.compress(dump.encode()))
        content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
        path.write_bytes(content)
        return path, r'frame \d+: cannot be read'
    if kind == 'empty':
        path.write_text('')
        return path, 'the trajectory is empty'
    if kind == 'no frame':
        path.write_text('\n\n')
        return path, 'holds no frame'
    if kind == 'folder':
        path.mkdir()
        return path, 'not a regular file'
    if kind == 'bytes':
        path.write_bytes(bytes(range(256)) * 9)
        return path, 'frame 0: cannot be read'
    if kind == 'missing':
        return path, 'no such trajectory'
    path = folder / 'run.pickle'
    path.write_text('what?')
    return path, 'no trajectory of another program that is read by its name: LAMMPS dump, '


@pytest.mark.parametrize(
    'kind',
    ['cut dump', 'cut dcd', 'cut xtc', 'cut extxyz', 'cut xdatcar', 'cut traj', 'cut nc', 'columns', 'NaN',
     'other elements', 'fewer atoms', 'flipped bytes', 'empty', 'no frame', 'folder', 'bytes', 'missing', 'unknown'],
)  # fmt: skip
def test_a_broken_file_gives_one_line_and_leaves_nothing(kind, walk, tmp_path, monkeypatch, capsys):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'out').mkdir()
    path, match = damaged(kind, walk, tmp_path / 'in')
    topology = ['--topology', tmp_path / 'in' / 'start.extxyz'] if 'start.extxyz' in os.listdir(tmp_path / 'in') else []
    elements = [] if topology else ['--elements', 'Li,S']
    status, out, err = run(
        monkeypatch, capsys, command, path, '-o', tmp_path / 'out' / 'a.h5', '--timestep', '2', *topology, *elements
    )
    assert (status, out, err.count('\n')) == (2, '', 1), err
    assert str(path) in err
    assert re.search(match, err), err
    assert os.listdir(tmp_path / 'out') == []
    remedy = err.partition('--frames ')[2].split()
    if kind == 'cut dump':  # what is said to help does
        assert remedy[0] == '14'
        whole = [path, '-o', tmp_path / 'out' / 'a.h5', '--timestep', '2', '--elements', 'Li,S', '--frames', '14']
        status, out, _ = run(monkeypatch, capsys, command, *whole)
        assert status == 0 and 'Li8S6, 14 frames' in out


@pytest.mark.skipif(os.geteuid() == 0, reason='nothing is closed to root')
def test_a_file_that_may_not_be_read_is_said_to_be(walk, tmp_path):
    path = lammps_dump(tmp_path / 'a.dump', walk)
    path.chmod(0)
    with pytest.raises(InputError, match='cannot be read; check its permissions'):
        convert_trajectory([path], tmp_path / 'a.h5')


def test_an_analysis_takes_a_foreign_file_and_says_what_it_did(walk, own, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('TMPDIR', str(tmp_path / 'scratch'))
    (tmp_path / 'scratch').mkdir()
    monkeypatch.setattr('tempfile.tempdir', None)
    path = lammps_dump(tmp_path / 'run.dump', walk)
    status, out, err = run(
        monkeypatch, capsys, analyse, 'msd', path, '--timestep', 2, '--elements', 'Li,S', '--json', tmp_path / 'a.json'
    )
    assert status == 0 and 'D (cm²/s)' in out
    assert err == (
        f'{path}: Li8S6, 160 frames, one in 20 fs, positions unwrapped by nearest images; '
        'converted into a temporary file\n'
    )
    assert os.listdir(tmp_path / 'scratch') == []
    plain = get_analysis('msd')(own).to_dict()
    found = json.loads((tmp_path / 'a.json').read_text())
    assert found['diffusion_coefficient_cm2_per_s'] == pytest.approx(plain['diffusion_coefficient_cm2_per_s'], rel=1e-5)
    status, _, err = run(
        monkeypatch, capsys, analyse, 'msd', path, '--timestep', 2, '--elements', 'Li,S', '--species', 'K'
    )
    assert status == 2 and f'error: {path}: holds no K' in err and 'scratch' not in err
    status, _, err = run(monkeypatch, capsys, analyse, 'msd', own, '--timestep', 2)
    assert status == 2 and 'timestep_fs is for trajectories of other programs' in err


def test_efg_tensors_in_extended_xyz_are_correlated(walk, tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(5)
    frames = structures(walk)
    tensors = np.full((FRAMES, len(SYMBOLS), 3, 3), np.nan)
    raw = rng.normal(0, 0.01, (FRAMES, 8, 3, 3))
    tensors[:, :8] = raw + raw.swapaxes(2, 3) - 2 / 3 * np.trace(raw, axis1=2, axis2=3)[..., None, None] * np.eye(3)
    for atoms, tensor in zip(frames, tensors):
        atoms.arrays['efg'] = tensor.reshape(-1, 9)
    write(tmp_path / 'efg.extxyz', frames)
    convert_trajectory([tmp_path / 'efg.extxyz'], tmp_path / 'efg.h5', ReadingSettings(timestep_fs=20))
    with Trajectory(tmp_path / 'efg.h5') as found:
        np.testing.assert_allclose(found.efg().tensors, tensors[:, :8], atol=1e-7)
        assert found.efg().species == 'Li'


def test_cp2k_gives_times_in_the_comment_and_cells_beside(walk, tmp_path):
    write_cp2k(walk, tmp_path)
    (tmp_path / 'run-1.cell').rename(tmp_path / 'kept')
    with pytest.raises(InputError, match='run-pos-1.xyz, frame 0: holds no cell; give --cell'):
        convert_trajectory([tmp_path / 'run-pos-1.xyz'], tmp_path / 'read.h5')
    (tmp_path / 'kept').rename(tmp_path / 'run-1.cell')
    convert_trajectory([tmp_path / 'run-pos-1.xyz'], tmp_path / 'read.h5')
    with Trajectory(tmp_path / 'read.h5') as found:
        np.testing.assert_allclose(found.positions(), walk, atol=1e-5)
        np.testing.assert_allclose(found.cells(), np.tile(CELL, (FRAMES, 1, 1)))
        np.testing.assert_allclose(found.time_fs, TIMESTEP_FS * EVERY * np.arange(FRAMES))


@pytest.mark.parametrize(('angle', 'refused'), [(0.003, False), (0.4, True)])
def test_a_dcd_takes_the_orientation_of_its_cell_from_elsewhere(angle, refused, walk, tmp_path):
    path, given = written('dcd', walk, tmp_path)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    universe = MDAnalysis.Universe.empty(len(SYMBOLS), trajectory=True)
    with MDAnalysis.Writer(str(path), len(SYMBOLS)) as writer:
        for positions in walk:
            universe.atoms.positions = wrapped(positions) @ turn
            universe.dimensions = Atoms(cell=CELL).cell.cellpar()
            writer.write(universe.atoms)
    write(given['topology'], Atoms(SYMBOLS, walk[0] @ turn, cell=CELL @ turn, pbc=True))
    if refused:
        with pytest.raises(InputError, match='which in .*start.extxyz does not lie along x; give its nine components'):
            convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(**given))
        given['cell'] = tuple((CELL @ turn).ravel())
    convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(**given))
    with Trajectory(tmp_path / 'read.h5') as found:
        np.testing.assert_allclose(found.positions() - found.positions(0, 1), (walk - walk[0]) @ turn, atol=5e-5)
        np.testing.assert_allclose(found.cells(5, 6)[0], CELL @ turn, atol=1e-5)


def test_gro_files_and_names_say_which_atoms_there_are(walk, tmp_path):
    path, _ = written('xtc', walk, tmp_path)
    write_gro(walk, tmp_path / 'run.gro')
    found = convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(topology=str(tmp_path / 'run.gro')))
    assert list(found.atoms.symbols) == SYMBOLS


def test_formats_of_mdanalysis_say_how_to_install_it(walk, tmp_path, monkeypatch):
    path, given = written('dcd', walk, tmp_path)
    monkeypatch.setitem(sys.modules, 'MDAnalysis.coordinates.DCD', None)
    with pytest.raises(InputError, match=r"pip install 'aiida-ufpnmr\[trajectories\]'"):
        convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(**given))


def test_memory_does_not_grow_with_the_trajectory(tmp_path):
    peaks = []
    for frames in (50, 400):
        walk = np.tile(np.random.default_rng(0).random((1, len(SYMBOLS), 3)) @ CELL, (frames, 1, 1))
        walk += 1e-3 * np.arange(frames)[:, None, None]
        path = lammps_dump(tmp_path / 'a.dump', walk)
        tracemalloc.start()
        convert_trajectory([path], tmp_path / 'read.h5', ReadingSettings(timestep_fs=2, elements='Li,S'))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert 0 < peaks[1] < peaks[0] + 1e6


@needs('analysis')
def test_a_dcd_with_its_data_file_has_the_displacements_of_a_plain_sum(tmp_path):
    folder = FOLDER / 'analysis'
    settings = ReadingSettings(topology=str(folder / 'kinisi_example_LAMMPS.data'), elements='Li,S', timestep_fs=1.0)
    convert_trajectory([folder / 'kinisi_example_LAMMPS.dcd'], tmp_path / 'a.h5', settings)
    reader = MDAnalysis.coordinates.DCD.DCDReader(str(folder / 'kinisi_example_LAMMPS.dcd'))
    plain = np.array([frame.positions for frame in reader], float)
    step = np.diff(plain, axis=0)
    length = float(reader.ts.dimensions[0])
    plain[1:] = plain[0] + np.cumsum(step - length * np.round(step / length), axis=0)
    with Trajectory(tmp_path / 'a.h5') as found:
        assert found.symbols.count('Li') == 204
        np.testing.assert_allclose(found.positions(), plain, atol=2e-5)


@needs('analysis')
def test_li_hops_in_an_argyrodite_run_of_vasp(tmp_path):
    path = FOLDER / 'analysis' / 'Li6PS5Cl_0p_XDATCAR.gz'
    with own_files([path], ReadingSettings(timestep_fs=2, every=50)) as (files, lines):
        msd, hops = get_analysis('msd')(files), get_analysis('hops')(files)
        assert '140 frames, one in 100 fs' in lines[0]
        with Trajectory(files[0]) as run:
            positions = run.positions()
    with gzip.open(path, 'rb') as source, open(tmp_path / 'XDATCAR', 'wb') as target:
        shutil.copyfileobj(source, target)
    frames = read(tmp_path / 'XDATCAR', index=':')  # by ASE
    plain, cell = np.array([atoms.positions for atoms in frames]), frames[0].cell.array
    step = np.diff(plain @ np.linalg.inv(cell), axis=0)
    plain[1:] = plain[0] + np.cumsum(step - np.round(step), axis=0) @ cell
    np.testing.assert_allclose(positions, plain, atol=1e-5)
    assert msd.source['ions'] == hops.source['ions'] == 192
    assert hops.to_dict()['hops'] > 100


@needs('analysis')
def test_arrays_and_displacements_of_sodium_thiophosphate_are_read(tmp_path):
    folder = FOLDER / 'analysis'
    topology = str(FOLDER / 'structures' / 'cNa3PS4.cif')
    given = {'timestep_fs': 2, 'every': 10, 'topology': topology}
    with pytest.raises(InputError, match='give --fractional'):
        convert_trajectory([folder / 'cNa3PS4_trajectories.npy'], tmp_path / 'a.h5', ReadingSettings(**given))
    found = convert_trajectory(
        [folder / 'cNa3PS4_trajectories.npy'], tmp_path / 'a.h5', ReadingSettings(fractional=True, **given)
    )
    assert found.atoms.symbols.formula.count() == {'Na': 48, 'P': 16, 'S': 64}
    convert_trajectory([folder / 'cNa3PS4_pda.json'], tmp_path / 'b.h5')
    displacements = np.array(json.loads((folder / 'cNa3PS4_pda.json').read_text())['displacements'])
    with Trajectory(tmp_path / 'b.h5') as run:
        np.testing.assert_allclose(run.positions() - run.positions(0, 1), displacements.swapaxes(0, 1), atol=1e-5)
        np.testing.assert_array_equal(run.time_fs, 20.0 * np.arange(100))


@needs('analysis')
def test_sodium_diffuses_in_any_file_of_the_same_run_as_a_plain_sum_says(tmp_path):
    path = FOLDER / 'analysis' / 'cNa3PS4_pda.json'
    with own_files([path]) as (files, _):
        msd = get_analysis('msd')(files, species='Na', reference='none')
        hops = get_analysis('hops')(files, species='Na', reference='none', residence_ps=0.2)
    record = json.loads(path.read_text())
    assert record['specie'] == 'Na' and msd.source['ions'] == 48
    spacing_ps = record['step_skip'] * record['time_step'] * 1e-3
    assert msd.source['frame_spacing_ps'] == pytest.approx(spacing_ps)
    na = np.array(record['displacements'])[:48].swapaxes(0, 1)
    for lag in (1, 5, 20):
        plain = ((na[lag:] - na[:-lag]) ** 2).sum(axis=-1).mean()
        row = int(np.abs(msd.lag_ps - lag * spacing_ps).argmin())
        assert msd.lag_ps[row] == pytest.approx(lag * spacing_ps)
        assert msd.msd_angstrom2[row] == pytest.approx(plain, rel=1e-5)
    moved = np.linalg.norm(na[-10:].mean(axis=0) - na[:10].mean(axis=0), axis=1)
    assert hops.source['ions'] == 48 and hops.to_dict()['hops'] >= (moved > 3).sum() > 0


@needs('analysis')
def test_sodium_that_stays_at_its_sites_does_not_hop(tmp_path):
    path, topology = FOLDER / 'analysis' / 'cNa3PS4_trajectories.npy', FOLDER / 'structures' / 'cNa3PS4.cif'
    settings = ReadingSettings(timestep_fs=2, every=10, topology=str(topology), fractional=True)
    with own_files([path], settings) as (files, _):
        found = get_analysis('hops')(files, species='Na')
    assert (found.source['ions'], found.to_dict()['hops']) == (48, 0)  # none moves by more than 1.5 Å on average


def test_the_commands_of_the_how_to_page_work(walk, tmp_path, monkeypatch, capsys, example_data):
    page = Path(__file__).parents[2] / 'docs' / 'source' / 'howto' / 'other_trajectories.rst'
    commands = [line.split() for line in page.read_text().splitlines() if line.startswith('   ufpnmr ')]
    assert len(commands) == 11
    monkeypatch.chdir(tmp_path)
    for kind in ('lammpstrj', 'xtc', 'xdatcar', 'dcd'):
        written(kind, walk, tmp_path)
    write('run.data', structures(walk[:1])[0], format='lammps-data', masses=True, specorder=['Li', 'S'])
    write_gro(walk, tmp_path / 'run.gro')
    write_cp2k(walk, tmp_path)
    text = Path('run.lammpstrj').read_text()
    Path('cut.lammpstrj').write_text(text[:-300])
    lammps_dump(tmp_path / 'part-1.lammpstrj', walk[:90], steps=EVERY * np.arange(90))
    lammps_dump(tmp_path / 'part-2.lammpstrj', walk[85:], steps=EVERY * np.arange(85, FRAMES))
    small = {'cutoff': 4.5, 'n_max': 4, 'l_max': 3, 'mixed_channels': 5, 'folds': 3}
    fit_efg(read_dataset(example_data).subset(range(0, 60, 6)), 'Li', **small).save('efg-model.h5')
    for command_line in commands:
        status, out, err = run(monkeypatch, capsys, ufpnmr, *command_line[1:])
        assert status == 0 and out, (command_line, err)


def test_frames_of_one_step_are_refused_and_two_restarts_from_one_step_are_not(walk, tmp_path):
    same = lammps_dump(tmp_path / 'same.lammpstrj', walk[:9], steps=[0] * 9)
    settings = ReadingSettings(timestep_fs=TIMESTEP_FS, elements='Li,S')
    with pytest.raises(InputError, match='frame 2: a third frame at 0 fs, which no restart makes'):
        convert_trajectory([same], tmp_path / 'run.h5', settings)
    assert not (tmp_path / 'run.h5').exists()
    order = [0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4]
    again = lammps_dump(tmp_path / 'again.lammpstrj', walk[order], steps=EVERY * np.array(order))
    assert convert_trajectory([again], tmp_path / 'run.h5', settings).repeated == 6
