"""EFG models drawn from what a fit leaves open."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from aiida_ufpnmr.engine.efg.model import EfgModel
from aiida_ufpnmr.engine.regression.posterior import squared_lengths
from aiida_ufpnmr.engine.regression.sampling import draw, widening


def sampled_efg_models(model: EfgModel, structures: Sequence[Atoms], seeds: Sequence[int]) -> Iterator[EfgModel]:
    """Models that differ from the fitted one, in the tensors of structures, by as much as that is expected to err.

    They hold no posterior. See :mod:`~aiida_ufpnmr.engine.regression.sampling`.

    Raises:
        InputError: the model has no posterior, or does not know an element.
    """
    posterior = model.known_errors()
    expected = [np.repeat(model.predict_with_errors(atoms).error, 5) for atoms in structures]
    variances = [squared_lengths(model.whitened_rows(atoms)) for atoms in structures]
    factor = widening(np.concatenate(expected), np.concatenate(variances))
    for seed in seeds:
        change: Any = posterior.design.terms(draw(posterior.whitening, factor, seed))
        yield dataclasses.replace(model, terms=model.terms.plus(change), posterior=None)
