"""Predictions of withheld groups by EFG models that did not see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aiida_ufpnmr.engine.efg.domain import WITHIN, Domain, Moments
from aiida_ufpnmr.engine.efg.metrics import expected_and_real
from aiida_ufpnmr.engine.efg.posterior import variances
from aiida_ufpnmr.engine.efg.problem import EfgProblem
from aiida_ufpnmr.engine.efg.tensors import to_irreps
from aiida_ufpnmr.engine.regression.calibration import Noise, cross_fitted, fit_noise
from aiida_ufpnmr.engine.regression.compressed_rows import CompressedRows, RidgeSolution


@dataclass(frozen=True)
class Withheld:
    """Predictions of each structure's labelled ions by models that did not see its group.

    Attributes:
        tensors: for each structure (n, 3, 3) in a.u.
        variance: for each structure (n,).
        squared_distance: for each structure (n,), from the training set.
        fold: for each structure (n,), in which fold it was withheld.
        weight: for each structure (n,), its own for each ion.
    """

    tensors: list[np.ndarray]
    variance: list[np.ndarray]
    squared_distance: list[np.ndarray]
    fold: list[np.ndarray]
    weight: list[np.ndarray]

    @classmethod
    def of(
        cls,
        problem: EfgProblem,
        folds: Sequence[np.ndarray],
        parts: Sequence[CompressedRows],
        moments: list[Moments],
        penalties: Sequence[float],
        penalty: float,
    ) -> Withheld:
        """Fit without each fold, with the penalty of that fold; variances go by the one ``penalty`` of the model."""
        empty = [np.zeros(0)] * len(problem.dataset)
        found = cls([np.zeros((0, 3, 3))] * len(empty), list(empty), list(empty), list(empty), list(empty))
        for f, (members, chosen) in enumerate(zip(folds, penalties)):
            kept = [part for k, part in enumerate(parts) if k != f]
            solution = RidgeSolution(kept, chosen)
            whitening = (solution if chosen == penalty else RidgeSolution(kept, penalty)).whitening
            terms, domain = problem.design.terms(solution.weights), Domain.of(moments[:f] + moments[f + 1 :])
            for k in members:
                environments = problem.environments[k]
                if len(environments):
                    found.tensors[k] = problem.predicted(terms, k)
                    found.variance[k] = variances(problem.design, whitening, penalty, environments)
                    found.squared_distance[k] = domain.squared_distances(environments)
                    found.fold[k] = np.full(len(environments), f)
                    found.weight[k] = np.full(len(environments), problem.weights[k])
        return found

    @property
    def limit(self) -> float:
        """The squared distance from the training set that nearly all ions keep to."""
        distances, weights = np.concatenate(self.squared_distance), np.concatenate(self.weight)
        if np.ptp(weights) == 0:
            limit = np.quantile(distances, WITHIN)
        else:
            limit = np.quantile(distances, WITHIN, weights=weights, method='inverted_cdf')
        return max(float(limit), 1e-12)

    def calibrate(self, problem: EfgProblem) -> tuple[Noise, dict[str, Any]]:
        """The noise, and how well expected errors hold: each fold is judged by the noise that the others show.

        Ions count by their weight for the noise, and alike where it is judged.
        """
        predicted, reference, variance, fold, weight = map(
            np.concatenate, (self.tensors, problem.tensors, self.variance, self.fold, self.weight)
        )
        error = to_irreps(predicted - reference).ravel()
        variance, fold, weight = (np.repeat(numbers, 5) for numbers in (variance, fold, weight))
        expected = cross_fitted(error, variance, fold, weight)[::5]
        groups = np.repeat(problem.dataset.groups, [len(t) for t in problem.tensors])
        noise = fit_noise(error, variance, weight)
        return noise, expected_and_real(predicted, reference, expected, groups, problem.isotope)
