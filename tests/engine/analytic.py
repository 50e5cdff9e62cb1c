"""Systems of one element with a pair potential: small and fast, for claims about statistics."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from scipy.interpolate import BSpline

from aiida_ufpnmr.engine.ufp import UltraFastPotential
from aiida_ufpnmr.engine.ufp.splines import Grid
from aiida_ufpnmr.engine.ufp.terms import PairTerm


def pair_potential(coefficients, start, cutoff) -> UltraFastPotential:
    """A potential for argon without three-body terms; distances down to ``start`` count as known."""
    term = PairTerm(Grid.uniform(start, cutoff, len(coefficients) - 3), np.asarray(coefficients, float))
    return UltraFastPotential(('Ar',), np.zeros(1), {('Ar', 'Ar'): term}, {}, np.full((1, 1), start))


def ideal_gas() -> UltraFastPotential:
    """No interaction at all."""
    return pair_potential(np.zeros(7), 1e-3, 1.5)


def solid_potential(depth=0.1, sigma=3.4, start=2.5, cutoff=6.0, intervals=30) -> UltraFastPotential:
    """A Lennard-Jones potential (eV, Å), brought smoothly to zero over the last 1 Å: a soft solid at 300 K."""
    knots = start + (cutoff - start) / intervals * np.arange(-3, intervals + 4)
    r = np.linspace(start, cutoff - 1e-9, 20 * intervals)
    x = np.clip(cutoff - r, 0, 1)
    # half, because a pair counts in both orders
    energy = 2 * depth * ((sigma / r) ** 12 - (sigma / r) ** 6) * x**3 * (10 - 15 * x + 6 * x**2)
    design = BSpline.design_matrix(r, knots, 3).toarray()
    coefficients = np.linalg.lstsq(design, energy, rcond=None)[0]
    coefficients[-3:] = 0.0
    return pair_potential(coefficients, start, cutoff)


def solid(cells=(2, 2, 1)) -> Atoms:
    """Argon, face-centred cubic, near its minimum with :func:`solid_potential`."""
    return bulk('Ar', 'fcc', a=5.3, cubic=True).repeat(cells)


def gas(n_atoms=8, length=30.0, seed=0) -> Atoms:
    """Atoms at random places in a cube."""
    return Atoms(
        f'Ar{n_atoms}', scaled_positions=np.random.default_rng(seed).random((n_atoms, 3)), cell=[length] * 3, pbc=True
    )


def block_error(values, blocks=20) -> float:
    """Standard error of the mean of correlated numbers, from the means of blocks."""
    values = np.asarray(values)
    means = values[: len(values) // blocks * blocks].reshape(blocks, -1).mean(axis=1)
    return means.std(ddof=1) / np.sqrt(blocks)
