"""Means over predictions that come one after the other, since they need not fit into memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from aiida_ufpnmr.engine.efg.posterior import EfgPrediction, frequency_error_khz
from aiida_ufpnmr.engine.efg.tensors import asymmetry, quadrupolar_coupling


class PredictionSummary:
    """Mean |C_Q| and η, expected error and extrapolation grades of predictions.

    Args:
        isotope: whose couplings and frequencies are meant.
    """

    def __init__(self, isotope: str):
        self.isotope = isotope
        self.tensors = self.frames = self.judged = 0
        self.coupling = self.asymmetry = self.square = 0.0
        self.beyond, self.largest = 0, 0.0

    def add(self, prediction: EfgPrediction) -> None:
        """Count the predictions of a structure, or of some frames."""
        tensors = prediction.tensors.reshape(-1, *prediction.tensors.shape[-3:])
        self.frames += len(tensors)
        self.tensors += tensors.shape[0] * tensors.shape[1]
        self.coupling += float(quadrupolar_coupling(tensors, self.isotope, signed=False).sum())
        self.asymmetry += float(np.nansum(asymmetry(tensors)))
        if prediction.grade.size:
            self.judged += prediction.grade.size
            self.square += float(np.sum(prediction.error**2))
            self.beyond += int((prediction.grade > 1).sum())
            self.largest = max(self.largest, float(prediction.grade.max()))

    def results(self) -> dict[str, Any]:
        """Means over all that was counted, by key; ``None`` where no errors were asked for."""
        judged = self.judged or None
        expected = judged and float(frequency_error_khz(np.sqrt(self.square / judged), self.isotope))
        return {
            'frames': self.frames,
            'tensors': self.tensors,
            'c_q_mean_khz': self.coupling / self.tensors,
            'eta_mean': self.asymmetry / self.tensors,
            'omega_q_error_expected_khz': expected,
            'extrapolation_grade_max': judged and self.largest,
            'extrapolating_fraction': judged and self.beyond / judged,
        }
