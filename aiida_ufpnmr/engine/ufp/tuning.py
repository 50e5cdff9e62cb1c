"""Settings of a fit chosen by cross-validation over groups, one coordinate after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress
from aiida_ufpnmr.engine.ufp.equations import NormalEquations
from aiida_ufpnmr.engine.ufp.fitting import Problem
from aiida_ufpnmr.engine.ufp.settings import PotentialSettings

#: Values that are tried of each setting, most telling first. The error of the forces has no entry: beside the penalties
#: and the other two errors it sets no more than a common factor.
GRID: dict[str, tuple[float, ...]] = {
    'trio_cutoff': (3.25, 3.5, 3.75, 4.0, 4.5, 5.0),
    'leg_intervals': (5, 6, 7, 8, 9, 10),
    'third_intervals': (8, 10, 12, 14, 16),
    'curvature_trio': (2.0, 6.0, 20.0, 60.0, 200.0),
    'ridge_trio': (1.0, 3.0, 10.0, 30.0, 100.0, 300.0),
    'pair_cutoff': (5.0, 6.0, 7.0, 8.0, 9.0),
    'pair_intervals': (12, 16, 20, 26, 32),
    'curvature_pair': (3.0, 10.0, 30.0, 100.0, 300.0),
    'ridge_pair': (1e-3, 1e-2, 1e-1),
    'energy_error_meV_per_atom': (2.0, 5.0, 12.0),
    'stress_error_GPa': (0.2, 0.5, 1.2),
}
#: Settings that leave the design rows and their weights as they are.
PENALTIES = frozenset({'ridge_pair', 'curvature_pair', 'ridge_trio', 'curvature_trio'})
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


def cross_validate(problem: Problem, folds: Sequence[np.ndarray], parts: Sequence[NormalEquations]) -> WithheldErrors:
    """Withheld errors of a problem; ``parts`` are its equations by fold."""
    by_force, by_energy = [], []
    for f, members in enumerate(folds):
        coefficients = problem.total(parts, without=f).solve(problem.penalty).coefficients
        forces, energies = problem.residuals(coefficients, members)
        by_force.append(forces)
        by_energy.append(energies)
    rmse = lambda errors: 1000 * float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))  # noqa: E731
    return WithheldErrors(rmse(by_force), rmse(by_energy))


class _Search:
    """Withheld errors by settings, with the equations of the latest basis and weights kept for the next penalties."""

    def __init__(self, dataset: Dataset, settings: PotentialSettings):
        self.dataset = dataset
        self.folds = dataset.folds(settings.folds, settings.seed)
        self.trials: dict[PotentialSettings, WithheldErrors | None] = {}
        self._kept: tuple[PotentialSettings, list[NormalEquations]] | None = None

    def errors(self, settings: PotentialSettings) -> WithheldErrors | None:
        """Errors of settings; ``None`` where their basis is too large."""
        if settings not in self.trials:
            self.trials[settings] = self._measure(settings)
        return self.trials[settings]

    def _measure(self, settings: PotentialSettings) -> WithheldErrors | None:
        problem = Problem.of(self.dataset, settings)
        if problem.basis.n_columns > MOST_COLUMNS:
            return None
        rows = dataclasses.replace(settings, **dict.fromkeys(PENALTIES, 1.0))
        if self._kept is None or self._kept[0] != rows:
            self._kept = None  # free the old ones first
            self._kept = (rows, [problem.equations(members) for members in self.folds])
        return cross_validate(problem, self.folds, self._kept[1])


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
    search = _Search(dataset, settings)
    if not search.folds:
        raise InputError(
            f'{dataset.source}: a single group cannot be withheld, so nothing can be tuned; name groups (config_type)'
        )
    basis = Problem.of(dataset, settings).basis
    best = dataclasses.replace(settings, leg_intervals=basis.leg_intervals, third_intervals=basis.third_intervals)
    reference = search.errors(best)
    if reference is None:
        raise InputError(f'the settings lead to {basis.n_columns} coefficients, more than can be tuned ({MOST_COLUMNS})')
    lowest = 1.0
    with progress(2 * len(grid) * sweeps, 'tuning', 'setting') as bar:
        for _ in range(sweeps):
            before = best
            for name, values in grid.items():
                for direction in (1, -1):
                    best, lowest = _along(search, best, lowest, reference, name, values[::direction])
                    bar.update()
                    bar.set_postfix_str(f'{search.errors(best).forces:.0f} meV/Å')
            if best == before:
                break
    chosen = search.errors(best)
    return best, {
        'forces_rmse_meV_per_angstrom_before': reference.forces,
        'energy_rmse_meV_per_atom_before': reference.energy,
        'forces_rmse_meV_per_angstrom': chosen.forces,
        'energy_rmse_meV_per_atom': chosen.energy,
        'folds': len(search.folds),
        'changed': {name: getattr(best, name) for name in grid if getattr(best, name) != getattr(settings, name)},
        'trials': [
            {
                **{name: getattr(trial, name) for name in grid},
                'forces_rmse_meV_per_angstrom': errors.forces,
                'energy_rmse_meV_per_atom': errors.energy,
            }
            for trial, errors in search.trials.items()
            if errors is not None
        ],
    }


def _along(search, best, lowest, reference, name, values) -> tuple[PotentialSettings, float]:
    """Follow one setting along ``values`` beyond where it stands, as long as the score falls."""
    ascending = values[-1] > values[0]
    here = getattr(best, name)
    for value in values:
        if (value <= here) if ascending else (value >= here):
            continue
        trial = dataclasses.replace(best, **{name: value})
        errors = search.errors(trial)
        if errors is None or errors.score(reference) > lowest - LEAST_GAIN:
            break
        best, lowest = trial, errors.score(reference)
    return best, lowest
