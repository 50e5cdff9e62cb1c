"""Settings of an EFG model chosen by cross-validation over groups, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.descriptors import feature_count
from aiida_ufpnmr.engine.efg.labels import labelled_tensors
from aiida_ufpnmr.engine.efg.messages import message_count
from aiida_ufpnmr.engine.efg.problem import EfgProblem
from aiida_ufpnmr.engine.efg.settings import PENALTIES, EfgSettings
from aiida_ufpnmr.engine.regression.learning import folds_of
from aiida_ufpnmr.engine.regression.penalties import cross_validated
from aiida_ufpnmr.engine.regression.tuning import CoordinateSearch, changes
from aiida_ufpnmr.engine.settings import settings_to_json

#: Values that are tried of each setting, in ascending order, most telling first. The penalty is chosen anew for each of
#: them.
GRID: dict[str, tuple] = {
    'cutoff': (4.0, 5.0, 6.0, 7.0),
    'l_max': (4, 6, 8, 10),
    'sigma': (0.25, 0.3, 0.4, 0.5),
    'exponent': (0.0, 2.0, 3.0, 4.0, 6.0),
    'scale': (1.5, 2.0, 2.5, 3.5),
    'n_max': (5, 6, 8, 10),
    'radial_basis': ('gto', 'laplacian'),
    'mixed_channels': (8, 11, 14, 18),
    'message_channels': (0, 4, 8, 12),
    'zeta': (1, 2, 3),
    'sparse_points': (150, 300, 500),
}
#: Penalties that are tried, finer and wider than those of a fit.
TRIED_PENALTIES = (3e-4, 1e-3, 3e-3, *PENALTIES, 3e-1)
#: A step must lower the error by this share: below, the folds cannot tell.
LEAST_GAIN = 0.003
#: Larger models than this are not tried.
MOST_COLUMNS = 5000


def cross_validated_error(problem: EfgProblem, folds, penalties) -> tuple[float, float]:
    """Relative RMSE of the tensor over all folds, each predicted by a fit to the others, and the best penalty."""
    size = sum(float(np.sum(tensors**2)) for tensors in problem.tensors)
    squared, penalty = cross_validated([problem.compressed(members) for members in folds], penalties)
    return float(np.sqrt(squared / size)) if size else 0.0, penalty


def tune(
    dataset: Dataset, species: str, settings: EfgSettings, grid: Mapping[str, tuple] = GRID, sweeps: int = 2
) -> tuple[EfgSettings, dict[str, Any]]:
    """Choose settings by coordinate search: each goes along its grid as long as the withheld error falls.

    Args:
        dataset: structures with labels, of two groups at least.
        settings: where the search begins; folds, seed and isotope are kept.
        grid: ascending values by name of setting.
        sweeps: how often to go over all settings at most.

    Returns:
        The chosen settings, with their penalty, and a report: withheld errors before and after, and every trial.

    Raises:
        InputError: the structures are of one group, so nothing can be withheld, or hold no labels.
    """
    folds = folds_of(dataset, settings.folds, settings.seed, 'nothing can be tuned')
    labelled_tensors(dataset, species)
    trials: dict[str, tuple[EfgSettings, float, float]] = {}
    elements = len(dataset.species)

    def measured(trial: EfgSettings) -> tuple[EfgSettings, float, float]:
        """Settings with the error and the best penalty of a fit with them."""
        # a model that is linear has no sparse points
        key = settings_to_json(trial if trial.zeta > 1 else dataclasses.replace(trial, sparse_points=2))
        if key not in trials:
            channels = min(trial.mixed_channels, elements * trial.n_max)
            columns = 5 * trial.sparse_points
            if trial.zeta == 1:
                told = min(trial.message_channels, elements * trial.n_max)
                columns = feature_count(trial.l_max, channels)
                columns += message_count(trial.l_max, elements, trial.n_max, told)
            error, penalty = float('inf'), 0.0
            if columns <= MOST_COLUMNS:
                penalties = TRIED_PENALTIES if settings.penalty is None else [settings.penalty]
                error, penalty = cross_validated_error(EfgProblem.of(dataset, species, trial), folds, penalties)
            trials[key] = trial, error, penalty
        return trials[key]

    best = CoordinateSearch[EfgSettings](
        grid=grid,
        score=lambda trial: measured(trial)[1],
        threshold=lambda lowest: (1 - LEAST_GAIN) * lowest,
        shown=lambda _, lowest: f'{lowest:.3f}',
    ).run(settings, sweeps)
    _, lowest, penalty = measured(best)
    return dataclasses.replace(best, penalty=penalty), {
        'efg_relative_rmse_before': measured(settings)[1],
        'efg_relative_rmse': lowest,
        'folds': len(folds),
        'changed': changes(settings, best, grid),
        'penalty': penalty,
        'trials': [
            {**{name: getattr(trial, name) for name in grid}, 'penalty': chosen, 'efg_relative_rmse': error}
            for trial, error, chosen in trials.values()
            if np.isfinite(error)
        ],
    }
