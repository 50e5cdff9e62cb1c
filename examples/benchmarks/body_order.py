"""What many-body terms on P and S add to the ultra-fast potential: errors on structures set aside, and cost.

    python examples/benchmarks/body_order.py --json out.json      # some minutes

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
CENTRES, RANGES = ('P', 'S'), (4.5, 6.0)
#: Penalties of a term whose column has unit norm.
PENALTIES = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)

#: Densities that the kernel takes side by side: two ranges of up to four species.
LANES = 8
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
        'A v·v': [[(of(p, x), of(q, x), scalar(r)) for x in VECTOR] for p, q in pairs for r in range(n_densities + 1)],
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


@numba.njit(error_model='numpy', fastmath=True)
def multiply_moments(moments, of_scalars, of_vectors, of_matrices, of_both, n_densities, slopes):
    """Energy (eV) of the terms of one centre from its moments; its derivatives by these are set.

    Args:
        moments, slopes: (10, lanes), one lane a density.
        of_scalars, of_vectors, of_matrices, of_both: coefficients of its species, as in :func:`many_body_forces`.
    """
    slopes[:] = 0.0
    total = 0.0
    h = 0
    for p in range(n_densities):
        for q in range(p, n_densities):
            a, b = moments[:, p], moments[:, q]
            scalars = a[0] * b[0]
            x, y, z = a[1] * b[1], a[2] * b[2], a[3] * b[3]
            xy, xz, yz = a[1] * b[2] + a[2] * b[1], a[1] * b[3] + a[3] * b[1], a[2] * b[3] + a[3] * b[2]
            dot = x + y + z
            double = a[4] * b[4] + a[5] * b[5] + a[6] * b[6] + 2 * (a[7] * b[7] + a[8] * b[8] + a[9] * b[9])
            of_scalar, of_dot, of_double = 0.0, 0.0, 0.0
            n_xx = n_yy = n_zz = n_xy = n_xz = n_yz = 0.0
            for r in range(LANES):
                w = of_both[h, r]
                of_scalar += of_scalars[h, r] * moments[0, r]
                of_dot += of_vectors[h, r] * moments[0, r]
                of_double += of_matrices[h, r] * moments[0, r]
                n_xx += w * moments[4, r]
                n_yy += w * moments[5, r]
                n_zz += w * moments[6, r]
                n_xy += w * moments[7, r]
                n_xz += w * moments[8, r]
                n_yz += w * moments[9, r]
            for r in range(LANES):
                w = of_both[h, r]
                slopes[0, r] += of_scalars[h, r] * scalars + of_vectors[h, r] * dot + of_matrices[h, r] * double
                slopes[4, r] += w * x
                slopes[5, r] += w * y
                slopes[6, r] += w * z
                slopes[7, r] += w * xy
                slopes[8, r] += w * xz
                slopes[9, r] += w * yz
            of_dot += of_vectors[h, LANES]
            of_double += of_matrices[h, LANES]
            total += of_scalar * scalars + of_dot * dot + of_double * double
            total += n_xx * x + n_yy * y + n_zz * z + n_xy * xy + n_xz * xz + n_yz * yz
            n_xx, n_yy, n_zz = n_xx + of_dot, n_yy + of_dot, n_zz + of_dot
            for this, other in ((p, q), (q, p)):
                slopes[0, other] += of_scalar * moments[0, this]
                vx, vy, vz = moments[1, this], moments[2, this], moments[3, this]
                slopes[1, other] += n_xx * vx + n_xy * vy + n_xz * vz
                slopes[2, other] += n_xy * vx + n_yy * vy + n_yz * vz
                slopes[3, other] += n_xz * vx + n_yz * vy + n_zz * vz
                for c in range(4, 7):
                    slopes[c, other] += of_double * moments[c, this]
                    slopes[c + 3, other] += 2 * of_double * moments[c + 3, this]
            h += 1
    return total


@numba.njit(error_model='numpy', fastmath=True)
def many_body_forces(vectors, species, neighbours, start, centre_of, n_densities, ranges, weights, forces):
    """Add the forces (eV/Å) of the terms to those of all atoms, in as few operations as a potential would take.

    Args:
        vectors, species, neighbours, start: as in :func:`enter_terms`.
        centre_of: (n,) row of ``weights`` for each atom; -1 for one without terms.
        n_densities: species times ranges, ``LANES`` at most.
        ranges: (k,) R, Å.
        weights: coefficients (eV) of A A A, A v·v, A M:M and v·M·v, (centres, pairs of densities, lanes + 1); the last
            place is for v·v and M:M alone.
        forces: (n, 3) to be added to.

    Returns:
        The energy, eV.
    """
    of_scalars, of_vectors, of_matrices, of_both = weights
    n_ranges = len(ranges)
    most = np.max(np.diff(start))
    value, slope = np.empty((most, n_ranges)), np.empty((most, n_ranges))
    units = np.empty((most, 4))
    moments, slopes = np.zeros((N_MOMENTS, LANES)), np.empty((N_MOMENTS, LANES))
    by_value, by_slope = np.empty(N_MOMENTS), np.empty(N_MOMENTS)
    total = 0.0
    for i in range(len(start) - 1):
        s = centre_of[i]
        if s < 0:
            continue
        moments[:] = 0.0
        for j in range(start[i], start[i + 1]):
            n = j - start[i]
            inverse = 1 / np.sqrt(vectors[j, 0] ** 2 + vectors[j, 1] ** 2 + vectors[j, 2] ** 2)
            ux, uy, uz = vectors[j, 0] * inverse, vectors[j, 1] * inverse, vectors[j, 2] * inverse
            units[n, 0], units[n, 1], units[n, 2], units[n, 3] = ux, uy, uz, inverse
            for k in range(n_ranges):
                x = max(1.0 - 1 / (inverse * ranges[k]), 0.0)
                g = x * x * x
                value[n, k], slope[n, k] = g, -3.0 * x * x / ranges[k]
                d = species[j] * n_ranges + k
                moments[0, d] += g
                moments[1, d] += g * ux
                moments[2, d] += g * uy
                moments[3, d] += g * uz
                moments[4, d] += g * (ux * ux - 1 / 3)
                moments[5, d] += g * (uy * uy - 1 / 3)
                moments[6, d] += g * (uz * uz - 1 / 3)
                moments[7, d] += g * ux * uy
                moments[8, d] += g * ux * uz
                moments[9, d] += g * uy * uz
        total += multiply_moments(
            moments, of_scalars[s], of_vectors[s], of_matrices[s], of_both[s], n_densities, slopes
        )
        for j in range(start[i], start[i + 1]):
            n = j - start[i]
            ux, uy, uz, inverse = units[n, 0], units[n, 1], units[n, 2], units[n, 3]
            for m in range(N_MOMENTS):
                by_value[m] = by_slope[m] = 0.0
                for k in range(n_ranges):
                    w = slopes[m, species[j] * n_ranges + k]
                    by_value[m] += w * value[n, k]
                    by_slope[m] += w * slope[n, k]
            # w: derivative by the unit vector, of which only what is across it counts
            wx = by_value[1] + 2 * by_value[4] * ux + by_value[7] * uy + by_value[8] * uz
            wy = by_value[2] + 2 * by_value[5] * uy + by_value[7] * ux + by_value[9] * uz
            wz = by_value[3] + 2 * by_value[6] * uz + by_value[8] * ux + by_value[9] * uy
            radial = by_slope[0] + by_slope[1] * ux + by_slope[2] * uy + by_slope[3] * uz
            radial += (
                by_slope[4] * (ux * ux - 1 / 3) + by_slope[5] * (uy * uy - 1 / 3) + by_slope[6] * (uz * uz - 1 / 3)
            )
            radial += by_slope[7] * ux * uy + by_slope[8] * ux * uz + by_slope[9] * uy * uz
            radial -= (wx * ux + wy * uy + wz * uz) * inverse
            fx, fy, fz = radial * ux + wx * inverse, radial * uy + wy * inverse, radial * uz + wz * inverse
            forces[neighbours[j], 0] -= fx
            forces[neighbours[j], 1] -= fy
            forces[neighbours[j], 2] -= fz
            forces[i, 0] += fx
            forces[i, 1] += fy
            forces[i, 2] += fz
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
        pairs = list(itertools.combinations_with_replacement(range(self.n_densities), 2))
        by_kind = {
            kind: coefficients.reshape(len(CENTRES), -1)[:, columns].reshape(len(CENTRES), -1)
            for kind, columns in self.kinds.items()
        }
        found = {kind: np.zeros((len(CENTRES), len(pairs), LANES + 1)) for kind in self.kinds}
        triplets = itertools.combinations_with_replacement(range(self.n_densities), 3)
        for t, (p, q, r) in enumerate(triplets):
            found['A A A'][:, pairs.index((p, q)), r] = by_kind['A A A'][:, t]
        for kind in ('A v·v', 'A M:M', 'v·M·v'):
            own = by_kind[kind].reshape(len(CENTRES), len(pairs), -1)
            found[kind][..., : self.n_densities] = own[..., : self.n_densities]
            if kind != 'v·M·v':
                found[kind][..., LANES] = own[..., self.n_densities]
        return tuple(found.values())

    def centre_of(self, types: np.ndarray) -> np.ndarray:
        """(n,) row of the weights for each atom, -1 for one without terms."""
        return np.array([self.centres.index(t) if t in self.centres else -1 for t in types])


def parted(labels: Dataset) -> tuple[Dataset, dict[str, Dataset]]:
    """Structures to fit to, and those that are set aside, by their kind."""

    def of(patterns: tuple[str, ...]) -> np.ndarray:
        return np.array([any(fnmatch.fnmatch(group, pattern) for pattern in patterns) for group in labels.groups])

    aside = {name: of(patterns) for name, patterns in TESTS.items()}
    train = ~np.any(list(aside.values()), axis=0)
    return labels.subset(np.flatnonzero(train)), {
        name: labels.subset(np.flatnonzero(chosen)) for name, chosen in aside.items()
    }


def with_terms(rows: Iterator[Rows], dataset: Dataset, terms: Terms | None) -> Iterator[Rows]:
    """Rows of pairs and triplets, with those of the many-body terms below them."""
    for found in rows:
        if terms is not None:
            more = terms.design(dataset.structures[found.index])
            found = dataclasses.replace(found, design=np.concatenate([found.design, more]))
        yield found


class Fit:
    """A fit with or without many-body terms, whose equations are kept by folds of groups.

    Attributes:
        penalty: of the many-body terms; chosen by the folds.
        withheld: forces RMSE (meV/Å) on withheld structures of full weight, by penalty.
        coefficients: (n_columns,) of the fit to everything, eV.
    """

    def __init__(self, problem: Problem, terms: Terms | None):
        self.problem, self.terms = problem, terms
        self.n_pairs_and_triplets = problem.basis.n_columns
        self.n_columns = self.n_pairs_and_triplets + (0 if terms is None else terms.n_columns)
        folds = problem.dataset.folds(problem.settings.folds, problem.settings.seed)
        self.parts = [self._equations(members) for members in folds]
        self.withheld = dict.fromkeys(PENALTIES if terms is not None else (1.0,), 0.0)
        squares: dict[float, list[np.ndarray]] = {penalty: [] for penalty in self.withheld}
        for f, members in enumerate(folds):
            full_weight = members[problem.weights[members] == 1]
            solutions = {penalty: self._solve(penalty, without=f) for penalty in self.withheld}
            for penalty, residuals in squares.items():
                residuals.append(self.errors(solutions[penalty], problem.dataset, full_weight)[0] ** 2)
        self.withheld = {p: 1000 * float(np.sqrt(np.concatenate(found).mean())) for p, found in squares.items()}
        self.penalty = min(self.withheld, key=lambda penalty: self.withheld[penalty])
        self.coefficients = self._solve(self.penalty)

    def _rows(self, dataset: Dataset, indices: np.ndarray) -> Iterator[Rows]:
        return with_terms(self.problem.rows(indices, dataset), dataset, self.terms)

    def _equations(self, indices: np.ndarray) -> NormalEquations:
        builder = EquationsBuilder(self.n_columns, len(self.problem.basis.species))
        for rows in self._rows(self.problem.dataset, indices):
            builder.add(rows)
        return builder.finish()

    def _solve(self, penalty: float, without: int | None = None) -> np.ndarray:
        """Coefficients of a fit to all folds but one."""
        total = NormalEquations(self.n_columns)
        for f, part in enumerate(self.parts):
            if f != without:
                total += part
        size = np.diag(total.matrix)[self.n_pairs_and_triplets :]
        # columns of densities that no structure has are left at zero
        of_terms = sparse.diags_array(penalty * np.where(size > 0, size, 1.0))
        return total.solve(sparse.block_diag([self.problem.penalty, of_terms], format='csc')).coefficients

    def errors(self, coefficients: np.ndarray, dataset: Dataset, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Errors of force components (eV/Å) and of energies (eV per atom)."""
        by_force, by_energy = [], []
        for rows in self._rows(dataset, indices):
            error = coefficients @ rows.design - rows.labels
            by_force.append(error[N_LEADING:])
            by_energy.append(error[0] / len(rows.types))
        return np.concatenate(by_force), np.array(by_energy)


def cpu_seconds(fit: Fit, atoms: Atoms, rounds: int, repeats: int = 20) -> tuple[float, float]:
    """CPU time of the forces of pairs and triplets, and of the many-body terms, neighbour lists given; s an atom."""
    problem, terms = fit.problem, fit.terms
    potential = problem.potential(fit.coefficients[: fit.n_pairs_and_triplets], [problem.closest(np.arange(1))])
    atoms = atoms[np.argsort(potential.types(atoms), kind='stable')]
    types, n = potential.types(atoms), len(atoms)
    lists = interaction_lists(atoms.positions, types, atoms.cell.array, atoms.pbc, potential.tables, 0.0)
    forces, energies, virial = np.empty((n, 3)), np.empty(n), np.empty((3, 3))
    s = len(problem.basis.species)
    around, centre_of = terms.neighbours(atoms, types), terms.centre_of(types)
    weights = terms.weights(fit.coefficients[fit.n_pairs_and_triplets :])

    many = np.zeros((n, 3))
    many_body_forces(*around, centre_of, terms.n_densities, terms.ranges, weights, many)
    by_rows = fit.coefficients[fit.n_pairs_and_triplets :] @ terms.design(atoms)[:, N_LEADING:]
    np.testing.assert_allclose(many.ravel(), by_rows, atol=1e-8, err_msg='kernel and design rows disagree')

    def pairs_and_triplets() -> None:
        kernels.compute(
            atoms.positions, types, lists, potential.tables, forces, energies, virial, np.zeros((s, s)), False
        )

    def many_body() -> None:
        many_body_forces(*around, centre_of, terms.n_densities, terms.ranges, weights, forces)

    best = [np.inf, np.inf]
    for _ in range(rounds):
        for k, compute in enumerate((pairs_and_triplets, many_body)):
            compute()
            begin = time.process_time()
            for _ in range(repeats):
                compute()
            best[k] = min(best[k], (time.process_time() - begin) / (repeats * n))
    return best[0], best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results as JSON')
    parser.add_argument('--rounds', type=int, default=10, help='alternating rounds of timing (default 10)')
    arguments = parser.parse_args()
    train, tests = parted(read_dataset(DATA / 'li3ps4-pbe-gpaw-v6.extxyz', ('energy', 'forces')))
    problem = Problem.of(train, SETTINGS)
    report: dict = {'structures': len(train)}
    fits = {'UF3': Fit(problem, None), 'with many-body terms': Fit(problem, Terms(problem.basis.species))}
    for name, fit in fits.items():
        report[name] = row = {
            'columns': fit.n_columns,
            'penalty': fit.penalty,
            'withheld_forces_rmse_meV_per_angstrom_by_penalty': fit.withheld,
        }
        for kind, test in tests.items():
            by_force, by_energy = fit.errors(fit.coefficients, test, np.arange(len(test)))
            row[kind] = {
                'forces_rmse_meV_per_angstrom': rmse_in_thousandths(by_force),
                'energy_rmse_meV_per_atom': rmse_in_thousandths(by_energy),
            }
    print(f'{"forces, meV/Å, and energy, meV/atom":36s} {"UF3":>16s} {"many-body":>16s} {"forces":>7s}')
    for kind in tests:
        both = [report[name][kind] for name in fits]
        forces = [found['forces_rmse_meV_per_angstrom'] for found in both]
        texts = [
            f'{found["forces_rmse_meV_per_angstrom"]:.1f} {found["energy_rmse_meV_per_atom"]:.2f}' for found in both
        ]
        print(f'{kind:36s} {texts[0]:>16s} {texts[1]:>16s} {100 * (forces[1] / forces[0] - 1):+6.0f} %')
    for name, fit in fits.items():
        print(f'{name}: withheld in training, by penalty', {p: round(e, 1) for p, e in fit.withheld.items()})
    start = bare(read_dataset(DATA / 'li3ps4-pbe-gpaw.extxyz').structures[6]).repeat((2, 2, 3))
    of_splines, of_terms = cpu_seconds(fits['with many-body terms'], start, arguments.rounds)
    report['timing'] = {
        'pairs_and_triplets_cpu_us_per_atom': 1e6 * of_splines,
        'many_body_cpu_us_per_atom': 1e6 * of_terms,
    }
    print(f'CPU μs an atom: pairs and triplets {1e6 * of_splines:.2f}, many-body terms {1e6 * of_terms:.2f}')
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + '\n')


if __name__ == '__main__':
    main()
