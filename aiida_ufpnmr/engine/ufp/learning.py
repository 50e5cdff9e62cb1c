"""Learning curve of a potential: withheld errors against the number of structures."""

from __future__ import annotations

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.regression.learning import errors_by_size, exponent, folds_of
from aiida_ufpnmr.engine.regression.normal_equations import NormalEquations
from aiida_ufpnmr.engine.ufp.problem import Problem, rmse_in_thousandths
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings


def learning_curve(dataset: Dataset, settings: PotentialSettings) -> dict:
    """Errors by number of structures: groups come in one after the other, the withheld groups stay the same.

    For each fold the other groups, in an order drawn from the seed, are added to the normal equations, and the fold is
    predicted after each stretch. The basis is that of the whole set at every size.

    Returns:
        Lists over sizes: ``structures`` (mean over folds), withheld and training RMSE of the forces (meV/Å) and
        withheld of the energy (meV/atom), their standard deviations over folds (``..._spread``), and the exponent of
        the forces' error in the number of structures over the second half of the curve.

    Raises:
        InputError: the structures are of one group, so nothing can be withheld.
    """
    folds = folds_of(dataset, settings.folds, settings.seed, 'there is no learning curve')
    problem = Problem.of(dataset, settings)

    def empty() -> NormalEquations:
        return NormalEquations(problem.basis.n_columns)

    def measure(so_far: NormalEquations, known: np.ndarray, withheld: np.ndarray) -> tuple[float, ...] | None:
        if not len(known):
            return None
        equations = empty()
        equations += so_far
        coefficients = equations.solve(problem.penalty).coefficients
        forces, energy = _errors(problem, coefficients, withheld)
        return len(known), forces, _errors(problem, coefficients, known)[0], energy

    mean, spread = errors_by_size(
        dataset, folds, settings.seed, empty=empty, rows_of=problem.equations, measure=measure
    )
    return {
        'structures': mean[:, 0],
        'forces_rmse_meV_per_angstrom': mean[:, 1],
        'forces_rmse_meV_per_angstrom_spread': spread[:, 1],
        'train_forces_rmse_meV_per_angstrom': mean[:, 2],
        'energy_rmse_meV_per_atom': mean[:, 3],
        'energy_rmse_meV_per_atom_spread': spread[:, 3],
        'forces_exponent': exponent(mean[:, 0], mean[:, 1]),
        'folds': len(folds),
    }


def _errors(problem: Problem, coefficients: np.ndarray, indices: np.ndarray) -> tuple[float, float]:
    """RMSE of forces (meV/Å) and energy (meV/atom) on the chosen structures."""
    forces, energies = problem.residuals(coefficients, indices)
    return rmse_in_thousandths(forces), rmse_in_thousandths(energies)
