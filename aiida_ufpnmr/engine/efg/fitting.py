"""Fit of the EFG model: ridge regression on λ = 2 SOAP features, validated on groups that were withheld.

Everything that is learnt from labels follows from the normal equations of each fold, so memory grows neither with the
number of structures nor with that of ions.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from scipy.linalg import cho_factor, cho_solve

from aiida_ufpnmr.engine.dataset import Dataset
from aiida_ufpnmr.engine.efg.descriptors import contraction_weights, equivariant_features, feature_count
from aiida_ufpnmr.engine.efg.isotopes import get_isotope
from aiida_ufpnmr.engine.efg.kernels import mix_channels
from aiida_ufpnmr.engine.efg.metrics import dataset_errors, labelled_tensors
from aiida_ufpnmr.engine.efg.model import EfgModel, expansion_of
from aiida_ufpnmr.engine.efg.settings import PENALTIES, EfgSettings
from aiida_ufpnmr.engine.efg.tensors import to_irreps
from aiida_ufpnmr.engine.errors import InputError
from aiida_ufpnmr.engine.hdf5 import versions
from aiida_ufpnmr.engine.progress import progress

#: Penalty where too few groups leave nothing to choose it by.
DEFAULT_PENALTY = 3e-2


class _NormalEquations:
    """G = XᵀX, b = Xᵀy and yᵀy of one fold; enough for a ridge fit and for its squared error."""

    def __init__(self, n_features: int):
        self.gram = np.zeros((n_features, n_features))
        self.moment = np.zeros(n_features)
        self.square = 0.0
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Take in rows; they are summed a thousand at a time, because adding to the Gram matrix costs its full size."""
        self._waiting.append((features, targets))
        if sum(len(targets) for _, targets in self._waiting) > 1000:
            self.complete()

    def complete(self) -> None:
        """Sum the rows that wait."""
        if not self._waiting:
            return
        features, targets = map(np.concatenate, zip(*self._waiting))
        self._waiting.clear()
        self.gram += features.T @ features
        self.moment += features.T @ targets
        self.square += targets @ targets

    def squared_error(self, weights: np.ndarray) -> float:
        return float(weights @ (self.gram @ weights) - 2 * self.moment @ weights + self.square)


def _solve(parts: list[_NormalEquations], penalty: float) -> np.ndarray:
    """Ridge weights from the sum of some folds."""
    gram = parts[0].gram.copy()
    for part in parts[1:]:
        gram += part.gram
    gram[np.diag_indices(len(gram))] += penalty
    factor = cho_factor(gram, overwrite_a=True, check_finite=False)
    return cho_solve(factor, sum(part.moment for part in parts), check_finite=False)


def _pair_errors(parts: list[_NormalEquations], penalties, bar) -> np.ndarray:
    """Squared error on fold g of the model trained without folds f and g, (penalties, folds f, folds g).

    On the diagonal (f = g) stands the error on f of the model trained without f.
    """
    n = len(parts)
    errors = np.zeros((len(penalties), n, n))
    for p, penalty in enumerate(penalties):
        for f in range(n):
            for g in range(f, n):
                kept = [part for k, part in enumerate(parts) if k not in (f, g)]
                if not kept:  # two folds: nothing is left inside
                    continue
                weights = _solve(kept, penalty)
                errors[p, f, g] = parts[g].squared_error(weights)
                errors[p, g, f] = parts[f].squared_error(weights)
                bar.update()
    return errors


def _chosen_penalties(errors: np.ndarray, penalties) -> tuple[list[float], float]:
    """For each fold the penalty that is best without it, and the one that is best for all."""
    n = errors.shape[1]
    diagonal = errors[:, np.arange(n), np.arange(n)]
    best = penalties[int(np.argmin(diagonal.sum(axis=1)))]
    if n == 2:  # without one of two folds there is nothing to choose by
        return [DEFAULT_PENALTY] * 2, best
    within = errors.sum(axis=2) - diagonal
    return [penalties[int(k)] for k in np.argmin(within, axis=0)], best


def _coefficients(expansion, dataset: Dataset, species: str, masks, description: str):
    """The density expansion around the labelled ions, structure by structure."""
    number = atomic_numbers[species]
    with progress(len(dataset), description, 'structure') as bar:
        for row, (atoms, mask) in enumerate(zip(dataset, masks)):
            ions = np.flatnonzero(atoms.numbers == number)[mask]
            yield row, expansion.coefficients(
                atoms.positions, atoms.cell.array, atoms.pbc, expansion.species_indices(atoms.numbers), ions
            )
            bar.update()


def _principal_channels(expansion, coefficients, mixed: int) -> np.ndarray:
    """For each l the combinations of channels that carry most of the density, (l_max + 1, channels, mixed).

    Uncentred principal components (Goscinski, Musil, Pozdnyakov, Nigam & Ceriotti, J. Chem. Phys. 155, 104106 (2021)).
    They see structures only, never labels.
    """
    covariance = np.zeros((expansion.l_max + 1, expansion.channels, expansion.channels))
    for _, c in coefficients:
        for l, target in enumerate(covariance):
            block = c[:, l * l : (l + 1) ** 2].reshape(-1, expansion.channels)
            target += block.T @ block
    return np.ascontiguousarray(np.linalg.eigh(covariance)[1][:, :, ::-1][:, :, : min(mixed, expansion.channels)])


def fit_efg_model(
    dataset: Dataset, species: str, settings: EfgSettings = EfgSettings(), test: Dataset | None = None
) -> tuple[EfgModel, dict[str, Any]]:
    """Fit a model to all labelled ions of a species.

    The penalty is chosen by cross-validation over folds of whole groups. The errors at the top of the results are on
    ``test``; without it, each fold is predicted by a model trained on the others with the penalty that cross-validation
    among those others chooses (nested, so that no label of a fold has a say in its prediction). The model that is
    returned is fitted to everything. A single group leaves nothing to validate on: those errors are then NaN.

    Args:
        dataset: structures with ``efg``; NaN for ions without label.
        species: chemical symbol of the ions.
        settings: of descriptor and fit.
        test: labelled structures on which to report errors.

    Returns:
        the model, and results with units in their keys.

    Raises:
        InputError: no labelled ion, an element in ``test`` that ``dataset`` lacks, or no quadrupolar isotope.
    """
    began, cpu_began = time.perf_counter(), time.process_time()
    isotope = get_isotope(settings.isotope or species).name
    if isotope.lstrip('0123456789') != species:
        raise InputError(f'isotope {isotope} is none of {species}; choose one of it, or leave the setting out')
    masks, tensors = labelled_tensors(dataset, species)
    ions = sum(map(len, tensors))
    if not ions:
        raise InputError(f'{dataset.source}: no {species} atom with an EFG label; label some')
    if test is not None and not sum(map(len, labelled_tensors(test, species)[1])):
        raise InputError(f'{test.source}: no {species} atom with an EFG label; label some')
    known = dataset.species
    expansion = expansion_of(settings, known)
    if test is not None:
        for row, atoms in enumerate(test):
            try:
                expansion.species_indices(atoms.numbers)
            except InputError as error:
                raise InputError(f'{test.source}, structure {row}: {error}') from None

    mixing = _principal_channels(
        expansion, _coefficients(expansion, dataset, species, masks, 'channels'), settings.mixed_channels
    )
    folds = dataset.folds(settings.folds, settings.seed)
    fold_of = np.zeros(len(dataset), int)
    for number, rows in enumerate(folds):
        fold_of[rows] = number
    n_features = feature_count(settings.l_max, mixing.shape[2])
    parts = [_NormalEquations(n_features) for _ in range(max(1, len(folds)))]
    norm = 0.0
    for row, coefficients in _coefficients(expansion, dataset, species, masks, 'features'):
        features = equivariant_features(mix_channels(coefficients, mixing))
        norm += float((features**2).sum())
        parts[fold_of[row]].add(features.reshape(-1, features.shape[2]), to_irreps(tensors[row]).ravel())
    for part in parts:
        part.complete()
    norm /= 5 * ions
    if not norm:
        raise InputError(f'{dataset.source}: no labelled {species} atom has a neighbour; raise the cutoff')

    def model(weights: np.ndarray, penalty: float) -> EfgModel:
        linear, pairs = contraction_weights(weights, settings.l_max, mixing.shape[2])
        return EfgModel(species, isotope, known, settings, penalty, mixing, linear, pairs, dataset.content_hash)

    # settings speak of features of mean square norm 1; for these as they are, a penalty is multiplied by that norm
    penalties = [settings.penalty] if settings.penalty is not None else list(PENALTIES)
    fold_penalties, penalty = [], DEFAULT_PENALTY if settings.penalty is None else settings.penalty
    if folds and len(penalties) > 1:
        solves = len(penalties) * len(folds) * (len(folds) + 1) // 2
        with progress(solves, 'cross-validation', 'solve') as bar:
            errors = _pair_errors(parts, [p * norm for p in penalties], bar)
        fold_penalties, penalty = _chosen_penalties(errors, penalties)
    elif folds:
        fold_penalties = [penalty] * len(folds)
    fitted = model(_solve(parts, penalty * norm), penalty)

    train = dataset_errors([fitted.predict(atoms) for atoms in dataset], dataset, species, isotope)
    validation: dict[str, Any] = {'folds': len(folds), 'penalty': penalty, 'penalty_of_folds': fold_penalties}
    if test is not None:
        top = dataset_errors([fitted.predict(atoms) for atoms in test], test, species, isotope)
        validation['method'] = 'test set'
    elif folds:
        predicted: list = [None] * len(dataset)
        for number, rows in enumerate(folds):
            others = [part for k, part in enumerate(parts) if k != number]
            withheld = model(_solve(others, fold_penalties[number] * norm), fold_penalties[number])
            for row in rows:
                predicted[row] = withheld.predict(dataset.structures[row])
        top = dataset_errors(predicted, dataset, species, isotope)
        validation['method'] = 'whole groups withheld, penalty chosen within the others (nested cross-validation)'
    else:
        top = {**dict.fromkeys(train, float('nan')), 'ions': ions, 'by_group': {}, 'well_defined_frames': {}}
        validation['method'] = 'none: a single group leaves nothing to withhold; give a test set'
    results = {
        **top,
        'train': {key: value for key, value in train.items() if key != 'by_group'},
        'validation': validation,
        'species': species,
        'isotope': isotope,
        'known_species': list(known),
        'structures': len(dataset),
        'features': n_features,
        'settings': dataclasses.asdict(settings),
        'training_sha256': dataset.content_hash,
        'versions': versions(),
        'timing': {'wall_s': time.perf_counter() - began, 'cpu_s': time.process_time() - cpu_began},
    }
    return fitted, results
