"""EFG tensors from the PAW density that GPAW has found, which GPAW itself does not compute.

Read by ``gpaw_worker.py`` in the interpreter that has GPAW: it needs numpy and GPAW and nothing of this package.
"""

import numpy as np

#: exp(-25) = 1e-11 is where the Fourier transform of a compensation charge is cut off.
GAUSSIAN_EXPONENT = 25.0
#: Reciprocal lattice vectors that are summed at a time: bounds the memory to some ten MB.
BLOCK = 8192


def efg_tensors(calculator):
    """EFG tensors from the PAW density, (n, 3, 3) in atomic units.

    V_ij = d²V/dx_i dx_j, V the electrostatic potential (of positive charge: the density of electrons counts negative),
    in the Cartesian frame of the cell. Three parts, Petrilli, Blöchl, Blaha, Schwarz, Phys. Rev. B 57, 14690 (1998):
    the smooth density, known on its grid; the compensation charges, Gaussians times real harmonics up to l = 2, whose
    Fourier transform is known in closed form and summed far beyond that grid; and on each atom the l = 2 part of the
    all-electron density, less that of the smooth density and of its own compensation charge, over r³.
    """
    density = calculator.density
    cell = density.gd.cell_cv
    fractional = np.asarray(calculator.atoms.get_scaled_positions(wrap=False))
    one_centre = [on_site(density, setup, a) for a, setup in enumerate(calculator.setups)]
    multipoles = np.array([multipole for _, multipole, _ in one_centre])
    exponents = np.array([exponent for _, _, exponent in one_centre])
    tensors = smooth_part(density.nt_sG.sum(axis=0), cell, fractional)
    tensors += compensation_part(multipoles, exponents, cell, fractional)
    tensors += np.array([tensor for tensor, _, _ in one_centre])
    tensors -= np.trace(tensors, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    return -tensors


def on_site(density, setup, a):
    """Tensor of an atom's own sphere, multipoles (9,) of its compensation charge, and the exponent of its Gaussian."""
    from gpaw.hyperfine import Y2_m, Y2_mvv, expand

    shape = setup.data.shape_function
    if shape['type'] != 'gauss':
        raise ValueError(
            'the PAW data set of {} has compensation charges of the kind {!r}; only "gauss" can be used'.format(
                setup.symbol, shape['type']
            )
        )
    exponent = 1 / shape['rc'] ** 2
    packed = density.D_asp[a].sum(axis=0)
    multipoles = np.zeros(9)
    found = packed @ setup.Delta_pL
    multipoles[: min(9, len(found))] = found[:9]
    multipoles[0] += setup.Delta0

    true, smooth = np.array(setup.data.phi_jg), np.array(setup.data.phit_jg)
    pairs = expand(unpacked(packed), setup.l_j, 2)
    difference = np.einsum('mab,ag,bg->mg', pairs, true, true) - np.einsum('mab,ag,bg->mg', pairs, smooth, smooth)
    # the integrand vanishes at r = 0, where 1/r cannot be taken
    moments = difference[:, 1:] @ (setup.rgd.dr_g[1:] / setup.rgd.r_g[1:])
    # the same integral over a normalised Gaussian of l = 2: its norm times ∫ r exp(-αr²) dr
    moments -= multipoles[4:] * 16 * exponent**3.5 / (15 * np.pi**0.5) / (2 * exponent)
    return Y2_mvv.T @ (4 * np.pi / 5 * moments * Y2_m), multipoles, exponent


def unpacked(packed):
    """The symmetric matrix whose upper triangle GPAW keeps row by row, with doubled off-diagonal elements."""
    n = int((2 * len(packed) + 0.25) ** 0.5)
    matrix = np.zeros((n, n))
    matrix[np.triu_indices(n)] = packed / 2
    return matrix + matrix.T


def smooth_part(density, cell, fractional):
    """Second derivatives at the atoms of the potential of a density on a grid, (n, 3, 3), up to their trace.

    A grid cannot tell vectors apart that differ by its own reciprocal lattice. Each Fourier coefficient goes to the
    shortest of them, in equal shares where several are shortest, which keeps the symmetry of the crystal.
    """
    shape = np.array(density.shape)
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    transform = np.fft.fftn(density) / density.size
    frequencies = [np.fft.fftfreq(n, 1 / n).astype(int) for n in shape]
    others = shape * np.stack(np.meshgrid(*3 * [[-1, 0, 1]], indexing='ij'), -1).reshape(1, -1, 3)
    tensors = np.zeros((len(fractional), 3, 3))
    for first, plane in zip(frequencies[0], transform):
        index = np.stack(np.meshgrid([first], *frequencies[1:], indexing='ij'), -1).reshape(-1, 1, 3)
        images = index + others
        squares = ((images @ reciprocal) ** 2).sum(axis=2)
        shortest = squares < squares.min(axis=1, keepdims=True) * (1 + 1e-8) + 1e-12
        shares = np.where(shortest, (plane.ravel() / shortest.sum(axis=1))[:, None], 0)
        used = shortest & half_of(images)
        tensors += curvature(images[used], shares[used], cell, fractional)
    return tensors


def compensation_part(multipoles, exponents, cell, fractional):
    """EFG of Gaussian charges at the atoms: multipoles (n, 9), exponents (n,) in 1/bohr²."""
    longest = (4 * exponents.max() * GAUSSIAN_EXPONENT) ** 0.5
    reach = [int(longest * np.linalg.norm(vector) / (2 * np.pi)) for vector in cell]
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    # (-i)^l and the normalisation of r^l exp(-αr²)
    factor = np.array([1.0] + 3 * [-1j / 3] + 5 * [-1 / 15]) * 4 * np.pi
    tensors = np.zeros((len(fractional), 3, 3))
    rest = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach[1:]], indexing='ij'), -1).reshape(-1, 2)
    for first in range(reach[0] + 1):
        plane = np.column_stack([np.full(len(rest), first), rest])
        plane = plane[half_of(plane)]
        squares = ((plane @ reciprocal) ** 2).sum(axis=1)
        plane = plane[squares < longest**2]
        for start in range(0, len(plane), BLOCK):
            index = plane[start : start + BLOCK]
            vectors = index @ reciprocal
            squares = (vectors**2).sum(axis=1)
            charges = (multipoles * factor) @ real_harmonics(vectors)
            charges *= np.exp(-squares / (4 * exponents[:, None]))
            phases = np.exp(2j * np.pi * (fractional @ index.T))
            transform = np.einsum('ag,ag->g', charges, phases.conj()) / abs(np.linalg.det(cell))
            tensors += curvature(index, transform, cell, fractional, phases)
    return tensors


def half_of(index):
    """Marks one of each pair of opposite reciprocal lattice vectors, and not zero; index (..., 3)."""
    first, second, third = np.moveaxis(index, -1, 0)
    return (first > 0) | ((first == 0) & ((second > 0) | ((second == 0) & (third > 0))))


def curvature(index, transform, cell, fractional, phases=None):
    """Second derivatives (n, 3, 3) at the atoms of the potential of a charge, from half of its Fourier coefficients."""
    reciprocal = 2 * np.pi * np.linalg.inv(cell).T
    tensors = np.zeros((len(fractional), 3, 3))
    for start in range(0, len(index), BLOCK):
        part = slice(start, start + BLOCK)
        vectors = index[part] @ reciprocal
        potential = 4 * np.pi * transform[part] / (vectors**2).sum(axis=1)
        if phases is None:
            here = np.exp(2j * np.pi * (fractional @ index[part].T))
        else:
            here = phases[:, part]
        products = (vectors[:, :, None] * vectors[:, None, :]).reshape(-1, 9) * potential[:, None]
        tensors -= 2 * (here @ products).real.reshape(-1, 3, 3)
    return tensors


def real_harmonics(vectors):
    """r^l Y_lm up to l = 2 in GPAW's order: s, y, z, x, xy, yz, 3z²-r², xz, x²-y²; (9, n)."""
    x, y, z = vectors.T
    rows = [np.ones(len(x)), y, z, x, x * y, y * z, 2 * z**2 - x**2 - y**2, x * z, x**2 - y**2]
    squared_norms = np.array([4, 12, 12, 12, 60, 60, 5, 60, 15]) / (16 * np.pi)
    return np.sqrt(squared_norms)[:, None] * np.array(rows)
