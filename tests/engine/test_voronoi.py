"""Claims about Voronoi cells: they fill space, are those of known lattices, and those of freud and Qhull."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from frames import shaken, write_frames
from scipy.spatial import ConvexHull, Voronoi

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.voronoi import cells_of

SKEW = np.array([[9.0, 0.0, 0.0], [4.0, 8.5, 0.0], [-3.0, 3.0, 9.5]])


@pytest.mark.parametrize(
    ('crystal', 'faces'),
    [
        (bulk('Cu', 'fcc', a=4.0), 12),
        (bulk('Fe', 'bcc', a=3.0), 14),
        (bulk('NaCl', 'rocksalt', a=5.6), 6),
        (bulk('Po', 'sc', a=3.3), 6),
    ],
    ids=['fcc', 'bcc', 'rock salt', 'simple cubic'],
)
def test_cells_of_crystals_have_their_volume_and_their_faces_in_the_primitive_cell_and_in_others(
    tmp_path, crystal, faces
):
    for n, atoms in enumerate((crystal, crystal.repeat((2, 3, 2)))):
        found = un.voronoi(write_frames(tmp_path / f'{n}.h5', [atoms, atoms]), species='all')
        np.testing.assert_allclose(found.volume_angstrom3, crystal.get_volume() / len(crystal), rtol=1e-9)
        for one in found.kinds.values():
            assert one.coordination_mean == faces == one.coordination_share.argmax()
            assert one.volume_std_angstrom3 < 1e-4


def test_cells_equal_those_of_qhull_and_fill_a_skew_cell():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-1, 2, (14, 3)) @ SKEW
    volume, area, start, index, _ = cells_of(positions, SKEW, np.ones(14, bool))
    assert volume.sum() == pytest.approx(np.linalg.det(SKEW), rel=1e-12)
    shifts = np.array(sorted(np.ndindex(7, 7, 7), key=lambda s: max(map(abs, np.array(s) - 3)))) - 3
    wrapped = (positions @ np.linalg.inv(SKEW) % 1) @ SKEW
    places = (wrapped[None] + (shifts @ SKEW)[:, None]).reshape(-1, 3)
    theirs = Voronoi(places)
    hulls = [ConvexHull(theirs.vertices[theirs.regions[theirs.point_region[i]]]) for i in range(14)]
    np.testing.assert_allclose(volume, [hull.volume for hull in hulls], rtol=1e-9)
    surface = [area[start[i] : start[i + 1]].sum() for i in range(14)]
    np.testing.assert_allclose(surface, [hull.area for hull in hulls], rtol=1e-9)
    # the face between two atoms is seen alike from both
    pair = np.zeros((14, 14))
    np.add.at(pair, (np.repeat(np.arange(14), np.diff(start)), index), area)
    np.testing.assert_allclose(pair, pair.T, atol=1e-9)


@pytest.mark.parametrize('rattle_angstrom', [0.0, 1e-16, 1e-15, 1e-13, 1e-9])
def test_cells_fill_crystals_in_which_rounding_decides_which_faces_there_are(rattle_angstrom):
    """More than three faces meet in a corner there; what is left of others is as small as rounding."""
    rng = np.random.default_rng(3)
    for crystal in (bulk('Mg', 'hcp', a=3.2), bulk('C', 'diamond', a=3.6), bulk('Cu', 'fcc', a=4.0, cubic=True)):
        atoms = crystal.repeat(3)
        for _ in range(5):
            positions = atoms.positions + rattle_angstrom * rng.standard_normal(atoms.positions.shape) + rng.random(3)
            volume, area, start, *_ = cells_of(positions, atoms.cell.array, np.ones(len(atoms), bool))
            np.testing.assert_allclose(volume, atoms.get_volume() / len(atoms), rtol=1e-7)
            surface = np.add.reduceat(area, start[:-1])
            np.testing.assert_allclose(surface, surface[0], rtol=1e-7)


def test_cells_of_some_atoms_are_those_that_they_have_among_all(tmp_path):
    atoms = Atoms('Li6S8', np.random.default_rng(1).uniform(0, 1, (14, 3)) @ SKEW, cell=SKEW, pbc=True)
    path = write_frames(tmp_path / 'run.h5', shaken(atoms, 5))
    everyone, some = un.voronoi(path, species='all'), un.voronoi(path)
    np.testing.assert_allclose(some.volume_angstrom3, everyone.volume_angstrom3[:6], rtol=1e-12)
    assert some.kinds['Li'].neighbours == everyone.kinds['Li'].neighbours
    assert some.kinds['Li'].volume_density.sum() * 0.25 == pytest.approx(1)
    with pytest.raises(InputError, match='holds no Na, only Li, S; choose one with --species'):
        un.voronoi(path, species='Na')


def test_one_file_and_pieces_give_the_same_bits(tmp_path):
    frames = shaken(bulk('NaCl', 'rocksalt', a=5.6, cubic=True), 9)
    (tmp_path / 'other').mkdir()
    whole = un.voronoi(write_frames(tmp_path / 'run.h5', frames), species='Na')
    pieces = un.voronoi(write_frames(tmp_path / 'other' / 'run.h5', frames, pieces=True), species='Na')
    np.testing.assert_array_equal(whole.volume_angstrom3, pieces.volume_angstrom3)
    assert whole.to_dict() == pieces.to_dict()


def test_the_same_volumes_as_freud():
    """freud holds positions in single precision."""
    freud = pytest.importorskip('freud')
    positions = np.random.default_rng(2).uniform(0, 14, (120, 3))
    cube = freud.box.Box.cube(14)
    theirs = freud.locality.Voronoi().compute((cube, cube.wrap(positions))).volumes
    np.testing.assert_allclose(cells_of(positions, 14 * np.eye(3), np.ones(120, bool))[0], theirs, rtol=1e-4)
