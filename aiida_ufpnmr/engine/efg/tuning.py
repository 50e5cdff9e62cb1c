"""Settings of an EFG model chosen by cross-validation over groups, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.descriptors import feature_count
from aiida_ufpnmr.engine.efg.labels import labelled_tensors
from aiida_ufpnmr.engine.efg.messages import message_count
from aiida_ufpnmr.engine.efg.problem import EfgProblem
from aiida_ufpnmr.engine.efg.settings import LIMITS, EfgSettings, penalties_of
from aiida_ufpnmr.engine.regression.compressed_rows import CompressedRows
from aiida_ufpnmr.engine.regression.learning import folds_of
from aiida_ufpnmr.engine.regression.penalties import PenaltyChoice, cross_validated, penalties_around
from aiida_ufpnmr.engine.regression.tuning import CoordinateSearch, changes
from aiida_ufpnmr.engine.settings import settings_to_json

#: Values that are tried of each setting, in ascending order, most telling first. The penalty is searched anew for each
#: of them.
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
#: A step must lower the error by this share: below, the folds cannot tell.
LEAST_GAIN = 0.003
#: Settings whose error is larger than the least so far by more than this share at the penalty of that are given up: no
#: other penalty gains so much.
HOPELESS = 0.05
#: Larger models than this are not tried.
MOST_COLUMNS = 5000


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
    trials: dict[str, tuple[EfgSettings, float, PenaltyChoice]] = {}
    elements = len(dataset.species)

    def cross_validate(problem: EfgProblem) -> tuple[float, PenaltyChoice]:
        """Relative RMSE of the tensor with the best penalty, which is sought near that of the best settings so far."""
        parts = [problem.compressed(members) for members in folds]
        size = sum(weight * float(np.sum(tensors**2)) for weight, tensors in zip(problem.weights, problem.tensors))
        choice = _choose_penalty(parts, settings, [choice for _, _, choice in trials.values()])
        return float(np.sqrt(choice.error / size)) if size else 0.0, choice

    def error(trial: EfgSettings) -> float:
        """Withheld error of settings, with the best penalty for them; infinite where the model would be too large."""
        channels = min(trial.mixed_channels, elements * trial.n_max)
        columns = 5 * trial.sparse_points
        if trial.zeta == 1:
            told = min(trial.message_channels, elements * trial.n_max)
            columns = feature_count(trial.l_max, channels)
            columns += message_count(trial.l_max, elements, trial.n_max, told)
        if columns > MOST_COLUMNS:
            return float('inf')
        if (key := _key(trial)) not in trials:
            trials[key] = trial, *cross_validate(EfgProblem.of(dataset, species, trial))
        return trials[key][1]

    search = CoordinateSearch[EfgSettings](
        grid=grid,
        score=error,
        threshold=lambda lowest: (1 - LEAST_GAIN) * lowest,
        shown=lambda _, lowest: f'{lowest:.3f}',
        limits=LIMITS,
    )
    # many small factorisations: on a shared machine, threads of BLAS wait for each other most of the time
    with threadpool_limits(1, user_api='blas'):
        best, ends = search.run(settings, sweeps)
    lowest, choice = trials[_key(best)][1:]
    return dataclasses.replace(best, penalty=choice.penalty), {
        'efg_relative_rmse_before': error(settings),
        'efg_relative_rmse': lowest,
        'folds': len(folds),
        'changed': changes(settings, best, grid),
        'penalty': choice.penalty,
        'penalty_minimum': choice.minimum,
        'ends': ends,
        'trials': [
            {**{name: getattr(trial, name) for name in grid}, 'penalty': chosen.penalty, 'efg_relative_rmse': error}
            for trial, error, chosen in trials.values()
        ],
    }


def _choose_penalty(
    parts: Sequence[CompressedRows], settings: EfgSettings, earlier: Sequence[PenaltyChoice]
) -> PenaltyChoice:
    """The best penalty for the rows of all folds, sought around that of the best choice before, if there is any."""
    if not earlier:
        return cross_validated(parts, penalties_of(settings))
    best = min(earlier, key=lambda choice: choice.error)
    near = penalties_around(best.penalty) if settings.penalty is None else (settings.penalty,)
    try:
        return cross_validated(parts, near, hopeless=(1 + HOPELESS) ** 2 * best.error)
    except np.linalg.LinAlgError:  # rounding ends the search earlier than it did before
        return cross_validated(parts, penalties_of(settings))


def _key(settings: EfgSettings) -> str:
    """Text that is the same for settings of the same model: one that is linear has no sparse points."""
    return settings_to_json(settings if settings.zeta > 1 else dataclasses.replace(settings, sparse_points=2))
