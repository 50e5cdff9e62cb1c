"""Mean and extent of the surroundings of atoms in a training set, for the extrapolation grade."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aiida_ufpnmr.engine.ufp.equations import in_order, species_numbers
from aiida_ufpnmr.engine.ufp.features import local_features
from aiida_ufpnmr.engine.ufp.posterior import Posterior
from aiida_ufpnmr.engine.ufp.problem import Problem


def _environments(problem: Problem) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Weight, species numbers (n,) and local design rows (n, n_columns) of each structure, in order."""

    def make(index):
        atoms = problem.dataset.structures[index]
        types = species_numbers(atoms, problem.basis.species)
        return problem.weights[index], types, local_features(atoms, types, problem.basis)

    return in_order(make, range(len(problem.dataset)))


def mean_environments(problem: Problem) -> np.ndarray:
    """(s, n_columns) mean local design row around each species; that of the earlier data where there are any."""
    if problem.base is not None:
        return problem.base.centre
    s = len(problem.basis.species)
    total, atoms_of = np.zeros((s, problem.basis.n_columns)), np.zeros(s)
    for weight, types, rows in _environments(problem):
        for t in np.unique(types):
            total[t] += weight * rows[types == t].sum(axis=0)
            atoms_of[t] += weight * np.sum(types == t)
    return total / atoms_of[:, None]


def leverage_limit(problem: Problem, posterior: Posterior) -> np.ndarray:
    """(s,) largest leverage of any training environment around each species, eV².

    Those of a structure of little weight count by as much: the fit hardly knows them.
    """
    # above zero, so that a species with a single environment has a grade, too
    limit = np.full(len(problem.basis.species), 1e-12)
    if problem.base is not None:
        limit = np.maximum(limit, problem.base.leverage_limit)
    for weight, types, rows in _environments(problem):
        np.maximum.at(limit, types, min(weight, 1.0) * posterior.leverages(rows, types, problem.basis))
    return limit
