"""Learning curves: withheld errors against the size of the training set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.progress import progress

#: Parts of the training groups after which the errors are taken.
FRACTIONS = (0.1, 0.2, 0.35, 0.6, 1.0)


def folds_of(dataset: Dataset, n_folds: int, seed: int, purpose: str) -> list[np.ndarray]:
    """The folds of a data set; :class:`InputError` where it is one group, with ``purpose`` saying what is lost."""
    folds = dataset.folds(n_folds, seed)
    if not folds:
        raise InputError(
            f'{dataset.source}: a single group cannot be withheld, so {purpose}; name groups (config_type)'
        )
    return folds


def errors_by_size(
    dataset: Dataset,
    folds: Sequence[np.ndarray],
    seed: int,
    empty: Callable[[], Any],
    rows_of: Callable[[np.ndarray], Any],
    measure: Callable[[Any, np.ndarray, np.ndarray], Sequence[float] | None],
) -> tuple[np.ndarray, np.ndarray]:
    """Errors on each fold while the other groups come in one after the other, in an order drawn from ``seed``.

    Args:
        empty: gives the sum over no rows.
        rows_of: gives the rows of some structures, which ``+=`` adds to those before.
        measure: gives the size of the training set and errors, from the rows so far, the structures that they come from
            and the withheld ones; ``None`` where there is nothing to fit yet.

    Returns:
        Mean and standard deviation over folds, (fractions, numbers) each.
    """
    rng = np.random.default_rng(seed)
    table: list[list[Sequence[float] | None]] = []
    with progress(len(folds) * len(FRACTIONS), 'learning curve', 'fit') as bar:
        for members in folds:
            rows, known, line = empty(), np.zeros(0, int), []
            for stretch in stretches(dataset, np.setdiff1d(np.arange(len(dataset)), members), rng):
                rows += rows_of(stretch)
                known = np.append(known, stretch)
                line.append(measure(rows, known, members))
                bar.update()
            table.append(line)
    width = max(len(numbers) for line in table for numbers in line if numbers is not None)
    filled = np.array([[[np.nan] * width if numbers is None else numbers for numbers in line] for line in table])
    return np.nanmean(filled, axis=0), np.nanstd(filled, axis=0)


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


def exponent(sizes: np.ndarray, errors: np.ndarray) -> float | None:
    """Power of the size by which an error falls over the later half; ``None`` where the size stays the same."""
    late = slice(len(FRACTIONS) // 2, None)
    if not np.ptp(sizes[late]) > 0:
        return None
    return float(np.polyfit(np.log(sizes[late]), np.log(errors[late]), 1)[0])
