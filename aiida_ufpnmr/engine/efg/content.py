"""The numbers of an EFG model, apart from predictions and from files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aiida_ufpnmr.engine.efg.posterior import EfgPosterior
from aiida_ufpnmr.engine.efg.settings import EfgSettings
from aiida_ufpnmr.engine.efg.terms import KernelTerms, LinearTerms


@dataclass(frozen=True, eq=False)
class EfgContent:
    """The numbers of a model and their origin.

    Attributes:
        species: chemical symbol of the ions.
        isotope: the isotope whose frequencies are meant, such as ``7Li``.
        known_species: chemical symbols that may occur in a structure.
        settings: those of the fit.
        penalty: that of the ridge.
        mixing: (l_max + 1, channels, mixed) combinations of channels.
        message_mixing: (2, n_species, channels, message channels) combinations that make messages, by rank and species.
        terms: what gives the components from the environments of ions.
        training_sha256: content hash of the training set.
        posterior: for expected errors; ``None`` where nothing was withheld from the fit, or where it was left out.
    """

    species: str
    isotope: str
    known_species: tuple[str, ...]
    settings: EfgSettings
    penalty: float
    mixing: np.ndarray
    message_mixing: np.ndarray
    terms: LinearTerms | KernelTerms
    training_sha256: str
    posterior: EfgPosterior | None = None
