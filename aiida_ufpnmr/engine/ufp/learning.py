"""Learning curve of a potential: withheld errors against the number of structures."""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.ufp.equations import NormalEquations
from aiida_ufpnmr.engine.ufp.problem import Problem
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings

#: Parts of the training groups after which the errors are taken.
FRACTIONS = (0.1, 0.2, 0.35, 0.6, 1.0)


def learning_curve(dataset: Dataset, settings: PotentialSettings) -> dict:
    """Errors by number of structures: groups come in one after the other, the withheld groups stay the same.

    For each fold the other groups, in an order drawn from the seed, are added to the normal equations, and the fold is
    predicted after each stretch. The basis is that of the whole set at every size.

    Returns:
        Lists over sizes: ``structures`` (mean over folds), withheld and training RMSE of the forces (meV/Å) and withheld of
        the energy (meV/atom), their standard deviations over folds (``..._spread``), and the exponent of the forces' error
        in the number of structures over the second half of the curve.

    Raises:
        InputError: the structures are of one group, so nothing can be withheld.
    """
    folds = dataset.folds(settings.folds, settings.seed)
    if not folds:
        raise InputError(
            f'{dataset.source}: a single group cannot be withheld, so there is no learning curve; name groups (config_type)'
        )
    problem = Problem.of(dataset, settings)
    rng = np.random.default_rng(settings.seed)
    table = np.full((len(folds), len(FRACTIONS), 4), np.nan)
    with progress(len(folds) * len(FRACTIONS), 'learning curve', 'fit') as bar:
        for f, members in enumerate(folds):
            parts = stretches(dataset, np.setdiff1d(np.arange(len(dataset)), members), rng)
            so_far = NormalEquations(problem.basis.n_columns)
            known = np.zeros(0, int)
            for k, stretch in enumerate(parts):
                so_far += problem.equations(stretch)
                known = np.append(known, stretch)
                if len(known):
                    equations = NormalEquations(problem.basis.n_columns)
                    equations += so_far
                    coefficients = equations.solve(problem.penalty).coefficients
                    forces, energy = _errors(problem, coefficients, members)
                    table[f, k] = len(known), forces, _errors(problem, coefficients, known)[0], energy
                bar.update()
    mean, spread = np.nanmean(table, axis=0), np.nanstd(table, axis=0)
    late = slice(len(FRACTIONS) // 2, None)
    exponent = np.polyfit(np.log(mean[late, 0]), np.log(mean[late, 1]), 1)[0] if np.ptp(mean[late, 0]) > 0 else None
    return {
        'structures': mean[:, 0],
        'forces_rmse_meV_per_angstrom': mean[:, 1],
        'forces_rmse_meV_per_angstrom_spread': spread[:, 1],
        'train_forces_rmse_meV_per_angstrom': mean[:, 2],
        'energy_rmse_meV_per_atom': mean[:, 3],
        'energy_rmse_meV_per_atom_spread': spread[:, 3],
        'forces_exponent': exponent,
        'folds': len(folds),
    }


def stretches(dataset: Dataset, indices: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The chosen structures in stretches of whole groups, in random order; a stretch may be empty."""
    groups = np.array(dataset.groups)[indices]
    order = rng.permutation(np.unique(groups))
    members = [indices[groups == name] for name in order]
    after = np.cumsum([len(part) for part in members]) / len(indices)
    # at each fraction, all groups that end there or the first that reaches it
    stops = [0] + [min(len(members), int(np.searchsorted(after, fraction - 1e-9)) + 1) for fraction in FRACTIONS]
    empty = np.zeros(0, int)
    return [np.concatenate([empty, *members[a:b]]) for a, b in zip(stops, stops[1:])]


def _errors(problem: Problem, coefficients: np.ndarray, indices: np.ndarray) -> tuple[float, float]:
    """RMSE of forces (meV/Å) and energy (meV/atom) on the chosen structures."""
    forces, energies = problem.residuals(coefficients, indices)
    return 1000 * float(np.sqrt(np.mean(forces**2))), 1000 * float(np.sqrt(np.mean(energies**2)))
