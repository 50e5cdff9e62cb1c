"""What many-body terms on P and S add to the ultra-fast potential: errors on structures set aside, and cost.

    python examples/benchmarks/body_order.py --json out.json      # a quarter of an hour on one core

Each centre has moments of the densities of its neighbours, by species t and range R,

    A = Σ_j g(r_ij),    v = Σ_j g(r_ij) u_ij,    M = Σ_j g(r_ij) (u_ij u_ijᵀ − 1/3),    g(r) = (1 − r / R)³ below R,

with u_ij the unit vector to neighbour j. The terms are their scalar products with up to three factors:
v·v, M:M, A A A, A v·v, A M:M and v·M·v, over all combinations of species and ranges. Those with three factors join a
centre and three neighbours: four bodies. All are linear in their coefficients, and are fitted together with the pairs
and triplets in one least-squares problem. They are a small set of the terms of moment tensor potentials (Shapeev,
Multiscale Model. Simul. 14, 1153 (2016)).

The penalty of the terms is chosen by groups withheld within the training set; the groups that the page of the example
data keeps aside are only looked at afterwards. The cost is that of one evaluation of forces of 384 atoms, neighbour
lists given: CPU time of one core, the best of rounds that alternate.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')

import argparse
import dataclasses
import fnmatch
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np
import scipy.sparse as sparse
from ase import Atoms

from aiida_ufpnmr.engine.dataset import Dataset, bare, read_dataset
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.regression.normal_equations import NormalEquations
from aiida_ufpnmr.engine.ufp import PotentialSettings, kernels
from aiida_ufpnmr.engine.ufp.equations import EquationsBuilder, Rows, species_numbers
from aiida_ufpnmr.engine.ufp.features import N_LEADING
from aiida_ufpnmr.engine.ufp.lists import interaction_lists
from aiida_ufpnmr.engine.ufp.problem import Problem, rmse_in_thousandths

DATA = Path(__file__).resolve().parents[1] / 'data'
TESTS = {
    'crystals': ('beta_450K', 'gamma_700K', 'beta64_600K'),
    'crystals 450 K': ('beta_450K',),
    'packed glasses': ('packed??_x*',),
    'packed 75:25': ('packed75_x*',),
    'packed 70:30': ('packed70_x*',),
    'packed 67:33': ('packed67_x*',),
    'amorphous2_500K': ('amorphous2_500K',),
    'glass13': ('glass13_*',),
}
SETTINGS = PotentialSettings(
    triplet_cutoff={'Li': 3.5, 'P': 6.0, 'S': 5.0},
    ridge_triplet=0.1,
    curvature_triplet=0.5,
    weights={'foreign bonds': 0.01},
    short_range='zbl',
    folds=3,
)
#: Elements that have many-body terms, and the ranges R of all densities, Å.
CENTRES, RANGES = ('P', 'S'), (3.5, 5.0)
#: Penalties of a term whose column has unit norm.
PENALTIES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

#: Components of the moments of one density: A, v and the upper triangle of M.
N_MOMENTS = 10
SCALAR, VECTOR = 0, (1, 2, 3)
MATRIX = ((4, 7, 8), (7, 5, 9), (8, 9, 6))
_ROWS, _COLUMNS = np.array([0, 1, 2, 0, 0, 1]), np.array([0, 1, 2, 1, 2, 2])


def many_body_terms(n_densities: int) -> tuple[dict[str, slice], np.ndarray, np.ndarray]:
    """The terms of a centre as sums of products of three moments.

    Returns:
        Columns of each kind of term, (m, 4) column and moments of each product, and its factor (m,). The last moment,
        ``n_densities * N_MOMENTS``, is the number one.
    """
    one = n_densities * N_MOMENTS
    pairs = list(itertools.combinations_with_replacement(range(n_densities), 2))
    triplets = list(itertools.combinations_with_replacement(range(n_densities), 3))

    def of(density: int, component: int) -> int:
        return density * N_MOMENTS + component

    def scalar(density: int) -> int:
        return one if density == n_densities else of(density, SCALAR)

    kinds = {
        'A A A': [[(of(p, SCALAR), of(q, SCALAR), of(r, SCALAR))] for p, q, r in triplets],
        'A v·v': [
            [(of(p, x), of(q, x), scalar(r)) for x in VECTOR] for p, q in pairs for r in range(n_densities + 1)
        ],
        'A M:M': [
            [(of(p, x), of(q, x), scalar(r)) for line in MATRIX for x in line]
            for p, q in pairs
            for r in range(n_densities + 1)
        ],
        'v·M·v': [
            [(of(p, VECTOR[x]), of(q, VECTOR[y]), of(r, MATRIX[x][y])) for x in range(3) for y in range(3)]
            for p, q in pairs
            for r in range(n_densities)
        ],
    }
    columns, products, first = {}, [], 0
    for kind, terms in kinds.items():
        columns[kind] = slice(first, first + len(terms))
        products += [(first + t, *factors) for t, term in enumerate(terms) for factors in term]
        first += len(terms)
    return columns, *np.unique(np.array(products), axis=0, return_counts=True)


@numba.njit(error_model='numpy')
def gather_moments(vectors, species, ranges, moments, gradients):
    """Moments of the densities around one atom, and what each neighbour adds to their gradients.

    Args:
        vectors: (m, 3) to the neighbours, Å.
        species: (m,) of the neighbours.
        ranges: (k,) R, Å.
        moments: (s k, 10) to be filled.
        gradients: (m, k 10, 3) of the moments of a neighbour's species, by its vector, to be filled; 1/Å.
    """
    moments[:] = 0.0
    for j in range(len(vectors)):
        r = np.sqrt(vectors[j, 0] ** 2 + vectors[j, 1] ** 2 + vectors[j, 2] ** 2)
        u = vectors[j] / r
        for k in range(len(ranges)):
            x = max(1.0 - r / ranges[k], 0.0)
            value, slope = x**3, -3.0 * x**2 / ranges[k]
            own, first = moments[species[j] * len(ranges) + k], k * N_MOMENTS
            own[0] += value
            for c in range(3):
                gradients[j, first, c] = slope * u[c]
            for a in range(3):
                own[1 + a] += value * u[a]
                for c in range(3):
                    gradients[j, first + 1 + a, c] = slope * u[a] * u[c] + value * ((a == c) - u[a] * u[c]) / r
            for q in range(6):
                a, b = _ROWS[q], _COLUMNS[q]
                product = u[a] * u[b]
                own[4 + q] += value * (product - (a == b) / 3)
                for c in range(3):
                    turned = (a == c) * u[b] + (b == c) * u[a] - 2 * product * u[c]
                    gradients[j, first + 4 + q, c] = slope * (product - (a == b) / 3) * u[c] + value * turned / r


@numba.njit(error_model='numpy')
def enter_terms(vectors, species, neighbours, start, centres, n_densities, ranges, products, factors, rows):
    """Add the terms of some atoms to design rows (7 + 3 n, columns): energy (eV), virial (eV) and forces (eV/Å).

    Args:
        vectors, species, neighbours: (m, 3), (m,) and (m,) of the neighbours of all atoms, in order of these.
        start: (n + 1,) where those of each atom begin.
        centres: the atoms whose terms are added.
        n_densities: species times ranges.
        ranges: (k,) R, Å.
        products, factors: (t, 4) and (t,) as :func:`many_body_terms` gives them.
        rows: to be added to.
    """
    per_species = len(ranges) * N_MOMENTS
    moments = np.empty((n_densities, N_MOMENTS))
    value = np.ones(n_densities * N_MOMENTS + 1)
    for i in centres:
        own = slice(start[i], start[i + 1])
        gradients = np.empty((start[i + 1] - start[i], per_species, 3))
        gather_moments(vectors[own], species[own], ranges, moments, gradients)
        value[:-1] = moments.reshape(-1)
        by_moment = np.zeros((len(value), rows.shape[1]))
        for t in range(len(products)):
            column, a, b, c = products[t]
            rows[0, column] += factors[t] * value[a] * value[b] * value[c]
            by_moment[a, column] += factors[t] * value[b] * value[c]
            by_moment[b, column] += factors[t] * value[a] * value[c]
            by_moment[c, column] += factors[t] * value[a] * value[b]
        for j in range(start[i], start[i + 1]):
            first = species[j] * per_species
            along = gradients[j - start[i]].T.copy() @ by_moment[first : first + per_species]
            for c in range(3):
                rows[1 + c] += vectors[j, c] * along[c]
                rows[7 + 3 * neighbours[j] + c] -= along[c]
                rows[7 + 3 * i + c] += along[c]
            rows[4] += vectors[j, 1] * along[2]
            rows[5] += vectors[j, 0] * along[2]
            rows[6] += vectors[j, 0] * along[1]


@numba.njit(error_model='numpy')
def many_body_forces(vectors, species, neighbours, start, centre_of, ranges, weights, forces):
    """Add the forces (eV/Å) of the terms to those of all atoms, in as few operations as a potential would take.

    Args:
        vectors, species, neighbours, start: as in :func:`enter_terms`.
        centre_of: (n,) row of ``weights`` for each atom; -1 for one without terms.
        ranges: (k,) R, Å.
        weights: coefficients (eV) of A A A (centres, pairs of densities, d), A v·v and A M:M (…, d + 1) and v·M·v
            (…, d).
        forces: (n, 3) to be added to.

    Returns:
        The energy, eV.
    """
    of_scalars, of_vectors, of_matrices, of_both = weights
    n_densities = of_scalars.shape[2]
    per_species = len(ranges) * N_MOMENTS
    most = np.max(np.diff(start))
    gradients = np.empty((most, per_species, 3))
    moments, by = np.empty((n_densities, N_MOMENTS)), np.empty((n_densities, N_MOMENTS))
    total = 0.0
    for i in range(len(start) - 1):
        s = centre_of[i]
        if s < 0:
            continue
        own = slice(start[i], start[i + 1])
        gather_moments(vectors[own], species[own], ranges, moments, gradients)
        by[:] = 0.0
        h = 0
        for p in range(n_densities):
            for q in range(p, n_densities):
                a, b = moments[p], moments[q]
                dot = a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
                double = a[4] * b[4] + a[5] * b[5] + a[6] * b[6] + 2 * (a[7] * b[7] + a[8] * b[8] + a[9] * b[9])
                scalars = a[0] * b[0]
                x, y, z = a[1] * b[1], a[2] * b[2], a[3] * b[3]
                xy, xz, yz = a[1] * b[2] + a[2] * b[1], a[1] * b[3] + a[3] * b[1], a[2] * b[3] + a[3] * b[2]
                of_scalar, of_dot, of_double = 0.0, of_vectors[s, h, n_densities], of_matrices[s, h, n_densities]
                xx = yy = zz = nxy = nxz = nyz = 0.0
                for r in range(n_densities):
                    m, to = moments[r], by[r]
                    w0, w1, w2, w3 = of_scalars[s, h, r], of_vectors[s, h, r], of_matrices[s, h, r], of_both[s, h, r]
                    of_scalar += w0 * m[0]
                    of_dot += w1 * m[0]
                    of_double += w2 * m[0]
                    to[0] += w0 * scalars + w1 * dot + w2 * double
                    xx += w3 * m[4]
                    yy += w3 * m[5]
                    zz += w3 * m[6]
                    nxy += w3 * m[7]
                    nxz += w3 * m[8]
                    nyz += w3 * m[9]
                    to[4] += w3 * x
                    to[5] += w3 * y
                    to[6] += w3 * z
                    to[7] += w3 * xy
                    to[8] += w3 * xz
                    to[9] += w3 * yz
                total += of_scalar * scalars + of_dot * dot + of_double * double
                total += xx * x + yy * y + zz * z + nxy * xy + nxz * xz + nyz * yz
                xx, yy, zz = xx + of_dot, yy + of_dot, zz + of_dot
                for one, other in ((a, by[q]), (b, by[p])):
                    other[0] += of_scalar * one[0]
                    other[1] += xx * one[1] + nxy * one[2] + nxz * one[3]
                    other[2] += nxy * one[1] + yy * one[2] + nyz * one[3]
                    other[3] += nxz * one[1] + nyz * one[2] + zz * one[3]
                    for c in range(4, 7):
                        other[c] += of_double * one[c]
                        other[c + 3] += 2 * of_double * one[c + 3]
                h += 1
        for j in range(start[i], start[i + 1]):
            first = species[j] * len(ranges)
            for k in range(len(ranges)):
                for m in range(N_MOMENTS):
                    weight = by[first + k, m]
                    for c in range(3):
                        along = weight * gradients[j - start[i], k * N_MOMENTS + m, c]
                        forces[neighbours[j], c] -= along
                        forces[i, c] += along
    return total


class Terms:
    """The many-body terms of the atoms of ``CENTRES`` in structures of some species."""

    def __init__(self, species: tuple[str, ...]):
        self.species = species
        self.centres = [species.index(symbol) for symbol in CENTRES]
        self.ranges = np.array(RANGES)
        self.n_densities = len(species) * len(RANGES)
        self.kinds, self.products, self.factors = many_body_terms(self.n_densities)
        self.per_centre = max(columns.stop for columns in self.kinds.values())
        self.n_columns = self.per_centre * len(CENTRES)

    def neighbours(self, atoms: Atoms, types: np.ndarray) -> tuple[np.ndarray, ...]:
        """Vectors, species and indices of all neighbours within the longest range, and where those of each begin."""
        found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, max(RANGES))
        return found.vectors(atoms.positions, atoms.cell.array), types[found.index], found.index, found.start

    def design(self, atoms: Atoms) -> np.ndarray:
        """Design rows (n_columns, 7 + 3 n), in the order of :func:`~aiida_ufpnmr.engine.ufp.features.features`."""
        types = species_numbers(atoms, self.species)
        around = self.neighbours(atoms, types)
        parts = []
        for centre in self.centres:
            rows = np.zeros((N_LEADING + 3 * len(atoms), self.per_centre))
            chosen = np.flatnonzero(types == centre)
            enter_terms(*around, chosen, self.n_densities, self.ranges, self.products, self.factors, rows)
            parts.append(rows.T)
        return np.concatenate(parts)

    def weights(self, coefficients: np.ndarray) -> tuple[np.ndarray, ...]:
        """Coefficients (n_columns,) as :func:`many_body_forces` takes them."""
        d = self.n_densities
        pairs = list(itertools.combinations_with_replacement(range(d), 2))
        by_kind = {
            kind: coefficients.reshape(len(CENTRES), -1)[:, columns].reshape(len(CENTRES), -1)
            for kind, columns in self.kinds.items()
        }
        scalars = np.zeros((len(CENTRES), len(pairs), d))
        triplets = itertools.combinations_with_replacement(range(d), 3)
        for t, (p, q, r) in enumerate(triplets):
            scalars[:, pairs.index((p, q)), r] = by_kind['A A A'][:, t]
        others = (by_kind[kind].reshape(len(CENTRES), len(pairs), -1) for kind in ('A v·v', 'A M:M', 'v·M·v'))
        return scalars, *(np.ascontiguousarray(part) for part in others)

    def centre_of(self, types: np.ndarray) -> np.ndarray:
        """(n,) row of the weights for each atom, -1 for one without terms."""
        return np.array([self.centres.index(t) if t in self.centres else -1 for t in types])
