"""Errors of a potential on labelled structures, beside those that it expects."""

from __future__ import annotations

from typing import Any

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.ufp.calibration import expected_and_real
from aiida_ufpnmr.engine.ufp.metrics import Predictions, predict
from aiida_ufpnmr.engine.ufp.potential import UltraFastPotential
from aiida_ufpnmr.engine.ufp.proximity import close_contacts


def evaluation(
    potential: UltraFastPotential, dataset: Dataset, predictions: Predictions | None = None
) -> dict[str, Any]:
    """Errors by species and by group, how well expected errors hold, and atoms closer than any in training.

    Args:
        predictions: of the potential on the structures, where they are there already.

    Raises:
        InputError: a structure that the potential cannot compute; the message names it.
    """
    predictions = predictions or predict([(potential, dataset)])
    return {
        **predictions.errors_with_weighted(),
        'calibration': None if potential.posterior is None else expected_and_real(potential, dataset),
        'closer_than_training': close_contacts(potential, dataset),
        'structures': len(dataset),
        'atoms': sum(map(len, dataset)),
    }
