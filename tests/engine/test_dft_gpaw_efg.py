"""Claims about the EFG of charges that are known in closed form; GPAW is not needed."""

import numpy as np
import pytest
from ase.cell import Cell
from scipy.special import erfc

from aiida_ufpnmr.engine.dft import gpaw_efg

CELLS = {
    'orthorhombic': np.diag([9.0, 7.0, 8.0]),
    'hexagonal': Cell.fromcellpar([8, 8, 9, 90, 90, 120]).array,
    'triclinic': Cell.fromcellpar([8, 9, 10, 70, 82, 105]).array,
}
every_cell = pytest.mark.parametrize('cell', CELLS.values(), ids=CELLS.keys())

#: Gaussians this narrow (1/bohr²) look like points from the next atom.
NARROW = 8.0


def traceless(tensors):
    return tensors - np.trace(tensors, axis1=-2, axis2=-1)[..., None, None] / 3 * np.eye(3)


def ewald(points, charges, cell, sites):
    """Traceless second derivatives at sites of the potential of point charges and their images, but those on sites."""
    split = 0.6
    shifts = np.stack(np.meshgrid(*3 * [np.arange(-3, 4)], indexing='ij'), -1).reshape(-1, 3)
    waves = np.stack(np.meshgrid(*3 * [np.arange(-7, 8)], indexing='ij'), -1).reshape(-1, 3)
    waves = waves[waves.any(axis=1)] @ (2 * np.pi * np.linalg.inv(cell).T)
    squares = (waves**2).sum(axis=1)
    result = []
    for site in sites:
        tensor = np.zeros((3, 3))
        for point, charge in zip(points, charges):
            r = site - point + shifts @ cell
            d = np.linalg.norm(r, axis=1)
            r, d = r[d > 1e-6], d[d > 1e-6]
            gauss = 2 * split / np.pi**0.5 * np.exp(-((split * d) ** 2))
            # q'' and q'/r of erfc(split d)/d
            first = -(erfc(split * d) / d + gauss) / d
            second = 2 * (erfc(split * d) / d + gauss) / d**2 + 2 * split**2 * gauss
            unit = r / d[:, None]
            outer = unit[:, :, None] * unit[:, None, :]
            tensor += charge * (second[:, None, None] * outer + (first / d)[:, None, None] * (np.eye(3) - outer)).sum(
                axis=0
            )
            phase = np.cos(waves @ (site - point)) * np.exp(-squares / (4 * split**2)) / squares
            tensor -= charge * 4 * np.pi / abs(np.linalg.det(cell)) * np.einsum('g,gi,gj->ij', phase, waves, waves)
        result.append(tensor)
    return traceless(np.array(result))


def multipoles_of(offsets, charges):
    """Multipoles of point charges about a centre, in the order of the harmonics."""
    return gpaw_efg.real_harmonics(offsets) @ charges


@every_cell
def test_narrow_charges_act_as_the_ewald_sum_says(cell):
    rng = np.random.default_rng(0)
    fractional = np.array([[0.1, 0.2, 0.15], [0.6, 0.7, 0.2], [0.4, 0.1, 0.7]])
    charges = np.array([1.0, -1.7, 0.7])
    multipoles = np.zeros((3, 9))
    multipoles[:, 0] = charges / (4 * np.pi) ** 0.5  # a charge q is q Y_00 times a normalised radial part
    found = traceless(gpaw_efg.compensation_part(multipoles, rng.uniform(NARROW, 2 * NARROW, 3), cell, fractional))
    # the Gaussians' tails at 3.5 bohr are exp(-100); what is left is the cut-off of the sums
    assert found == pytest.approx(ewald(fractional @ cell, charges, cell, fractional @ cell), abs=2e-8)


@every_cell
def test_multipoles_act_as_the_charges_that_make_them(cell):
    """A cloud of charges much smaller than the distance to the probe: the next multipole is left, (0.05/3.5)³."""
    rng = np.random.default_rng(1)
    offsets, charges = rng.normal(size=(6, 3)), rng.normal(size=6)
    offsets *= 0.05 / np.linalg.norm(offsets, axis=1).max()
    fractional = np.array([[0.1, 0.2, 0.15], [0.6, 0.7, 0.5]])
    centre, probe = fractional @ cell
    for order, rows in ((0, slice(0, 1)), (1, slice(0, 4)), (2, slice(0, 9))):
        multipoles = np.zeros((2, 9))
        multipoles[0, rows] = multipoles_of(offsets, charges)[rows]
        found = traceless(gpaw_efg.compensation_part(multipoles, np.full(2, NARROW), cell, fractional))[1]
        expected = ewald(centre + offsets, charges, cell, [probe])[0]
        assert abs(found - expected).max() < abs(expected).max() * 5 * (0.05 / 3.5) ** (order + 1) * 5**order


@every_cell
def test_a_density_on_a_grid_acts_as_the_same_density_in_closed_form(cell):
    """Wide Gaussians, so that the grid holds all of their Fourier components: exp(-G²/4α) < 1e-12 at its edge."""
    rng = np.random.default_rng(2)
    fractional, exponents = rng.random((3, 3)), np.array([0.6, 0.7, 0.8])
    charges = np.array([1.0, 0.5, -1.5])
    shape = (40, 40, 42)
    points = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing='ij'), -1)
    density = np.zeros(shape)
    for centre, exponent, charge in zip(fractional, exponents, charges):
        for shift in np.stack(np.meshgrid(*3 * [[-1, 0, 1]], indexing='ij'), -1).reshape(-1, 3):
            squares = (((points - centre + shift) @ cell) ** 2).sum(axis=-1)
            density += charge * (exponent / np.pi) ** 1.5 * np.exp(-exponent * squares)
    multipoles = np.zeros((3, 9))
    multipoles[:, 0] = charges / (4 * np.pi) ** 0.5
    expected = gpaw_efg.compensation_part(multipoles, exponents, cell, fractional)
    assert gpaw_efg.smooth_part(density, cell, fractional) == pytest.approx(expected, abs=1e-7)


def test_a_coarse_grid_keeps_the_symmetry_of_a_hexagonal_crystal():
    """A density with the full symmetry, on a grid whose shortest vectors are ambiguous: the tensor stays axial."""
    cell, n = CELLS['hexagonal'], 6
    i, j, k = np.meshgrid(*3 * [2 * np.pi * np.arange(n) / n], indexing='ij')
    density = np.zeros((n, n, n))
    rng = np.random.default_rng(3)
    for p in range(4):
        for q in range(4):
            star = [(p, q), (-q, p + q), (-p - q, p), (-p, -q), (q, -p - q), (p + q, -p)]
            weight = rng.normal()
            density += weight * sum(np.cos(a * i + b * j + k) for a, b in star)
    (tensor,) = traceless(gpaw_efg.smooth_part(density, cell, np.zeros((1, 3))))
    assert abs(tensor[2, 2]) > 0.1
    assert tensor == pytest.approx(np.diag([-0.5, -0.5, 1]) * tensor[2, 2], abs=1e-12)


def test_harmonics_are_orthonormal():
    """On a product grid that integrates polynomials of degree 4 exactly."""
    z, weights = np.polynomial.legendre.leggauss(5)
    phi = 2 * np.pi * np.arange(8) / 8
    s = np.sqrt(1 - z**2)[:, None]
    vectors = np.stack([s * np.cos(phi), s * np.sin(phi), z[:, None] + 0 * phi], -1).reshape(-1, 3)
    values = gpaw_efg.real_harmonics(vectors)
    overlap = (values * np.repeat(weights, 8) * 2 * np.pi / 8) @ values.T
    assert overlap == pytest.approx(np.eye(9), abs=1e-12)


def test_packed_matrices_are_unpacked():
    matrix = np.arange(9.0).reshape(3, 3)
    matrix = matrix + matrix.T
    packed = (2 * matrix - np.diag(np.diag(matrix)))[np.triu_indices(3)]
    assert gpaw_efg.unpacked(packed) == pytest.approx(matrix)
