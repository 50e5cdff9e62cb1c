"""Claims about angles within tetrahedra: known shapes, known oscillations, and turning alone changes none."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from frames import shaken, write_frames
from scipy.spatial.transform import Rotation

import aiida_ufpnmr as un
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.structure.tetrahedra import IDEAL, are_mirrored, centred_tetrahedra, closest_rotations
from aiida_ufpnmr.engine.timeseries.low_pass import PER_CM, low_pass

TRICLINIC = np.array([[9.0, 0.0, 0.0], [3.0, 8.5, 0.0], [-2.0, 3.0, 9.5]])


def tetrahedron(turn: Rotation, cell: np.ndarray = TRICLINIC) -> Atoms:
    """PS4 at a corner of the cell, not wrapped, with a Li beside."""
    corners = turn.apply(2.05 * IDEAL)
    return Atoms('PS4Li', np.vstack([np.zeros((1, 3)), corners, [cell.sum(axis=0) / 2]]), cell=cell, pbc=True)


def breathing(wavenumber_per_cm: float, amplitude: float, step_fs: float, n_frames: int) -> list[Atoms]:
    """A PS4 whose first corner swings towards the second at one frequency."""
    frames = []
    axis = np.cross(IDEAL[0], IDEAL[1]) / np.linalg.norm(np.cross(IDEAL[0], IDEAL[1]))
    for n in range(n_frames):
        swing = amplitude * np.sin(2 * np.pi * wavenumber_per_cm / PER_CM * n * step_fs * 1e-3)
        atoms = tetrahedron(Rotation.identity())
        atoms.positions[1] = Rotation.from_rotvec(swing * axis).apply(atoms.positions[1])
        frames.append(atoms)
    return frames


def test_a_rigid_tetrahedron_that_spins_keeps_its_angles_across_the_faces_of_a_skew_cell(tmp_path):
    frames = [tetrahedron(Rotation.from_rotvec([0.02 * n, 0.05 * n, 0.0])) for n in range(64)]
    frames[0].wrap()  # written in the cell, whose images the bonds cross
    for before, after in zip(frames[:-1], frames[1:]):
        step = (after.positions - before.positions) @ np.linalg.inv(TRICLINIC)
        after.positions -= np.round(step) @ TRICLINIC
    one = un.angles(write_frames(tmp_path / 'run.h5', frames, step_fs=20.0)).kinds['PS4']
    assert one.tetrahedra == 1 and one.angle_mean_deg == pytest.approx(60) and one.angle_std_deg < 1e-4
    assert one.velocity_rms_deg_per_fs < 1e-5


@pytest.mark.parametrize(('wavenumber', 'kept'), [(2.0, True), (60.0, False)])
def test_a_swing_has_its_line_and_its_slow_part_only_below_the_filter(tmp_path, wavenumber, kept):
    n_frames, step_fs = 3336, 20.0  # 66.7 ps: four periods of 2 cm⁻¹
    frames = breathing(wavenumber, 0.05, step_fs, n_frames)
    found = un.angles(write_frames(tmp_path / 'run.h5', frames, step_fs=step_fs), resolution_per_cm=1.0)
    one = found.kinds['PS4']
    line = found.wavenumber_per_cm[one.spectrum.argmax()]
    assert line == pytest.approx(wavenumber, abs=1.1)
    angle_rms = one.angle_std_deg
    rest = np.sqrt(angle_rms**2 - one.slow_angle_std_deg**2)
    assert (rest if kept else one.slow_angle_std_deg) < 0.15 * angle_rms
    # rms velocity of one line is its rms angle times the angular frequency; angles at rest have the same mean
    assert one.velocity_rms_deg_per_fs == pytest.approx(angle_rms * 2 * np.pi * wavenumber / PER_CM * 1e-3, rel=0.02)


def test_densities_have_area_one_and_the_moments_of_the_angles(tmp_path):
    frames = shaken(tetrahedron(Rotation.random(random_state=0)), 200, 0.05)
    found = un.angles(write_frames(tmp_path / 'run.h5', frames, step_fs=20.0))
    one = found.kinds['PS4']
    assert one.angle_density.sum() == pytest.approx(1) and one.slow_angle_density.sum() == pytest.approx(1)
    assert (found.angle_deg * one.angle_density).sum() == pytest.approx(one.angle_mean_deg, abs=0.05)
    width = one.velocity_deg_per_fs[1] - one.velocity_deg_per_fs[0]
    assert one.velocity_density.sum() * width == pytest.approx(1)
    assert np.sqrt((one.velocity_deg_per_fs**2 * one.velocity_density).sum() * width) == pytest.approx(
        one.velocity_rms_deg_per_fs, rel=0.01
    )


def test_a_lattice_without_centres_has_the_tetrahedra_that_its_geometry_makes(tmp_path):
    """bcc: six for each atom; their angles are 70.5° between the short edges, twice as often 54.7°."""
    atoms = bulk('I', 'bcc', a=5.05, cubic=True).repeat(2)
    found = un.angles(write_frames(tmp_path / 'run.h5', [atoms] * 10), corner='I', edge_angstrom=5.5)
    one = found.kinds['I4']
    assert one.tetrahedra == 6 * len(atoms)
    there = {int(edge): density for edge, density in zip(found.angle_deg, one.angle_density) if density}
    assert there == pytest.approx({54: 2 / 3, 70: 1 / 3})


def test_the_filter_keeps_slow_modes_as_they_are_and_lets_no_end_run_into_the_start():
    time = 0.05 * np.arange(4000)
    ramp = 0.01 * time
    fast = np.cos(2 * np.pi * 20 / PER_CM * time)
    slow = low_pass(ramp + fast, 0.05, 5.0)
    # 20 cm⁻¹ goes, the ramp stays up to its ends, where a periodic filter would be off by half its rise
    assert np.abs(slow - ramp).max() < 0.06 * ramp.max()
    np.testing.assert_allclose(low_pass(slow, 0.05, 5.0), slow, atol=1e-12)


def test_rotations_are_those_that_were_made_whatever_the_order_of_the_corners():
    turns = Rotation.random(20, random_state=1)
    for order in ([0, 1, 2, 3], [1, 0, 2, 3], [2, 3, 1, 0]):
        corners = turns.as_matrix()[:, None] @ IDEAL[order][None, :, :, None]
        mirrored = are_mirrored(corners[:1, ..., 0].reshape(1, 4, 3))
        found = Rotation.from_matrix(closest_rotations(5.0 + corners[..., 0].reshape(20, 1, 4, 3), mirrored)[:, 0])
        relative = (found[1:] * found[:-1].inv()).as_matrix()
        np.testing.assert_allclose(relative, (turns[1:] * turns[:-1].inv()).as_matrix(), atol=1e-9)


def test_what_has_no_tetrahedra_or_is_too_short_is_refused(tmp_path):
    salt = bulk('NaCl', 'rocksalt', a=5.6)
    path = write_frames(tmp_path / 'salt.h5', [salt] * 10)
    with pytest.raises(InputError, match='no atom with bonds to four ligands'):
        un.angles(path)
    with pytest.raises(InputError, match='no four Cl are within 3 Å'):
        un.angles(path, corner='Cl', edge_angstrom=3.0)
    with pytest.raises(InputError, match='go together'):
        un.angles(path, corner='Cl')
    with pytest.raises(InputError, match='holds no I, only Cl, Na; choose one with --corner'):
        un.angles(path, corner='I', edge_angstrom=3.0)
    with pytest.raises(InputError, match='5 frames to analyse'):
        un.angles(write_frames(tmp_path / 'short.h5', [tetrahedron(Rotation.identity())] * 5))
    assert centred_tetrahedra(tetrahedron(Rotation.identity())).names.tolist() == ['PS4']
