"""Claims about the density expansion and the λ-SOAP features."""

import gzip
import itertools
import json

import numpy as np
import pytest
from ase import Atoms
from reference_data import FOLDER, needs
from scipy.integrate import quad
from scipy.special import sph_harm_y

from aiida_ufpnmr.engine.efg.descriptors import (
    Expansion,
    contraction_weights,
    coupled_pairs,
    equivariant_features,
    feature_count,
    invariant_features,
    padded_couplings,
)
from aiida_ufpnmr.engine.efg.harmonics import coupling, harmonic_constants, real_harmonics
from aiida_ufpnmr.engine.efg.kernels import contract_weights, mix_channels
from aiida_ufpnmr.engine.efg.radial import density_integrals, gto_basis, laplacian_basis, radial_scaling
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.neighbours import neighbour_list


def small_cell():
    """Li3PS4-like density in a cell that is narrower than the cut-off."""
    rng = np.random.default_rng(4)
    cell = np.array([[5.5, 0, 0], [1.0, 5.0, 0], [-0.7, 0.4, 5.8]])
    atoms = Atoms('Li3PS4', scaled_positions=rng.uniform(size=(8, 3)), cell=cell, pbc=True)
    return atoms


def expansion(**changes):
    settings = {'cutoff': 5.0, 'cutoff_width': 0.5, 'n_max': 4, 'l_max': 4, 'sigma': 0.4, 'scale': 2.5, 'exponent': 3.0}
    return Expansion(known_species=('Li', 'P', 'S'), **{**settings, **changes})


def coefficients(expansion, atoms):
    ions = np.flatnonzero(atoms.numbers == 3)
    species = expansion.species_indices(atoms.numbers)
    return expansion.coefficients(atoms.positions, atoms.cell.array, atoms.pbc, species, ions)


def harmonics(vectors, l_max):
    out = np.empty((len(vectors), (l_max + 1) ** 2))
    for vector, row in zip(vectors / np.linalg.norm(vectors, axis=1)[:, None], out):
        real_harmonics(*vector, harmonic_constants(l_max), row)
    return out


def cutoff_function(r, cutoff, width):
    """1 up to ``cutoff - width``, then a cosine down to 0."""
    x = np.clip((r - cutoff + width) / width, 0, 1)
    return 0.5 * (1 + np.cos(np.pi * x))


def test_harmonics_are_the_real_form_of_those_of_scipy():
    vectors = np.concatenate([np.random.default_rng(0).normal(size=(20, 3)), [[0, 0, 1], [0, 0, -2], [1, 0, 0]]])
    ours = harmonics(vectors, 8)
    r = np.linalg.norm(vectors, axis=1)
    theta, phi = np.arccos(vectors[:, 2] / r), np.arctan2(vectors[:, 1], vectors[:, 0])
    for l in range(9):
        for m in range(-l, l + 1):
            value = sph_harm_y(l, abs(m), theta, phi)
            real = value.real if m == 0 else np.sqrt(2) * (-1) ** m * (value.real if m > 0 else value.imag)
            np.testing.assert_allclose(ours[:, l * l + l + m], real, atol=1e-12)


def test_radial_functions_are_orthonormal():
    r = np.linspace(0, 40, 200001)
    basis = gto_basis(r, 8, 6.0)
    # the overlap matrix of eight Gaussians is ill-conditioned: 1e-8 of rounding
    np.testing.assert_allclose(np.trapezoid(basis[:, None] * basis * r**2, r), np.eye(8), atol=1e-7)


def test_bessel_functions_are_orthonormal_vanish_at_the_cutoff_and_solve_their_equation():
    r = np.linspace(0, 6, 200001)
    basis = laplacian_basis(r, 5, 4, 6.0)
    for l, functions in enumerate(basis):
        np.testing.assert_allclose(np.trapezoid(functions[:, None] * functions * r**2, r), np.eye(5), atol=1e-8)
        # eigenfunctions of the Laplacian: (r² R')' − l (l + 1) R = −k² r² R
        inner, slope = functions[:, 1:-1], np.gradient(functions, r, axis=1)
        left = np.gradient(r**2 * slope, r, axis=1)[:, 1:-1] - l * (l + 1) * inner
        square = -np.trapezoid(left * inner, r[1:-1], axis=1)
        np.testing.assert_allclose(left[:, 9::999], -square[:, None] * (r[1:-1] ** 2 * inner)[:, 9::999], atol=1e-3)
    assert np.abs(basis[:, :, -1]).max() < 1e-12


@pytest.mark.parametrize('basis', ['gto', 'laplacian'])
def test_radial_integrals_agree_with_adaptive_quadrature(basis):
    from scipy.special import spherical_in

    n_max, l_max, cutoff, sigma = 4, 3, 5.0, 0.4
    r = np.array([1.0, 2.4, 4.6])
    ours = density_integrals(r, n_max, l_max, cutoff, sigma, basis)

    def integrand(s, a, n, l):
        at = np.array([s])
        radial = gto_basis(at, n_max, cutoff) if basis == 'gto' else laplacian_basis(at, n_max, l_max, cutoff)[l]
        bessel = spherical_in(l, r[a] * s / sigma**2) * np.exp(-(s**2 + r[a] ** 2) / 2 / sigma**2)
        return s**2 * radial[n, 0] * bessel

    most = 8 if basis == 'gto' else cutoff
    for a, n, l in [(0, 0, 0), (1, 3, 2), (2, 2, 3), (1, 1, 1)]:
        integral = quad(integrand, 0, most, args=(a, n, l), epsabs=1e-12, limit=200)[0]
        np.testing.assert_allclose(ours[a, l, n], 4 * np.pi * (np.pi * sigma**2) ** -0.75 * integral, rtol=1e-8)


def test_expansion_equals_its_plain_twin_in_a_cell_narrower_than_the_cutoff():
    atoms, e = small_cell(), expansion()
    found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, e.cutoff)
    species = e.species_indices(atoms.numbers)
    twin = np.zeros((3, 25, 3, 4))
    for a in range(3):
        for pair in range(found.start[a], found.start[a + 1]):
            j = found.index[pair]
            vector = atoms.positions[j] + found.shift[pair] @ atoms.cell.array - atoms.positions[a]
            r = np.array([np.linalg.norm(vector)])
            radial = density_integrals(r, 4, 4, e.cutoff, e.sigma)[0]
            radial *= cutoff_function(r, e.cutoff, e.cutoff_width) * radial_scaling(r, e.scale, e.exponent)
            twin[a, :, species[j]] += harmonics(vector[None], 4)[0][:, None] * np.repeat(radial, [1, 3, 5, 7, 9], 0)
    ours = coefficients(e, atoms)
    assert found.start[3] > 60  # many images took part
    # the splines: fourth order in a spacing of sigma/32
    np.testing.assert_allclose(ours, twin.reshape(ours.shape), atol=1e-7 * np.abs(twin).max())


def test_expansion_equals_that_of_featomic():
    featomic = pytest.importorskip('featomic')
    atoms = small_cell()
    e = expansion(n_max=8, l_max=5, sigma=0.3)
    theirs = featomic.SphericalExpansion(
        cutoff={'radius': 5.0, 'smoothing': {'type': 'ShiftedCosine', 'width': 0.5}},
        density={
            'type': 'Gaussian',
            'width': 0.3,
            'scaling': {'type': 'Willatt2018', 'scale': 2.5, 'rate': 1.0, 'exponent': 3.0},
            'center_atom_weight': 0.0,
        },
        basis={
            'type': 'TensorProduct',
            'max_angular': 5,
            'radial': {'type': 'Gto', 'max_radial': 7},
            'spline_accuracy': 1e-10,
        },
    ).compute(atoms)
    ours = coefficients(e, atoms).reshape(3, 36, 3, 8)
    for l in range(6):
        for s, number in enumerate((3, 15, 16)):
            block = theirs.block(o3_lambda=l, center_type=3, neighbor_type=number)
            # our splines and theirs
            np.testing.assert_allclose(ours[:, l * l : (l + 1) ** 2, s], np.asarray(block.values), atol=1e-7)


def reference_expansion(name):
    """Coefficients of a system of featomic's tests, (atoms, (l_max + 1)², species, n), with the ion itself as there."""
    text = json.loads((FOLDER / 'sagpr' / 'featomic' / f'{name}-input.json').read_text())
    system, hypers = text['systems'][0], text['hyperparameters']
    cell = np.reshape(system['cell'], (3, 3))
    atoms = Atoms(system['types'], system['positions'], cell=cell, pbc=cell.any())
    known = tuple(sorted(set(atoms.symbols), key=['H', 'C', 'N', 'O'].index))
    e = Expansion(
        known_species=known,
        cutoff=hypers['cutoff']['radius'],
        cutoff_width=hypers['cutoff']['smoothing']['width'],
        n_max=hypers['basis']['radial']['max_radial'] + 1,
        l_max=hypers['basis']['max_angular'],
        sigma=hypers['density']['width'],
        scale=1.0,
        exponent=0.0,
    )
    species = e.species_indices(atoms.numbers)
    c = e.coefficients(atoms.positions, cell, atoms.pbc, species, np.arange(len(atoms)))
    c = c.reshape(len(atoms), -1, len(known), e.n_max)
    at_the_ion = density_integrals(np.zeros(1), e.n_max, e.l_max, e.cutoff, e.sigma)[0, 0] / np.sqrt(4 * np.pi)
    c[np.arange(len(atoms)), 0, species] += at_the_ion
    with gzip.open(FOLDER / 'sagpr' / 'featomic' / f'{name}.npy.gz') as handle:
        return c, np.load(handle)


@needs('sagpr')
def test_expansion_equals_the_reference_of_featomic_for_a_periodic_organic_crystal():
    ours, theirs = reference_expansion('spherical-expansion-pbc-values')
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, atol=1e-8)  # our splines


@needs('sagpr')
def test_power_spectrum_equals_the_reference_of_featomic_for_a_molecule():
    c, theirs = reference_expansion('soap-power-spectrum-values')
    blocks = []
    for a, b in itertools.combinations_with_replacement(range(c.shape[2]), 2):
        for l in range(9):
            first, second = (c[:, l * l : (l + 1) ** 2, s] for s in (a, b))
            # their sign of odd l, and √2 for the pair of species that is left out
            factor = (-1) ** l * (1 if a == b else np.sqrt(2)) / np.sqrt(2 * l + 1)
            blocks.append(factor * np.einsum('imn,imk->ink', first, second).reshape(len(c), -1))
    ours = np.concatenate(blocks, axis=1)
    np.testing.assert_allclose(ours, theirs, atol=1e-8)  # our splines
    # ours without the linear terms: the same kernel
    flat = c.reshape(*c.shape[:2], -1)
    products = invariant_features(flat)[:, flat.shape[2] :]
    norm = np.linalg.norm(np.concatenate([flat[:, 0], theirs], axis=1), axis=1)
    np.testing.assert_allclose(products @ products.T, theirs @ theirs.T / np.outer(norm, norm), atol=1e-8)


def test_lambda_soap_of_li3ps4_equals_that_of_featomic(crystal):
    """The λ = 2 features of all pairs are orthogonal transforms of one another: their kernels are equal."""
    featomic = pytest.importorskip('featomic')
    wanted = pytest.importorskip('metatensor').Labels(['o3_lambda', 'o3_sigma'], np.array([[2, 1]]))
    l_max = 4
    e = expansion(n_max=4, l_max=l_max)
    theirs = featomic.clebsch_gordan.EquivariantPowerSpectrum(
        featomic.SphericalExpansion(
            cutoff={'radius': 5.0, 'smoothing': {'type': 'ShiftedCosine', 'width': 0.5}},
            density={
                'type': 'Gaussian',
                'width': 0.4,
                'scaling': {'type': 'Willatt2018', 'scale': 2.5, 'rate': 1.0, 'exponent': 3.0},
                'center_atom_weight': 0.0,
            },
            basis={
                'type': 'TensorProduct',
                'max_angular': l_max,
                'radial': {'type': 'Gto', 'max_radial': 3},
                'spline_accuracy': 1e-10,
            },
        )
    ).compute(crystal, selected_keys=wanted, neighbors_to_properties=True)
    block = theirs.block(center_type=3)
    # pairs with l1 > l2 are left out there
    weight = np.where(block.properties['l_1'] == block.properties['l_2'], 1.0, 2.0)
    values = np.asarray(block.values)
    kernel = np.einsum('q,iMq,jNq->iMjN', weight, values, values, optimize=True)
    features = equivariant_features(coefficients(e, crystal))[:, :, e.channels :]
    ours = np.einsum('iMq,jNq->iMjN', features, features, optimize=True)
    np.testing.assert_allclose(ours, kernel, atol=1e-7 * np.abs(kernel).max())


def test_expansion_fades_smoothly_at_the_cutoff():
    e = expansion()
    distances = np.array([4.9, 4.99, 4.999, 5.0001])
    sizes = []
    for r in distances:
        atoms = Atoms('LiS', positions=[[0, 0, 0], [0, 0, r]])
        sizes.append(np.abs(coefficients(e, atoms)).max())
    # zero value and zero slope: quadratic in the distance from the cut-off
    assert sizes[3] == 0
    np.testing.assert_allclose([sizes[0] / sizes[1], sizes[1] / sizes[2]], 100, rtol=0.15)


@pytest.mark.parametrize('pair', [(1, 1), (0, 2), (2, 4), (5, 5)])
def test_couplings_are_orthonormal_and_give_an_l2_object(pair):
    c = coupling(*pair)
    np.testing.assert_allclose(np.einsum('Mab,Nab->MN', c, c), np.eye(5), atol=1e-12)
    vectors = np.random.default_rng(0).normal(size=(6, 3))
    y = harmonics(vectors, 5)
    block = lambda l: y[:, l * l : (l + 1) ** 2]  # noqa: E731
    product = np.einsum('Mab,va,vb->vM', c, block(pair[0]), block(pair[1]))
    # of one direction with itself only Y_2 of that direction can come
    ratio = product / block(2)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-9)


def test_odd_couplings_are_refused():
    with pytest.raises(ValueError, match='no coupling of 1 and 2'):
        coupling(1, 2)


def test_feature_products_give_the_kernel_over_all_pairs():
    rng = np.random.default_rng(2)
    l_max, channels = 3, 4
    c = rng.normal(size=(2, 16, channels))
    f = equivariant_features(c)
    assert f.shape == (2, 5, feature_count(l_max, channels))
    kernel = c[0, 4:9] @ c[1, 4:9].T
    for l1 in range(l_max + 1):
        for l2 in range(l_max + 1):
            if (l1 + l2) % 2 or not abs(l1 - l2) <= 2 <= l1 + l2:
                continue
            cg = coupling(l1, l2) if l1 <= l2 else coupling(l2, l1).swapaxes(1, 2)
            p = [np.einsum('Mab,ap,bq->Mpq', cg, x[l1**2 : (l1 + 1) ** 2], x[l2**2 : (l2 + 1) ** 2]) for x in c]
            kernel += np.einsum('Mpq,Npq->MN', *p)
    np.testing.assert_allclose(f[0] @ f[1].T, kernel, rtol=1e-10, atol=1e-10)


def test_contraction_equals_explicit_features_times_weights():
    rng = np.random.default_rng(3)
    e = expansion(l_max=6)
    c = coefficients(e, small_cell())
    mixing = rng.normal(size=(7, 12, 5))
    mixed = mix_channels(c, mixing)
    twin = np.concatenate([c[:, l * l : (l + 1) ** 2] @ mixing[l] for l in range(7)], axis=1)
    np.testing.assert_allclose(mixed, twin, rtol=1e-12, atol=1e-12 * np.abs(twin).max())
    weights = rng.normal(size=feature_count(6, 5))
    linear, pairs = contraction_weights(weights, 6, 5)
    ours = contract_weights(mixed, linear, coupled_pairs(6), padded_couplings(6), pairs)
    explicit = equivariant_features(mixed) @ weights
    np.testing.assert_allclose(ours, explicit, rtol=1e-12, atol=1e-12 * np.abs(explicit).max())


def test_unknown_elements_are_named():
    with pytest.raises(InputError, match='Ge.*Li, P, S'):
        expansion().species_indices(np.array([3, 32]))
