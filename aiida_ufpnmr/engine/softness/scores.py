"""Scores of the fit of a softness model, as a terminal or a page shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiida_ufpnmr.engine.tables import Tabular

#: Rows of the table: key and name.
SCORES = (
    ('accuracy', 'accuracy'),
    ('balanced_accuracy', 'mean over mobile and immobile'),
    ('roc_auc', 'area below the ROC'),
)


@dataclass(frozen=True)
class FitScores(Tabular):
    """Shares of mobile, immobile and undecided ions, and how well a model tells them apart.

    Attributes:
        results: of ``fit_softness``.
    """

    results: Mapping[str, Any]

    @property
    def headline(self) -> str:
        return (
            '{samples} {species} ions and windows: {mobile:.1%} mobile, {immobile:.1%} immobile, {undecided:.1%} '
            'undecided'
        ).format(**self.results)

    def table(self) -> Sequence[tuple[str, ...]]:
        rows = [('', 'withheld', f'95 % interval, by {self.results["intervals_by"]}', 'training')]
        for key, name in SCORES:
            interval = '{:.3f} to {:.3f}'.format(*self.results[f'{key}_ci95'])
            rows.append((name, f'{self.results[key]:.3f}', interval, f'{self.results["train"][key]:.3f}'))
        return rows
