"""Claims about EFG tensors and NMR parameters."""

import numpy as np
import pytest
from reference_data import FOLDER, needs
from scipy.spatial.transform import Rotation

from aiida_ufpnmr.engine.dft import read_magres
from aiida_ufpnmr.engine.efg.isotopes import Isotope, get_isotope
from aiida_ufpnmr.engine.efg.tensors import (
    asymmetry,
    euler_angles,
    from_irreps,
    orientation_overlap,
    principal_frame,
    principal_values,
    quadrupolar_coupling,
    quadrupolar_frequency,
    quaternions,
    to_irreps,
    well_defined_frame,
)
from aiida_ufpnmr.engine.errors import InputError

#: Rounding of a few dozen operations.
EXACT = 1e-12

#: Mass numbers that Soprano knows.
NUCLEI = {'H': 2, 'C': 13, 'O': 17, 'Na': 23, 'Cl': 35}


@pytest.fixture
def tensors():
    v = np.random.default_rng(1).normal(size=(200, 3, 3))
    v = v + v.swapaxes(1, 2)
    return 0.01 * (v - np.trace(v, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3)


def axial(value, eta=0.0):
    return np.diag([-value * (1 - eta) / 2, -value * (1 + eta) / 2, value])


def test_irreps_go_to_cartesian_and_back_and_keep_the_double_dot_product(tensors):
    components = to_irreps(tensors)
    np.testing.assert_allclose(from_irreps(components), tensors, atol=EXACT)
    np.testing.assert_allclose(
        components[0] @ components[1], np.tensordot(tensors[0], tensors[1]), rtol=EXACT, atol=1e-16
    )


def test_irreps_are_ordered_as_xy_yz_zz_xz_xx():
    b = np.array([0.2, -0.5, 0.7])
    x, y, z = b / np.linalg.norm(b)
    harmonics = np.array([x * y, y * z, (3 * z * z - 1) / np.sqrt(12), x * z, (x * x - y * y) / 2]) * np.sqrt(2)
    np.testing.assert_allclose(to_irreps(np.outer([x, y, z], [x, y, z])), harmonics, atol=EXACT)


def test_irreps_see_no_trace():
    np.testing.assert_allclose(to_irreps(np.eye(3)), 0, atol=EXACT)


def test_principal_values_are_ordered_and_axes_diagonalise_right_handed(tensors):
    values, axes = principal_frame(tensors)
    assert (np.diff(np.abs(values), axis=1) >= 0).all()
    np.testing.assert_allclose(axes @ (values[:, :, None] * axes.swapaxes(1, 2)), tensors, atol=EXACT)
    np.testing.assert_allclose(np.linalg.det(axes), 1, rtol=EXACT)


def test_parameters_agree_with_soprano(tensors):
    soprano = pytest.importorskip('soprano.nmr')
    for v in tensors[:20]:
        theirs = soprano.ElectricFieldGradient(v, species='7Li')
        np.testing.assert_allclose(asymmetry(v), theirs.eta, rtol=1e-9)
        # the factor to MHz has seven digits here, all those of CODATA there
        np.testing.assert_allclose(quadrupolar_coupling(v, '7Li') * 1e3, theirs.Cq, rtol=1e-6)


@needs('castep_magres')
@pytest.mark.parametrize('name', ['ethanol', 'nacl', 'magresview_test_efg'])
def test_parameters_of_castep_files_agree_with_soprano(name):
    soprano = pytest.importorskip('soprano.nmr')
    atoms = read_magres(FOLDER / 'castep_magres' / f'{name}.magres')
    compared = 0
    for symbol, v in zip(atoms.symbols, atoms.arrays['efg']):
        # below, the tensors are rounding of the file
        if abs(principal_values(v)[2]) < 1e-6:
            continue
        compared += 1
        # one moment for both: the tables are of different years, and carbon has none
        isotope = Isotope('made up', 1.5, 100.0)
        theirs = soprano.ElectricFieldGradient(v, species=f'{NUCLEI[symbol]}{symbol}', quadrupole_moment=100.0)
        np.testing.assert_allclose(asymmetry(v), theirs.eta, rtol=0, atol=1e-9)
        np.testing.assert_allclose(principal_values(v)[2], theirs.Vzz, rtol=1e-9)
        np.testing.assert_allclose(quadrupolar_coupling(v, isotope) * 1e3, theirs.Cq, rtol=1e-6)
    assert compared == {'ethanol': 9, 'nacl': 0, 'magresview_test_efg': 2}[name]


@needs('castep_magres')
def test_euler_angles_of_ethanol_are_those_of_tensorview():
    folder = FOLDER / 'castep_magres'
    angles = euler_angles(read_magres(folder / 'ethanol.magres').arrays['efg'])
    np.testing.assert_allclose(angles, np.loadtxt(folder / 'ethanol_efg_eulers.dat'), atol=1e-7)


@pytest.mark.parametrize('convention', ['zyz', 'zxz'])
@pytest.mark.parametrize('passive', [False, True])
def test_euler_angles_turn_the_laboratory_into_the_frame(tensors, convention, passive):
    along_z = np.array([np.diag([1.0, 2.0, -3.0]), np.diag([-3.0, 1.0, 2.0])])
    tensors = np.concatenate([tensors, along_z])
    angles = euler_angles(tensors, convention, passive)
    turns = Rotation.from_euler(convention.upper(), angles, degrees=True).as_matrix()
    if passive:
        turns = turns.swapaxes(1, 2)
    values = principal_values(tensors)
    np.testing.assert_allclose(turns @ (values[:, :, None] * turns.swapaxes(1, 2)), tensors, atol=EXACT * 100)
    assert (angles >= 0).all() and (angles <= [360, 90, 360]).all()
    assert (angles[:, 0 if passive else 2] < 180).all()


def test_unknown_conventions_of_euler_angles_are_refused():
    with pytest.raises(ValueError, match='xyz'):
        euler_angles(np.eye(3), 'xyz')


def test_lithium_coupling_is_minus_9422_khz_per_atomic_unit():
    np.testing.assert_allclose(quadrupolar_coupling(axial(1.0), 'Li'), -9422.08, atol=0.01)
    np.testing.assert_allclose(quadrupolar_coupling(axial(1.0), 'Li', signed=False), 9422.08, atol=0.01)


def test_asymmetry_is_what_the_tensor_was_made_with():
    for eta in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(asymmetry(axial(-0.02, eta)), eta, atol=EXACT)
    assert np.isnan(asymmetry(np.zeros((3, 3))))


def test_frequency_is_the_formula_with_angles(tensors):
    values, axes = principal_frame(tensors)
    field = np.array([1.0, 2.0, -3.0])  # not normalised on purpose
    x, y, z = np.einsum('nij,i->jn', axes, field / np.linalg.norm(field))
    theta, phi = np.arccos(z), np.arctan2(y, x)
    coupling, eta = quadrupolar_coupling(tensors), asymmetry(tensors)
    formula = coupling / 2 * (3 * np.cos(theta) ** 2 - 1 + eta * np.sin(theta) ** 2 * np.cos(2 * phi))
    np.testing.assert_allclose(quadrupolar_frequency(tensors, field), formula, atol=1e-9)


def test_a_tensor_that_is_missing_gives_nan_and_leaves_the_others_alone(tensors):
    some = tensors[:5].copy()
    some[2, 0, 1] = np.nan
    there = np.array([True, True, False, True, True])
    for found, whole in zip(
        (quadrupolar_coupling(some), asymmetry(some), *principal_frame(some)),
        (quadrupolar_coupling(tensors[:5]), asymmetry(tensors[:5]), *principal_frame(tensors[:5])),
    ):
        assert np.isnan(found[~there]).all()
        np.testing.assert_array_equal(found[there], whole[there])
    with pytest.raises(ValueError, match='field'):
        quadrupolar_frequency(tensors, (0, 0, 0))


def test_frequency_averages_to_zero_over_three_perpendicular_fields(tensors):
    total = sum(quadrupolar_frequency(tensors, b) for b in np.eye(3))
    np.testing.assert_allclose(total, 0, atol=1e-9)


def test_functions_take_any_leading_axes(tensors):
    block = tensors.reshape(10, 20, 3, 3)
    assert quadrupolar_coupling(block).shape == asymmetry(block).shape == quadrupolar_frequency(block).shape == (10, 20)
    assert to_irreps(block).shape == (10, 20, 5) and asymmetry(tensors[0]).shape == ()


def test_quaternions_are_those_of_scipy_also_for_half_turns():
    half_turns = Rotation.from_rotvec(np.pi * np.eye(3))
    for rotation in (Rotation.random(100, random_state=0), half_turns):
        ours, theirs = quaternions(rotation.as_matrix()), rotation.as_quat()[:, [3, 0, 1, 2]]
        np.testing.assert_allclose(np.abs((ours * theirs).sum(1)), 1, rtol=EXACT)


def test_orientation_overlap_is_the_best_over_the_signs_of_the_axes(tensors):
    first, second = tensors[:100], tensors[100:]
    best = np.zeros(100)
    a, b = principal_frame(first)[1], principal_frame(second)[1]
    for signs in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        relative = Rotation.from_matrix(a.swapaxes(1, 2) @ (b * np.array(signs)))
        best = np.maximum(best, np.abs(np.cos(relative.magnitude() / 2)))
    np.testing.assert_allclose(orientation_overlap(first, second), best, atol=1e-9)
    np.testing.assert_allclose(orientation_overlap(first, first), 1, rtol=EXACT)


def test_random_frames_pass_the_gate_of_0_9_in_14_percent_of_cases():
    rng = np.random.default_rng(0)
    rotations = Rotation.random(20000, random_state=rng).as_matrix()
    turned = rotations @ axial(0.01, 0.5) @ rotations.swapaxes(1, 2)
    # standard error of the fraction 0.0025
    assert abs((orientation_overlap(turned, axial(0.01, 0.5)) >= 0.9).mean() - 0.14) < 0.01


def test_frames_of_tiny_or_symmetric_tensors_are_flagged():
    cases = np.array([axial(0.01, 0.5), axial(1e-6, 0.5), axial(0.01, 0.98), axial(0.01, 0.01)])
    assert well_defined_frame(cases).tolist() == [True, False, False, False]


def test_isotopes_are_found_by_name_and_element_and_can_be_overridden():
    assert get_isotope('Li').name == '7Li' and get_isotope('6Li').moment_mb == -0.808
    mine = Isotope('7Li', 1.5, -80.2)
    np.testing.assert_allclose(quadrupolar_coupling(axial(1.0), mine), 2 * quadrupolar_coupling(axial(1.0), '7Li'))
    assert get_isotope('Li:-40.8') == Isotope('7Li:-40.8', 1.5, -40.8) == get_isotope('7Li:-40.8')
    assert get_isotope('8Li:31.4:2') == Isotope('8Li:31.4:2', 2.0, 31.4) and get_isotope('8Li:31.4:2').element == 'Li'
    once, twice = (quadrupolar_coupling(axial(1.0), name) for name in ('7Li', '7Li:-80.2'))
    np.testing.assert_allclose(twice, 2 * once)
    assert get_isotope(get_isotope('Li:-40.8').name) == get_isotope('Li:-40.8')


@pytest.mark.parametrize('name', ['P', '8Li', '8Li:31.4', '7Li:1:2:3', 'Xy:1:2', ''])
def test_isotopes_without_a_known_moment_are_refused(name):
    with pytest.raises(InputError, match=f"no isotope with a quadrupole moment known for '{name}'"):
        get_isotope(name)


@pytest.mark.parametrize('name', ['7Li:x', '7Li:0', '7Li:nan', '7Li:1:0.5'])
def test_moments_and_spins_that_are_none_are_refused(name):
    with pytest.raises(InputError, match=f"isotope '{name}': give a moment"):
        get_isotope(name)
