"""Claims about the map of ions by distance from a ligand and angle to its centre."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from frames import shaken, write_frames

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.tetrahedra import IDEAL

SKEW = np.array([[8.0, 0.0, 0.0], [2.5, 7.5, 0.0], [-2.0, 1.0, 8.5]])


def with_ions(ions: np.ndarray, cell: np.ndarray) -> Atoms:
    """PS4 with its centre at the corner of the cell, and Li."""
    places = np.vstack([np.zeros((1, 3)), 2.05 * IDEAL, ions])
    return Atoms(f'PS4Li{len(ions)}', places, cell=cell, pbc=True)


def test_an_ion_lies_where_it_was_put_seen_across_the_faces_of_a_skew_cell(tmp_path):
    sulphur, other = 2.05 * IDEAL[0], IDEAL[1]
    side = other - IDEAL[0] * (other @ IDEAL[0])
    side /= np.linalg.norm(side)
    angle = np.radians(75.0)
    ion = sulphur + 2.52 * (-np.cos(angle) * IDEAL[0] + np.sin(angle) * side)
    atoms = with_ions(ion[None] + SKEW[:1] - SKEW[2:], 3 * SKEW)
    atoms.set_cell(SKEW)
    atoms.wrap()
    found = un.distance_angle(write_frames(tmp_path / 'run.h5', [atoms]), r_max_angstrom=2.6)
    one = found.maps['P-S-Li']
    assert one.bonds == 4 and one.density.sum() * 0.05 * 2 == pytest.approx(1)
    r, phi = np.nonzero(one.density)
    assert (2.525, 75.0) in list(zip(found.r_angstrom[r].round(3), found.angle_deg[phi]))


def test_counts_are_those_of_the_definition_with_all_images(tmp_path):
    rng = np.random.default_rng(0)
    frames = shaken(with_ions(rng.uniform(-1, 2, (6, 3)) @ SKEW, SKEW), 3, 0.1)
    found = un.distance_angle(write_frames(tmp_path / 'run.h5', frames), r_max_angstrom=9.9, bin_angstrom=0.3)
    shifts = (np.array(list(np.ndindex(11, 11, 11))) - 5) @ SKEW
    counts = np.zeros((33, 90))
    for atoms in frames:
        for ligand in range(1, 5):
            bond = atoms.positions[0] - atoms.positions[ligand]
            vectors = (atoms.positions[5:, None] + shifts - atoms.positions[ligand]).reshape(-1, 3)
            r = np.linalg.norm(vectors, axis=1)
            phi = np.degrees(np.arccos(vectors @ bond / (r * np.linalg.norm(bond))))
            counts += np.histogram2d(r, phi, (0.3 * np.arange(34), np.linspace(0, 180, 91)))[0]
    np.testing.assert_allclose(found.maps['P-S-Li'].density, counts / counts.sum() / 0.6, rtol=1e-9)


def test_ions_that_are_anywhere_have_a_relative_density_of_one(tmp_path):
    cell = 12 * np.eye(3)
    frames = [with_ions(np.random.default_rng(n).uniform(0, 12, (200, 3)), cell) for n in range(40)]
    found = un.distance_angle(write_frames(tmp_path / 'run.h5', frames), bin_angstrom=1.0, angle_bins=6)
    # some thousand ions in a bin beyond 2 Å, seen by four ligands that are not independent
    np.testing.assert_allclose(found.maps['P-S-Li'].relative[2:], 1.0, atol=0.1)


def test_what_has_no_such_bond_is_refused(tmp_path):
    path = write_frames(tmp_path / 'run.h5', [bulk('NaCl', 'rocksalt', a=5.6)])
    with pytest.raises(InputError, match='holds no Li, only Cl, Na; choose one with --species'):
        un.distance_angle(path)
    with pytest.raises(InputError, match='no Cl of the first frame is bound to a centre'):
        un.distance_angle(path, species='Na', ligand='Cl')
