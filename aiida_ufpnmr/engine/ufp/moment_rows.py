"""Rows of the linear problem for the terms of moments."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.compiled import njit
from aiida_ufpnmr.engine.neighbours import neighbour_list
from aiida_ufpnmr.engine.ufp.design_rows import add_gradient
from aiida_ufpnmr.engine.ufp.moment_kernels import held
from aiida_ufpnmr.engine.ufp.moments import N_MOMENTS, MomentBasis


def add_rows(atoms: Atoms, types: np.ndarray, basis: MomentBasis, rows: np.ndarray, gradients: bool) -> None:
    """Add all terms to design rows (n_columns, m).

    Args:
        types: (n,) species numbers.
        gradients: whether a row holds the energy (eV), the virial (eV; xx, yy, zz, yz, xz, xy) and the forces (eV/Å);
            without, it holds the energies of the atoms.
    """
    found = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, float(basis.ranges.max()))
    vectors = found.vectors(atoms.positions, atoms.cell.array)
    factors, counts, places = basis.terms
    for row, centre in enumerate(basis.centres):
        own = rows[row * len(places) : (row + 1) * len(places)]
        chosen = np.flatnonzero(types == centre)
        _enter(
            vectors,
            types,
            found.index,
            found.start,
            chosen,
            basis.n_densities,
            basis.ranges[row],
            basis.closest[row],
            factors,
            counts,
            own,
            gradients,
        )


@njit(nogil=True, error_model='numpy')
def _gather(vectors, types, ranges, closest, moments, gradients):
    """Moments (densities, 10) around one atom, and gradients (m, k, 10, 3) of those of each neighbour by its vector."""
    k_ranges = len(ranges)
    moments[:] = 0.0
    for j in range(len(vectors)):
        r = np.sqrt(vectors[j, 0] ** 2 + vectors[j, 1] ** 2 + vectors[j, 2] ** 2)
        u = vectors[j] / r
        grown, growth = held(r, closest[types[j]])
        for k in range(k_ranges):
            x = max(1.0 - grown / ranges[k], 0.0)
            value, slope = x**3, -3.0 * x**2 / ranges[k] * growth
            own, along = moments[types[j] * k_ranges + k], gradients[j, k]
            own[0] += value
            for c in range(3):
                along[0, c] = slope * u[c]
            for a in range(3):
                own[1 + a] += value * u[a]
                for c in range(3):
                    along[1 + a, c] = slope * u[a] * u[c] + value * ((a == c) - u[a] * u[c]) / r
            for a in range(3):
                for b in range(a, 3):
                    q = 4 + a if a == b else 6 + a + b
                    product = u[a] * u[b]
                    own[q] += value * (product - (a == b) / 3)
                    for c in range(3):
                        turned = (a == c) * u[b] + (b == c) * u[a] - 2 * product * u[c]
                        along[q, c] = slope * (product - (a == b) / 3) * u[c] + value * turned / r


@njit(nogil=True, error_model='numpy')
def _enter(vectors, types, index, start, chosen, n_densities, ranges, closest, factors, counts, rows, gradients):
    """Add the terms of some atoms of one species to rows (terms, m); see :func:`add_rows`."""
    n_terms, per_species = len(rows), len(ranges) * N_MOMENTS
    moments = np.empty((n_densities, N_MOMENTS))
    value = np.ones(n_densities * N_MOMENTS + 1)
    for i in chosen:
        n_near = start[i + 1] - start[i]
        vector, near = vectors[start[i] : start[i + 1]], index[start[i] : start[i + 1]]
        slopes = np.empty((n_near, len(ranges), N_MOMENTS, 3))
        _gather(vector, types[near], ranges, closest, moments, slopes)
        value[:-1] = moments.reshape(-1)
        energy = 0 if gradients else i
        by_moment = np.zeros((len(value), n_terms))
        for t in range(len(factors)):
            term, a, b, c = factors[t]
            rows[term, energy] += counts[t] * value[a] * value[b] * value[c]
            by_moment[a, term] += counts[t] * value[b] * value[c]
            by_moment[b, term] += counts[t] * value[a] * value[c]
            by_moment[c, term] += counts[t] * value[a] * value[b]
        if not gradients:
            continue
        for j in range(n_near):
            d, first = vector[j], types[near[j]] * per_species
            along = slopes[j].copy().reshape(per_species, 3).T.copy() @ by_moment[first : first + per_species]
            for term in range(n_terms):
                add_gradient(rows[term], near[j], i, d, along[0, term], along[1, term], along[2, term])
