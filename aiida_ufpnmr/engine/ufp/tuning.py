"""Settings of a fit chosen by cross-validation over groups, one coordinate after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.regression.learning import folds_of
from aiida_ufpnmr.engine.regression.normal_equations import NormalEquations
from aiida_ufpnmr.engine.regression.tuning import CoordinateSearch, changes
from aiida_ufpnmr.engine.settings import settings_to_json
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.problem import Problem, rmse_in_thousandths
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings

#: Values that are tried of each setting, most telling first. The error of the forces has no entry: beside the penalties
#: and the other two errors it sets no more than a common factor. Penalties and errors go on beyond their values.
GRID: dict[str, tuple[float, ...]] = {
    'triplet_cutoff': (3.25, 3.5, 3.75, 4.0, 4.5, 5.0),
    'bond_intervals': (5, 6, 7, 8, 9, 10),
    'third_intervals': (8, 10, 12, 14, 16),
    'curvature_triplet': (2.0, 6.0, 20.0, 60.0, 200.0),
    'ridge_triplet': (1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    'pair_cutoff': (5.0, 6.0, 7.0, 8.0, 9.0),
    'pair_intervals': (12, 16, 20, 26, 32),
    'curvature_pair': (3.0, 10.0, 30.0, 100.0, 300.0),
    'ridge_pair': (1e-3, 1e-2, 1e-1),
    'energy_error_meV_per_atom': (2.0, 5.0, 12.0),
    'stress_error_GPa': (0.2, 0.5, 1.2),
}
#: Settings that leave the design rows and their weights as they are.
PENALTIES = frozenset({'ridge_pair', 'curvature_pair', 'ridge_triplet', 'curvature_triplet'})
_ENDLESS = PENALTIES | {'energy_error_meV_per_atom', 'stress_error_GPa'}
#: Share of the energy in the score.
ENERGY_SHARE = 0.2
#: A step must lower the score by this much: below, the folds cannot tell.
LEAST_GAIN = 0.002
#: Finer bases than this are not tried: normal equations of 0.6 GB a fold.
MOST_COLUMNS = 9000


@dataclass(frozen=True)
class WithheldErrors:
    """RMSE over all folds, each predicted by a fit to the others.

    Attributes:
        forces: meV/Å.
        energy: meV/atom.
    """

    forces: float
    energy: float

    def score(self, reference: WithheldErrors) -> float:
        """One figure to be lowered: forces with a share of the energy, both relative to where the search began."""
        return (1 - ENERGY_SHARE) * self.forces / reference.forces + ENERGY_SHARE * self.energy / reference.energy


#: Errors of settings that cannot be tried.
_UNUSABLE = WithheldErrors(forces=np.inf, energy=np.inf)


def cross_validate(problem: Problem, folds: Sequence[np.ndarray], parts: Sequence[NormalEquations]) -> WithheldErrors:
    """Withheld errors of a problem, by the weights of its structures; ``parts`` are its equations by fold."""
    by_force, by_energy = [], []
    order = np.concatenate(folds)
    weights = problem.weights[order]
    weights_of_components = np.repeat(weights, [3 * len(problem.dataset[int(k)]) for k in order])
    for f, members in enumerate(folds):
        coefficients = problem.total(parts, without=f).solve(problem.penalty).coefficients
        forces, energies = problem.residuals(coefficients, members)
        by_force.append(forces)
        by_energy.append(energies)
    return WithheldErrors(
        forces=rmse_in_thousandths(np.concatenate(by_force), weights_of_components),
        energy=rmse_in_thousandths(np.concatenate(by_energy), weights),
    )


class WithheldSearch:
    """Withheld errors by settings, with the equations of the latest basis and weights kept for the next penalties."""

    def __init__(self, dataset: Dataset, settings: PotentialSettings, most_columns: int = MOST_COLUMNS):
        self.dataset = dataset
        self.most_columns = most_columns
        self.folds = folds_of(dataset, settings.folds, settings.seed, 'nothing can be tuned')
        self.trials: dict[str, tuple[PotentialSettings, WithheldErrors]] = {}
        self._kept: tuple[PotentialSettings, list[NormalEquations]] | None = None

    def errors(self, settings: PotentialSettings) -> WithheldErrors:
        """Errors of settings; infinite where their basis is too large, or leaves no room for a wall."""
        key = settings_to_json(settings)
        if key not in self.trials:
            # many factorisations: on a shared machine, threads of BLAS wait for each other most of the time
            with threadpool_limits(1, user_api='blas'):
                self.trials[key] = settings, self._measure(settings)
        return self.trials[key][1]

    def _measure(self, settings: PotentialSettings) -> WithheldErrors:
        try:
            problem = Problem.of(self.dataset, settings)
        except InputError:
            return _UNUSABLE
        if problem.basis.n_columns > self.most_columns:
            return _UNUSABLE
        ones: dict[str, Any] = dict.fromkeys(PENALTIES, 1.0)
        rows = dataclasses.replace(settings, **ones)
        if self._kept is None or self._kept[0] != rows:
            self._kept = None  # free the old ones first
            self._kept = (rows, [problem.equations(members) for members in self.folds])
        return cross_validate(problem, self.folds, self._kept[1])

    def potential(self, settings: PotentialSettings) -> UltraFastPotential:
        """The potential of settings, fitted to everything."""
        with threadpool_limits(1, user_api='blas'):
            return Problem.of(self.dataset, settings).fitted(range(len(self.dataset)))


def tune(
    dataset: Dataset, settings: PotentialSettings, grid: Mapping[str, tuple[float, ...]] = GRID, sweeps: int = 2
) -> tuple[PotentialSettings, dict]:
    """Choose settings by coordinate search: each goes along its grid as long as the withheld errors fall.

    Args:
        dataset: structures with energy and forces, of two groups at least.
        settings: where the search begins; folds and seed are kept.
        grid: ascending values by name of setting.
        sweeps: how often to go over all settings at most.

    Returns:
        The chosen settings, and a report: withheld errors before and after, and every trial.

    Raises:
        InputError: the structures are of one group, so nothing can be withheld.
    """
    search = WithheldSearch(dataset, settings)
    problem = Problem.of(dataset, settings)
    begin = problem.settings
    reference = search.errors(begin)
    if reference is _UNUSABLE:
        columns = problem.basis.n_columns
        raise InputError(f'the settings lead to {columns} coefficients, more than can be tuned ({MOST_COLUMNS})')
    best, ends = CoordinateSearch[PotentialSettings](
        grid=grid,
        score=lambda trial: search.errors(trial).score(reference),
        threshold=lambda lowest: lowest - LEAST_GAIN,
        shown=lambda best, _: f'{search.errors(best).forces:.0f} meV/Å',
        endless=_ENDLESS,
    ).run(begin, sweeps)
    chosen = search.errors(best)
    return best, {
        'forces_rmse_meV_per_angstrom_before': reference.forces,
        'energy_rmse_meV_per_atom_before': reference.energy,
        'forces_rmse_meV_per_angstrom': chosen.forces,
        'energy_rmse_meV_per_atom': chosen.energy,
        'folds': len(search.folds),
        'changed': changes(settings, best, grid),
        'ends': ends,
        'trials': [
            {
                **{name: getattr(trial, name) for name in grid},
                'forces_rmse_meV_per_angstrom': errors.forces,
                'energy_rmse_meV_per_atom': errors.energy,
            }
            for trial, errors in search.trials.values()
            if errors is not _UNUSABLE
        ],
    }
