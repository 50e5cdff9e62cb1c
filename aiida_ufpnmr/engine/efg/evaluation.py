"""Errors of an EFG model on labelled structures, beside those that it expects."""

from __future__ import annotations

from typing import Any

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.metrics import dataset_errors
from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.efg.prediction import LabelledPredictions, predict_labelled
from aiida_ufpnmr.engine.weights import structure_weights


def evaluation(model: EfgModel, dataset: Dataset, found: LabelledPredictions | None = None) -> dict[str, Any]:
    """Errors in all and by part, how well expected errors hold, and the share of ions outside of what is known.

    Args:
        found: predictions of the model for the labelled ions, where they are there already.

    Raises:
        InputError: an element that the model does not know; the message names the structure.
    """
    found = found or predict_labelled(model, dataset)
    weights = structure_weights(dataset, model.settings.weights)
    return {
        **dataset_errors(found.tensors, dataset, model.species, model.isotope, found.grade, weights),
        'calibration': found.calibration(dataset, model.species, model.isotope),
        **found.extrapolation(),
        'species': model.species,
        'isotope': model.isotope,
        'structures': len(dataset),
    }
